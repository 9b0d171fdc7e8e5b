//! Two figures of the first flow, each against something run beside it:
//!
//! 1. the one-minute GROUP BY tenant, src_ip over generated Parquet, by `run --once --drain` and by
//!    one-shot DataFusion in the same process at the same partition count, both to Parquet;
//! 2. one epoch over twenty small files, from listing to published.
//!
//! `BENCH_ROWS` (10,000,000) and `BENCH_ROUNDS` (3) set the size.

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use tidegauge::observe::Metrics;
use tidegauge::runtime::Summary;
use tidegauge_generate::{Kind, OutputFormat, Settings};

use support::{Failure, Spread, cpu_seconds, first_row, number, open, say};

const SCHEMA: &str = "{ts: TIMESTAMP, tenant: VARCHAR, src_ip: VARCHAR, dst_ip: VARCHAR, \
                      dst_port: INT, proto: VARCHAR, bytes_out: BIGINT, bytes_in: BIGINT, \
                      packets: INT, action: VARCHAR}";
const GROUPS: &str = "tenant, src_ip, count(*) AS flows, sum(bytes_out) AS bytes_out, \
                      sum(bytes_in) AS bytes_in, max(packets) AS packets";
const SMALL_EPOCHS: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let rows = number("BENCH_ROWS", 10_000_000);
    let rounds = number("BENCH_ROUNDS", 3);
    let folder = tempfile::tempdir()?;
    let flows = folder.path().join("flows");
    let settings = Settings {
        format: OutputFormat::Parquet,
        ..Settings::new(Kind::Flows, flows.clone(), rows)
    };
    tidegauge_generate::generate(&settings, &|_| {})?;
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let out = folder.path().join(format!("stream-{round}"));
        let cpu_start = cpu_seconds();
        let (summary, stream) = stream(&flows, &out, "parquet").await?;
        let (cpu_middle, memory) = (cpu_seconds(), peak_memory_mib());
        let (groups, batch) = batch(&flows, &folder.path().join(format!("batch-{round}"))).await?;
        let ratio = stream.as_secs_f64() / batch.as_secs_f64();
        ratios.push(ratio);
        say(&format!(
            "round {round}: {} rows to {:?} groups in {} epochs: tidegauge {:.2} s, one-shot \
             DataFusion {:.2} s ({groups} groups), ratio {ratio:.2}; processor {:.2} s and {:.2} \
             s; peak memory after the first {memory} MiB",
            summary.rows_in,
            summary.rows_out,
            summary.epochs,
            stream.as_secs_f64(),
            batch.as_secs_f64(),
            cpu_middle - cpu_start,
            cpu_seconds() - cpu_middle,
        ));
    }
    say(&format!("ratio: {:.2} (a median of at most 1.3 is wanted)", Spread::of(&ratios)));
    small_epochs(folder.path()).await
}

/// One run of the engine, from the job file to the last published file.
async fn stream(flows: &Path, out: &Path, format: &str) -> Result<(Summary, Duration), Failure> {
    let job = job_file(flows, out, format, 10_000)?;
    let began = Instant::now();
    let mut engine = open(&job, &Metrics::off()).await?;
    let summary = engine.run_once(true).await?;
    Ok((summary, began.elapsed()))
}

/// The same question, asked once.
async fn batch(flows: &Path, out: &Path) -> Result<(usize, Duration), Failure> {
    let partitions = std::thread::available_parallelism()?.get();
    let began = Instant::now();
    let config = SessionConfig::new().with_target_partitions(partitions);
    let context = SessionContext::new_with_config(config);
    let location = flows.to_string_lossy().into_owned();
    context.register_parquet("flows", &location, ParquetReadOptions::default()).await?;
    let sql = format!(
        "COPY (SELECT date_trunc('minute', ts) AS minute, {GROUPS} FROM flows \
         GROUP BY date_trunc('minute', ts), tenant, src_ip) TO '{}/' STORED AS PARQUET \
         OPTIONS ('format.compression' 'zstd(1)')",
        out.display()
    );
    let written = context.sql(&sql).await?.collect().await?;
    let elapsed = began.elapsed();
    let groups = first_row(&written)?.first().copied().unwrap_or_default();
    Ok((usize::try_from(groups)?, elapsed))
}

/// Epochs of twenty files of 200 rows, each timed from its listing to its publication.
async fn small_epochs(folder: &Path) -> Result<(), Failure> {
    let made = folder.join("small");
    let files = u32::try_from(20 * SMALL_EPOCHS)?;
    let rows = u64::from(files) * 200;
    let settings =
        Settings { files: Some(files), ..Settings::new(Kind::Flows, made.clone(), rows) };
    tidegauge_generate::generate(&settings, &|_| {})?;
    let mut names: Vec<PathBuf> = std::fs::read_dir(&made)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('_'))
        })
        .collect();
    names.sort();
    let arrived = folder.join("arrived");
    std::fs::create_dir_all(&arrived)?;
    let job = job_file(&arrived, &folder.join("small-out"), "json", 10_000)?;
    let mut engine = open(&job, &Metrics::off()).await?;
    let mut times = Vec::new();
    for part in names.chunks(20) {
        for name in part {
            std::fs::rename(name, arrived.join(name.file_name().unwrap_or_default()))?;
        }
        let began = Instant::now();
        engine.run_once(false).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    say(&format!(
        "{} epochs over 20 small files each, from listing to published, ms: {} (a median under 50 \
         is wanted)",
        times.len(),
        Spread::of(&times)
    ));
    Ok(())
}

fn job_file(flows: &Path, out: &Path, format: &str, files_max: usize) -> Result<PathBuf, Failure> {
    let path = out.with_extension("yaml");
    let yaml = format!(
        "name: first_flow\nsources:\n  flows:\n    location: {}/\n    format: {format}\n    \
         schema: {SCHEMA}\n    event_time: {{column: ts, delay: 10s}}\nsinks:\n  host_minutes: \
         {{location: {}/sink/}}\nepoch: {{files_max: {files_max}}}\nstate: {{location: \
         {}/state/}}\nsql: |\n  INSERT INTO host_minutes SELECT window_start, {GROUPS} FROM \
         TABLE(TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, \
         window_end, tenant, src_ip;\n",
        flows.display(),
        out.display(),
        out.display()
    );
    std::fs::write(&path, yaml)?;
    Ok(path)
}

/// The most memory that the process has held so far.
fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    kib / 1024
}
