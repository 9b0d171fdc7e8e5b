//! Gauges of the jobs that run: their values are asked for, so that a job's lag grows while
//! nothing arrives, and a job that has stopped is shown no longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use parking_lot::Mutex;
use tidegauge_commitlog::{Clock, JobState, SourceState};

use super::instruments::shared;
use super::names::{self, Name};

/// The gauges of one running job; they are gone when this is dropped.
#[derive(Debug, Default)]
pub struct Gauges {
    job: Option<Arc<ShownJob>>,
}

impl Gauges {
    /// Shows the job as it is in `state`.
    pub fn show(&self, state: &JobState) {
        if let Some(job) = &self.job {
            *job.values.lock() = Values::of(state);
        }
    }
}

/// Every job that is shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    jobs: Mutex<Vec<Weak<ShownJob>>>,
}

#[derive(Debug)]
struct ShownJob {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    values: Mutex<Values>,
}

#[derive(Debug, Default, Clone)]
struct Values {
    epoch: u64,
    state_bytes: u64,
    runs: u64,
    sources: BTreeMap<Arc<str>, Times>,
}

/// Times of a source, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Times {
    watermark_us: Option<i64>,
    max_event_time_us: Option<i64>,
}

impl Values {
    fn of(state: &JobState) -> Self {
        let runs = || state.stages.values().flat_map(|stage| &stage.runs);
        let times = state.sources.iter().map(|(name, source)| {
            let SourceState { watermark_us, max_event_time_us, .. } = *source;
            (Arc::from(name.as_str()), Times { watermark_us, max_event_time_us })
        });
        Self {
            epoch: state.head(),
            state_bytes: runs().map(|run| run.bytes).sum(),
            runs: runs().count() as u64,
            sources: times.collect(),
        }
    }
}

impl Shown {
    /// Registers the gauges with `meter`.
    pub(super) fn new(meter: &Meter) -> Arc<Self> {
        let shown = Arc::new(Self::default());
        shown.of_job(meter, names::EPOCH_NUMBER, |values| values.epoch);
        shown.of_job(meter, names::STATE_SIZE, |values| values.state_bytes);
        shown.of_job(meter, names::STATE_RUNS, |values| values.runs);
        shown.of_source(meter, names::SOURCE_WATERMARK, |_, times| {
            Some(times.watermark_us? as f64 / 1e6)
        });
        shown.of_source(meter, names::SOURCE_LAG, |now_ms, times| {
            Some((now_ms as f64 * 1e3 - times.max_event_time_us? as f64) / 1e6)
        });
        shown
    }

    /// Shows a job from now on.
    pub(super) fn add(&self, name: &Arc<str>, clock: Arc<dyn Clock>) -> Gauges {
        let job = ShownJob { name: Arc::clone(name), clock, values: Mutex::default() };
        let job = Arc::new(job);
        let mut jobs = self.jobs.lock();
        jobs.retain(|job| job.strong_count() > 0);
        jobs.push(Arc::downgrade(&job));
        Gauges { job: Some(job) }
    }

    /// The jobs that run; a job that is started again is there once, as it is now.
    fn jobs(&self) -> Vec<Arc<ShownJob>> {
        let mut by_name = BTreeMap::new();
        for job in self.jobs.lock().iter().filter_map(Weak::upgrade) {
            by_name.insert(Arc::clone(&job.name), job);
        }
        by_name.into_values().collect()
    }

    fn of_job(self: &Arc<Self>, meter: &Meter, name: Name, value: fn(&Values) -> u64) {
        let shown = Arc::clone(self);
        let observe = move |gauge: &dyn AsyncInstrument<u64>| {
            for job in shown.jobs() {
                gauge.observe(value(&job.values.lock()), &[shared(names::JOB, &job.name)]);
            }
        };
        // The meter keeps the callback.
        meter
            .u64_observable_gauge(name.name)
            .with_unit(name.unit)
            .with_description(name.description)
            .with_callback(observe)
            .build();
    }

    fn of_source(
        self: &Arc<Self>,
        meter: &Meter,
        name: Name,
        value: fn(i64, Times) -> Option<f64>,
    ) {
        let shown = Arc::clone(self);
        let observe = move |gauge: &dyn AsyncInstrument<f64>| {
            for job in shown.jobs() {
                let now_ms = job.clock.now_ms();
                let sources = job.values.lock().sources.clone();
                for (source, times) in sources {
                    let labels: [KeyValue; 2] =
                        [shared(names::JOB, &job.name), shared("source", &source)];
                    if let Some(value) = value(now_ms, times) {
                        gauge.observe(value, &labels);
                    }
                }
            }
        };
        meter
            .f64_observable_gauge(name.name)
            .with_unit(name.unit)
            .with_description(name.description)
            .with_callback(observe)
            .build();
    }
}
