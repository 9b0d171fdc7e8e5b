//! Collects the problems of one file while it is read, so that all are told in one go.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::problem::{BadJob, Problem};

/// How much of a value a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// The problems of one file so far. Readers share it, hence the cell.
#[derive(Debug)]
pub(crate) struct Report {
    file: PathBuf,
    problems: RefCell<Vec<Problem>>,
    /// Every key that the mappings read so far may hold, by its path.
    keys: RefCell<BTreeSet<String>>,
}

impl Report {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), problems: RefCell::default(), keys: RefCell::default() }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Notes that a mapping is read that may hold the key at `path`.
    pub(crate) fn knows(&self, path: String) {
        self.keys.borrow_mut().insert(path);
    }

    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.keys.borrow().clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(crate) fn add(&self, line: Option<usize>, path: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            file: self.file.clone(),
            line,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// The value if nothing was reported, else every problem, in the order of the file.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, BadJob> {
        let missing = value.is_none() && self.is_empty();
        if missing {
            self.add(
                None,
                "",
                "the file was not understood, and no reason was found; this is a bug",
            );
        }
        let mut problems = self.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                problems.sort_by_key(|problem| problem.line);
                Err(BadJob { problems })
            }
        }
    }
}

/// A value as messages show it: in quotes, escaped, and cut when it is long.
pub(crate) fn quoted(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        None => format!("{value:?}"),
        Some((cut, _)) => format!("{:?}", format!("{}...", &value[..cut])),
    }
}
