//! What a change of each key of a job file does to a job that has run: every key that a job file may
//! hold is in the table below, and each is really changed between two runs, while a window is open.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge::error::{Error, ErrorKind};
use tidegauge::runtime::{Engine, OpenOptions, Summary};
use tidegauge_commitlog::SystemClock;
use tidegauge_spec::JobSpec;

use super::harness::{compile, published_rows, scratch};

/// What becomes of a job of which a key was changed.
enum Becomes {
    /// It is refused, with this in the message.
    Refused(&'static str),
    /// It begins anew, with a state of its own.
    Anew,
    /// It goes on, and gives what it gives unchanged.
    SameAnswer,
    /// The key holds others, which are in the table.
    Section,
    /// There is no other value that a job could change to.
    OneValue,
}
use Becomes::{Anew, OneValue, Refused, SameAnswer, Section};

/// A text of the job file, and what is written instead.
type Edit = (&'static str, &'static str);

const JOB: &str = "\
name: keys
description: a job with every key
sources:
  flows:
    location: PLACE/in/
    format: csv
    csv: {delimiter: ';', null: NA}
    compression: none
    schema: {ts: TIMESTAMP, seen: TIMESTAMP, host: VARCHAR, bytes: BIGINT}
    event_time:
      column: ts
      delay: 5s
      allowed_lateness: 1m
      idle_after: 2m
      close_when_idle: 10m
      delivery: 1s
      future_max: 2h
      ahead_max: 0s
      ahead_share: 2%
      unit: s
    discovery: {order: path_time, path_time: 't%s', settle: 0s}
    on_change: skip
    appended: false
sql: |
  INSERT INTO out SELECT window_start, host, count(*) AS n, count(host) AS named
  FROM TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY window_start, window_end, host
sinks:
  out: {location: PLACE/out/, format: parquet, partition_by: [host], retention: 3650d}
late: {location: PLACE/late/}
epoch: {interval: 1s, bytes_max: 1MiB, files_max: 5, close_max: 1MiB, retry: 1}
state:
  location: PLACE/state/
  checkpoint_every: 3
  retain_epochs: 5
  grace: 1h
  takeover_after: 2m
  runs_max: 4
  cache_max: 1MiB
on_error: skip
memory_max: 64MiB
partitions: 2
";

/// Every key, with a change of it and what that does.
const KEYS: &[(&str, Edit, Becomes)] = &[
    ("name", ("name: keys", "name: others"), Anew),
    ("description", ("a job with every key", "another text"), SameAnswer),
    ("sources", ("", ""), Section),
    ("sources.flows.location", ("PLACE/in/", "file://PLACE/in/"), SameAnswer),
    (
        "sources.flows.format",
        ("format: csv\n    csv: {delimiter: ';', null: NA}", "format: json"),
        Refused("sources.flows.format changed from csv to json"),
    ),
    ("sources.flows.csv", ("", ""), Section),
    (
        "sources.flows.csv.delimiter",
        ("delimiter: ';'", "delimiter: '|'"),
        Refused("sources.flows.csv.delimiter changed from \";\" to \"|\""),
    ),
    (
        "sources.flows.csv.null",
        (", null: NA", ""),
        Refused("sources.flows.csv.null changed from \"NA\" to the default"),
    ),
    ("sources.flows.compression", ("compression: none", "compression: auto"), SameAnswer),
    ("sources.flows.schema", ("bytes: BIGINT", "bytes: DOUBLE"), Refused("source flows changed")),
    ("sources.flows.event_time", ("", ""), Section),
    (
        "sources.flows.event_time.column",
        ("column: ts", "column: seen"),
        // The windows are over the event time, so that the query has to change with it.
        Refused("source flows changed"),
    ),
    ("sources.flows.event_time.delay", ("delay: 5s", "delay: 6s"), SameAnswer),
    (
        "sources.flows.event_time.allowed_lateness",
        ("allowed_lateness: 1m", "allowed_lateness: 2m"),
        Refused("allowed_lateness of source flows changed"),
    ),
    ("sources.flows.event_time.idle_after", ("idle_after: 2m", "idle_after: 3m"), SameAnswer),
    ("sources.flows.event_time.close_when_idle", ("when_idle: 10m", "when_idle: 1h"), SameAnswer),
    ("sources.flows.event_time.delivery", ("delivery: 1s", "delivery: 2s"), SameAnswer),
    ("sources.flows.event_time.future_max", ("future_max: 2h", "future_max: 3h"), SameAnswer),
    ("sources.flows.event_time.ahead_max", ("ahead_max: 0s", "ahead_max: 1m"), SameAnswer),
    ("sources.flows.event_time.ahead_share", ("ahead_share: 2%", "ahead_share: 5%"), SameAnswer),
    (
        "sources.flows.event_time.unit",
        ("unit: s", "unit: ms"),
        Refused("sources.flows.event_time.unit changed from s to ms"),
    ),
    ("sources.flows.discovery", ("", ""), Section),
    (
        "sources.flows.discovery.order",
        ("{order: path_time, path_time: 't%s', settle: 0s}", "{order: modified}"),
        SameAnswer,
    ),
    ("sources.flows.discovery.path_time", ("'t%s'", "'t%s.csv'"), SameAnswer),
    ("sources.flows.discovery.settle", ("settle: 0s", "settle: 1ms"), SameAnswer),
    ("sources.flows.on_change", ("on_change: skip", "on_change: fail"), SameAnswer),
    ("sources.flows.appended", ("appended: false", "appended: true"), SameAnswer),
    ("sql", ("count(host) AS named", "sum(bytes) AS named"), Refused("query into out changed")),
    ("sinks", ("", ""), Section),
    ("sinks.out.location", ("PLACE/out/", "PLACE/elsewhere/"), SameAnswer),
    ("sinks.out.format", ("", ""), OneValue),
    (
        "sinks.out.partition_by",
        (", partition_by: [host]", ""),
        Refused(
            "sinks.out.partition_by changed from [host] to the default: its files would be laid out \
             in two ways; give it another location, too",
        ),
    ),
    ("sinks.out.retention", ("retention: 3650d", "retention: 3660d"), SameAnswer),
    ("late", ("late: {location: PLACE/late/}\n", ""), SameAnswer),
    ("late.location", ("PLACE/late/", "PLACE/later/"), SameAnswer),
    ("epoch", ("", ""), Section),
    ("epoch.interval", ("interval: 1s", "interval: 2s"), SameAnswer),
    ("epoch.bytes_max", ("bytes_max: 1MiB", "bytes_max: 1B"), SameAnswer),
    ("epoch.files_max", ("files_max: 5", "files_max: 1"), SameAnswer),
    ("epoch.close_max", ("close_max: 1MiB", "close_max: 1B"), SameAnswer),
    ("epoch.retry", ("retry: 1", "retry: 0"), SameAnswer),
    ("state", ("", ""), Section),
    ("state.location", ("PLACE/state/", "PLACE/another/"), Anew),
    ("state.checkpoint_every", ("checkpoint_every: 3", "checkpoint_every: 1"), SameAnswer),
    ("state.retain_epochs", ("retain_epochs: 5", "retain_epochs: 1"), SameAnswer),
    ("state.grace", ("grace: 1h", "grace: 1m"), SameAnswer),
    ("state.takeover_after", ("takeover_after: 2m", "takeover_after: 3m"), SameAnswer),
    ("state.runs_max", ("runs_max: 4", "runs_max: 2"), SameAnswer),
    ("state.cache_max", ("cache_max: 1MiB", "cache_max: 0"), SameAnswer),
    ("on_error", ("on_error: skip", "on_error: fail"), SameAnswer),
    ("memory_max", ("memory_max: 64MiB", "memory_max: 65MiB"), SameAnswer),
    ("partitions", ("partitions: 2", "partitions: 1"), SameAnswer),
];

fn write_job(folder: &Path, edits: &[Edit]) -> PathBuf {
    let mut text = JOB.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let path = folder.join("job.yaml");
    fs::write(&path, text.replace("PLACE", &folder.display().to_string())).unwrap();
    path
}

/// 2026-01-05T10:00:00Z and the seconds after it.
fn write_rows(folder: &Path, second: i64) {
    let place = folder.join("in");
    fs::create_dir_all(&place).unwrap();
    let ts = 1_767_607_200 + second;
    let text = format!("ts;seen;host;bytes\n{ts};{ts};NA;1\n{ts};{ts};a;2\n");
    fs::write(place.join(format!("t{ts}.csv")), text).unwrap();
}

async fn run(path: &Path, drain: bool) -> Result<Summary, Error> {
    let job = compile(path).await;
    let clock = Arc::new(SystemClock);
    Engine::open(job, OpenOptions::default(), clock, Arc::default()).await?.run_once(drain).await
}

/// Runs the job, gives it more to read, changes it, and runs it on.
async fn run_changed(edits: &[Edit]) -> (Result<Summary, Error>, Vec<String>) {
    let folder = scratch();
    write_rows(folder.path(), 0);
    run(&write_job(folder.path(), &[]), false).await.unwrap();
    write_rows(folder.path(), 1);
    let path = write_job(folder.path(), edits);
    let ran = run(&path, true).await;
    let rows = match &ran {
        Ok(_) => published_rows(&path, "out").await,
        Err(_) => vec![],
    };
    (ran, rows)
}

#[tokio::test]
async fn a_change_of_any_key_is_refused_or_leaves_the_answer_or_begins_anew() {
    let (ran, unchanged) = run_changed(&[]).await;
    assert_eq!(ran.unwrap().files, 1);
    assert_eq!(
        unchanged,
        ["2026-01-05T10:00:00Z | NULL | 2 | 0 | 0", "2026-01-05T10:00:00Z | a | 2 | 2 | 0"]
    );
    for (key, edit, becomes) in KEYS {
        let is_left = matches!(becomes, Section | OneValue);
        assert_eq!(is_left, edit.0.is_empty(), "{key}: a change of it is made here");
        if is_left {
            continue;
        }
        let edits = match *key {
            // A window is over the event time alone.
            "sources.flows.event_time.column" => {
                vec![*edit, ("DESCRIPTOR(ts)", "DESCRIPTOR(seen)")]
            }
            _ => vec![*edit],
        };
        let (ran, rows) = run_changed(&edits).await;
        match (becomes, ran) {
            (Refused(why), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::BadJob, "{key}: {error}");
                assert!(error.message().contains(why), "{key}: {error}");
                assert!(error.message().contains("--reset-state"), "{key}: {error}");
            }
            (SameAnswer, Ok(summary)) => {
                assert_eq!(summary.files, 1, "{key}: what was read is not read again");
                assert_eq!(rows, unchanged, "{key}");
            }
            (Anew, Ok(summary)) => {
                assert_eq!(summary.files, 2, "{key}: everything is read again");
                assert_eq!(rows, unchanged, "{key}");
            }
            (_, Ok(summary)) => panic!("{key}: it is taken: {summary:?}, {rows:?}"),
            (_, Err(error)) => panic!("{key}: {error}"),
        }
    }
}

#[test]
fn every_key_of_a_job_file_is_in_the_table() {
    let text = JOB.replace("PLACE", "/place");
    let known = JobSpec::keys(&text, Path::new("job.yaml"), &|_| None).unwrap();
    let listed: BTreeSet<String> = KEYS.iter().map(|(key, ..)| (*key).to_owned()).collect();
    let unlisted: Vec<&String> = known.difference(&listed).collect();
    assert!(
        unlisted.is_empty(),
        "{unlisted:?}: write these keys into JOB and KEYS of {}, with what a change of them does to a job \
         that has run; what an answer depends on belongs to src/plan/held_settings.rs",
        file!()
    );
    let gone: Vec<&String> = listed.difference(&known).collect();
    assert!(gone.is_empty(), "no such keys: {gone:?}");
    for (key, _, becomes) in KEYS {
        let below = format!("{key}.");
        let is_section = known.iter().any(|other| other.starts_with(&below));
        assert!(!matches!(becomes, Section) || is_section, "{key} holds no other key");
        let last = key.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{last}:")), "{key} is not written in JOB");
    }
}
