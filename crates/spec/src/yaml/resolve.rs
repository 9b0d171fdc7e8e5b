//! What a tree means after parsing: merge keys, duplicate keys, environment variables.

use std::collections::{HashMap, HashSet};

use super::Env;
use super::env::expand;
use super::node::{Entry, Node, Value, join};
use crate::report::{Report, quoted};

const MERGE_KEY: &str = "<<";

/// The same tree with merge keys written out, each key once, and `${NAME}` replaced in
/// values. It happens after parsing, so that no variable can change the structure.
pub(super) fn resolve(node: Node, env: Env<'_>, report: &Report) -> Node {
    Resolver { env, report }.node(node, "")
}

struct Resolver<'a> {
    env: Env<'a>,
    report: &'a Report,
}

impl Resolver<'_> {
    /// Recursive: the depth of trees is bounded where they are built.
    fn node(&self, node: Node, path: &str) -> Node {
        let line = node.line;
        let value = match node.value {
            Value::Scalar { text, plain } => self.scalar(text, plain, line, path),
            Value::List(nodes) => {
                let indexed = nodes.into_iter().enumerate();
                Value::List(indexed.map(|(i, n)| self.node(n, &format!("{path}[{i}]"))).collect())
            }
            Value::Map(entries) => {
                let entries = self.unique(self.merged(entries, path), path);
                Value::Map(entries.into_iter().map(|entry| self.entry(entry, path)).collect())
            }
        };
        Node { line, value }
    }

    fn entry(&self, entry: Entry, path: &str) -> Entry {
        let node = self.node(entry.node, &join(path, &entry.key));
        Entry { node, ..entry }
    }

    fn scalar(&self, text: String, plain: bool, line: usize, path: &str) -> Value {
        if !text.contains('$') {
            return Value::Scalar { text, plain };
        }
        match expand(&text, self.env) {
            // What came from a variable is text, even if it is empty or reads `null`.
            Ok(text) => Value::Scalar { text, plain: false },
            Err(problems) => {
                for problem in problems {
                    self.report.add(Some(line), path, problem);
                }
                Value::Scalar { text, plain }
            }
        }
    }

    /// The entries with those of each `<<` in its place, except keys that are written out.
    fn merged(&self, entries: Vec<Entry>, path: &str) -> Vec<Entry> {
        if entries.iter().all(|entry| entry.key != MERGE_KEY) {
            return entries;
        }
        let mut taken: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.key != MERGE_KEY {
                all.push(entry);
                continue;
            }
            let path = join(path, MERGE_KEY);
            for map in self.merge_sources(entry, &path) {
                let inner = self.unique(self.merged(map, &path), &path);
                all.extend(inner.into_iter().filter(|entry| taken.insert(entry.key.clone())));
            }
        }
        all
    }

    fn merge_sources(&self, entry: Entry, path: &str) -> Vec<Vec<Entry>> {
        let nodes = match entry.node.value {
            Value::List(nodes) => nodes,
            _ => vec![entry.node],
        };
        let mut maps = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.value {
                Value::Map(entries) => maps.push(entries),
                _ => {
                    let why = "only mappings can be merged; write an alias of a mapping";
                    self.report.add(Some(entry.line), path, why);
                }
            }
        }
        maps
    }

    fn unique(&self, entries: Vec<Entry>, path: &str) -> Vec<Entry> {
        let mut first_lines: HashMap<String, usize> = HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(first) = first_lines.get(&entry.key) {
                let key = quoted(&entry.key);
                let why = format!("{key} is given twice, first on line {first}; keep one");
                self.report.add(Some(entry.line), &join(path, &entry.key), why);
                continue;
            }
            first_lines.insert(entry.key.clone(), entry.line);
            kept.push(entry);
        }
        kept
    }
}
