//! What an epoch asks of workers. Who they are and how plans reach them is not known here.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::{Attempt, Run, SinkFile};

use super::compile::CompiledJob;
use super::pass::{PassPlan, SourceReceipt};
use super::state_buffer::RunTarget;
use crate::error::{Result, from_datafusion};
use crate::operator::{Reported, RowReports};
use crate::sink::SinkTarget;
use crate::source::InputFile;

/// A close plan as it is, and as one that leaves rows out of which an expression cannot be computed.
///
/// What is left out is known to the task that leaves it out, so that tasks that share a plan run it as
/// it is; where that fails, one task runs the other.
#[derive(Debug, Clone)]
pub struct Isolating {
    /// The plan as it is.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The plan that leaves rows out; the same where no expression can fail.
    pub isolated: Arc<dyn ExecutionPlan>,
}

impl Isolating {
    /// `plan` over `stages`, with what it leaves out told to `reports`.
    pub(super) fn new<'a>(
        job: &CompiledJob,
        stages: impl IntoIterator<Item = &'a String>,
        plan: Arc<dyn ExecutionPlan>,
        reports: &RowReports,
    ) -> Result<Self> {
        let isolated = job.plan.isolated(&plan, stages, job.on_error(), reports);
        Ok(Self { isolated: isolated.map_err(from_datafusion)?, plan })
    }

    /// Whether there is anything that may be left out.
    pub fn may_help(&self) -> bool {
        !Arc::ptr_eq(&self.plan, &self.isolated)
    }
}

/// What a close plan wrote.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Written {
    /// Its prepared files.
    #[serde(with = "tidegauge_commitlog::sink_files")]
    pub files: Vec<SinkFile>,
    /// The rows that it left out.
    pub reported: Reported,
}

impl From<Vec<SinkFile>> for Written {
    fn from(files: Vec<SinkFile>) -> Self {
        Self { files, reported: Reported::default() }
    }
}

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
        plan: Isolating,
        target: SinkTarget,
    ) -> Result<Written>;

    /// Runs `plan`, the close plan of a feed, and hands its rows to the cuts of `pass`. What they give
    /// of stages is in runs.
    async fn feed(
        &self,
        session: &SessionState,
        plan: Isolating,
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
