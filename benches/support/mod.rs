//! What the benches share: their settings, opening a job, and how figures are printed. What is
//! measured is each bench's own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use tidegauge::observe::Metrics;
use tidegauge::runtime::{CompiledJob, Engine, OpenOptions, Progress};
use tidegauge_commitlog::SystemClock;
use tidegauge_spec::JobSpec;

/// That of the command, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) type Failure = Box<dyn std::error::Error>;

/// Opens the job file at `job`, counted by `metrics`.
pub(crate) async fn open(job: &Path, metrics: &Metrics) -> Result<Engine, Failure> {
    let spec = JobSpec::load(job, &|_| None)?;
    let job = CompiledJob::new(spec).await?.observed(metrics);
    let progress = Arc::new(Progress::default());
    Ok(Engine::open(job, OpenOptions::default(), Arc::new(SystemClock), progress).await?)
}

/// What the stages of a job keep now.
#[allow(dead_code, reason = "not every bench prints it")]
pub(crate) fn state_of(engine: &Engine) -> String {
    let view = engine.view();
    let view = view.borrow();
    let runs: Vec<_> = view.stages.values().flat_map(|stage| &stage.runs).collect();
    let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
    let rows: u64 = runs.iter().map(|run| run.rows).sum();
    format!("{:.1} MiB, {rows} rows in {} files", bytes as f64 / 1048576.0, runs.len())
}

/// A setting of the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Processor seconds that this process has used so far, in steps of 0.01 s. They hardly depend on
/// what else runs on the machine, nor on how long its disk takes to sync.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets, which may hold spaces, user and system time are the 12th and the
    // 13th field, in ticks of which Linux shows 100 a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The whole numbers of the first row of an answer.
#[allow(dead_code)] // Not every bench asks for one.
pub(crate) fn first_row(answer: &[RecordBatch]) -> Result<Vec<i64>, Failure> {
    let rows = answer.iter().find(|batch| batch.num_rows() > 0).ok_or("an answer without rows")?;
    let mut numbers = Vec::new();
    for column in rows.columns() {
        numbers.push(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().value(0));
    }
    Ok(numbers)
}

/// How measured values spread. It prints as `median 1.2, mean 1.3, largest 2.0`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) mean: f64,
    pub(crate) largest: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN),
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            largest: sorted.last().copied().unwrap_or(f64::NAN),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(1);
        let Self { median, mean, largest } = self;
        write!(f, "median {median:.places$}, mean {mean:.places$}, largest {largest:.places$}")
    }
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
