//! A YAML value with its line, and how places in a file are named.

/// The longest key that a path shows in full.
const WORD_BYTES_MAX: usize = 60;

/// A value and the line on which it begins.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// The three kinds of YAML values. A scalar stays the text that it was written as, because
/// what it must be is known only to its reader.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) node: Node,
}

impl Node {
    /// Whether this is YAML's null: nothing at all, `~` or an unquoted `null`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

/// The path of a key below `path`; keys that are not plain words are quoted, so that a column
/// `id.orig_h` does not look like two steps, and long ones are cut.
pub(crate) fn join(path: &str, key: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let short = (1..=WORD_BYTES_MAX).contains(&key.len());
    let key = match short && key.chars().all(word) {
        true => key.to_owned(),
        false => crate::report::quoted(key),
    };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
