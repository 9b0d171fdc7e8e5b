//! What can go wrong, and whose turn it then is.

use std::path::{Path, PathBuf};

/// Why nothing, or not everything, was generated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be followed; nothing was written. Change what is named.
    #[error("{setting}: {problem}")]
    BadSettings {
        /// The setting, as [`crate::Settings`] calls it.
        setting: &'static str,
        /// The value, what is wrong with it, and what would be right.
        problem: String,
    },
    /// A file could not be written. Files finished before stay; no half-written one has its
    /// final name.
    #[error("{path}: {source}", path = path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the system, or the Parquet writer, said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This crate broke a promise of its own.
    #[error("bug in the generator: {0}")]
    Bug(&'static str),
}

impl Error {
    /// Whether the caller's arguments are to blame, and nothing was written.
    pub fn is_bad_settings(&self) -> bool {
        matches!(self, Self::BadSettings { .. })
    }

    pub(crate) fn bad(setting: &'static str, problem: impl Into<String>) -> Self {
        Self::BadSettings { setting, problem: problem.into() }
    }

    /// For `map_err`: names `path` beside what went wrong with it.
    pub(crate) fn at<E>(path: &Path) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Unwritable { path: path.to_owned(), source: source.into() }
    }
}
