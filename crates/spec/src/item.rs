//! Reads the tree: a value at its place, and the keys of a mapping.
//!
//! Every reader returns `None` after it has reported what is wrong, so that its caller goes
//! on with the next value and one run tells every problem.

use crate::report::{Report, quoted};
use crate::suggest::nearest;
use crate::yaml::{Entry, Node, Value, join};

/// A value with its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct Item<'a> {
    pub(crate) path: String,
    pub(crate) report: &'a Report,
    line: usize,
    node: &'a Node,
}

impl<'a> Item<'a> {
    /// The value of the whole file.
    pub(crate) fn root(node: &'a Node, report: &'a Report) -> Self {
        Self { path: String::new(), report, line: node.line, node }
    }

    fn below(&self, entry: &'a Entry) -> Self {
        // A collection is found by its key, a text that begins below its key by itself.
        let text = matches!(entry.node.value, Value::Scalar { .. }) && !entry.node.is_null();
        Self {
            path: join(&self.path, &entry.key),
            report: self.report,
            line: if text { entry.node.line } else { entry.line },
            node: &entry.node,
        }
    }

    pub(crate) fn problem(&self, message: impl Into<String>) {
        self.report.add(Some(self.line), &self.path, message);
    }

    pub(crate) fn is_null(&self) -> bool {
        self.node.is_null()
    }

    pub(crate) fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// The single value here, if there is one; nothing is reported.
    pub(crate) fn scalar(&self) -> Option<&'a str> {
        match self.value() {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The keys of the mapping here, if it is one; nothing is reported.
    pub(crate) fn children(&self) -> Vec<(&'a str, Item<'a>)> {
        match self.value() {
            Value::Map(entries) => {
                entries.iter().map(|e| (e.key.as_str(), self.below(e))).collect()
            }
            Value::Scalar { .. } | Value::List(_) => Vec::new(),
        }
    }

    /// The value of a key here, if there is one; nothing is reported.
    pub(crate) fn child(&self, key: &str) -> Option<Item<'a>> {
        self.children().into_iter().find(|(name, _)| *name == key).map(|(_, item)| item)
    }

    /// The single value here; `right` says what belongs here (`a duration such as 10s`).
    pub(crate) fn text(&self, right: &str) -> Option<&'a str> {
        let text = self.scalar();
        if text.is_none() {
            self.wrong_kind("a single value", right);
        }
        text
    }

    /// The single value here as `parse` reads it; what `parse` says against it is reported.
    pub(crate) fn parsed<T>(
        &self,
        right: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.text(right)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(message);
                None
            }
        }
    }

    /// The values of the list here.
    pub(crate) fn list(&self, right: &str) -> Option<Vec<Item<'a>>> {
        let Value::List(nodes) = self.value() else {
            self.wrong_kind("a list", right);
            return None;
        };
        let item = |(index, node): (usize, &'a Node)| Item {
            path: format!("{}[{index}]", self.path),
            report: self.report,
            line: node.line,
            node,
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// The keys of the mapping here with their values, whatever the keys are.
    pub(crate) fn entries(&self, right: &str) -> Option<Vec<(&'a str, Item<'a>)>> {
        if !matches!(self.value(), Value::Map(_)) {
            self.wrong_kind("a mapping", right);
            return None;
        }
        Some(self.children())
    }

    fn wrong_kind(&self, expected: &str, right: &str) {
        self.problem(match self.value() {
            _ if self.is_null() => format!("has no value; write {right}"),
            Value::Scalar { text, .. } => {
                format!("{} is not {expected}; write {right}", quoted(text))
            }
            Value::List(_) => format!("is a list; write {right}"),
            Value::Map(_) => format!("is a mapping; write {right}"),
        });
    }

    /// The mapping here, whose keys can only be `known`; others are reported.
    pub(crate) fn fields(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        let right = format!("a mapping with the keys {}", known.join(", "));
        let entries = self.entries(&right)?;
        Some(Fields::new(self.clone(), entries, known))
    }

    /// As [`Self::fields`], for a section whose keys all have defaults: it may be empty.
    pub(crate) fn section(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        match self.is_null() {
            true => Some(Fields::new(self.clone(), Vec::new(), known)),
            false => self.fields(known),
        }
    }
}

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    item: Item<'a>,
    entries: Vec<(&'a str, Item<'a>)>,
    /// Known keys that unknown ones were taken to mean; they are not reported as missing too.
    meant: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn new(
        item: Item<'a>,
        entries: Vec<(&'a str, Item<'a>)>,
        known: &'static [&'static str],
    ) -> Self {
        known.iter().for_each(|key| item.report.knows(join(&item.path, key)));
        let mut meant = Vec::new();
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(key)) {
            let shown = quoted(key);
            let right = match nearest(key, known.iter().copied()) {
                Some(near) => {
                    meant.push(near);
                    format!("write {near}")
                }
                None => format!("the keys here are {}", known.join(", ")),
            };
            value.problem(format!("{shown} is not a known key; {right}"));
        }
        Self { item, entries, meant }
    }

    /// The value of a key that may be left out.
    pub(crate) fn get(&self, key: &str) -> Option<Item<'a>> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, item)| item.clone())
    }

    /// The keys of the mapping below a key; none if there is no mapping.
    pub(crate) fn children(&self, key: &str) -> Vec<(&'a str, Item<'a>)> {
        self.get(key).map(|item| item.children()).unwrap_or_default()
    }

    /// The value of a key that must be there; `example` shows how it is written.
    pub(crate) fn required(&self, key: &str, example: &str) -> Option<Item<'a>> {
        let value = self.get(key);
        if value.is_none() && !self.meant.contains(&key) {
            let path = join(&self.item.path, key);
            let message = format!("is missing; write {example}");
            self.item.report.add(Some(self.item.line), &path, message);
        }
        value
    }

    /// The value of a key as `parse` reads it, or its default when the key is left out.
    pub(crate) fn setting<T>(
        &self,
        key: &str,
        default: T,
        parse: impl Fn(&Item<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(item) => parse(&item),
            None => Some(default),
        }
    }
}
