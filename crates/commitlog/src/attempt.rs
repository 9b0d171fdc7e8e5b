//! One try at one epoch: its identity, and names that no other try can ever use.

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

    /// The name of the attempt's `n`th sink file before it is published.
    pub fn prepared_path(&self, n: u32) -> String {
        names::prepared_path(&self.job, &self.incarnation, self.epoch, self.number(n))
    }

    /// The final name of the attempt's `n`th sink file, in a folder from
    /// [`names::partition_folder`] (or none).
    pub fn published_path(&self, partition: &str, n: u32, extension: &str) -> String {
        let name =
            SinkName { incarnation: &self.incarnation, epoch: self.epoch, n: self.number(n) };
        names::published_path(partition, &self.job, &name, extension)
    }

    /// Numbers of different attempts never meet; those of a first one are plain.
    fn number(&self, n: u32) -> u64 {
        (u64::from(self.ordinal) << 32) | u64::from(n)
    }

    /// Whether all that `record` adds bears names of this attempt.
    ///
    /// Garbage collection relies on it: what an epoch adds can be told by its name.
    pub(crate) fn check_names(&self, record: &CommitRecord) -> Result<()> {
        let refuse = |path: &str| {
            Err(Error::bug(format!(
                "epoch {} attempt {} may not add {path}: the name is not its own",
                self.epoch, self.id
            )))
        };
        for run in record.stages.values().flat_map(|stage| &stage.runs_added) {
            if names::parse_attempted(&run.path) != Some((self.epoch, self.id.as_str())) {
                return refuse(&run.path);
            }
        }
        for file in &record.files {
            let prepared = names::parse_prepared(&file.prepared, &self.job);
            let own = prepared.is_some_and(|name| {
                name.incarnation == self.incarnation
                    && name.epoch == self.epoch
                    && name.n >> 32 == u64::from(self.ordinal)
            });
            if !own {
                return refuse(&file.prepared);
            }
            if names::parse_published(&file.published, &self.job) != prepared {
                return refuse(&file.published);
            }
        }
        Ok(())
    }
}
