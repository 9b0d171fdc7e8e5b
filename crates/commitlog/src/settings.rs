//! The bounds of a job's log.

use std::collections::BTreeMap;
use std::time::Duration;

/// Values only; clock, storage and random source are given to
/// [`CommitLog::open`](crate::CommitLog::open).
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The job's name, as in the names of its files.
    pub job: String,
    /// Epochs between checkpoints.
    pub checkpoint_every: u64,
    /// Epochs before the last one whose state can still be opened; at least 1.
    pub retain_epochs: u64,
    /// Nothing younger is collected, and no attempt older than half of it is committed.
    pub grace: Duration,
    /// How often a commit is written and read back again before its outcome is called unknown.
    pub put_retries: u32,
    /// The wait before the first repetition; it doubles up to `backoff_max`.
    pub backoff: Duration,
    /// The longest wait between repetitions.
    pub backoff_max: Duration,
    /// How long the rows of a sink are kept, by its name: a file all of whose rows are older leaves
    /// the list of committed files. Deleting it is others' to do.
    pub retention: BTreeMap<String, Duration>,
    /// Files of one epoch that are published at the same time. A copy waits for the network and
    /// costs nothing else: 3,000 of them at 40 ms take 2 s with 64 in flight.
    pub publish_parallel: usize,
    #[cfg(test)]
    pub(crate) sabotage: Option<crate::sabotage::Sabotage>,
}

impl LogSettings {
    /// The defaults, for a job of this name.
    pub fn new(job: impl Into<String>) -> Self {
        LogSettings {
            job: job.into(),
            checkpoint_every: 50,
            retain_epochs: 100,
            grace: Duration::from_secs(3600),
            put_retries: 5,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            retention: BTreeMap::new(),
            publish_parallel: 64,
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// The wait before repetition `n`, from 0.
    pub(crate) fn backoff_before(&self, n: u32) -> Duration {
        self.backoff.saturating_mul(1_u32.checked_shl(n).unwrap_or(u32::MAX)).min(self.backoff_max)
    }
}
