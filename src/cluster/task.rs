//! What a task is told beside its plan, in headers: whose it is, and the span that it is part of.
//! By it a worker counts its requests to storage and opens a span, which nobody else can.
//! Rows, files and epochs are the coordinator's to count, from receipts.
//!
//! ```text
//!  coordinator: span of a step -- tidegauge-job, tidegauge-epoch, traceparent --> session of a task
//!                                                        storage, span "task" <--/ on a worker
//! ```

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result as PlanResult, internal_err};
use datafusion::execution::TaskContext;
use datafusion_distributed::DistributedTaskContext;
use futures::Future;
use object_store::ObjectStore;
use tidegauge_commitlog::{Attempt, Storage};
use tonic::codegen::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Result, to_datafusion};
use crate::observe::{JobMetrics, Metrics, TaskNode, TraceContext, in_span};
use crate::operator::RowReports;
use crate::source::{Scheme, open_store};

const JOB: HeaderName = HeaderName::from_static("tidegauge-job");
const EPOCH: HeaderName = HeaderName::from_static("tidegauge-epoch");

/// The headers of a plan of `attempt`; the span that is open is the parent of its tasks' spans.
pub(super) fn headers(attempt: &Attempt) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(EPOCH, HeaderValue::from(attempt.epoch.0));
    headers.insert(JOB, value(attempt.job())?);
    for (name, text) in TraceContext::current().fields() {
        let name = HeaderName::try_from(name)
            .map_err(|error| Error::bug(format!("{name} is no header")).with_source(error))?;
        headers.insert(name, value(text)?);
    }
    Ok(headers)
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|error| Error::bug(format!("{text:?} fits no header")).with_source(error))
}

/// Those of a task's headers that it sends on when it asks other workers.
pub(super) fn sent_on(headers: &HeaderMap) -> HeaderMap {
    let names = TraceContext::FIELDS.map(HeaderName::from_static);
    let kept = [AUTHORIZATION, JOB, EPOCH].into_iter().chain(names);
    kept.filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect()
}

/// How one task is observed, by the worker that runs it or by the coordinator, which runs the last
/// stage of some plans; it lies in the task's session.
#[derive(Debug)]
pub(super) struct TaskObserver {
    metrics: JobMetrics,
    epoch: u64,
    trace: TraceContext,
    reports: RowReports,
}

impl TaskObserver {
    /// By what the coordinator sent.
    ///
    /// # Errors
    /// When it did not say whose task it is.
    pub(super) fn new(headers: &HeaderMap, metrics: &Metrics) -> PlanResult<Self> {
        let get = |name: &str| headers.get(name)?.to_str().ok();
        let job = get(JOB.as_str());
        let epoch = get(EPOCH.as_str()).and_then(|epoch| epoch.parse().ok());
        let (Some(job), Some(epoch)) = (job, epoch) else {
            return Err(to_datafusion(Error::bug(format!(
                "a task came without the headers {JOB} and {EPOCH}, which say whose it is"
            ))));
        };
        let (metrics, trace) = (metrics.job(job), TraceContext::received(get));
        Ok(Self { metrics, epoch, trace, reports: RowReports::default() })
    }

    /// That of `task`.
    ///
    /// # Errors
    /// Where the session has none.
    pub(super) fn of(task: &TaskContext) -> Result<Arc<Self>, DataFusionError> {
        match task.session_config().get_extension() {
            Some(observer) => Ok(observer),
            None => internal_err!("a node of workers is in a session without an observer"),
        }
    }

    /// Where the nodes of the task tell which rows they leave out.
    pub(super) fn reports(&self) -> &RowReports {
        &self.reports
    }

    /// The storage at `location`, with its requests counted.
    pub(super) fn storage(&self, location: &str) -> Result<Storage> {
        Ok(self.metrics.storage(Storage::open(location)?))
    }

    /// The store of a source, with its requests counted.
    pub(super) fn store(&self, scheme: &Scheme) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.metrics.store(open_store(scheme)?))
    }

    /// Does the `work` of a node in a span of its own.
    pub(super) async fn run<T>(
        self: Arc<Self>,
        node: TaskNode,
        task: Arc<TaskContext>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let at = DistributedTaskContext::from_ctx(&task).task_index;
        let span = self.metrics.task_span(node, self.epoch, at, &self.trace);
        in_span(span, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_is_nobodys_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(JOB, HeaderValue::from_static("flows"));
        let refused = TaskObserver::new(&headers, &Metrics::off()).unwrap_err();
        assert!(refused.to_string().contains("tidegauge-epoch"), "{refused}");
        headers.insert(EPOCH, HeaderValue::from(7_u64));
        assert_eq!(TaskObserver::new(&headers, &Metrics::off()).unwrap().epoch, 7);
    }

    #[test]
    fn a_task_sends_on_what_it_was_told_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "tidegauge-job", "traceparent", "te"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let sent = sent_on(&headers);
        let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "tidegauge-job", "traceparent"]);
    }
}
