//! C1 on workers: a job gives the same rows in one process and on worker processes, also when one
//! of them is killed in the middle; without any, nothing is committed and the reason is said.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::binary::{repository, tidegauge};
use super::harness::{compile, published_rows, scratch, write_job};
use super::otlp_receiver::Receiver;
use super::process::{self, RUN_MAX};
use super::worker_process::{WorkerProcess, two_workers};

/// The rows of every sink of the job at `path`, by sink.
pub(super) async fn all_rows(path: &Path) -> Vec<(String, Vec<String>)> {
    let sinks: Vec<String> =
        compile(path).await.spec.sinks.iter().map(|sink| sink.name.clone()).collect();
    let mut rows = Vec::new();
    for sink in sinks {
        rows.push((sink.clone(), published_rows(path, &sink).await));
    }
    rows
}

/// A copy of a repository's job whose folders lie in `folder`.
fn placed(job: &str, folder: &Path, input: &Path) -> PathBuf {
    let text = std::fs::read_to_string(repository().join("jobs").join(job)).unwrap();
    let mut placed = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, behind) = after.split_once('}').unwrap();
        let (name, default) = variable.split_once(":-").unwrap();
        placed.push_str(before);
        match name {
            "OUT" => placed.push_str(&folder.join("out").display().to_string()),
            "STATE" => placed.push_str(&folder.join("state").display().to_string()),
            "FLOWS" => placed.push_str(&input.display().to_string()),
            _ => placed.push_str(&repository().join(default).display().to_string()),
        }
        rest = behind;
    }
    placed.push_str(rest);
    let sql = format!("{}/sql/", repository().display());
    let path = folder.join(job);
    std::fs::write(&path, placed.replace("../sql/", &sql)).unwrap();
    path
}

/// Runs copies of a job in one process and on `workers`, and compares all rows.
async fn same_on_workers(name: &str, copy: impl Fn(&Path) -> PathBuf, workers: &str) {
    let (alone, spread) = (scratch(), scratch());
    let (job_alone, job_spread) = (copy(alone.path()), copy(spread.path()));
    let mut one = process::run(&job_alone, &vec![], &["--once", "--drain"]).summary();
    let mut two =
        process::run(&job_spread, &vec![], &["--once", "--drain", "--workers", workers]).summary();
    for summary in [&mut one, &mut two] {
        let fields = summary.as_object_mut().unwrap();
        fields.retain(|field, _| !["elapsed_s", "rows_per_s"].contains(&field.as_str()));
    }
    assert_eq!(one, two, "{name}");
    let (expected, given) = (all_rows(&job_alone).await, all_rows(&job_spread).await);
    assert!(expected.iter().any(|(_, rows)| !rows.is_empty()), "{name} gives no rows");
    assert_eq!(expected, given, "{name}");
}

#[tokio::test]
async fn every_job_of_the_repository_gives_the_same_rows_on_two_workers() {
    let (_workers, list) = two_workers();
    let flows = scratch();
    let out = flows.path().display().to_string();
    let arguments = ["generate", "flows", "--out", &out, "--rows", "40000", "--seed", "5"];
    tidegauge(repository(), &arguments, &[]).done();
    let jobs = std::fs::read_dir(repository().join("jobs")).unwrap();
    let mut seen = 0;
    for job in jobs {
        let name = job.unwrap().file_name().into_string().unwrap();
        same_on_workers(&name, |folder| placed(&name, folder, flows.path()), &list).await;
        seen += 1;
    }
    assert!(seen >= 3);
}

const SCHEMA: &str = "{ts: TIMESTAMP, host: VARCHAR, proto: VARCHAR, bytes: BIGINT}";
const WINDOW: &str = "TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1 minute')";

/// The queries whose shapes are hard to send elsewhere.
pub(super) fn shapes() -> Vec<(&'static str, String)> {
    let shapes = [
        ("gzip", "SELECT window_start, host, sum(bytes) AS s FROM {w} GROUP BY window_start, host"),
        (
            "a scalar subquery over rows",
            "SELECT window_start, host, sum(bytes) AS s FROM {w} WHERE bytes > (SELECT 2 * 50)
             GROUP BY window_start, host",
        ),
        (
            "a scalar subquery over windows",
            "SELECT window_start, host, sum(bytes) AS s FROM {w} GROUP BY window_start, host
             HAVING sum(bytes) > (SELECT 1000)",
        ),
        (
            "a struct key",
            "SELECT window_start, struct(host, proto) AS key, count(*) AS n,
                    count(DISTINCT bytes) AS d
             FROM {w} GROUP BY window_start, struct(host, proto)",
        ),
        (
            "grouping sets",
            "SELECT window_start, host, proto, sum(bytes) AS s, grouping(host) AS g FROM {w}
             GROUP BY GROUPING SETS ((window_start, host), (window_start, proto), (window_start))",
        ),
        (
            "functions of the engine",
            "SELECT window_start, host, mad(bytes) AS m, entropy(proto) AS e,
                    robust_zscore(max(bytes), median(bytes), mad(bytes)) AS z
             FROM {w} GROUP BY window_start, host",
        ),
        (
            "hops, ranks and order",
            "SELECT * FROM (
               SELECT window_start, window_end, host, avg(bytes) AS a,
                      ROW_NUMBER() OVER (PARTITION BY window_start, window_end
                                         ORDER BY avg(bytes) DESC, host) AS place
               FROM HOP(TABLE flows, DESCRIPTOR(ts), INTERVAL '1 minute', INTERVAL '3 minutes')
               GROUP BY window_start, window_end, host) WHERE place <= 3 ORDER BY window_start",
        ),
        (
            "a join of two windows",
            "SELECT a.window_start, a.host, a.n, b.m FROM
               (SELECT window_start, host, count(*) AS n FROM {w} GROUP BY window_start, host) a
             JOIN (SELECT window_start, host, max(bytes) AS m FROM {w} WHERE proto = 'udp'
                   GROUP BY window_start, host) b
             ON a.window_start = b.window_start AND a.host = b.host",
        ),
        ("no window", "SELECT ts, host, bytes * 2 AS b FROM flows WHERE proto = 'tcp'"),
    ];
    shapes.into_iter().map(|(name, sql)| (name, sql.replace("{w}", WINDOW))).collect()
}

/// Writes `files` gzipped files of flows, seconds apart.
pub(super) fn write_flows(folder: &Path, files: usize, rows: usize) {
    let mut rng = SmallRng::seed_from_u64(11);
    std::fs::create_dir_all(folder).unwrap();
    for file in 0..files {
        let path = folder.join(format!("{file:04}.json.gz"));
        let mut out = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::fast());
        for row in 0..rows {
            let second = (file * rows + row) * 7 / 10;
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            let (host, bytes) = (rng.random_range(0..9), rng.random_range(0..300));
            let proto = ["tcp", "udp", "icmp"][rng.random_range(0..3)];
            writeln!(
                out,
                "{{\"ts\":\"2026-03-01T{hour:02}:{minute:02}:{second:02}Z\",\"host\":\"h{host}\",\
                 \"proto\":\"{proto}\",\"bytes\":{bytes}}}"
            )
            .unwrap();
        }
        out.finish().unwrap();
    }
}

pub(super) fn flows_job(folder: &Path, input: &Path, sql: &str, partition_by: &str) -> PathBuf {
    let yaml = format!(
        "name: flows\nsources:\n  flows:\n    location: {}/\n    format: json\n    \
         schema: {SCHEMA}\n    event_time: {{column: ts, delay: 20s}}\n\
         sinks:\n  out: {{location: {}/, partition_by: [{partition_by}]}}\n\
         epoch: {{files_max: 3}}\nstate: {{location: {}/, runs_max: 4}}",
        input.display(),
        folder.join("out").display(),
        folder.join("state").display(),
    );
    write_job(folder, &yaml, &format!("INSERT INTO out {sql}"))
}

#[tokio::test]
async fn queries_of_every_shape_give_the_same_rows_on_two_workers() {
    let (_workers, list) = two_workers();
    let input = scratch();
    write_flows(input.path(), 10, 120);
    for (name, sql) in shapes() {
        same_on_workers(name, |folder| flows_job(folder, input.path(), &sql, ""), &list).await;
    }
    let (_, sql) = &shapes()[0];
    same_on_workers("by host", |folder| flows_job(folder, input.path(), sql, "host"), &list).await;
}

#[tokio::test]
async fn one_worker_alone_is_enough() {
    let worker = WorkerProcess::start(&[], &vec![]);
    let input = scratch();
    write_flows(input.path(), 1, 50);
    let (name, sql) = &shapes()[0];
    same_on_workers(name, |folder| flows_job(folder, input.path(), sql, ""), &worker.address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_a_random_epoch_changes_no_row() {
    const ROUNDS: usize = 20;
    let seed = std::env::var("KILL_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    let mut rng = SmallRng::seed_from_u64(seed);
    let input = scratch();
    write_flows(input.path(), 60, 200);
    let sql = format!(
        "SELECT window_start, host, sum(bytes) AS s, count(DISTINCT proto) AS p FROM {WINDOW} \
         GROUP BY window_start, host"
    );
    let alone = scratch();
    let job = flows_job(alone.path(), input.path(), &sql, "");
    process::run(&job, &vec![], &["--once", "--drain"]).summary();
    let expected = all_rows(&job).await;
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let (mut workers, list) = two_workers();
        let folder = scratch();
        let job = flows_job(folder.path(), input.path(), &sql, "");
        let log = folder.path().join("state/flows/log");
        let receiver = Receiver::start().await;
        let mut env = receiver.env();
        env.push(("RUST_LOG".to_owned(), "warn".to_owned()));
        let arguments = ["--once", "--drain", "--workers", &list];
        let run = process::start(&job, &env, &arguments);
        // So many epochs are committed, and the next one is under way.
        let epochs = rng.random_range(0..15);
        let deadline = std::time::Instant::now() + RUN_MAX;
        while std::fs::read_dir(&log).map_or(0, Iterator::count) < epochs {
            assert!(std::time::Instant::now() < deadline, "seed {seed} round {round}: no progress");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        workers[rng.random_range(0..2)].kill();
        let ended = process::wait(run, RUN_MAX);
        let tried_again = ended.stderr.matches("an epoch is tried again").count();
        interrupted += usize::from(tried_again > 0);
        assert_eq!(retries(&receiver), tried_again as f64, "seed {seed} round {round}: {ended:?}");
        ended.summary();
        assert_eq!(all_rows(&job).await, expected, "seed {seed} round {round}");
    }
    println!("seed {seed}: {ROUNDS} workers killed, {interrupted} of them in an epoch of theirs");
    assert!(interrupted >= ROUNDS / 4, "seed {seed}: only {interrupted} kills hit an epoch");
}

/// How many attempts the job's metrics say were followed by another, for want of a worker.
fn retries(receiver: &Receiver) -> f64 {
    let labels = [("job_name", "flows"), ("kind", "unavailable")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    receiver.metrics()[&("tidegauge.epoch.retries".to_owned(), labels.into())]
}

#[tokio::test]
async fn without_a_worker_the_run_fails_with_the_reason_and_commits_nothing() {
    let input = scratch();
    write_flows(input.path(), 2, 20);
    let folder = scratch();
    let (_, sql) = &shapes()[0];
    let job = flows_job(folder.path(), input.path(), sql, "");
    let yaml = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, yaml.replace("files_max: 3", "files_max: 3, retry: 2")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let arguments = ["--once", "--drain", "--workers", &free.to_string()];
    let ended = process::run(&job, &vec![], &arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no worker can be reached"), "{ended:?}");
    assert!(ended.stderr.contains(&free.to_string()), "{ended:?}");
    assert!(ended.stderr.contains("tidegauge worker --listen"), "{ended:?}");
    assert!(!folder.path().join("out").exists(), "rows were written");
    let records = std::fs::read_dir(folder.path().join("state/flows/log"));
    assert_eq!(records.map_or(0, Iterator::count), 0, "an epoch was committed");
}

#[tokio::test]
async fn a_bad_record_on_a_worker_is_named_as_in_one_process() {
    let worker = WorkerProcess::start(&[], &vec![]);
    let input = scratch();
    std::fs::write(
        input.path().join("a.json"),
        "{\"ts\":\"2026-03-01T00:00:00Z\",\"bytes\":\"x\"}\n",
    )
    .unwrap();
    let (_, sql) = &shapes()[0];
    let (alone, spread) = (scratch(), scratch());
    let job = flows_job(alone.path(), input.path(), sql, "");
    let in_one = process::run(&job, &vec![], &["--once"]);
    let job = flows_job(spread.path(), input.path(), sql, "");
    let on_worker = process::run(&job, &vec![], &["--once", "--workers", &worker.address]);
    assert_eq!(in_one.code, Some(1));
    assert!(in_one.stderr.contains("a.json:1"), "{in_one:?}");
    assert_eq!((in_one.code, in_one.stderr), (on_worker.code, on_worker.stderr));
}
