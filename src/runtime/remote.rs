//! What an epoch asks of workers. Who they are and how plans reach them is not known here.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use tidegauge_commitlog::{Attempt, Run, SinkFile};

use super::pass::{PassPlan, SourceReceipt};
use super::state_buffer::RunTarget;
use crate::error::Result;
use crate::sink::SinkTarget;
use crate::source::InputFile;

/// Workers that a job may run on.
#[async_trait]
pub trait Remote: Debug + Send + Sync {
    /// The workers that answer now, for one attempt at an epoch.
    ///
    /// # Errors
    /// `Unavailable` when there is none.
    async fn gather(&self, attempt: &Attempt) -> Result<Arc<dyn Crew>>;
}

/// The workers of one attempt. A failure of any of them fails the attempt.
#[async_trait]
pub trait Crew: Debug + Send + Sync {
    /// How many they are; at least one.
    fn workers(&self) -> usize;

    /// Runs a pass over `files`. What it gives of stages is in runs.
    async fn ingest(
        &self,
        session: &SessionState,
        pass: PassPlan,
        files: Vec<InputFile>,
    ) -> Result<SourceReceipt>;

    /// Runs `plan` and writes its rows into prepared files.
    async fn write_sink(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        target: SinkTarget,
    ) -> Result<Vec<SinkFile>>;

    /// Runs `plan`, the close plan of a feed, and hands its rows to the cuts of `pass`. What they give
    /// of stages is in runs.
    async fn feed(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        pass: PassPlan,
    ) -> Result<SourceReceipt>;

    /// Runs `plan` in tasks that share the state it reads, and writes what each gives as a run.
    async fn write_runs(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        target: RunTarget,
    ) -> Result<Vec<Run>>;

    /// Runs `plan`, which merges partial aggregates, over a share of its runs in each task, and
    /// writes what each gives as a run.
    async fn merge_runs(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        target: RunTarget,
    ) -> Result<Vec<Run>>;
}
