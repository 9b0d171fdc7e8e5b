//! What workers show of a job that runs on them: their part of each epoch's trace, and their
//! requests to storage; nothing else, since the coordinator counts the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::harness::{scratch, write_job};
use super::super::otlp_receiver::{Labels, Receiver, Span};
use super::super::process::run;
use super::super::worker_process::{WorkerProcess, two_workers_in};

const COORDINATOR: &str = "tidegauge";
const WORKER: &str = "tidegauge-worker";
const FILES: usize = 6;

/// A job of three epochs of two files. In the first no window closes, in the second there are too
/// many runs and some are merged, and in the last all close.
fn job() -> (TempDir, PathBuf) {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    for file in 0..FILES {
        let row = |minute: usize, tenant: &str| {
            format!(r#"{{"ts": "2026-01-01T00:{minute:02}:{file:02}Z", "tenant": "{tenant}"}}"#)
        };
        let rows = [row(file, "a"), row(file, "b"), row(file + 1, "a")];
        let path = folder.path().join(format!("in/{file}.json"));
        std::fs::write(path, rows.join("\n")).unwrap();
    }
    let at = folder.path().display();
    let yaml = format!(
        "name: shared
sources:
  flows:
    location: {at}/in/
    format: json
    schema: {{ts: TIMESTAMP, tenant: VARCHAR}}
    event_time: {{column: ts, delay: 90s}}
sinks:
  out: {{location: {at}/out/}}
state: {{location: {at}/state/, runs_max: 2}}
epoch: {{files_max: 2}}"
    );
    let sql = "INSERT INTO out
SELECT window_start, tenant, count(*) AS n
FROM TUMBLE(flows, ts, INTERVAL '1 minute')
GROUP BY window_start, tenant";
    let path = write_job(folder.path(), &yaml, sql);
    (folder, path)
}

fn arguments(workers: &str) -> [&str; 4] {
    ["--once", "--drain", "--workers", workers]
}

fn service(span: &Span) -> &str {
    &span.resource["service.name"]
}

fn number(span: &Span, key: &str) -> u64 {
    span.attributes.get(key).map_or(0, |text| text.parse().unwrap())
}

/// Number and bytes of the runs and the sink's files, all of which workers wrote.
fn written(folder: &Path) -> (f64, f64) {
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![folder.join("state/shared/runs"), folder.join("out")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                Some(extension) if extension == "parquet" => {
                    files += 1;
                    bytes += path.metadata().unwrap().len();
                }
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    (f64::from(files), bytes as f64)
}

fn total(metrics: &BTreeMap<(String, Labels), f64>, name: &str) -> f64 {
    metrics.iter().filter(|((of, _), _)| of == name).map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_on_workers_is_one_trace_with_their_tasks_below_its_steps() {
    let (_folder, job) = job();
    let receiver = Receiver::start().await;
    let (workers, list) = two_workers_in(&receiver.env());
    assert_eq!(run(&job, &receiver.env(), &arguments(&list)).summary()["epochs"], 3);
    workers.into_iter().for_each(WorkerProcess::stop);
    let spans = receiver.spans();
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&span.id[..], span)).collect();
    let of_workers: Vec<&Span> = spans.iter().filter(|span| service(span) == WORKER).collect();
    let mut below: BTreeMap<&[u8], Vec<&Span>> = BTreeMap::new();
    for task in &of_workers {
        assert!(task.name == "task" && task.error.is_none(), "{task:?}");
        let step = by_id[&task.parent[..]];
        let epoch = by_id[&step.parent[..]];
        assert!(service(step) == COORDINATOR && epoch.name == "epoch", "{step:?} {epoch:?}");
        assert_eq!((&task.trace, &step.trace), (&epoch.trace, &epoch.trace));
        assert_eq!(task.attributes["epoch"], epoch.attributes["epoch"]);
        assert_eq!(task.attributes["job_name"], "shared");
        assert_eq!(step.name, step_of(&task.attributes["node"]));
        assert!(step.start_ns <= task.start_ns && task.end_ns <= step.end_ns, "{task:?} {step:?}");
        below.entry(&step.id).or_default().push(task);
    }
    let mut steps: Vec<&str> = Vec::new();
    for (step, tasks) in &below {
        let step = by_id[step];
        steps.push(&step.name);
        let mut at: Vec<u64> = tasks.iter().map(|task| number(task, "task")).collect();
        at.sort_unstable();
        assert_eq!(at, [0, 1]);
        for key in ["files", "rows", "bytes"] {
            let sum: u64 = tasks.iter().map(|task| number(task, key)).sum();
            // The state is also made of runs that ingest wrote and that stay as they are.
            let is_all = sum == number(step, key);
            assert!(is_all || step.name == "state" && sum < number(step, key), "{key} {step:?}");
            assert!(sum > 0, "{key} of {tasks:?}");
        }
    }
    steps.sort_unstable();
    assert_eq!(steps, ["close", "close", "ingest", "ingest", "ingest", "state"]);
    let processes: BTreeSet<&str> =
        of_workers.iter().map(|span| span.resource["service.instance.id"].as_str()).collect();
    assert_eq!(processes.len(), 2);
}

/// The coordinator's step that a node of workers belongs to.
fn step_of(node: &str) -> &'static str {
    match node {
        "ingest" => "ingest",
        "sink" => "close",
        "run" => "state",
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_workers_are_counted_there_and_rows_only_by_the_coordinator() {
    let (folder, job) = job();
    let receiver = Receiver::start().await;
    let (workers, list) = two_workers_in(&receiver.env());
    let summary = run(&job, &receiver.env(), &arguments(&list)).summary();
    workers.into_iter().for_each(WorkerProcess::stop);
    let (mine, theirs) = (receiver.metrics_of(COORDINATOR), receiver.metrics_of(WORKER));
    for (name, labels) in theirs.keys() {
        assert!(name.starts_with("tidegauge.store."), "{name}");
        assert_eq!(labels["job_name"], "shared");
    }
    let requests = |metrics: &BTreeMap<(String, Labels), f64>, kind: &str| {
        let labels = [("job_name", "shared"), ("kind", kind), ("outcome", "ok")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let key = ("tidegauge.store.requests".to_owned(), labels.into());
        metrics.get(&key).copied().unwrap_or_default()
    };
    let (files, bytes) = written(folder.path());
    assert!(files > 0.0);
    assert_eq!((requests(&theirs, "put"), requests(&mine, "put")), (files, 0.0));
    let bytes_written = "tidegauge.store.written";
    assert_eq!((total(&theirs, bytes_written), total(&mine, bytes_written)), (bytes, 0.0));
    // Each file of the source is one request; the rest reads runs.
    assert!(requests(&theirs, "get") > FILES as f64, "{theirs:?}");
    let bytes_in = total(&mine, "tidegauge.source.read");
    assert!(total(&theirs, "tidegauge.store.read") > bytes_in && bytes_in > 0.0, "{theirs:?}");
    assert_eq!(total(&mine, "tidegauge.store.read"), 0.0);
    assert_eq!(total(&mine, "tidegauge.source.rows"), summary["rows_in"].as_f64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_is_marked_as_its_step_is() {
    let (folder, job) = job();
    std::fs::write(folder.path().join("in/1.json"), "{\"ts\": \"never\"}\n").unwrap();
    let receiver = Receiver::start().await;
    let (workers, list) = two_workers_in(&receiver.env());
    let ended = run(&job, &receiver.env(), &arguments(&list));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    workers.into_iter().for_each(WorkerProcess::stop);
    let spans = receiver.spans();
    let failed: Vec<&Span> = spans.iter().filter(|span| span.error.is_some()).collect();
    let mut names: Vec<&str> = failed.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["epoch", "ingest", "task"]);
    for span in failed {
        assert_eq!(span.attributes["error.type"], "bad_record");
        assert!(span.error.as_ref().unwrap().contains("1.json:1"), "{span:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_observed_where_the_coordinator_is_not() {
    let (folder, job) = job();
    let receiver = Receiver::start().await;
    let (workers, list) = two_workers_in(&receiver.env());
    run(&job, &vec![], &arguments(&list)).summary();
    workers.into_iter().for_each(WorkerProcess::stop);
    let spans = receiver.spans();
    assert!(!spans.is_empty());
    for span in &spans {
        assert_eq!((span.name.as_str(), service(span)), ("task", WORKER));
        assert!(span.parent.is_empty(), "the parent is not exported: {span:?}");
    }
    let theirs = receiver.metrics_of(WORKER);
    assert_eq!(total(&theirs, "tidegauge.store.written"), written(folder.path()).1);
}
