//! Builds the tree from the parser's events, with aliases replaced by copies.
//!
//! Copies are bounded: aliases of aliases would otherwise let a short file fill the memory.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::node::{Entry, Node, Value, join};
use crate::report::{Report, quoted};

/// The largest job file, SQL text included.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of mappings and lists.
const DEPTH_MAX: usize = 64;
/// The largest tree: a node weighs one, and one more for every 64 bytes of its text.
const WEIGHT_MAX: usize = 100_000;

/// Reading stops here; the reason is in the report.
struct Stop;

/// The value of the single document in `text`.
pub(super) fn build(text: &str, report: &Report) -> Option<Node> {
    if text.len() > FILE_BYTES_MAX {
        let (size, max) = (text.len(), FILE_BYTES_MAX);
        report.add(None, "", format!("the file has {size} bytes; a job file has at most {max}"));
        return None;
    }
    let mut builder = Builder::new(report);
    for next in Parser::new_from_str(text) {
        let taken = match next {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                not_yaml(&error, report);
                Err(Stop)
            }
        };
        if taken.is_err() {
            return None;
        }
    }
    builder.root
}

fn not_yaml(error: &ScanError, report: &Report) {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let info = error.info();
    let right = if info.contains("tab") { "; indent with spaces" } else { "" };
    report.add(Some(line), "", format!("not YAML at column {column}: {info}{right}"));
}

struct Builder<'a> {
    report: &'a Report,
    /// The collections that are open, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    weight: usize,
    documents: usize,
    root: Option<Node>,
}

struct Open {
    anchor: usize,
    line: usize,
    weight_before: usize,
    height: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<Key> },
}

/// A key that waits for its value; without text when the key was not usable.
struct Key {
    text: Option<String>,
    line: usize,
}

struct Anchored {
    node: Node,
    weight: usize,
    height: usize,
}

impl<'a> Builder<'a> {
    fn new(report: &'a Report) -> Self {
        Self {
            report,
            open: Vec::new(),
            anchors: HashMap::new(),
            weight: 0,
            documents: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let line = span.start.line();
        match event {
            Event::DocumentStart(..) => self.document(line),
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), line);
                let before = self.weight;
                self.weigh(1 + text.len() / 64, line)?;
                let tagged_text = tag.is_some_and(|tag| tag.core_suffix() == Some("str"));
                let plain = style == ScalarStyle::Plain && !tagged_text;
                let value = Value::Scalar { text: text.into_owned(), plain };
                self.complete(anchor, Node { line, value }, (before, 1));
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), line);
                self.begin(anchor, line, Items::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), line);
                self.begin(anchor, line, Items::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end();
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, line),
            // The ends of things, comments, and whatever else carries no value.
            _ => Ok(()),
        }
    }

    fn document(&mut self, line: usize) -> Result<(), Stop> {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        let why = "a second YAML document begins here; a file holds one job";
        self.report.add(Some(line), "", why);
        Err(Stop)
    }

    fn begin(&mut self, anchor: usize, line: usize, items: Items) -> Result<(), Stop> {
        let weight_before = self.weight;
        self.weigh(1, line)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(self.too_deep(line));
        }
        self.open.push(Open { anchor, line, weight_before, height: 1, items });
        Ok(())
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let value = match open.items {
            Items::List(nodes) => Value::List(nodes),
            Items::Map { entries, .. } => Value::Map(entries),
        };
        let node = Node { line: open.line, value };
        self.complete(open.anchor, node, (open.weight_before, open.height));
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Stop> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            let why = "the alias is inside the value that it names; write the value out";
            self.report.add(Some(line), &self.path(), why);
            return Err(Stop);
        };
        let (weight, height) = (anchored.weight, anchored.height);
        let before = self.weight;
        self.weigh(weight, line)?;
        if self.open.len() + height > DEPTH_MAX {
            return Err(self.too_deep(line));
        }
        if let Some(anchored) = self.anchors.get(&anchor) {
            let node = Node { line, value: anchored.node.value.clone() };
            self.complete(0, node, (before, height));
        }
        Ok(())
    }

    /// Hands a finished value to its anchor and to the collection it stands in.
    fn complete(&mut self, anchor: usize, node: Node, (weight_before, height): (usize, usize)) {
        if anchor != 0 {
            let weight = self.weight - weight_before;
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight, height });
        }
        let path = self.path();
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.height = open.height.max(height + 1);
        match &mut open.items {
            Items::List(nodes) => nodes.push(node),
            Items::Map { entries, key } => match key.take() {
                None => *key = Some(self::key(node, self.report, &path)),
                Some(Key { text: Some(text), line }) => {
                    entries.push(Entry { key: text, line, node });
                }
                Some(Key { text: None, .. }) => {}
            },
        }
    }

    fn check_tag(&self, tag: Option<&Tag>, line: usize) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix().is_none()) {
            let written = quoted(&format!("{}{}", tag.original_handle(), tag.suffix()));
            let why = format!("the tag {written} has no meaning in a job; remove it");
            self.report.add(Some(line), &self.path(), why);
        }
    }

    fn weigh(&mut self, weight: usize, line: usize) -> Result<(), Stop> {
        self.weight += weight;
        if self.weight <= WEIGHT_MAX {
            return Ok(());
        }
        let why = format!(
            "the file has more than {WEIGHT_MAX} values, with its aliases written out; \
             use fewer or smaller aliases"
        );
        self.report.add(Some(line), "", why);
        Err(Stop)
    }

    fn too_deep(&self, line: usize) -> Stop {
        let why = format!("nested more than {DEPTH_MAX} levels deep; a job needs far fewer");
        self.report.add(Some(line), "", why);
        Stop
    }

    /// Where the next value goes, by the keys that lead to it.
    fn path(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match &open.items {
            Items::List(nodes) => format!("{path}[{}]", nodes.len()),
            Items::Map { key: Some(Key { text: Some(text), .. }), .. } => join(&path, text),
            Items::Map { .. } => path,
        })
    }
}

fn key(node: Node, report: &Report, path: &str) -> Key {
    let line = node.line;
    let text = match node.value {
        Value::Scalar { text, .. } => Some(text),
        Value::List(_) | Value::Map(_) => {
            let why = "a key is a list or a mapping here; write a name \
                       (a value that begins with { or [ needs quotes)";
            report.add(Some(line), path, why);
            None
        }
    };
    Key { text, line }
}
