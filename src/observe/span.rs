//! Spans of an epoch and its steps.
//!
//! ```text
//!  discover          a listing, which may feed several epochs: a tree of its own
//!  epoch             one for each attempt
//!    ingest          one for each source that has files
//!    advance
//!    close           one for each query of which a window closes
//!    state
//!    commit
//!    publish
//! ```
//!
//! On workers, each task of ingest, close and state has a span `task` below the step's, made by
//! the worker that runs it.
//!
//! Tasks of tokio that a step or a worker's task starts are not in its span: a span ends with the
//! last that holds it, and a task that is aborted because another failed may hold it past the end
//! of the epoch, even of the process. A worker's span can end after the step all the same, where
//! another worker failed first: as soon as the worker has heard of it.

use std::future::Future;

use tidegauge_commitlog::{Attempt, CommitRecord, ErrorKind, Run, SinkFile};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::trace_context::TraceContext;
use crate::error::{Error, Result};

/// A step of an epoch, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// List what is there.
    Discover,
    /// Read the sources' new files.
    Ingest,
    /// Move the watermarks.
    Advance,
    /// Write the rows of windows that are complete.
    Close,
    /// Write the runs of what stays open.
    State,
    /// Create the record.
    Commit,
    /// Give the sinks' files their final names.
    Publish,
}

macro_rules! step_span {
    ($name:literal) => {
        info_span!(
            $name,
            job_name = Empty,
            source = Empty,
            sink = Empty,
            files = Empty,
            rows = Empty,
            bytes = Empty,
            "error.type" = Empty,
            "otel.status_description" = Empty,
        )
    };
}

impl Step {
    /// Its name in spans and in the label `step`.
    pub fn name(self) -> &'static str {
        match self {
            Step::Discover => "discover",
            Step::Ingest => "ingest",
            Step::Advance => "advance",
            Step::Close => "close",
            Step::State => "state",
            Step::Commit => "commit",
            Step::Publish => "publish",
        }
    }

    /// A span of the step.
    pub fn span(self) -> Span {
        match self {
            Step::Discover => step_span!("discover"),
            Step::Ingest => step_span!("ingest"),
            Step::Advance => step_span!("advance"),
            Step::Close => step_span!("close"),
            Step::State => step_span!("state"),
            Step::Commit => step_span!("commit"),
            Step::Publish => step_span!("publish"),
        }
    }

    /// A span of the step for one source or sink: `key` is `source` or `sink`.
    pub fn span_of(self, key: &'static str, name: &str) -> Span {
        let span = self.span();
        span.record(key, name);
        span
    }
}

/// A span of an attempt at an epoch; `retry` says how many came before it.
pub(super) fn epoch_span(job: &str, attempt: &Attempt, retry: u32) -> Span {
    info_span!(
        parent: None,
        "epoch",
        job_name = job,
        epoch = attempt.epoch.0,
        attempt = attempt.id,
        retry,
        files = Empty,
        rows = Empty,
        bytes = Empty,
        "error.type" = Empty,
        "otel.status_description" = Empty,
    )
}

/// What a worker's task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskNode {
    /// Reads files of a source.
    Ingest,
    /// Writes rows into a sink.
    Sink,
    /// Merges runs into one.
    Run,
}

impl TaskNode {
    fn name(self) -> &'static str {
        match self {
            TaskNode::Ingest => "ingest",
            TaskNode::Sink => "sink",
            TaskNode::Run => "run",
        }
    }
}

/// A span of the task `at` of a plan, below the coordinator's span in `trace`.
pub(super) fn task_span(
    job: &str,
    epoch: u64,
    node: TaskNode,
    at: usize,
    trace: &TraceContext,
) -> Span {
    let span = info_span!(
        parent: None,
        "task",
        job_name = job,
        epoch,
        node = node.name(),
        task = at,
        files = Empty,
        rows = Empty,
        bytes = Empty,
        "error.type" = Empty,
        "otel.status_description" = Empty,
    );
    trace.adopt(&span);
    span
}

/// Runs `work` in `span`, which is marked when it fails.
///
/// # Errors
/// Those of `work`.
pub async fn in_span<T>(span: Span, work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = work.instrument(span.clone()).await;
    if let Err(error) = &done {
        mark_failed(&span, error);
    }
    done
}

/// Says in the span that is open what it worked on: `files`, `rows`, `bytes`.
pub fn count<const N: usize>(counts: [(&'static str, u64); N]) {
    let span = Span::current();
    for (field, number) in counts {
        span.record(field, number);
    }
}

/// Says in the span that is open what was written into sinks.
pub fn count_files(files: &[SinkFile]) {
    let rows = files.iter().map(|file| file.rows).sum();
    let bytes = files.iter().map(|file| file.bytes).sum();
    count([("files", files.len() as u64), ("rows", rows), ("bytes", bytes)]);
}

/// Says in the span that is open which runs were written.
pub fn count_runs<'a>(runs: impl Iterator<Item = &'a Run>) {
    let (mut files, mut rows, mut bytes) = (0, 0, 0);
    for run in runs {
        files += 1;
        rows += run.rows;
        bytes += run.bytes;
    }
    count([("files", files), ("rows", rows), ("bytes", bytes)]);
}

/// Says in the span of an epoch what it read.
pub fn count_epoch(record: &CommitRecord) {
    let files = || record.sources.values().flat_map(|source| &source.added);
    let bytes = files().map(|file| file.size).sum();
    let rows = record.sources.values().map(|source| source.rows.rows_in).sum();
    count([("files", files().count() as u64), ("rows", rows), ("bytes", bytes)]);
}

fn mark_failed(span: &Span, error: &Error) {
    span.record("error.type", kind_name(error.kind()));
    span.record("otel.status_description", error.message());
}

/// Every kind of error.
pub(super) const KINDS: [ErrorKind; 6] = [
    ErrorKind::BadJob,
    ErrorKind::BadRecord,
    ErrorKind::Unavailable,
    ErrorKind::Fenced,
    ErrorKind::Corrupt,
    ErrorKind::Bug,
];

/// A kind of error as a label's value.
pub(super) fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadJob => "bad_job",
        ErrorKind::BadRecord => "bad_record",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Fenced => "fenced",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Bug => "bug",
    }
}
