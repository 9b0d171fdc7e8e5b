//! Files of sinks after their epoch: taken away by those who load them, deleted by retention, moved
//! with their sink, left behind by attempts that failed; and how many there are.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::binary::{files_below, tidegauge};
use super::harness::{published_rows, scratch};
use super::process;
use super::service_process::Service;
use super::slow_s3::SlowS3;
use super::worker_process::two_workers;

/// A job that passes rows through, with folders in `folder`.
fn pass(folder: &Path, sink: &str, more: &str) -> PathBuf {
    let place = folder.display();
    let yaml = format!(
        "name: pass
sources:
  flows:
    location: {place}/in/
    format: json
    schema: {{ts: TIMESTAMP, tenant: VARCHAR, bytes: BIGINT}}
    event_time: {{column: ts, delay: 1s}}
sql: INSERT INTO out SELECT ts, tenant, bytes FROM flows
sinks: {{out: {{{sink}}}}}
{more}
"
    );
    std::fs::create_dir_all(folder.join("in")).unwrap();
    let path = folder.join("job.yaml");
    std::fs::write(&path, yaml).unwrap();
    path
}

fn local(folder: &Path, sink: &str) -> PathBuf {
    let place = folder.display();
    let sink = format!("location: {place}/out/{sink}");
    pass(folder, &sink, &format!("state: {{location: {place}/state/}}"))
}

/// An input file of `rows` rows of tenants in turn, each with its number.
fn feed(folder: &Path, name: &str, numbers: std::ops::Range<u64>, tenants: u64) {
    let row = |n: u64| {
        let second = n % 60;
        format!(
            "{{\"ts\":\"2026-01-05T10:00:{second:02}Z\",\"tenant\":\"t{}\",\"bytes\":{n}}}\n",
            n % tenants
        )
    };
    let text: String = numbers.map(row).collect();
    std::fs::write(folder.join("in").join(name), text).unwrap();
}

fn once(job: &Path) -> process::Ended {
    process::run(job, &vec![], &["--once"])
}

/// Published files of a folder.
fn published(folder: &Path) -> Vec<PathBuf> {
    let is_published = |path: &&PathBuf| {
        path.extension().is_some_and(|ext| ext == "parquet") && !path.starts_with("_prepared")
    };
    files_below(folder).keys().filter(is_published).cloned().collect()
}

fn prepared(folder: &Path) -> usize {
    let files = files_below(folder);
    files.keys().filter(|path| path.starts_with("_prepared")).count()
}

fn record(folder: &Path, epoch: u64) -> Vec<u8> {
    std::fs::read(folder.join(format!("state/pass/log/{epoch:020}.json"))).unwrap()
}

#[tokio::test]
async fn a_loader_may_take_published_files_away() {
    let folder = scratch();
    let job = local(folder.path(), "");
    for epoch in 1..4 {
        feed(folder.path(), &format!("{epoch}.json"), epoch * 10..epoch * 10 + 3, 2);
        let ended = once(&job);
        assert_eq!(ended.summary()["rows_out"]["out"], 3, "{ended:?}");
        assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
        assert!(!published(&folder.path().join("out")).is_empty());
        std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
    // It died before it could say that it had published.
    std::fs::remove_dir_all(folder.path().join("state/pass/published")).unwrap();
    feed(folder.path(), "4.json", 40..43, 2);
    let ended = once(&job);
    assert_eq!(ended.summary()["rows_out"]["out"], 3);
    assert!(ended.stderr.contains("is committed and is not there"), "{}", ended.stderr);
    assert_eq!(published_rows(&job, "out").await.len(), 3);
}

#[tokio::test]
async fn a_sink_may_get_another_location() {
    let folder = scratch();
    let job = local(folder.path(), "");
    feed(folder.path(), "1.json", 0..3, 1);
    once(&job).summary();
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, text.replace("/out/}", "/out2/}")).unwrap();
    feed(folder.path(), "2.json", 3..6, 1);
    once(&job).summary();
    assert_eq!(published(&folder.path().join("out")).len(), 1);
    assert_eq!(published(&folder.path().join("out2")).len(), 1);
}

#[tokio::test]
async fn an_epoch_makes_one_file_of_each_value_however_rows_arrive() {
    let folder = scratch();
    let job = local(folder.path(), ", partition_by: [tenant]");
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, format!("{text}partitions: 3\nmemory_max: 64MiB\n")).unwrap();
    for n in 0..6 {
        feed(folder.path(), &format!("{n}.json"), n * 4_000..(n + 1) * 4_000, 700);
    }
    once(&job).summary();
    assert_eq!(published(&folder.path().join("out")).len(), 700);
    assert_eq!(published_rows(&job, "out").await.len(), 24_000);
    let bytes = record(folder.path(), 1).len();
    assert!(bytes < 700 * 160, "{bytes} bytes of a record of 700 files");
}

#[tokio::test]
async fn queries_into_one_sink_share_its_files() {
    let folder = scratch();
    let job = local(folder.path(), ", partition_by: [tenant]");
    let text = std::fs::read_to_string(&job).unwrap();
    let two = "sql: INSERT INTO out SELECT ts, tenant, bytes FROM flows WHERE bytes < 50; INSERT INTO out SELECT ts, tenant, bytes FROM flows WHERE bytes >= 50\n";
    let text = text.replace("sql: INSERT INTO out SELECT ts, tenant, bytes FROM flows\n", two);
    std::fs::write(&job, text).unwrap();
    feed(folder.path(), "1.json", 0..100, 5);
    once(&job).summary();
    assert_eq!(published(&folder.path().join("out")).len(), 5);
    assert_eq!(published_rows(&job, "out").await.len(), 100);
}

#[tokio::test]
async fn texts_of_any_make_share_a_sink() {
    let folder = scratch();
    let job = local(folder.path(), "");
    let text = std::fs::read_to_string(&job).unwrap();
    let columns = "INSERT INTO out SELECT ts, tenant";
    let make = |value: &str| format!("{columns}, {value} AS kind, {{named}} AS inner FROM flows");
    let inner = |value: &str| format!("named_struct('of', {value})");
    let makes =
        ["tenant", "'a text'", "NULL", "concat(tenant, '!')", "arrow_cast(tenant, 'LargeUtf8')"];
    let all =
        makes.map(|value| make(value).replace("{named}", &inner(value).replace("NULL", "''")));
    let one = "INSERT INTO out SELECT ts, tenant, bytes FROM flows";
    std::fs::write(&job, text.replace(one, &all.join("; "))).unwrap();
    feed(folder.path(), "1.json", 0..1, 1);
    once(&job).summary();
    let mut kinds: Vec<String> = published_rows(&job, "out").await;
    kinds.sort();
    let kinds: Vec<&str> = kinds.iter().filter_map(|row| row.split(" | ").nth(2)).collect();
    assert_eq!(kinds, ["NULL", "a text", "t0", "t0", "t0!"]);
}

#[tokio::test]
async fn tasks_of_workers_name_their_files_apart() {
    let (_workers, list) = two_workers();
    let folder = scratch();
    let job = local(folder.path(), ", partition_by: [tenant]");
    feed(folder.path(), "a.json", 0..3_000, 500);
    feed(folder.path(), "b.json", 3_000..4_000, 500);
    process::run(&job, &vec![], &["--once", "--workers", &list]).summary();
    assert_eq!(published_rows(&job, "out").await.len(), 4_000);
    let files = published(&folder.path().join("out")).len();
    assert!((500..=1_000).contains(&files), "{files} files of 500 values and two tasks");
    let record: Value = serde_json::from_slice(&record(folder.path(), 1)).unwrap();
    let names = record["files"].as_array().unwrap().iter().map(|file| file["prepared"].to_string());
    let names: std::collections::BTreeSet<String> = names.collect();
    assert_eq!(names.len(), files);
}

#[tokio::test]
async fn attempts_that_fail_leave_nothing_behind() {
    let folder = scratch();
    let job = local(folder.path(), ", partition_by: [tenant]");
    feed(folder.path(), "1.json", 0..20_000, 300);
    let text = std::fs::read_to_string(&job).unwrap();
    let windows = "; INSERT INTO out SELECT window_end AS ts, tenant, count(*) AS bytes FROM \
                   TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' HOUR) \
                   GROUP BY window_start, window_end, tenant\nsinks";
    let text = text.replace("\nsinks", windows);
    std::fs::write(&job, format!("{text}epoch: {{retry: 1}}\n")).unwrap();
    // The rows of the first query are written when the state of the second cannot be.
    let runs = folder.path().join("state/pass/runs");
    std::fs::create_dir_all(runs.parent().unwrap()).unwrap();
    std::fs::write(&runs, "no folder").unwrap();
    for _ in 0..2 {
        let ended = once(&job);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(folder.path().join("out/_prepared/pass").is_dir(), "files were written");
        assert_eq!(prepared(&folder.path().join("out")), 0);
    }
    std::fs::remove_file(&runs).unwrap();
    once(&job).summary();
    assert_eq!(published_rows(&job, "out").await.len(), 20_000);
}

#[tokio::test]
async fn three_thousand_partitions_on_a_distant_store_are_written_side_by_side() {
    let server = SlowS3::start(Duration::from_millis(40));
    let folder = scratch();
    let state = "state: {location: s3://tide/state/}\npartitions: 2";
    let job = pass(folder.path(), "location: s3://tide/out/, partition_by: [tenant]", state);
    feed(folder.path(), "1.json", 0..100_000, 3_000);
    let began = Instant::now();
    process::run(&job, &server.env(), &["--once"]).summary();
    let took = began.elapsed();
    let requests = server.requests();
    println!("{took:?}, at most {} at once: {requests:?}", server.running_max());
    let objects = server.objects();
    let names = objects.keys().filter(|key| key.starts_with("tide/out/tenant="));
    assert_eq!(names.count(), 3_000);
    assert!(requests["delete"] >= 1, "what was prepared is cleared away");
    assert_eq!(requests["copy"], 3_000);
    assert!(requests["put"] < 3_020 && requests.get("head").is_none_or(|n| *n < 20));
    assert!(took < Duration::from_secs(60), "6,000 requests of 40 ms one by one take 240 s");
    assert!((32..=80).contains(&server.running_max()), "{}", server.running_max());
}

#[tokio::test]
async fn a_service_that_is_fenced_stands_by_and_takes_over() {
    let folder = scratch();
    let place = folder.path().display();
    let more = format!(
        "epoch: {{interval: 100ms}}\nstate: {{location: {place}/state/, takeover_after: 1s}}"
    );
    let job = pass(folder.path(), &format!("location: {place}/out/"), &more);
    let job = job.to_str().unwrap();
    let places = [scratch(), scratch()];
    let start = |n: usize| Service::start(places[n].path(), &[job], &[]);
    let mut services = vec![start(0), start(1)];
    let standby = |status: &Value| status["phase"] == "standby";
    // Both run on until one has lost an epoch to the other.
    let mut fed = 0;
    let (loser, mut winner) = loop {
        feed(folder.path(), &format!("{fed:04}.json"), fed * 10..fed * 10 + 10, 3);
        fed += 1;
        assert!(fed < 300, "two coordinators ran side by side to the end");
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mut at = None;
        for (n, service) in services.iter().enumerate() {
            if standby(&service.get("/api/jobs/pass").await.body) {
                at = Some(n);
            }
        }
        if let Some(at) = at {
            let loser = services.remove(at);
            break (loser, services.remove(0));
        }
    };
    let ready = loser.get("/readyz").await;
    assert_eq!((ready.status, &ready.body["standby"][0]), (200, &Value::from("pass")));
    winner.signal("KILL");
    assert!(winner.ended().code.is_none());
    feed(folder.path(), "last.json", fed * 10..fed * 10 + 10, 3);
    loser.job_that("pass", |status| status["phase"] == "running").await;
    let done = |status: &Value| status["sources"]["flows"]["rows"]["rows_in"] == (fed + 1) * 10;
    loser.job_that("pass", done).await;
    assert_eq!(loser.stop().code, Some(0));
    assert_eq!(published_rows(Path::new(job), "out").await.len() as u64, (fed + 1) * 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_answer_from_the_files_that_are_there() {
    let folder = scratch();
    let place = folder.path().display();
    let more = format!("epoch: {{interval: 100ms}}\nstate: {{location: {place}/state/}}");
    let sink = format!("location: {place}/out/, partition_by: [tenant]");
    let job = pass(folder.path(), &sink, &more);
    feed(folder.path(), "1.json", 0..90, 3);
    let at = folder.path().to_owned();
    let job = job.to_str().unwrap().to_owned();
    let mut service = Service::start(&at, &["--flight", "127.0.0.1:0", &job], &[]);
    let flight = service.flight();
    let rows_in = |status: &Value| status["sources"]["flows"]["rows"]["rows_in"] == 90;
    service.job_that("pass", rows_in).await;
    let ask = |sql: &'static str| {
        let (at, flight) = (at.clone(), flight.clone());
        tokio::task::spawn_blocking(move || {
            tidegauge(&at, &["query", sql, "--to", &flight, "--format", "json"], &[]).done()
        })
    };
    let count = "SELECT count(*) AS n FROM out";
    assert_eq!(ask(count).await.unwrap().trim(), r#"{"n":90}"#);
    std::fs::remove_dir_all(at.join("out/tenant=t1")).unwrap();
    assert_eq!(ask(count).await.unwrap().trim(), r#"{"n":60}"#);
    let by_tenant = "SELECT tenant, count(bytes) AS n FROM out GROUP BY tenant ORDER BY tenant";
    let answer = ask(by_tenant).await.unwrap();
    assert_eq!(
        answer.trim(),
        "{\"tenant\":\"t0\",\"n\":30}\n{\"tenant\":\"t2\",\"n\":30}",
        "{answer}"
    );
    let ended = service.stop();
    let told = ended.stderr.matches("committed files of the sink out are not there").count();
    assert_eq!(told, 1, "{}", ended.stderr);
}
