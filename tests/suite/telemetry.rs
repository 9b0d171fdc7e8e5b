//! What a job shows of itself while it runs: spans and metrics as a receiver gets them, and as
//! Prometheus text; and that a receiver that is away is no trouble of the job's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidegauge::observe::{Telemetry, TelemetrySettings, names};
use tidegauge::runtime::{Engine, OpenOptions, Progress};
use tidegauge_commitlog::{Clock, JobState, SourceState, SystemClock, VirtualClock};

use super::binary::repository;
use super::harness::{compile, scratch};
use super::otlp_receiver::{Labels, Receiver, Span};
use super::process::{Ended, Env, run};
use super::prometheus_text::{Family, parse};

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
    let path = super::harness::write_job(folder.path(), &yaml, sql);
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
        (("tidegauge.state.size", text(&[job])), 0.0),
        (("tidegauge.state.runs", text(&[job])), 0.0),
        (
            ("tidegauge.sink.rows", text(&[job, ("sink", "out")])),
            summary["rows_out"]["out"].as_f64().unwrap(),
        ),
        // The last window ends at 00:03:00.
        (("tidegauge.source.watermark", text(&[job, source])), 1_767_225_780.0),
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
        assert_eq!(resource["deployment.environment.name"], "test");
    }
    assert!(!receiver.resources().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_fails_is_marked_and_counted_by_its_kind() {
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
    assert_eq!(of("tidegauge.epoch.failures", "bad_record"), 1.0);
    assert_eq!(of("tidegauge.epoch.failures", "unavailable"), 0.0);
    assert_eq!(of("tidegauge.epoch.retries", "bad_record"), 0.0);
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

/// Runs the job in this process, and gives the summary with the Prometheus text before and after.
async fn scraped(job: &Path) -> (Value, String, String) {
    let telemetry = Telemetry::start(TelemetrySettings::default().with_prometheus());
    let job = compile(job).await.observed(telemetry.metrics());
    let progress = Arc::new(Progress::default());
    let mut engine =
        Engine::open(job, OpenOptions::default(), Arc::new(SystemClock), progress).await.unwrap();
    let before = telemetry.prometheus_text();
    let summary = engine.run_once(true).await.unwrap();
    let after = telemetry.prometheus_text();
    drop(engine);
    let gone = telemetry.prometheus_text();
    assert!(!gone.contains("tidegauge_source_lag"), "a job that is over has no lag: {gone}");
    (serde_json::to_value(summary).unwrap(), before, after)
}

/// A metric's name and type as Prometheus has them.
fn prometheus_name(name: &str) -> (String, &'static str) {
    let metric = names::ALL.iter().find(|metric| metric.name == name).unwrap();
    let unit = match metric.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let (kind, suffix) = match name {
        _ if name.ends_with(".duration") => ("histogram", ""),
        "tidegauge.source.watermark"
        | "tidegauge.source.lag"
        | "tidegauge.epoch.number"
        | "tidegauge.state.size"
        | "tidegauge.state.runs" => ("gauge", ""),
        _ => ("counter", "_total"),
    };
    (format!("{}{unit}{suffix}", name.replace('.', "_")), kind)
}

#[tokio::test]
async fn prometheus_text_holds_the_same_numbers() {
    let (folder, job) = job();
    let (summary, before, after) = scraped(&job).await;
    let families = parse(&after);
    for ((name, labels), value) in expected(&summary, folder.path()) {
        let (name, kind) = prometheus_name(name);
        let family = &families[&name];
        assert_eq!(family.kind, kind, "{name}");
        let suffix = if kind == "histogram" { "_count" } else { "" };
        assert_eq!(family.samples[&(suffix.to_owned(), labels)], value, "{name}");
    }
    let lag = &families["tidegauge_source_lag_seconds"].samples;
    assert!(lag.values().all(|seconds| *seconds > 0.0), "{lag:?}");
    // Alerts on rates need counters that are there before the first failure.
    let before = parse(&before);
    assert!(before["tidegauge_epoch_failures_total"].samples.values().all(|value| *value == 0.0));
    assert!(before["tidegauge_epoch_commits_total"].samples.values().all(|value| *value == 0.0));
}

#[tokio::test]
async fn lag_grows_while_nothing_arrives() {
    let telemetry = Telemetry::start(TelemetrySettings::default().with_prometheus());
    let clock = Arc::new(VirtualClock::starting_at(60_000));
    let source = SourceState { max_event_time_us: Some(45_000_000), ..SourceState::default() };
    let sources = BTreeMap::from([("flows".to_owned(), source)]);
    let state = JobState { sources, ..JobState::default() };
    let lag = || {
        let families = parse(&telemetry.prometheus_text());
        let labels = text(&[("job_name", "minutes"), ("source", "flows")]);
        families["tidegauge_source_lag_seconds"].samples[&(String::new(), labels)]
    };
    let metrics = telemetry.metrics().job("minutes");
    let first = metrics.start(&state, Arc::clone(&clock) as Arc<dyn Clock>);
    // The clock moves on a little by itself.
    assert!((15.0..25.0).contains(&lag()), "{}", lag());
    clock.advance(Duration::from_secs(100));
    assert!((115.0..125.0).contains(&lag()), "{}", lag());
    // A job that is started again is there once, and stays when what was before it goes.
    let _second = metrics.start(&state, clock);
    drop(first);
    assert!((115.0..125.0).contains(&lag()), "{}", lag());
}

#[tokio::test]
async fn requests_to_the_store_are_counted_by_kind_and_outcome() {
    let (folder, job) = job();
    let (_, _, after) = scraped(&job).await;
    let families = parse(&after);
    let requests = |kind: &str, outcome: &str| {
        let labels = text(&[("job_name", "minutes"), ("kind", kind), ("outcome", outcome)]);
        let samples = &families["tidegauge_store_requests_total"].samples;
        samples.get(&(String::new(), labels)).copied().unwrap_or_default()
    };
    let files = std::fs::read_dir(folder.path().join("out")).unwrap();
    let published =
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some()).count() as f64;
    assert!(published > 0.0);
    assert_eq!(requests("rename", "ok"), published, "{after}");
    assert_eq!(requests("get", "failed"), 0.0);
    assert!(requests("get", "ok") >= 2.0 && requests("list", "ok") >= 1.0, "{after}");
    let read = families["tidegauge_store_read_bytes_total"].samples.values().sum::<f64>();
    let input = families["tidegauge_source_read_bytes_total"].samples.values().sum::<f64>();
    assert!(read >= input, "{read} < {input}");
}

/// The rows of the table of metrics in docs/observing.md.
fn documented() -> Vec<[String; 5]> {
    let page = std::fs::read_to_string(repository().join("docs/observing.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `tidegauge."));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
        let cells: Vec<String> = cells.collect();
        <[String; 5]>::try_from(cells).unwrap_or_else(|cells| panic!("{cells:?}"))
    })
    .collect()
}

#[tokio::test]
async fn the_documented_metrics_are_those_that_exist() {
    let (_folder, job) = job();
    let (_, _, after) = scraped(&job).await;
    let families = parse(&after);
    let mut listed = BTreeSet::new();
    for [name, shown, kind, unit, labels] in documented() {
        assert!(names::ALL.iter().any(|metric| metric.name == name), "{name} does not exist");
        assert_eq!((shown.as_str(), kind.as_str()), {
            let (shown, kind) = prometheus_name(&name);
            (&*shown.leak(), kind)
        });
        let metric = names::ALL.iter().find(|metric| metric.name == name).unwrap();
        let known = match metric.unit {
            "s" => "seconds".to_owned(),
            "By" => "bytes".to_owned(),
            counted => format!("{}s", counted.trim_matches(['{', '}'])),
        };
        assert_eq!(unit, known.replace("retrys", "retries"), "{name}");
        let family: &Family = families.get(&shown).unwrap_or_else(|| panic!("no {shown}"));
        assert_eq!(family.help, metric.description);
        let labels: BTreeSet<&str> = labels.split(", ").collect();
        for (_, found) in family.samples.keys() {
            let found: BTreeSet<&str> =
                found.keys().map(String::as_str).filter(|label| *label != "le").collect();
            assert_eq!(found, labels, "{name}");
        }
        listed.insert(shown);
    }
    let shown = families.keys().filter(|name| *name != "target_info").cloned();
    assert_eq!(listed, shown.collect::<BTreeSet<String>>());
    assert_eq!(listed.len(), names::ALL.len());
}

#[test]
fn every_query_of_the_dashboard_is_of_metrics_that_exist() {
    let path = repository().join("deploy/grafana/dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "job"]);
    let known: BTreeSet<String> = names::ALL
        .iter()
        .flat_map(|metric| match prometheus_name(metric.name) {
            (name, "histogram") => vec![format!("{name}_bucket"), format!("{name}_count")],
            (name, _) => vec![name],
        })
        .collect();
    let mut asked = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert!(query.contains("job_name=~\"$job\""), "{query}");
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for word in words.filter(|word| word.starts_with("tidegauge_")) {
                assert!(known.contains(word), "{word} in {query}");
                asked.insert(word.to_owned());
            }
        }
    }
    assert!(asked.len() > 12, "{asked:?}");
}
