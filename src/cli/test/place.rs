//! A value of a case at its place, `cuts.flows[1]`: reads it, or says what would be right there.

use std::fmt::Display;

use serde_json::{Map, Value};

/// The value of a key that is not there.
static NULL: Value = Value::Null;

/// A value and the keys that lead to it from its case.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Place<'a> {
    /// The value that all places are counted from.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// What is wrong here, as a message.
    pub(super) fn wrong(&self, message: impl Display) -> String {
        match self.path.is_empty() {
            true => message.to_string(),
            false => format!("{}: {message}", self.path),
        }
    }

    fn kind(&self, right: &str) -> String {
        let what = match self.value {
            Value::Null => "has no value".to_owned(),
            Value::Array(_) => "is a list".to_owned(),
            Value::Object(_) => "is a mapping".to_owned(),
            single => format!("{single} does not belong here"),
        };
        self.wrong(format!("{what}; write {right}"))
    }

    /// The mapping here, with any keys.
    pub(super) fn entries(&self, right: &str) -> Result<Vec<(&'a str, Place<'a>)>, String> {
        let Value::Object(map) = self.value else { return Err(self.kind(right)) };
        Ok(map.iter().map(|(key, value)| (key.as_str(), self.below(key, value))).collect())
    }

    /// The mapping here, whose keys can only be `known`.
    pub(super) fn fields(&self, known: &'static [&'static str]) -> Result<Fields<'a>, String> {
        let keys = known.join(", ");
        let Value::Object(map) = self.value else {
            return Err(self.kind(&format!("a mapping with the keys {keys}")));
        };
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(self.wrong(format!("{key:?} is not a known key; the keys here are {keys}")))
            }
            None => Ok(Fields { place: self.clone(), map }),
        }
    }

    /// The values of the list here.
    pub(super) fn list(&self, right: &str) -> Result<Vec<Place<'a>>, String> {
        let Value::Array(values) = self.value else { return Err(self.kind(right)) };
        let at = |(at, value)| Place { path: format!("{}[{at}]", self.path), value };
        Ok(values.iter().enumerate().map(at).collect())
    }

    pub(super) fn text(&self, right: &str) -> Result<&'a str, String> {
        self.value.as_str().ok_or_else(|| self.kind(right))
    }

    /// A number from 0.
    pub(super) fn count(&self, right: &str) -> Result<u64, String> {
        self.value.as_u64().ok_or_else(|| self.kind(right))
    }

    pub(super) fn object(&self, right: &str) -> Result<&'a Map<String, Value>, String> {
        self.value.as_object().ok_or_else(|| self.kind(right))
    }

    fn below(&self, key: &str, value: &'a Value) -> Place<'a> {
        let path = match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        };
        Place { path, value }
    }
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    place: Place<'a>,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The value of a key that may be left out.
    pub(super) fn get(&self, key: &str) -> Option<Place<'a>> {
        self.map.get(key).map(|value| self.place.below(key, value))
    }

    /// The value of a key that must be there; `right` shows how it is written.
    pub(super) fn required(&self, key: &str, right: &str) -> Result<Place<'a>, String> {
        self.get(key)
            .ok_or_else(|| self.place.below(key, &NULL).wrong(format!("is missing; write {right}")))
    }

    /// The value of a key as `read` reads it, or `absent`.
    pub(super) fn setting<T>(
        &self,
        key: &str,
        absent: T,
        read: impl Fn(&Place<'a>) -> Result<T, String>,
    ) -> Result<T, String> {
        self.get(key).map_or(Ok(absent), |place| read(&place))
    }
}
