//! A job as queries see it: where its rows are and which columns they have. That is known without
//! planning it; what its open windows are is not, so it is planned for those who ask for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use tidegauge_spec::{JobSpec, JobText, SinkSpec};
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::observe::JobMetrics;
use crate::runtime::{CompiledJob, JobView};
use crate::service::{JobSnapshot, JobStatus};

/// A job at one moment.
#[derive(Debug)]
pub(super) struct QueryJob {
    pub(super) view: Arc<JobView>,
    pub(super) status: JobStatus,
    pub(super) was_open: bool,
    /// Its sinks that a query writes to.
    pub(super) outputs: Vec<Output>,
    pub(super) planned: Arc<Planned>,
}

/// What a sink holds.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) sink: String,
    pub(super) schema: SchemaRef,
    /// Whether rows of it may be open windows.
    pub(super) has_windows: bool,
}

/// A job that is planned, or will be when somebody asks for its open windows.
pub(super) enum Planned {
    /// By whoever runs it.
    Here(Arc<CompiledJob>),
    /// By this process, from its text, once.
    Later(Box<Later>),
}

/// The text of a job of another process.
pub(super) struct Later {
    text: JobText,
    spec: JobSpec,
    planned: OnceCell<Arc<CompiledJob>>,
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Planned").field(&self.spec().name).finish()
    }
}

impl Planned {
    /// Reads the text of a job.
    pub(super) fn later(text: JobText) -> Result<Self> {
        let spec = text.parse().map_err(|bad| {
            Error::bug(format!("a job that runs is no good job for a query: {bad}"))
        })?;
        Ok(Self::Later(Box::new(Later { text, spec, planned: OnceCell::new() })))
    }

    /// Whether it is the job of this text.
    pub(super) fn is_of(&self, text: &JobText) -> bool {
        match self {
            Self::Here(_) => false,
            Self::Later(later) => later.text == *text,
        }
    }

    /// Its job file.
    pub(super) fn spec(&self) -> &JobSpec {
        match self {
            Self::Here(job) => &job.spec,
            Self::Later(later) => &later.spec,
        }
    }

    /// It, planned.
    pub(super) async fn job(&self) -> Result<Arc<CompiledJob>> {
        match self {
            Self::Here(job) => Ok(Arc::clone(job)),
            Self::Later(later) => {
                let planning = later.planned.get_or_try_init(|| async {
                    let planned = CompiledJob::new(later.spec.clone()).await;
                    planned.map(Arc::new).map_err(|bad| {
                        Error::bug(format!("a job that runs cannot be planned for a query: {bad}"))
                    })
                });
                planning.await.map(Arc::clone)
            }
        }
    }
}

impl QueryJob {
    /// A job of this process.
    pub(super) fn here(snapshot: JobSnapshot) -> Self {
        let outputs = outputs(&snapshot.job);
        let JobSnapshot { job, view, status, was_open } = snapshot;
        Self { view, status, was_open, outputs, planned: Arc::new(Planned::Here(job)) }
    }

    /// Its job file.
    pub(super) fn spec(&self) -> &JobSpec {
        self.planned.spec()
    }

    /// How long the rows of each sink are kept, where that is said.
    pub(super) fn retention(&self) -> BTreeMap<String, Duration> {
        let sinks = self.spec().sinks.iter();
        sinks.filter_map(|sink| Some((sink.name.clone(), sink.retention?))).collect()
    }

    /// What counts it, in the process that runs it.
    pub(super) fn metrics(&self) -> Option<&JobMetrics> {
        match self.planned.as_ref() {
            Planned::Here(job) => Some(&job.metrics),
            Planned::Later(_) => None,
        }
    }

    /// A sink of its job file.
    pub(super) fn sink(&self, name: &str) -> Option<&SinkSpec> {
        self.spec().sinks.iter().find(|sink| sink.name == name)
    }

    /// Its view, where that says what the job has committed.
    ///
    /// # Errors
    /// `Unavailable` when the job was never open in the process that runs it.
    pub(super) fn opened(&self) -> Result<&JobView> {
        if self.was_open {
            return Ok(&self.view);
        }
        let JobStatus { phase, last_error, .. } = &self.status;
        let why = last_error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        Err(Error::unavailable(format!(
            "the job {} was not open yet in this process, so that its rows are not known; it is \
             {phase}{why}; ask again when system.jobs shows it running",
            self.spec().name
        )))
    }
}

/// The sinks that the queries of a job write to, with their columns.
pub(super) fn outputs(job: &CompiledJob) -> Vec<Output> {
    let of_sink = |sink: &SinkSpec| {
        let mut queries = job.plan.queries.iter().filter(|query| query.sink == sink.name);
        let schema = Arc::clone(&queries.clone().next()?.schema);
        let has_windows = queries.any(|query| !query.is_stateless());
        Some(Output { sink: sink.name.clone(), schema, has_windows })
    };
    job.spec.sinks.iter().filter_map(of_sink).collect()
}
