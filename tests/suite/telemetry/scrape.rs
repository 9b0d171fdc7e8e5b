//! Metrics as Prometheus text, from an engine in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidegauge::observe::{Telemetry, TelemetrySettings, names};
use tidegauge::runtime::{Engine, OpenOptions, Progress};
use tidegauge_commitlog::{Clock, JobState, SourceState, SystemClock, VirtualClock};

use super::super::harness::compile;
use super::super::prometheus_text::parse;
use super::{expected, job, text};

/// Runs the job in this process, and gives the summary with the Prometheus text before and after.
pub(super) async fn scraped(job: &Path) -> (Value, String, String) {
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
pub(super) fn prometheus_name(name: &str) -> (String, &'static str) {
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
    assert!(requests("put", "ok") >= published, "{after}");
    assert_eq!(requests("get", "failed"), 0.0);
    assert!(requests("get", "ok") >= 2.0 && requests("list", "ok") >= 1.0, "{after}");
    let read = families["tidegauge_store_read_bytes_total"].samples.values().sum::<f64>();
    let input = families["tidegauge_source_read_bytes_total"].samples.values().sum::<f64>();
    assert!(read >= input, "{read} < {input}");
}
