//! What a job shows of itself while it runs: spans and metrics as a receiver gets them, and as
//! Prometheus text; and that a receiver that is away is no trouble of the job's.

mod pages;
mod scrape;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidegauge::observe::names;

use super::harness::{scratch, write_job};
use super::otlp_receiver::{Labels, Receiver, Span};
use super::process::{Ended, Env, run};
use super::s3_server::S3Server;
use super::storm::Storm;

const ARGUMENTS: [&str; 2] = ["--once", "--drain"];

/// A job of one windowed query over two files, an epoch each: of their seven rows one is late, one
/// filtered and one without a time.
fn job() -> (TempDir, PathBuf) {
    let folder = scratch();
    let first = [
        r#"{"ts": "2026-01-01T00:00:01Z", "tenant": "a", "bytes": 1}"#,
        r#"{"ts": "2026-01-01T00:00:02Z", "tenant": "a", "bytes": 0}"#,
        r#"{"tenant": "a", "bytes": 1}"#,
        r#"{"ts": "2026-01-01T00:01:30Z", "tenant": "b", "bytes": 4}"#,
    ];
    let second = [
        r#"{"ts": "2026-01-01T00:00:30Z", "tenant": "a", "bytes": 8}"#,
        r#"{"ts": "2026-01-01T00:01:31Z", "tenant": "a", "bytes": 16}"#,
        r#"{"ts": "2026-01-01T00:02:30Z", "tenant": "a", "bytes": 32}"#,
    ];
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("in/a.json"), first.join("\n")).unwrap();
    std::fs::write(folder.path().join("in/b.json"), second.join("\n")).unwrap();
    let at = folder.path().display();
    let yaml = format!(
        "name: minutes
sources:
  flows:
    location: {at}/in/
    format: json
    schema: {{ts: TIMESTAMP, tenant: VARCHAR, bytes: BIGINT}}
    event_time: {{column: ts, delay: 1s}}
sinks:
  out: {{location: {at}/out/}}
state: {{location: {at}/state/}}
epoch: {{files_max: 1, retry: 2}}"
    );
    let sql = "INSERT INTO out
SELECT window_start, tenant, sum(bytes) AS bytes
FROM TUMBLE(flows, ts, INTERVAL '1 minute') WHERE bytes > 0
GROUP BY window_start, tenant";
    let path = write_job(folder.path(), &yaml, sql);
    (folder, path)
}

fn text(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What the summary and the files say each series must be.
fn expected(summary: &Value, folder: &Path) -> BTreeMap<(&'static str, Labels), f64> {
    let number = |key: &str| summary[key].as_f64().unwrap();
    let size = |path: &str| std::fs::metadata(folder.join(path)).unwrap().len() as f64;
    let job = ("job_name", "minutes");
    let source = ("source", "flows");
    let mut series = BTreeMap::from([
        (("tidegauge.epoch.commits", text(&[job])), number("epochs")),
        (("tidegauge.epoch.duration", text(&[job])), number("epochs")),
        (("tidegauge.epoch.number", text(&[job])), number("epochs")),
        (("tidegauge.source.files", text(&[job, source])), number("files")),
        (("tidegauge.source.read", text(&[job, source])), size("in/a.json") + size("in/b.json")),
        (("tidegauge.source.ahead", text(&[job, source])), number("rows_ahead")),
        (("tidegauge.state.size", text(&[job])), 0.0),
        (("tidegauge.state.runs", text(&[job])), 0.0),
        (
            ("tidegauge.sink.rows", text(&[job, ("sink", "out")])),
            summary["rows_out"]["out"].as_f64().unwrap(),
        ),
        // The latest event time less the delay: what a drain closes does not move it.
        (("tidegauge.source.watermark", text(&[job, source])), 1_767_225_749.0),
    ]);
    for fate in ["used", "filtered", "late", "quarantined"] {
        let labels = text(&[job, source, ("fate", fate)]);
        series.insert(("tidegauge.source.rows", labels), number(&format!("rows_{fate}")));
    }
    series
}

#[tokio::test(flavor = "multi_thread")]
async fn each_epoch_is_one_tree_of_its_steps() {
    let (_folder, job) = job();
    let receiver = Receiver::start().await;
    let ended = run(&job, &receiver.env(), &ARGUMENTS);
    assert_eq!(ended.summary()["epochs"], 2);
    let spans = receiver.spans();
    let epochs: Vec<&Span> = spans.iter().filter(|span| span.name == "epoch").collect();
    let told: Vec<(&str, &str, &str)> = epochs
        .iter()
        .map(|epoch| {
            let of = |key: &str| epoch.attributes[key].as_str();
            (of("epoch"), of("rows"), of("files"))
        })
        .collect();
    assert_eq!(told, [("1", "4", "1"), ("2", "3", "1")]);
    let mut attempts = BTreeSet::new();
    for epoch in &epochs {
        assert!(epoch.parent.is_empty() && epoch.error.is_none(), "{epoch:?}");
        assert_eq!(epoch.attributes["job_name"], "minutes");
        attempts.insert(&epoch.attributes["attempt"]);
        let tree: Vec<&Span> = spans.iter().filter(|span| span.trace == epoch.trace).collect();
        let names: Vec<&str> = tree.iter().map(|span| span.name.as_str()).collect();
        let steps = ["epoch", "ingest", "advance", "close", "state", "commit", "publish"];
        assert_eq!(names, steps);
        for pair in tree[1..].windows(2) {
            assert!(pair[0].end_ns <= pair[1].start_ns, "{pair:?}");
        }
        for step in &tree[1..] {
            assert_eq!(step.parent, epoch.id, "{step:?}");
            assert!(epoch.start_ns <= step.start_ns && step.end_ns <= epoch.end_ns, "{step:?}");
        }
        assert_eq!(tree[1].attributes["source"], "flows");
        assert_eq!(tree[1].attributes["rows"], epoch.attributes["rows"]);
        assert_eq!(tree[3].attributes["sink"], "out");
    }
    assert_eq!(attempts.len(), 2);
    let listings: Vec<&Span> = spans.iter().filter(|span| span.name == "discover").collect();
    assert_eq!(listings.len(), 1, "{listings:?}");
    assert_eq!(listings[0].attributes["files"], "2");
    assert_eq!(spans.len(), 2 * 7 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_metrics_are_the_summarys() {
    let (folder, job) = job();
    let receiver = Receiver::start().await;
    let mut env = receiver.env();
    let attributes = "deployment.environment.name=test,service.version=7";
    env.push(("OTEL_RESOURCE_ATTRIBUTES".to_owned(), attributes.to_owned()));
    let summary = run(&job, &env, &ARGUMENTS).summary();
    assert_eq!(summary["rows_late"], 1, "{summary}");
    assert_eq!(summary["rows_quarantined"], 1, "{summary}");
    let metrics = receiver.metrics();
    for ((name, labels), value) in expected(&summary, folder.path()) {
        assert_eq!(
            metrics.get(&(name.to_owned(), labels.clone())),
            Some(&value),
            "{name}{labels:?}"
        );
    }
    let stage: f64 = metrics
        .iter()
        .filter(|((name, _), _)| name == "tidegauge.stage.rows")
        .map(|(_, value)| value)
        .sum();
    assert_eq!(stage, 6.0, "all rows but the one without a time");
    let found: BTreeSet<&str> = metrics.keys().map(|(name, _)| name.as_str()).collect();
    assert_eq!(found, names::ALL.iter().map(|name| name.name).collect());
    for resource in receiver.resources() {
        assert_eq!(resource["service.name"], "tidegauge");
        assert_eq!(resource["service.version"], "7");
        assert_eq!(resource["service.instance.id"].len(), 32);
        assert_eq!(resource["deployment.environment.name"], "test");
    }
    assert!(!receiver.resources().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_fails_is_marked_by_its_kind_and_its_file_is_counted() {
    let (folder, job) = job();
    std::fs::write(folder.path().join("in/b.json"), "{\"ts\": \"never\"}\n").unwrap();
    let receiver = Receiver::start().await;
    let ended = run(&job, &receiver.env(), &ARGUMENTS);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let spans = receiver.spans();
    let failed: Vec<&Span> = spans.iter().filter(|span| span.error.is_some()).collect();
    let mut names: Vec<&str> = failed.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["epoch", "ingest"]);
    for span in failed {
        assert_eq!(span.attributes["error.type"], "bad_record");
        assert!(span.error.as_ref().unwrap().contains("b.json:1"), "{span:?}");
    }
    let metrics = receiver.metrics();
    let of = |name: &str, kind: &str| {
        metrics[&(name.to_owned(), text(&[("job_name", "minutes"), ("kind", kind)]))]
    };
    // The epoch goes on without the file, and the run says so at its end.
    assert_eq!(of("tidegauge.epoch.failures", "bad_record"), 0.0);
    assert_eq!(of("tidegauge.epoch.failures", "unavailable"), 0.0);
    let parked = text(&[("fate", "parked"), ("job_name", "minutes"), ("source", "flows")]);
    assert_eq!(metrics[&("tidegauge.source.files.odd".to_owned(), parked)], 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_a_tree_and_retries_are_counted() {
    let (folder, job) = job();
    // No file can be prepared where the folder for them is a file.
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out/_prepared"), "").unwrap();
    let receiver = Receiver::start().await;
    let ended = run(&job, &receiver.env(), &ARGUMENTS);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let spans = receiver.spans();
    let epochs: Vec<&Span> = spans.iter().filter(|span| span.name == "epoch").collect();
    let retries: Vec<&str> = epochs.iter().map(|span| span.attributes["retry"].as_str()).collect();
    assert_eq!(retries, ["0", "1", "2"]);
    for epoch in epochs {
        assert_eq!(epoch.attributes["error.type"], "unavailable");
        let tree = spans.iter().filter(|span| span.parent == epoch.id);
        let steps: Vec<(&str, bool)> =
            tree.map(|span| (span.name.as_str(), span.error.is_some())).collect();
        assert_eq!(steps, [("ingest", false), ("advance", false), ("close", true)]);
    }
    let metrics = receiver.metrics();
    let labels = text(&[("job_name", "minutes"), ("kind", "unavailable")]);
    let of = |name: &str| metrics[&(name.to_owned(), labels.clone())];
    assert_eq!(of("tidegauge.epoch.retries"), 2.0);
    assert_eq!(of("tidegauge.epoch.failures"), 1.0);
    let rows = metrics.keys().filter(|(name, _)| name == "tidegauge.source.rows");
    assert_eq!(rows.count(), 0, "what was not committed is not counted");
}

/// A run with a receiver that does not answer does all it would do, a bounded time later, and
/// says once of each signal that it is not exported, or that it was given up.
fn is_no_trouble(endpoint: &str) {
    let (folder, job) = job();
    let env: Env = vec![("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.to_owned())];
    let started = Instant::now();
    let ended = run(&job, &env, &ARGUMENTS);
    let elapsed = started.elapsed();
    let summary = ended.summary();
    assert_eq!((&summary["epochs"], &summary["rows_in"]), (&2.into(), &7.into()));
    assert!(summary["elapsed_s"].as_f64().unwrap() < 2.5, "the epochs did not wait: {summary}");
    // The bound is three seconds; the rest is a busy machine's.
    assert!(elapsed < Duration::from_secs(8), "{elapsed:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let complaints = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(complaints("spans are not exported") + complaints("was given up"), 1, "{lines:?}");
    assert!(complaints("metrics are not exported") <= 1 && lines.len() <= 2, "{lines:?}");
    assert!(folder.path().join("out").is_dir());
}

#[test]
fn a_receiver_that_is_away_is_no_trouble() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    is_no_trouble(&endpoint);
}

#[test]
fn a_receiver_that_hangs_is_no_trouble() {
    // Connections are made by the kernel, and nobody ever reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    is_no_trouble(&format!("http://{}", listener.local_addr().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_a_warning_and_nothing_is_sent() {
    let (_folder, job) = job();
    let receiver = Receiver::start().await;
    let mut env = receiver.env();
    env.push(("OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(), "http/protobuf".to_owned()));
    let ended: Ended = run(&job, &env, &ARGUMENTS);
    assert_eq!(ended.summary()["epochs"], 2);
    assert!(ended.stderr.contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"), "{ended:?}");
    assert!(receiver.spans().is_empty() && receiver.metrics().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_s3_are_counted_and_change_nothing() {
    let Some(server) = S3Server::start() else { return };
    let storm = Storm::s3(&server, "counted", 6, 200).await;
    let (expected, _) = storm.undisturbed().await;
    let receiver = Receiver::start().await;
    let mut outcome = storm.outcome("counted");
    for (name, value) in receiver.env() {
        outcome = outcome.with(&name, &value);
    }
    let summary = storm.run(&outcome).summary();
    outcome.assert_shows(&expected).await;
    let published = outcome.committed().await.len() as f64;
    let metrics = receiver.metrics();
    let requests = |kind: &str, answer: &str| {
        let labels = text(&[("job_name", "storm"), ("kind", kind), ("outcome", answer)]);
        metrics.get(&("tidegauge.store.requests".to_owned(), labels)).copied().unwrap_or_default()
    };
    assert!(published > 0.0);
    assert_eq!(requests("copy", "ok"), published, "{metrics:?}");
    let epochs = summary["epochs"].as_f64().unwrap();
    assert!(requests("put", "ok") >= published + epochs, "{metrics:?}");
    assert_eq!(requests("put", "refused") + requests("put", "failed"), 0.0, "{metrics:?}");
    let files = summary["files"].as_f64().unwrap();
    assert!(requests("get", "ok") >= files, "{metrics:?}");
    assert!(requests("list", "ok") >= 1.0 && requests("delete", "ok") >= published, "{metrics:?}");
}
