//! What an epoch costs that touches few of many open sessions: bytes of state read and written, and
//! time, for sessions with a gap of one day of which one in a hundred gets a row.
//!
//! ```text
//!  load: each key once, over twenty hours
//!    -->  epochs: 1 % of the keys, at random; a minute apart, so that none ends, or
//!                 twelve minutes apart from the next day on, so that 1 % end or are seen to go on
//!    -->  drain: no row is missing
//! ```
//!
//! Bytes are those that the engine's stores were asked for, less the input's, which is JSON and so
//! is read once and whole. Commit records are created past the store in a local folder, and are not
//! among them. Each size runs without a cache, so that state is read back from its files, and with
//! the default one. The same number of touched keys at every size shows what the others cost.
//!
//! `BENCH_SIZES` (10000,100000,1000000) are the numbers of keys, `BENCH_EPOCHS` (30) the epochs that
//! are measured, `BENCH_TOUCHED` (1000) the number of keys touched in the second part.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tidegauge::observe::{Telemetry, TelemetrySettings};
use tidegauge::runtime::Engine;

use support::{Failure, Spread, cpu_seconds, first_row, number, open, say, state_of};

const MINUTE_US: i64 = 60_000_000;
const START_US: i64 = 1_709_251_200_000_000;
/// Shorter than the gap, so that no session ends while its keys are loaded and touched.
const LOAD_MINUTES: usize = 20 * 60;
const LOAD_EPOCHS: usize = 20;
const GAP_MINUTES: usize = 24 * 60;
/// In which one in a hundred keys was loaded.
const STEADY_MINUTES: usize = LOAD_MINUTES / 100;
const SEED: u64 = 7;
/// The caches that are measured, as the job file has them.
const CACHES: [&str; 2] = ["0B", "256MiB"];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let sizes = std::env::var("BENCH_SIZES").unwrap_or_else(|_| "10000,100000,1000000".to_owned());
    let sizes = sizes.split(',').map(|text| text.trim().parse()).collect::<Result<Vec<_>, _>>()?;
    let epochs = usize::try_from(number("BENCH_EPOCHS", 30))?;
    let touched = usize::try_from(number("BENCH_TOUCHED", 1_000))?;
    let telemetry = Telemetry::start(TelemetrySettings::default().with_prometheus());
    for cache in CACHES {
        say(&format!("cache_max {cache}: one key in a hundred is touched in an epoch"));
        series(&telemetry, cache, epochs, &sizes, &|keys| (keys / 100, Time::Within)).await?;
        say(&format!("cache_max {cache}: {touched} keys are touched in an epoch"));
        series(&telemetry, cache, epochs, &sizes, &|keys| (touched.min(keys), Time::Within))
            .await?;
        say(&format!(
            "cache_max {cache}: one key in a hundred is touched in an epoch, and as many sessions \
             end or are seen to go on"
        ));
        series(&telemetry, cache, epochs, &sizes, &|keys| (keys / 100, Time::Beyond)).await?;
    }
    Ok(())
}

/// When the epochs are that are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    /// Within the gap after the first row of any session.
    Within,
    /// From the gap after that on.
    Beyond,
}

impl Time {
    fn minute(self, epoch: usize) -> usize {
        match self {
            Self::Within => LOAD_MINUTES + epoch,
            Self::Beyond => GAP_MINUTES + epoch * STEADY_MINUTES,
        }
    }
}

/// Measures each number of keys, and holds its figures by touched key against the first one's.
async fn series(
    telemetry: &Telemetry,
    cache: &str,
    epochs: usize,
    sizes: &[usize],
    part: &dyn Fn(usize) -> (usize, Time),
) -> Result<(), Failure> {
    let mut first: Option<ByKey> = None;
    for &keys in sizes {
        let (touched, time) = part(keys);
        let mut bench = Bench::open(telemetry, cache, keys).await?;
        bench.load().await?;
        let mut costs = Vec::new();
        let cpu_before = cpu_seconds();
        for epoch in 0..epochs {
            costs.push(bench.touch(time, epoch, touched).await?);
        }
        let by_key = bench.report(&costs, touched);
        let cpu_ms = (cpu_seconds() - cpu_before) * 1e3 / epochs as f64;
        say(&format!("    processor ms an epoch, its input's making included: mean {cpu_ms:.1}"));
        let first = first.get_or_insert(by_key);
        say(&format!("    by touched key, over the first size: {}", by_key.over(first)));
        bench.check(time).await?;
    }
    Ok(())
}

/// What an epoch cost.
#[derive(Default)]
struct Cost {
    ms: f64,
    read: f64,
    written: f64,
}

/// Means by touched key.
#[derive(Clone, Copy)]
struct ByKey {
    us: f64,
    read: f64,
    written: f64,
}

impl ByKey {
    fn over(&self, other: &Self) -> String {
        let ratio = |mine: f64, other: f64| match other > 0.0 {
            true => format!("{:.2}", mine / other),
            false => "-".to_owned(),
        };
        format!(
            "time {}, read {}, written {} (1 is proportional to the keys touched)",
            ratio(self.us, other.us),
            ratio(self.read, other.read),
            ratio(self.written, other.written)
        )
    }
}

/// One job with its sessions.
struct Bench {
    engine: Engine,
    telemetry: Telemetry,
    folder: tempfile::TempDir,
    arrived: PathBuf,
    random: SmallRng,
    /// The keys, shuffled anew for each epoch: those at the front are touched.
    order: Vec<u32>,
    rows: usize,
    files: usize,
}

impl Bench {
    async fn open(telemetry: &Telemetry, cache: &str, keys: usize) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let arrived = folder.path().join("arrived");
        std::fs::create_dir_all(&arrived)?;
        let job = job_file(folder.path(), cache)?;
        Ok(Self {
            engine: open(&job, telemetry.metrics()).await?,
            telemetry: telemetry.clone(),
            folder,
            arrived,
            random: SmallRng::seed_from_u64(SEED),
            order: (0..u32::try_from(keys)?).collect(),
            rows: 0,
            files: 0,
        })
    }

    /// A row of each key, the keys spread over the hours of the load.
    async fn load(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        self.order.shuffle(&mut self.random);
        let order = self.order.clone();
        let size = order.len().div_ceil(LOAD_EPOCHS).max(1);
        for (epoch, keys) in order.chunks(size).enumerate() {
            let minutes = LOAD_MINUTES / LOAD_EPOCHS;
            let from_us = START_US + i64::try_from(epoch * minutes)? * MINUTE_US;
            self.write(keys, from_us, i64::try_from(minutes)? * MINUTE_US)?;
            self.run().await?;
        }
        say(&format!(
            "  {} keys are loaded in {:.1} s",
            order.len(),
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// An epoch in which `touched` keys get a row each.
    async fn touch(&mut self, time: Time, epoch: usize, touched: usize) -> Result<Cost, Failure> {
        let minute = i64::try_from(time.minute(epoch))?;
        let (keys, _) = self.order.partial_shuffle(&mut self.random, touched);
        let keys = keys.to_vec();
        self.write(&keys, START_US + minute * MINUTE_US, MINUTE_US)?;
        let cost = self.run().await?;
        let ended: u64 = self.engine.view().borrow().rows_out.values().sum();
        match time {
            Time::Within if ended > 0 => {
                Err("a session ended, though the gap is longer than all that was sent".into())
            }
            Time::Beyond if epoch > 0 && ended == 0 => Err("no session ended".into()),
            _ => Ok(cost),
        }
    }

    /// Runs an epoch over the file that has arrived, and removes it.
    async fn run(&mut self) -> Result<Cost, Failure> {
        let file = self.arrived.join(format!("{:06}.json", self.files));
        let input = std::fs::metadata(&file)?.len() as f64;
        let (read_before, written_before) = self.stored();
        let began = Instant::now();
        self.engine.run_once(false).await?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        let (read, written) = self.stored();
        std::fs::remove_file(file)?;
        self.files += 1;
        Ok(Cost { ms, read: read - read_before - input, written: written - written_before })
    }

    /// A file with one row of each of `keys`, at even steps of the `length_us` from `from_us` on.
    fn write(&mut self, keys: &[u32], from_us: i64, length_us: i64) -> Result<(), Failure> {
        let step_us = length_us / i64::try_from(keys.len().max(1))?;
        let mut text = String::new();
        let mut at_us = from_us;
        for key in keys {
            writeln!(text, r#"{{"ts":{at_us},"host":"host-{key:07}","bytes":{}}}"#, key % 1_500)?;
            at_us += step_us;
        }
        self.rows += keys.len();
        std::fs::write(self.arrived.join(format!("{:06}.json", self.files)), text)?;
        Ok(())
    }

    /// Bytes that all stores of the process have read and written so far.
    fn stored(&self) -> (f64, f64) {
        let text = self.telemetry.prometheus_text();
        let total = |name: &str| {
            let samples = text.lines().filter(|line| line.starts_with(name));
            samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        (total("tidegauge_store_read_bytes_total"), total("tidegauge_store_written_bytes_total"))
    }

    /// Prints the figures of the epochs.
    fn report(&self, costs: &[Cost], touched: usize) -> ByKey {
        let spread = |of: fn(&Cost) -> f64| Spread::of(&costs.iter().map(of).collect::<Vec<_>>());
        let (ms, read, written) =
            (spread(|cost| cost.ms), spread(|cost| cost.read), spread(|cost| cost.written));
        let kib = |spread: &Spread| Spread {
            median: spread.median / 1024.0,
            mean: spread.mean / 1024.0,
            largest: spread.largest / 1024.0,
        };
        let by_key = ByKey {
            us: ms.mean * 1e3 / touched as f64,
            read: read.mean / touched as f64,
            written: written.mean / touched as f64,
        };
        say(&format!(
            "  {} keys, {touched} touched in each of {} epochs; state {}",
            self.order.len(),
            costs.len(),
            state_of(&self.engine)
        ));
        say(&format!("    ms an epoch: {ms}"));
        say(&format!("    KiB read an epoch: {}", kib(&read)));
        say(&format!("    KiB written an epoch: {}", kib(&written)));
        say(&format!(
            "    by touched key: {:.1} us, {:.0} bytes read, {:.0} bytes written",
            by_key.us, by_key.read, by_key.written
        ));
        by_key
    }

    /// Ends all sessions: all rows must be in them and, where none had ended, each key once.
    async fn check(mut self, time: Time) -> Result<(), Failure> {
        let began = Instant::now();
        self.engine.run_once(true).await?;
        let seconds = began.elapsed().as_secs_f64();
        let context = SessionContext::new();
        let location = sink(self.folder.path()).to_string_lossy().into_owned();
        context.register_parquet("ended", &location, ParquetReadOptions::default()).await?;
        let sql = "SELECT count(*), count(DISTINCT host), sum(events) FROM ended";
        let found = first_row(&context.sql(sql).await?.collect().await?)?;
        let keys = i64::try_from(self.order.len())?;
        let sessions = match time {
            Time::Within => keys,
            Time::Beyond => found[0].max(keys),
        };
        let wanted = [sessions, keys, i64::try_from(self.rows)?];
        if found != wanted {
            return Err(format!(
                "there are {found:?} sessions, keys and rows in them; {wanted:?} is right"
            )
            .into());
        }
        say(&format!("    {sessions} sessions; ending those that were open: {seconds:.2} s"));
        Ok(())
    }
}

fn sink(folder: &Path) -> PathBuf {
    folder.join("sink")
}

fn job_file(folder: &Path, cache: &str) -> Result<PathBuf, Failure> {
    let path = folder.join("sessions.yaml");
    let yaml = format!(
        "name: sessions\nsources:\n  events:\n    location: {}/\n    format: json\n    schema: \
         {{ts: TIMESTAMP, host: VARCHAR, bytes: BIGINT}}\n    event_time: {{column: ts, delay: \
         0s}}\nsinks:\n  ended: {{location: {}/}}\nstate: {{location: {}/, cache_max: \
         {cache}}}\nsql: |\n  INSERT INTO ended SELECT window_start, window_end, host, count(*) \
         AS events, sum(bytes) AS bytes FROM TABLE(SESSION(TABLE events PARTITION BY host, \
         DESCRIPTOR(ts), INTERVAL '1' DAY)) GROUP BY window_start, window_end, host;\n",
        folder.join("arrived").display(),
        sink(folder).display(),
        folder.join("state").display()
    );
    std::fs::write(&path, yaml)?;
    Ok(path)
}
