//! What is counted and timed of one job. Rows, files and bytes come from commit records, so each
//! is counted once, however often its epoch was tried.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tidegauge_commitlog::{
    Attempt, Clock, CommitRecord, FailedWhere, JobState, LATE_SINK, Storage,
};

use super::gauges::Gauges;
use super::instruments::{Instruments, shared};
use super::names;
use super::span::{KINDS, Step, TaskNode, epoch_span, in_span, kind_name, task_span};
use super::store::CountedStore;
use super::store_counts::StoreCounts;
use super::trace_context::TraceContext;
use crate::error::{ErrorKind, Result};

/// The metrics of one job, and its name in spans.
#[derive(Clone)]
pub struct JobMetrics {
    job: Arc<str>,
    instruments: Option<Arc<Instruments>>,
}

impl JobMetrics {
    pub(super) fn new(name: &str, instruments: Option<Arc<Instruments>>) -> Self {
        Self { job: Arc::from(name), instruments }
    }

    /// Shows the gauges of the job while the result is kept, and starts its counters at zero.
    pub fn start(&self, state: &JobState, clock: Arc<dyn Clock>) -> Gauges {
        let Some(instruments) = &self.instruments else { return Gauges::default() };
        // A counter that appears with its first failure hides the failure from rates.
        instruments.epoch_commits.add(0, &[self.label()]);
        for kind in KINDS {
            instruments.epoch_failures.add(0, &[self.label(), kind_label(kind)]);
            instruments.epoch_retries.add(0, &[self.label(), kind_label(kind)]);
        }
        for by in ["publish", "query"] {
            self.gone(by, 0);
        }
        let gauges = instruments.shown.add(&self.job, clock);
        gauges.show(state);
        gauges
    }

    /// Runs an attempt at an epoch in its span, and times it.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn epoch<T>(
        &self,
        attempt: &Attempt,
        retry: u32,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        let done = in_span(epoch_span(&self.job, attempt, retry), work).await;
        if let (Some(instruments), Ok(_)) = (&self.instruments, &done) {
            instruments.epoch_duration.record(started.elapsed().as_secs_f64(), &[self.label()]);
        }
        done
    }

    /// Runs a step in a span of its own, and times it.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn step<T>(&self, step: Step, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.timed(step, in_span(step.span_of(names::JOB, &self.job), work)).await
    }

    /// A span of the task `at` of an epoch's plan, on the worker that runs it.
    pub fn task_span(
        &self,
        node: TaskNode,
        epoch: u64,
        at: usize,
        parent: &TraceContext,
    ) -> tracing::Span {
        task_span(&self.job, epoch, node, at, parent)
    }

    /// Times a step that opens spans for its parts.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn timed<T>(&self, step: Step, work: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let done = work.await;
        if done.is_ok() {
            self.took(step, started.elapsed());
        }
        done
    }

    /// As [`JobMetrics::step`], for a step that waits for nothing.
    pub fn step_now<T>(&self, step: Step, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = step.span_of(names::JOB, &self.job).in_scope(work);
        self.took(step, started.elapsed());
        done
    }

    fn took(&self, step: Step, elapsed: Duration) {
        if let Some(instruments) = &self.instruments {
            let labels = [self.label(), KeyValue::new("step", step.name())];
            instruments.step_duration.record(elapsed.as_secs_f64(), &labels);
        }
    }

    /// Counts an attempt that is followed by another.
    pub fn retried(&self, kind: ErrorKind) {
        if let Some(instruments) = &self.instruments {
            instruments.epoch_retries.add(1, &[self.label(), kind_label(kind)]);
        }
    }

    /// Counts committed sink files that are not there, as `by` found.
    pub fn gone(&self, by: &'static str, files: usize) {
        if let Some(instruments) = &self.instruments {
            let labels = [self.label(), KeyValue::new("by", by)];
            instruments.sink_files_gone.add(files as u64, &labels);
        }
    }

    /// Counts an epoch that is given up.
    pub fn failed(&self, kind: ErrorKind) {
        if let Some(instruments) = &self.instruments {
            instruments.epoch_failures.add(1, &[self.label(), kind_label(kind)]);
        }
    }

    /// Counts what an epoch did that is committed.
    pub fn committed(&self, record: &CommitRecord) {
        let Some(instruments) = &self.instruments else { return };
        instruments.epoch_commits.add(1, &[self.label()]);
        for (name, source) in &record.sources {
            let labels = [self.label(), KeyValue::new("source", name.clone())];
            let read = source.added.iter().map(|file| file.size).sum();
            instruments.source_files.add(source.added.len() as u64, &labels);
            instruments.source_read.add(read, &labels);
            instruments.source_ahead.add(source.rows_ahead, &labels);
            let parked = source.parked.iter().filter(|file| file.tries == 1).count() as u64;
            let rows = &source.rows;
            let (changed, gone) = (source.files_changed, source.files_gone);
            let [job, source] = labels;
            for (fate, files) in [("changed", changed), ("gone", gone), ("parked", parked)] {
                let labels = [job.clone(), source.clone()];
                add_fate(&instruments.source_files_odd, labels, fate, files);
            }
            for (fate, rows) in [
                ("used", rows.used),
                ("filtered", rows.filtered),
                ("late", rows.late),
                ("quarantined", rows.quarantined),
            ] {
                add_fate(&instruments.source_rows, [job.clone(), source.clone()], fate, rows);
            }
        }
        for (id, stage) in &record.stages {
            let labels = [self.label(), KeyValue::new("stage", id.clone())];
            let rows = &stage.rows;
            for (fate, rows) in [
                ("used", rows.used),
                ("filtered", rows.filtered),
                ("late", rows.late),
                ("failed", rows.failed),
            ] {
                add_fate(&instruments.stage_rows, labels.clone(), fate, rows);
            }
        }
        // Late rows are counted by their stage: their table is no sink.
        for file in record.files.iter().filter(|file| file.sink != LATE_SINK) {
            let labels = [self.label(), KeyValue::new("sink", file.sink.clone())];
            instruments.sink_rows.add(file.rows, &labels);
            instruments.sink_files.add(1, &labels);
            // A counter that appears with its first failure hides the failure from rates.
            instruments.sink_failed.add(0, &labels);
            instruments.sink_written.add(file.bytes, &labels);
        }
        self.count_failed(instruments, record);
    }

    /// Counts the rows of closed windows that an epoch left out.
    fn count_failed(&self, instruments: &Instruments, record: &CommitRecord) {
        for failed in record.failed.iter().filter(|one| one.place == FailedWhere::Results) {
            let labels = [self.label(), KeyValue::new("sink", failed.query.clone())];
            instruments.sink_failed.add(failed.rows, &labels);
        }
    }

    /// The store, with its requests counted.
    pub fn store(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        match &self.instruments {
            Some(instruments) => {
                let counts = StoreCounts::new(self.label(), Arc::clone(instruments));
                Arc::new(CountedStore::new(store, counts))
            }
            None => store,
        }
    }

    /// The storage, with the requests to its store counted.
    pub fn storage(&self, storage: Storage) -> Storage {
        storage.map_store(|store| self.store(store))
    }

    fn label(&self) -> KeyValue {
        shared(names::JOB, &self.job)
    }
}

impl fmt::Debug for JobMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = self.instruments.is_some();
        f.debug_struct("JobMetrics").field("job", &self.job).field("on", &on).finish()
    }
}

fn kind_label(kind: ErrorKind) -> KeyValue {
    KeyValue::new("kind", kind_name(kind))
}

fn add_fate(counter: &Counter<u64>, [job, of]: [KeyValue; 2], fate: &'static str, rows: u64) {
    counter.add(rows, &[job, of, KeyValue::new("fate", fate)]);
}
