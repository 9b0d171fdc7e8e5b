//! One try at one epoch: its identity, and names that no other try can ever use.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::names::{self, Epoch, SinkName};
use crate::record::{CommitRecord, FORMAT_VERSION};

/// One try at one epoch, made by [`CommitLog::begin`](crate::CommitLog::begin).
///
/// Names made here are unique: a record of an earlier try may still land, and what it names must
/// then be what that try wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The epoch that is tried.
    pub epoch: Epoch,
    /// Random; part of the names of runs.
    pub id: String,
    /// The process that tries; part of the names of sink files.
    pub incarnation: String,
    /// When it began, milliseconds since 1970. It is the epoch's committed clock unless the
    /// record says otherwise.
    pub started_ms: i64,
    pub(crate) job: String,
    pub(crate) writer: String,
    /// How many tries at this epoch came before it in this process.
    pub(crate) ordinal: u32,
}

impl Attempt {
    /// The name of the job.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// A record with the identity of this attempt and nothing else.
    pub fn record(&self) -> CommitRecord {
        CommitRecord {
            format_version: FORMAT_VERSION,
            epoch: self.epoch,
            incarnation: self.incarnation.clone(),
            attempt: self.id.clone(),
            writer: self.writer.clone(),
            clock_ms: self.started_ms,
            ..CommitRecord::default()
        }
    }

    /// The name of the run that `task` writes for `stage`, relative to the job's state folder.
    pub fn run_path(&self, stage: &str, task: &str) -> String {
        names::run_path(stage, self.epoch, &self.id, task)
    }

    /// The name of the `n`th sink file of `task` before it is published. A task is letters, digits
    /// and `_`; two tasks of an attempt have different ones.
    pub fn prepared_path(&self, task: &str, n: u64) -> String {
        names::prepared_path(&self.job, &self.name(task, n))
    }

    /// The final name of the `n`th sink file of `task`, in a folder from
    /// [`names::partition_folder`] (or none).
    pub fn published_path(&self, partition: &str, task: &str, n: u64, extension: &str) -> String {
        names::published_path(partition, &self.job, &self.name(task, n), extension)
    }

    fn name<'a>(&'a self, task: &'a str, n: u64) -> SinkName<'a> {
        let (incarnation, attempt) = (self.incarnation.as_str(), self.ordinal);
        SinkName { incarnation, epoch: self.epoch, attempt, task, n }
    }

    /// Whether `name` is that of a sink file of this attempt.
    pub(crate) fn is_own(&self, name: &SinkName<'_>) -> bool {
        name.incarnation == self.incarnation
            && name.epoch == self.epoch
            && name.attempt == self.ordinal
            && names::is_task(name.task)
    }

    /// Whether all that `record` adds bears names of this attempt, each once.
    ///
    /// Garbage collection relies on it: what an epoch adds can be told by its name. And a name that
    /// stands for two files would be one of them, with the other's rows lost.
    pub(crate) fn check_names(&self, record: &CommitRecord) -> Result<()> {
        let refuse = |path: &str, why: &str| {
            Err(Error::bug(format!(
                "epoch {} attempt {} may not add {path}: {why}",
                self.epoch, self.id
            )))
        };
        let (foreign, twice) = ("the name is not its own", "the name is there twice");
        let mut runs = HashSet::new();
        for run in record.stages.values().flat_map(|stage| &stage.runs_added) {
            if names::parse_attempted(&run.path) != Some((self.epoch, self.id.as_str())) {
                return refuse(&run.path, foreign);
            }
            if !runs.insert(run.path.as_str()) {
                return refuse(&run.path, twice);
            }
        }
        let mut files = HashSet::new();
        for file in &record.files {
            let prepared = names::parse_prepared(&file.prepared, &self.job);
            let own = prepared.is_some_and(|name| self.is_own(&name));
            if !own {
                return refuse(&file.prepared, foreign);
            }
            if names::parse_published(&file.published, &self.job) != prepared {
                return refuse(&file.published, foreign);
            }
            // Two sinks may share a folder, so that the sink does not tell their files apart; and
            // a final name ends in what the prepared one ends in.
            if !files.insert(file.prepared.as_str()) {
                return refuse(&file.prepared, twice);
            }
        }
        Ok(())
    }
}
