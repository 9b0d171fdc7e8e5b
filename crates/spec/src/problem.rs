//! What is wrong with a job file, as a value: each problem by file, line and YAML path.
//!
//! Finding problems is the business of the modules that read the file; this one owns how
//! they are told.

use std::fmt;
use std::path::PathBuf;

/// A job file that cannot be used, with everything that is wrong with it.
///
/// Displayed as one problem a line, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadJob {
    /// All problems found, in the order of their lines; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for BadJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadJob {}

/// One thing that is wrong with a job file.
///
/// Displayed as `jobs/dns.yaml:12: sources.dns.event_time.delay: "10 sec" is not a duration;
/// write 10s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The job file, as it was given.
    pub file: PathBuf,
    /// The line in the file, counted from 1; absent when the file could not be read at all.
    pub line: Option<usize>,
    /// The place in the file by its keys, `sources.dns.event_time.delay`; empty when the
    /// problem is the whole file's.
    pub path: String,
    /// The value, what is wrong with it and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.message)
    }
}
