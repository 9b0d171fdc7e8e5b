//! The one set of instruments, which every exporter reads.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::gauges::Shown;
use super::job_metrics::JobMetrics;
use super::names::{self, Name};

/// The metrics of a process: instruments, or nothing at all.
#[derive(Clone, Default)]
pub struct Metrics {
    instruments: Option<Arc<Instruments>>,
}

/// What counts and measures. Gauges are asked for their values, see [`Shown`].
pub(super) struct Instruments {
    pub(super) source_rows: Counter<u64>,
    pub(super) source_files: Counter<u64>,
    pub(super) source_files_odd: Counter<u64>,
    pub(super) source_read: Counter<u64>,
    pub(super) source_ahead: Counter<u64>,
    pub(super) stage_rows: Counter<u64>,
    pub(super) sink_rows: Counter<u64>,
    pub(super) sink_failed: Counter<u64>,
    pub(super) sink_files: Counter<u64>,
    pub(super) sink_written: Counter<u64>,
    pub(super) epoch_commits: Counter<u64>,
    pub(super) epoch_failures: Counter<u64>,
    pub(super) epoch_retries: Counter<u64>,
    pub(super) sink_files_gone: Counter<u64>,
    pub(super) epoch_duration: Histogram<f64>,
    pub(super) step_duration: Histogram<f64>,
    pub(super) store_requests: Counter<u64>,
    pub(super) store_read: Counter<u64>,
    pub(super) store_written: Counter<u64>,
    pub(super) shown: Arc<Shown>,
}

impl Metrics {
    /// Instruments of `meter`.
    pub fn new(meter: &Meter) -> Self {
        Self { instruments: Some(Arc::new(Instruments::new(meter))) }
    }

    /// Metrics that count nothing and cost nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// The metrics of the job of this name.
    pub fn job(&self, name: &str) -> JobMetrics {
        JobMetrics::new(name, self.instruments.clone())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("on", &self.instruments.is_some()).finish()
    }
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let counter = |Name { name, unit, description }| {
            meter.u64_counter(name).with_unit(unit).with_description(description).build()
        };
        let duration = |Name { name, unit, description }| {
            meter
                .f64_histogram(name)
                .with_unit(unit)
                .with_description(description)
                .with_boundaries(names::DURATION_BOUNDS_S.to_vec())
                .build()
        };
        Self {
            source_rows: counter(names::SOURCE_ROWS),
            source_files: counter(names::SOURCE_FILES),
            source_files_odd: counter(names::SOURCE_FILES_ODD),
            source_read: counter(names::SOURCE_READ),
            source_ahead: counter(names::SOURCE_AHEAD),
            stage_rows: counter(names::STAGE_ROWS),
            sink_rows: counter(names::SINK_ROWS),
            sink_failed: counter(names::SINK_FAILED),
            sink_files: counter(names::SINK_FILES),
            sink_written: counter(names::SINK_WRITTEN),
            epoch_commits: counter(names::EPOCH_COMMITS),
            epoch_failures: counter(names::EPOCH_FAILURES),
            epoch_retries: counter(names::EPOCH_RETRIES),
            sink_files_gone: counter(names::SINK_FILES_GONE),
            epoch_duration: duration(names::EPOCH_DURATION),
            step_duration: duration(names::STEP_DURATION),
            store_requests: counter(names::STORE_REQUESTS),
            store_read: counter(names::STORE_READ),
            store_written: counter(names::STORE_WRITTEN),
            shown: Shown::new(meter),
        }
    }
}

/// An attribute whose value is shared and not copied.
pub(super) fn shared(key: &'static str, value: &Arc<str>) -> KeyValue {
    KeyValue::new(key, Arc::clone(value))
}
