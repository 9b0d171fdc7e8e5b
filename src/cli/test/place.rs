//! A value of a case at its place, `cuts.flows[1]`: reads it, or notes what would be right there,
//! so that all mistakes of a case are told in one go.

use std::cell::RefCell;
use std::fmt::Display;

use tidegauge_spec::nearest;

use super::value::{Row, Value};

/// The value of a key that is not there.
static NULL: Value = Value::Null;

/// The mistakes found so far, each with its place. Readers share it, hence the cell.
#[derive(Debug, Default)]
pub(super) struct Mistakes(RefCell<Vec<String>>);

impl Mistakes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.0.into_inner()
    }
}

/// A value and the keys that lead to it from its case. What reads it gives nothing where it has
/// noted a mistake.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    path: String,
    value: &'a Value,
    mistakes: &'a Mistakes,
}

impl<'a> Place<'a> {
    /// The value that all places are counted from.
    pub(super) fn root(value: &'a Value, mistakes: &'a Mistakes) -> Self {
        Self { path: String::new(), value, mistakes }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// Notes what is wrong here.
    pub(super) fn mistake(&self, message: impl Display) {
        let message = match self.path.is_empty() {
            true => message.to_string(),
            false => format!("{}: {message}", self.path),
        };
        self.mistakes.0.borrow_mut().push(message);
    }

    /// Notes that a value of another kind belongs here.
    pub(super) fn kind(&self, right: &str) {
        let what = match self.value {
            Value::Null => "has no value".to_owned(),
            Value::List(_) => "is a list".to_owned(),
            Value::Map(_) => "is a mapping".to_owned(),
            single => format!("{single} does not belong here"),
        };
        self.mistake(format!("{what}; write {right}"));
    }

    /// What was read here, or a note of what would be right.
    fn read<T>(&self, value: Option<T>, right: &str) -> Option<T> {
        if value.is_none() {
            self.kind(right);
        }
        value
    }

    /// The mapping here, with any keys.
    pub(super) fn entries(&self, right: &str) -> Option<Vec<(&'a str, Place<'a>)>> {
        let map = self.object(right)?;
        Some(map.iter().map(|(key, value)| (key.as_str(), self.below(key, value))).collect())
    }

    /// The mapping here, whose keys can only be `known`; others are noted.
    pub(super) fn fields(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        let keys = known.join(", ");
        let map = self.object(&format!("a mapping with the keys {keys}"))?;
        let mut meant = Vec::new();
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let right = match nearest(key, known.iter().copied()) {
                Some(near) => {
                    meant.push(near);
                    format!("write {near}")
                }
                None => format!("the keys here are {keys}"),
            };
            self.mistake(format!("{key:?} is not a known key; {right}"));
        }
        Some(Fields { place: self.clone(), map, meant })
    }

    /// The values of the list here.
    pub(super) fn list(&self, right: &str) -> Option<Vec<Place<'a>>> {
        let values = self.read(self.value.as_list(), right)?;
        let at = |(at, value)| Place {
            path: format!("{}[{at}]", self.path),
            value,
            mistakes: self.mistakes,
        };
        Some(values.iter().enumerate().map(at).collect())
    }

    pub(super) fn text(&self, right: &str) -> Option<&'a str> {
        self.read(self.value.as_str(), right)
    }

    /// A number from 0.
    pub(super) fn count(&self, right: &str) -> Option<u64> {
        self.read(self.value.as_u64(), right)
    }

    pub(super) fn truth(&self) -> Option<bool> {
        self.read(self.value.as_bool(), "true or false")
    }

    pub(super) fn object(&self, right: &str) -> Option<&'a Row> {
        self.read(self.value.as_map(), right)
    }

    fn below(&self, key: &str, value: &'a Value) -> Place<'a> {
        let path = match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        };
        Place { path, value, mistakes: self.mistakes }
    }
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    place: Place<'a>,
    map: &'a Row,
    /// Known keys that unknown ones were taken to mean; they are not missing too.
    meant: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of a key that may be left out.
    pub(super) fn get(&self, key: &str) -> Option<Place<'a>> {
        self.map.get(key).map(|value| self.place.below(key, value))
    }

    /// The value of a key that must be there; `right` shows how it is written.
    pub(super) fn required(&self, key: &str, right: &str) -> Option<Place<'a>> {
        let value = self.get(key);
        if value.is_none() && !self.meant.contains(&key) {
            self.place.below(key, &NULL).mistake(format!("is missing; write {right}"));
        }
        value
    }

    /// The value of a key as `read` reads it, or `absent`, also where it has a mistake.
    pub(super) fn setting<T>(
        &self,
        key: &str,
        absent: T,
        read: impl Fn(&Place<'a>) -> Option<T>,
    ) -> T {
        self.get(key).and_then(|place| read(&place)).unwrap_or(absent)
    }
}
