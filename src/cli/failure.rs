//! How a command fails: what it says and the exit code that goes with it.

use std::fmt::Write as _;
use std::io::{ErrorKind as IoKind, Write as _};
use std::process::ExitCode;

use tidegauge_spec::BadJob;

use super::terminal::lines;
use crate::error::{Error, ErrorKind, plain};

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The job or the arguments are bad: exit code 2.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// It failed while running: exit code 1.
    pub fn running(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// Several failures as one: all that they say, and the gravest code; none of none.
    pub(super) fn all(failures: Vec<Self>) -> Option<Self> {
        let code = failures.iter().map(|failure| failure.code).max()?;
        let messages: Vec<String> = failures.into_iter().map(|failure| failure.message).collect();
        Some(Self { code, message: messages.join("\n") })
    }

    /// What it says.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Says what is wrong on stderr and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.code);
        }
        match writeln!(std::io::stderr().lock(), "{}", lines(&self.message)) {
            Ok(()) | Err(_) => ExitCode::from(self.code),
        }
    }
}

impl From<BadJob> for Failure {
    fn from(bad: BadJob) -> Self {
        Self::bad(bad.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = format!("error: {}", error.message());
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            let text = plain(&inner.to_string()).into_owned();
            if !message.contains(&text) && write!(message, "\n  because: {text}").is_err() {
                break;
            }
            cause = inner.source();
        }
        match error.kind() {
            ErrorKind::BadJob => Self::bad(message),
            _ => Self::running(message),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // Whoever reads the output has seen enough of it.
            IoKind::BrokenPipe => Self { code: 0, message: String::new() },
            _ => Self::running(format!("error: {error}")),
        }
    }
}
