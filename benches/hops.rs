//! What it costs to close a long window that slides by little: a window of a day that slides by a
//! minute, over keys all of which are active every minute, against the tumbling minute over the
//! same files.
//!
//! ```text
//!  a file a minute --+--> job "tumbling": one window a minute closes -----> rows, time
//!                    +--> job "hopping": one window a minute closes, too --> rows, time, state
//! ```
//!
//! The size of the window is loaded first, in epochs of many files; then each file is an epoch of
//! both jobs, one after the other in turn. A file is removed once both have read it, so that its
//! listing costs nothing.
//!
//! `BENCH_KEYS` (20,000), `BENCH_HOURS` (24, the window) and `BENCH_EPOCHS` (120) set the size;
//! `BENCH_LOAD_FILES` (60) the files of an epoch while loading.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use tidegauge::observe::Metrics;
use tidegauge::runtime::Engine;

use support::{Failure, Spread, cpu_seconds, first_row, number, open, say, state_of};

const MINUTE_US: i64 = 60_000_000;
/// 2024-03-01 23:30: after a day is loaded, a midnight is among the measured minutes, and with it
/// whatever is done once a day.
const START_US: i64 = 1_709_335_800_000_000;
/// A file's rows are not in the order of their keys: row n is of key n times this.
const STRIDE: usize = 7_919;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let size = Size {
        keys: usize::try_from(number("BENCH_KEYS", 20_000))?,
        minutes: i64::try_from(number("BENCH_HOURS", 24) * 60)?,
        epochs: i64::try_from(number("BENCH_EPOCHS", 120))?,
        load_files: i64::try_from(number("BENCH_LOAD_FILES", 60))?.max(1),
    };
    say(&format!(
        "{} keys, each in every minute; windows of {} minutes sliding by one, against tumbling \
         minutes; {} minutes are loaded, then {} epochs of one file are measured",
        size.keys, size.minutes, size.minutes, size.epochs
    ));
    let folder = tempfile::tempdir()?;
    let arrived = folder.path().join("arrived");
    std::fs::create_dir_all(&arrived)?;
    let tumble = "TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE)".to_owned();
    let hop = format!(
        "HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '{}' MINUTES)",
        size.minutes
    );
    let mut minutes = Minutes { folder: arrived, keys: Keys::new(size.keys), written: 0 };
    let mut jobs = [
        Job::open(folder.path(), "tumbling", &tumble).await?,
        Job::open(folder.path(), "hopping", &hop).await?,
    ];
    load(&size, &mut minutes, &mut jobs).await?;
    measure(&size, &mut minutes, &mut jobs).await?;
    for job in &jobs {
        job.check_last_window(&size).await?;
    }
    Ok(())
}

/// How much is measured.
struct Size {
    keys: usize,
    minutes: i64,
    epochs: i64,
    load_files: i64,
}

/// Fills the first windows, in epochs of many files. Windows close in them, too.
async fn load(size: &Size, minutes: &mut Minutes, jobs: &mut [Job; 2]) -> Result<(), Failure> {
    let mut spent = [0.0, 0.0];
    while minutes.written < size.minutes {
        let until = size.minutes.min(minutes.written + size.load_files);
        while minutes.written < until {
            minutes.write_next()?;
        }
        for (job, spent) in jobs.iter_mut().zip(&mut spent) {
            *spent += job.run().await?.epoch_ms;
        }
        minutes.remove()?;
    }
    for (job, spent) in jobs.iter().zip(spent) {
        let closed = job.rows_out() / size.keys as u64;
        say(&format!(
            "loading, {}: {:.1} s for {closed} closed windows, {:.1} ms each",
            job.name,
            spent / 1e3,
            spent / closed.max(1) as f64
        ));
    }
    Ok(())
}

/// An epoch a file: each closes one window of each job, of all keys.
async fn measure(size: &Size, minutes: &mut Minutes, jobs: &mut [Job; 2]) -> Result<(), Failure> {
    let mut costs: [Vec<Cost>; 2] = [Vec::new(), Vec::new()];
    for epoch in 0..size.epochs {
        minutes.write_next()?;
        // Who comes second finds the file in the system's cache: take turns.
        let first = usize::from(epoch % 2 == 1);
        for at in [first, 1 - first] {
            let rows_before = jobs[at].rows_out();
            costs[at].push(jobs[at].run().await?);
            let closed = jobs[at].rows_out() - rows_before;
            if closed != size.keys as u64 {
                return Err(format!(
                    "an epoch of the {} job gave {closed} rows; one window of {} keys closes in it",
                    jobs[at].name, size.keys
                )
                .into());
            }
        }
        minutes.remove()?;
    }
    report(jobs, &costs);
    Ok(())
}

fn report(jobs: &[Job; 2], costs: &[Vec<Cost>; 2]) {
    for (job, costs) in jobs.iter().zip(costs) {
        say(&format!("{}, ms a closed window: {}", job.name, spread(costs, |cost| cost.epoch_ms)));
        for (step, ms) in [
            ("ingest", spread(costs, |cost| cost.ingest_ms)),
            ("close", spread(costs, |cost| cost.close_ms)),
            ("state", spread(costs, |cost| cost.state_ms)),
        ] {
            say(&format!("{},   of which {step}: {ms}", job.name));
        }
        let cpu = spread(costs, |cost| cost.cpu_ms);
        say(&format!("{}, processor ms a closed window: mean {:.1}", job.name, cpu.mean));
        say(&format!("{}, state: {}", job.name, state_of(&job.engine)));
    }
    let [tumbling, hopping] = costs;
    let ratio = |of: fn(&Cost) -> f64| ratios(&spread(hopping, of), &spread(tumbling, of));
    say(&format!(
        "hopping over tumbling, whole epochs: {} (at most 5 is wanted)",
        ratio(|cost| cost.epoch_ms)
    ));
    let cpu = |costs: &[Cost]| spread(costs, |cost| cost.cpu_ms).mean;
    say(&format!(
        "hopping over tumbling, processor time: mean {:.2}",
        cpu(hopping) / cpu(tumbling)
    ));
    say(&format!(
        "hopping over tumbling, without commit and publication: {}",
        ratio(|cost| cost.ingest_ms + cost.close_ms + cost.state_ms)
    ));
    say(&format!(
        "hopping over tumbling, close and state alone: {}",
        ratio(|cost| cost.close_ms + cost.state_ms)
    ));
}

fn spread(costs: &[Cost], of: fn(&Cost) -> f64) -> Spread {
    Spread::of(&costs.iter().map(of).collect::<Vec<_>>())
}

fn ratios(one: &Spread, other: &Spread) -> String {
    let Spread { median, mean, largest } = other;
    format!(
        "median {:.2}, mean {:.2}, largest {:.2}",
        one.median / median,
        one.mean / mean,
        one.largest / largest
    )
}

/// What one epoch took, milliseconds: from its listing to its publication, of the processor, and by
/// its record.
struct Cost {
    epoch_ms: f64,
    cpu_ms: f64,
    ingest_ms: f64,
    close_ms: f64,
    state_ms: f64,
}

/// One of the two jobs.
struct Job {
    name: &'static str,
    sink: PathBuf,
    engine: Engine,
}

impl Job {
    async fn open(folder: &Path, name: &'static str, window: &str) -> Result<Self, Failure> {
        let sink = folder.join(name).join("sink");
        let yaml = format!(
            "name: {name}\nsources:\n  events:\n    location: {}/\n    format: parquet\n    \
             schema: {{ts: TIMESTAMP, host: VARCHAR, bytes: BIGINT}}\n    event_time: {{column: \
             ts, delay: 0s}}\nsinks:\n  windows: {{location: {}/}}\nstate: {{location: \
             {}/state/}}\nsql: |\n  INSERT INTO windows SELECT window_end, host, count(*) AS \
             events, sum(bytes) AS bytes, max(bytes) AS bytes_max FROM TABLE({window}) GROUP BY \
             window_start, window_end, host;\n",
            folder.join("arrived").display(),
            sink.display(),
            folder.join(name).display()
        );
        let path = folder.join(name).with_extension("yaml");
        std::fs::write(&path, yaml)?;
        Ok(Self { name, sink, engine: open(&path, &Metrics::off()).await? })
    }

    /// Runs an epoch over what has arrived.
    async fn run(&mut self) -> Result<Cost, Failure> {
        let cpu_before = cpu_seconds();
        let began = Instant::now();
        self.engine.run_once(false).await?;
        let epoch_ms = began.elapsed().as_secs_f64() * 1e3;
        let cpu_ms = (cpu_seconds() - cpu_before) * 1e3;
        let view = self.engine.view();
        let step = |step: &str| view.borrow().timings_ms.get(step).copied().unwrap_or(0) as f64;
        Ok(Cost {
            epoch_ms,
            cpu_ms,
            ingest_ms: step("ingest"),
            close_ms: step("close"),
            state_ms: step("state"),
        })
    }

    /// Rows written so far.
    fn rows_out(&self) -> u64 {
        self.engine.view().borrow().rows_out.values().sum()
    }

    /// The last window must hold each key once a minute: what is fast must also be right.
    async fn check_last_window(&self, size: &Size) -> Result<(), Failure> {
        let context = SessionContext::new();
        let location = self.sink.to_string_lossy().into_owned();
        context.register_parquet("windows", &location, ParquetReadOptions::default()).await?;
        let sql = "SELECT count(*), min(events), max(events) FROM windows WHERE window_end = \
                   (SELECT max(window_end) FROM windows)";
        let found = first_row(&context.sql(sql).await?.collect().await?)?;
        let minutes = if self.name == "hopping" { size.minutes } else { 1 };
        let wanted = [i64::try_from(size.keys)?, minutes, minutes];
        if found != wanted {
            return Err(format!(
                "the last window of the {} job has {found:?} keys and least and most events a \
                 key; {wanted:?} is right",
                self.name
            )
            .into());
        }
        Ok(())
    }
}

/// The files of the source, one a minute.
struct Minutes {
    folder: PathBuf,
    keys: Keys,
    written: i64,
}

impl Minutes {
    fn write_next(&mut self) -> Result<(), Failure> {
        let rows = self.keys.minute(START_US + self.written * MINUTE_US)?;
        let file = std::fs::File::create(self.folder.join(format!("{:06}.parquet", self.written)))?;
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None)?;
        writer.write(&rows)?;
        writer.close()?;
        self.written += 1;
        Ok(())
    }

    /// Removes what both jobs have read.
    fn remove(&self) -> Result<(), Failure> {
        for entry in std::fs::read_dir(&self.folder)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}

/// The names of the keys, in the order of a file's rows.
struct Keys {
    names: ArrayRef,
}

impl Keys {
    fn new(keys: usize) -> Self {
        let names: StringArray =
            (0..keys).map(|at| Some(format!("host-{:06}", at * STRIDE % keys.max(1)))).collect();
        Self { names: Arc::new(names) }
    }

    /// One row of each key, spread over the minute from `start_us` on.
    fn minute(&self, start_us: i64) -> Result<RecordBatch, Failure> {
        let keys = i64::try_from(self.names.len())?;
        let times: TimestampMicrosecondArray =
            (0..keys).map(|at| Some(start_us + at * MINUTE_US / keys)).collect();
        let bytes: Int64Array = (0..keys).map(|at| Some(at * 31 % 1_500 + start_us % 97)).collect();
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        let columns =
            [("ts", times), ("host", Arc::clone(&self.names)), ("bytes", Arc::new(bytes) as _)];
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}
