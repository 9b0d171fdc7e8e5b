//! What all writers of one task share: how its files are named, and the rows of partitioned sinks,
//! which wait for the others of their partition until the task has seen them all.
//!
//! In one process an attempt at an epoch is one task; on workers, each task of each plan is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::execution::runtime_env::RuntimeEnv;
use parking_lot::Mutex;
use tidegauge_commitlog::SinkFile;

use super::gather::Gather;
use super::writer::SinkTarget;
use crate::error::{Error, Result};

/// The files of one task. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct TaskFiles {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    task: String,
    next: AtomicU64,
    env: Option<Arc<RuntimeEnv>>,
    gathers: Mutex<Vec<Arc<Gather>>>,
}

impl TaskFiles {
    /// The files of `task`: letters, digits and `_`, unlike all other tasks of the attempt. Rows
    /// wait in the memory and the spill files of `env`.
    pub fn new(task: impl Into<String>, env: Arc<RuntimeEnv>) -> Self {
        let (task, next, env) = (task.into(), AtomicU64::default(), Some(env));
        Self { shared: Arc::new(Shared { task, next, env, gathers: Mutex::default() }) }
    }

    /// The task and the number of its next file.
    pub(super) fn next(&self) -> (&str, u64) {
        (&self.shared.task, self.shared.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Where the rows of `target` wait for each other: with those of all that go to its sink.
    pub(super) fn gather(&self, target: &SinkTarget) -> Result<Arc<Gather>> {
        let mut gathers = self.shared.gathers.lock();
        if let Some(known) = gathers.iter().find(|known| known.takes(target)) {
            return Ok(Arc::clone(known));
        }
        let Some(env) = &self.shared.env else {
            return Err(Error::bug("the files of a sink belong to no task"));
        };
        let gather = Arc::new(Gather::new(target, env)?);
        gathers.push(Arc::clone(&gather));
        Ok(gather)
    }

    /// Writes the rows that have waited, and gives all files of partitioned sinks.
    ///
    /// # Errors
    /// When rows cannot be encoded or a file cannot be stored.
    pub async fn finish(&self) -> Result<Vec<SinkFile>> {
        let gathers = std::mem::take(&mut *self.shared.gathers.lock());
        let mut files = Vec::new();
        for gather in gathers {
            files.extend(gather.finish(self).await?);
        }
        Ok(files)
    }
}
