//! Errors whose kind says what to do, whose message says where, and that keep their source.
//!
//! An outcome that is expected (another coordinator won an epoch) is a value, not an error: see
//! [`CommitOutcome`](crate::CommitOutcome).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plain::plain;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The job file or an argument is wrong: correct it.
    BadJob,
    /// A row or an input file is wrong: correct, remove or quarantine it.
    BadRecord,
    /// Storage or a peer did not answer: check it, then run again; nothing was lost.
    Unavailable,
    /// Another coordinator has taken over the job: stop this one.
    Fenced,
    /// Stored state is missing or damaged: restore it, or start anew with `--reset-state`.
    Corrupt,
    /// A rule of the program itself was broken: report it.
    Bug,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::BadJob => "bad job",
            ErrorKind::BadRecord => "bad record",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Fenced => "fenced",
            ErrorKind::Corrupt => "corrupt state",
            ErrorKind::Bug => "bug",
        })
    }
}

/// An error: its kind, a message for the operator, and what it came from.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that starts here. What a storage answered is made plain.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        let message = match plain(&message) {
            Cow::Borrowed(_) => message,
            Cow::Owned(plain) => plain,
        };
        Error { kind, message, source: None }
    }

    /// The same error, keeping what it came from.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The job file or an argument is wrong.
    pub fn bad_job(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::BadJob, message)
    }

    /// A row or an input file is wrong.
    pub fn bad_record(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::BadRecord, message)
    }

    /// Storage or a peer did not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Unavailable, message)
    }

    /// Another coordinator has taken over.
    pub fn fenced(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Fenced, message)
    }

    /// Stored state is missing or damaged.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Corrupt, message)
    }

    /// A rule of the program itself was broken.
    pub fn bug(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Bug, message)
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without the kind and without the source.
    pub fn message(&self) -> &str {
        &self.message
    }
}
