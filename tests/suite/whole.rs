//! The whole shape at once: a service on two workers, all behind tokens, takes a job by HTTP and
//! answers for it by Flight SQL and in its metrics.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::binary::tidegauge;
use super::harness::scratch;
use super::process::Env;
use super::service_process::Service;
use super::worker_process::WorkerProcess;

const JOB: &str = "
name: whole
sources:
  flows:
    location: ./in/
    format: json
    schema: {ts: TIMESTAMP, host: VARCHAR, bytes: BIGINT}
    event_time: {column: ts, delay: 0s}
sql: |
  INSERT INTO host_minutes
  SELECT window_start, host, sum(bytes) AS bytes
  FROM TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1 minute')
  GROUP BY window_start, host
sinks:
  host_minutes: {location: ./out/}
state: {location: ./state/}
epoch: {interval: 50ms}
";

fn write_minute(folder: &Path, minute: u32) {
    let row = |second: u32, host: &str| {
        format!(
            "{{\"ts\":\"2026-03-01T00:{minute:02}:{second:02}Z\",\"host\":\"{host}\",\"bytes\":10}}\n"
        )
    };
    let path = folder.join(format!("in/{minute:02}.json"));
    std::fs::write(path, format!("{}{}{}", row(1, "a"), row(2, "b"), row(3, "a"))).unwrap();
}

/// The rows of a query, as soon as there are so many.
fn rows(folder: &Path, sql: &str, to: &str, env: &[(&str, &str)], count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let arguments = ["query", sql, "--to", to, "--format", "json"];
        let said = tidegauge(folder, &arguments, env).done();
        let rows: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if rows.len() >= count {
            return rows;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{sql}: only {rows:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_service_on_workers_takes_a_job_and_answers_for_it() {
    let folder = scratch();
    let folder = folder.path();
    std::fs::create_dir(folder.join("in")).unwrap();
    std::fs::write(folder.join("job.yaml"), JOB).unwrap();
    let made = tidegauge(folder, &["token", "all", "--role", "admin"], &[]).done();
    let token = made.split_whitespace().find(|word| word.starts_with("tg_")).unwrap().to_owned();
    let line = made.lines().find_map(|line| line.strip_prefix("line ")).unwrap().trim().to_owned();
    let tokens: Env = vec![("TIDEGAUGE_TOKENS".to_owned(), line.clone())];
    let workers: Vec<_> = (0..2).map(|_| WorkerProcess::start(&[], &tokens)).collect();
    let list = format!("{},{}", workers[0].address, workers[1].address);
    let serve = ["--flight", "127.0.0.1:0", "--submit-local", "--workers", &list];
    let env = [("TIDEGAUGE_TOKENS", line.as_str()), ("TIDEGAUGE_WORKER_TOKEN", token.as_str())];
    let bearer = [("TIDEGAUGE_TOKEN", token.as_str())];
    let submit = |service: &Service| {
        tidegauge(folder, &["submit", "job.yaml", "--to", &service.http], &bearer)
    };
    let shared = Service::start(folder, &[], &env);
    let refused = submit(&shared).failed(2);
    assert!(refused.contains("start the service with --submit-local"), "{refused}");
    shared.stop();
    let mut service = Service::start(folder, &serve, &env).with_token(&token);
    let flight = service.flight();
    submit(&service).done();

    write_minute(folder, 0);
    let open = "SELECT * FROM live.host_minutes ORDER BY host";
    let open = rows(folder, open, &flight, &bearer, 2);
    assert_eq!((&open[0]["host"], &open[0]["bytes"]), (&"a".into(), &20.into()));
    write_minute(folder, 1);
    let closed = "SELECT * FROM results.host_minutes ORDER BY host";
    let closed = rows(folder, closed, &flight, &bearer, 2);
    assert_eq!(closed, open);

    let refused = tidegauge(folder, &["query", "SELECT 1", "--to", &flight], &[]).failed(1);
    assert!(refused.contains("a token"), "{refused}");
    let status = service.job_that("whole", |job| job["phase"] == "running").await;
    assert_eq!(status["sources"]["flows"]["rows"]["used"], 6, "{status}");
    let metrics = reqwest::Client::new().get(format!("{}/metrics", service.http));
    let metrics = metrics.bearer_auth(&token).send().await.unwrap().text().await.unwrap();
    let used = metrics.lines().find(|line| {
        line.starts_with("tidegauge_source_rows_total") && line.contains("fate=\"used\"")
    });
    assert!(used.is_some_and(|line| line.ends_with(" 6")), "{metrics}");
    let alive = tidegauge(folder, &["health", "--ready", "--to", &service.http], &[]).done();
    assert!(alive.contains("true"), "{alive}");
    tidegauge(folder, &["stop", "whole", "--to", &service.http], &bearer).done();
    assert_eq!(service.stop().code, Some(0));
}
