//! What it costs to close many windows in one epoch, as a back-fill does, whatever the number of
//! windows over each row; and an epoch of many queries beside one of a single query.
//!
//! ```text
//!  few files, one epoch --+--> "tumble":   rows, time
//!                         +--> "hop_day":  rows, time, ratio --> DuckDB's time for the same rows
//!  a file an epoch -------+--> 1 query:    ms an epoch
//!                         +--> 40 queries: ms an epoch, ratio
//! ```
//!
//! `BENCH_QUERIES` (40) and `BENCH_EPOCHS` (30) set the size of the second part. DuckDB is asked where
//! `TIDEGAUGE_PYTHON` names an interpreter that has it.

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tidegauge::observe::Metrics;

use support::{Failure, Spread, cpu_seconds, number, open, say};

/// A window of a day slides, or grows, so often.
const MINUTES_OF_DAY: usize = 1_440;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    for case in cases() {
        case.run(folder.path()).await?;
    }
    many_queries(folder.path()).await
}

/// One back-fill.
struct Case {
    name: &'static str,
    window: &'static str,
    /// One row at each of these minutes and seconds since the first.
    seconds: Vec<usize>,
    keys: usize,
    /// The rows that it must give.
    rows_out: usize,
    /// Seconds that it should take at most, its start included.
    wanted_s: f64,
}

fn cases() -> Vec<Case> {
    let by_minute: Vec<usize> = (0..MINUTES_OF_DAY).map(|minute| minute * 60 + 30).collect();
    let case = |name, window, seconds: Vec<usize>, rows_out, wanted_s| Case {
        name,
        window,
        seconds,
        keys: 1,
        rows_out,
        wanted_s,
    };
    let hop = "HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' DAY)";
    let cumulate = "CUMULATE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' DAY)";
    vec![
        case(
            "tumbling minutes, 1,440 rows",
            "TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
            by_minute.clone(),
            MINUTES_OF_DAY,
            2.0,
        ),
        case("HOP of a day by a minute, 1,440 rows", hop, by_minute.clone(), 2_879, 2.0),
        case("CUMULATE of a day by a minute, 1 row", cumulate, vec![30], MINUTES_OF_DAY, 1.0),
        case(
            "CUMULATE of a day by a minute, 1,440 rows",
            cumulate,
            by_minute.clone(),
            MINUTES_OF_DAY,
            1.0,
        ),
        case(
            "CUMULATE of an hour by a second over three hours",
            "CUMULATE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '1' HOUR)",
            (0..10_800).collect(),
            10_800,
            3.0,
        ),
        Case {
            name: "HOP of a day by a minute, 1,440 rows of each of 500 keys",
            window: hop,
            seconds: by_minute,
            keys: 500,
            rows_out: 2_879 * 500,
            wanted_s: 30.0,
        },
    ]
}

impl Case {
    async fn run(&self, folder: &Path) -> Result<(), Failure> {
        let folder = folder.join(self.name.replace([' ', ','], "-"));
        let input = folder.join("in");
        std::fs::create_dir_all(&input)?;
        for (at, seconds) in self.seconds.chunks(self.seconds.len().div_ceil(24)).enumerate() {
            let mut text = String::new();
            for second in seconds {
                for key in 0..self.keys {
                    let time = time_of(*second);
                    writeln!(text, r#"{{"ts":"{time}","dev":"d{key}","v":{second}}}"#)?;
                }
            }
            std::fs::write(input.join(format!("{at:03}.json")), text)?;
        }
        let job = job_of(
            &folder,
            &[format!(
                "INSERT INTO out0 SELECT window_start, window_end, dev, count(*) AS n, sum(v) AS v FROM \
             TABLE({}) GROUP BY window_start, window_end, dev",
                self.window
            )],
        )?;
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let mut engine = open(&job, &Metrics::off()).await?;
        let summary = engine.run_once(true).await?;
        let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let rows: u64 = summary.rows_out.values().sum();
        if rows != self.rows_out as u64 {
            return Err(format!("{}: {rows} rows, {} are right", self.name, self.rows_out).into());
        }
        let rows_in = self.seconds.len() * self.keys;
        say(&format!(
            "{}: {wall:.2} s, {cpu:.2} s of processor (at most {:.0} s is wanted), {:.1} us a row in \
             or out",
            self.name,
            self.wanted_s,
            wall * 1e6 / (rows as f64 + rows_in as f64)
        ));
        if self.window.starts_with("HOP")
            && let Some(duckdb) = duckdb_hop(&input)?
        {
            say(&format!("  DuckDB {duckdb:.2} s, ratio {:.1}", wall / duckdb));
        }
        Ok(())
    }
}

fn time_of(second: usize) -> String {
    let (day, second) = (second / 86_400 + 1, second % 86_400);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("2026-03-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

/// A job of these statements, the sink of each being `out` and its number.
fn job_of(folder: &Path, statements: &[String]) -> Result<PathBuf, Failure> {
    let mut sinks = String::new();
    for at in 0..statements.len() {
        writeln!(sinks, "  out{at}: {{location: {}/out/{at}/}}", folder.display())?;
    }
    let sql: String = statements.iter().map(|sql| format!("  {sql};\n")).collect();
    let yaml = format!(
        "name: backfill\nsources:\n  s:\n    location: {0}/in/\n    format: json\n    schema: {{ts: \
         TIMESTAMP, dev: VARCHAR, v: BIGINT}}\n    event_time: {{column: ts, delay: 1s}}\nsinks:\n\
         {sinks}epoch: {{files_max: {1}}}\nstate: {{location: {0}/state/}}\nsql: |\n{sql}",
        folder.display(),
        if statements.len() > 1 || folder.ends_with("queries-1") { 1 } else { 10_000 }
    );
    let path = folder.join("job.yaml");
    std::fs::write(&path, yaml)?;
    Ok(path)
}

/// Seconds that DuckDB takes for the same windows, with a row of the input in each of them.
fn duckdb_hop(input: &Path) -> Result<Option<f64>, Failure> {
    let Ok(python) = std::env::var("TIDEGAUGE_PYTHON") else { return Ok(None) };
    let script = format!(
        "import duckdb, time\nbegan = time.time()\nduckdb.sql(\"\"\"copy (select w, dev, count(*), \
         sum(v) from (select dev, v, unnest(range(date_trunc('minute', ts) - interval 1439 minute, \
         date_trunc('minute', ts) + interval 1 minute, interval 1 minute)) as w from \
         read_json('{0}/*.json', columns={{ts: 'TIMESTAMP', dev: 'VARCHAR', v: 'BIGINT'}})) group by \
         w, dev) to '{0}/../duckdb.parquet' (format parquet)\"\"\")\nprint(time.time() - began)",
        input.display()
    );
    let run = Command::new(python).args(["-c", &script]).output()?;
    let text = String::from_utf8_lossy(&run.stdout);
    Ok(text.trim().parse().ok().filter(|_| run.status.success()))
}

/// Epochs of one file, a row and a window each, by the number of queries.
async fn many_queries(folder: &Path) -> Result<(), Failure> {
    let queries = usize::try_from(number("BENCH_QUERIES", 40))?.max(2);
    let epochs = usize::try_from(number("BENCH_EPOCHS", 30))?.max(4);
    let mut medians = Vec::new();
    for queries in [1, queries] {
        let folder = folder.join(format!("queries-{queries}"));
        std::fs::create_dir_all(folder.join("in"))?;
        let statements: Vec<String> = (0..queries)
            .map(|at| {
                format!(
                    "INSERT INTO out{at} SELECT window_start, dev, sum(v) AS b, count(*) FILTER \
                     (WHERE v > {at}) AS n FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' \
                     MINUTE) GROUP BY window_start, window_end, dev HAVING sum(v) > {at}"
                )
            })
            .collect();
        let mut engine = open(&job_of(&folder, &statements)?, &Metrics::off()).await?;
        let (mut walls, cpu) = (Vec::new(), cpu_seconds());
        for epoch in 0..epochs {
            let text = format!("{{\"ts\":\"{}\",\"dev\":\"a\",\"v\":100}}\n", time_of(epoch * 60));
            std::fs::write(folder.join("in").join(format!("{epoch:04}.json")), text)?;
            let began = Instant::now();
            engine.run_once(false).await?;
            walls.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let spread = Spread::of(&walls[2..]);
        let cpu_ms = (cpu_seconds() - cpu) * 1e3 / epochs as f64;
        say(&format!("{queries} queries, ms an epoch: {spread}; processor ms {cpu_ms:.1}"));
        medians.push(spread.median);
    }
    if let [one, many] = medians.as_slice() {
        say(&format!("{queries} queries over one: {:.1} (at most 6 is wanted)", many / one));
    }
    Ok(())
}
