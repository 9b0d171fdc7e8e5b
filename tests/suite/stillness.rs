//! Time that stands still, and rows that come after it has moved on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge::error::ErrorKind;
use tidegauge::runtime::{Engine, OpenOptions};
use tidegauge_commitlog::VirtualClock;
use tidegauge_spec::JobSpec;

use super::harness::{compile, open, published_rows, run_drained, scratch, write_job};
use super::leaping::Run;

const SQL: &str = "INSERT INTO out SELECT date_trunc('minute', ts) AS w, count(*) AS n FROM t \
                   GROUP BY date_trunc('minute', ts);";

fn job(folder: &Path) -> PathBuf {
    job_with(folder, "", SQL)
}

/// A job with more settings of event time; all others are the defaults.
fn job_with(folder: &Path, event_time: &str, sql: &str) -> PathBuf {
    let place = folder.display();
    fs::create_dir_all(folder.join("in")).unwrap();
    let yaml = format!(
        "name: still\nsources:\n  t:\n    location: {place}/in/\n    format: json\n    schema: {{ts: \
         TIMESTAMP, x: BIGINT}}\n    event_time: {{column: ts, delay: 10s{event_time}}}\n\
         sinks:\n  out: {{location: {place}/out/}}\nepoch: {{interval: 2s, files_max: 1}}\n\
         state: {{location: {place}/state/}}"
    );
    write_job(folder, &yaml, sql)
}

fn write_rows(folder: &Path, name: &str, times: &[&str]) {
    let rows: String = times.iter().map(|ts| format!("{{\"ts\": {ts}, \"x\": 1}}\n")).collect();
    fs::create_dir_all(folder.join("in")).unwrap();
    fs::write(folder.join("in").join(name), rows).unwrap();
}

/// Puts down a file with one row of this time in the course of a run.
fn delivery(folder: &Path, name: &'static str, time: &'static str) -> impl FnOnce() + Send + use<> {
    let folder = folder.to_owned();
    move || write_rows(&folder, name, &[time])
}

const HOURS: &str = "INSERT INTO out SELECT date_trunc('hour', ts) AS w, count(*) AS n FROM t \
                     GROUP BY date_trunc('hour', ts);";

#[tokio::test]
async fn a_source_that_delivers_seldom_loses_no_row_of_an_hour_by_default() {
    let folder = scratch();
    let path = job_with(folder.path(), "", HOURS);
    write_rows(folder.path(), "1.json", &["\"2026-01-05T10:01:00Z\""]);
    let run = Run::default()
        .at(75, delivery(folder.path(), "2.json", "\"2026-01-05T10:02:00Z\""))
        .at(975, delivery(folder.path(), "3.json", "\"2026-01-05T10:59:00Z\""));
    let summary = run.during(&path, 2_000).await;
    assert_eq!((summary.rows_used, summary.rows_late, summary.rows_out["out"]), (3, 0, 0));
    // What was silent for half an hour goes on as if nothing had been.
    write_rows(folder.path(), "4.json", &["\"2026-01-05T11:00:10Z\""]);
    Run::default().during(&path, 2).await;
    assert_eq!(published_rows(&path, "out").await, ["2026-01-05T10:00:00Z | 3"]);
}

#[tokio::test]
async fn what_is_open_closes_after_a_silence_where_that_is_set_and_the_record_says_so() {
    let folder = scratch();
    let path = job_with(folder.path(), ", close_when_idle: 10m", SQL);
    write_rows(folder.path(), "1.json", &["\"2026-01-01T00:00:01Z\""]);
    // A file inside the ten minutes begins them anew.
    let run = Run::default().at(400, delivery(folder.path(), "2.json", "\"2026-01-01T00:00:02Z\""));
    assert_eq!(run.during(&path, 900).await.rows_out["out"], 0);
    // Silence does not count between runs.
    assert_eq!(Run::default().during(&path, 500).await.rows_out["out"], 0);
    assert_eq!(Run::default().during(&path, 700).await.rows_out["out"], 1);
    assert_eq!(published_rows(&path, "out").await, ["2026-01-01T00:00:00Z | 2"]);
    let records = records(&path).await;
    let last = &records.last().unwrap()["sources"]["t"];
    assert_eq!((&last["idle"], &last["closing"]), (&true.into(), &true.into()));
    // A row that comes after the silence belongs to a later window and is not refused.
    write_rows(folder.path(), "3.json", &["\"2026-01-01T00:05:01Z\""]);
    let summary = run_drained(&path).await;
    assert_eq!((summary.rows_late, summary.rows_used), (0, 1));
}

/// The job's commit records, in order.
async fn records(path: &Path) -> Vec<serde_json::Value> {
    let spec = JobSpec::load(path, &|_| None).unwrap();
    let folder = Path::new(&spec.state.location).join("still/log");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    files.iter().map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_wall_clock_that_is_set_ahead_closes_nothing() {
    let folder = scratch();
    let path = job_with(folder.path(), ", close_when_idle: 1m", SQL);
    write_rows(folder.path(), "1.json", &["\"2026-01-01T00:00:01Z\""]);
    let run = Run::default()
        .set_clock(4, 300)
        .at(20, delivery(folder.path(), "2.json", "\"2026-01-01T00:00:02Z\""));
    let summary = run.during(&path, 60).await;
    assert_eq!((summary.rows_used, summary.rows_late, summary.rows_out["out"]), (2, 0, 0));
}

/// An engine by a clock that shows `start_ms` now.
async fn engine_at(path: &Path, start_ms: i64, options: OpenOptions) -> Engine {
    let clock = Arc::new(VirtualClock::starting_at(start_ms));
    Engine::open(compile(path).await, options, clock, Arc::default()).await.unwrap()
}

#[tokio::test]
async fn a_clock_behind_the_last_commit_stops_the_run_before_rows_seem_to_be_of_the_future() {
    let folder = scratch();
    let path = job(folder.path());
    // 2026-01-05T10:30:00Z
    let noon_ms = 1_767_609_000_000;
    write_rows(folder.path(), "1.json", &["\"2026-01-05T10:29:00Z\""]);
    let at = async |ms: i64, options| engine_at(&path, ms, options).await.run_once(false).await;
    at(noon_ms, OpenOptions::default()).await.unwrap();
    write_rows(folder.path(), "2.json", &["\"2026-01-05T10:29:10Z\""]);
    // Another machine's clock may be a little behind.
    at(noon_ms - 59_000, OpenOptions::default()).await.unwrap();
    write_rows(folder.path(), "3.json", &["\"2026-01-05T10:29:30Z\""]);
    let behind_ms = noon_ms - 59_000 - 7_200_000;
    let error = at(behind_ms, OpenOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for part in [
        "the clock of this machine is at 2026-01-05T08:29:0",
        "behind that of the last commit, 2026-01-05T10:29:0",
        "correct the clock, or run with --accept-clock if it is right and the last one was wrong",
    ] {
        assert!(error.message().contains(part), "{}", error.message());
    }
    // Nothing was read by it, and by a good clock all goes on.
    let summary = at(noon_ms, OpenOptions::default()).await.unwrap();
    assert_eq!((summary.rows_used, summary.rows_quarantined), (1, 0));
    // A last commit by a clock that was wrong is no end either.
    write_rows(folder.path(), "4.json", &["\"2026-01-05T08:29:30Z\""]);
    let accepting = OpenOptions { accept_clock: true, ..OpenOptions::default() };
    assert_eq!(at(behind_ms, accepting).await.unwrap().rows_in, 1);
    write_rows(folder.path(), "5.json", &["\"2026-01-05T08:29:40Z\""]);
    assert_eq!(at(behind_ms, OpenOptions::default()).await.unwrap().rows_in, 1);
}

#[tokio::test]
async fn a_row_is_late_only_for_windows_that_closed_before_its_epoch() {
    let folder = scratch();
    write_rows(folder.path(), "1.json", &["\"2026-01-01T00:00:01Z\"", "\"2026-01-01T00:01:30Z\""]);
    // The first minute is closed now; the second is open until the watermark reaches its end.
    write_rows(folder.path(), "2.json", &["\"2026-01-01T00:00:02Z\"", "\"2026-01-01T00:01:02Z\""]);
    let path = job(folder.path());
    let summary = run_drained(&path).await;
    assert_eq!((summary.rows_in, summary.rows_used, summary.rows_late), (4, 3, 1));
    assert_eq!(
        published_rows(&path, "out").await,
        ["2026-01-01T00:00:00Z | 1", "2026-01-01T00:01:00Z | 2"]
    );
}

#[tokio::test]
async fn one_clock_that_is_ahead_makes_no_row_of_others_late() {
    for ahead in ["10:50:00", "10:00:45"] {
        let folder = scratch();
        let path = job(folder.path());
        for file in 0..3 {
            let honest = format!("\"2026-01-05T10:00:0{file}Z\"");
            let ahead = format!("\"2026-01-05T{ahead}Z\"");
            let mut times = vec![honest.as_str(); 999];
            times.insert(7, if file < 2 { &ahead } else { &honest });
            write_rows(folder.path(), &format!("{file}.json"), &times);
        }
        write_rows(folder.path(), "3.json", &["\"2026-01-05T10:01:10Z\""]);
        let mut engine = open(compile(&path).await).await;
        let summary = engine.run_once(false).await.unwrap();
        assert_eq!((summary.rows_used, summary.rows_late, summary.rows_ahead), (3_001, 0, 2));
        // Its rows count in their window.
        let in_minute = if ahead == "10:50:00" { 2_998 } else { 3_000 };
        let minute = format!("2026-01-05T10:00:00Z | {in_minute}");
        assert_eq!(published_rows(&path, "out").await, [minute]);
    }
}

#[tokio::test]
async fn a_file_of_rows_that_the_clock_does_not_show_yet_moves_the_watermark_to_the_clock() {
    let folder = scratch();
    let path = job(folder.path());
    // 2026-01-05T10:30:00Z; the first file is of a single host whose clock is ahead by 50 minutes.
    write_rows(folder.path(), "1.json", &["\"2026-01-05T11:20:00Z\"", "\"2026-01-05T11:20:01Z\""]);
    write_rows(folder.path(), "2.json", &["\"2026-01-05T10:30:00Z\""]);
    write_rows(folder.path(), "3.json", &["\"2026-01-05T10:30:01Z\"", "\"2026-01-05T11:20:01Z\""]);
    let mut engine = engine_at(&path, 1_767_609_000_000, OpenOptions::default()).await;
    let summary = engine.run_once(false).await.unwrap();
    assert_eq!((summary.rows_used, summary.rows_late, summary.rows_ahead), (5, 0, 3));
    let watermark = summary.watermark.unwrap();
    assert!(watermark.starts_with("2026-01-05T10:29:5"), "{watermark}");
}

#[tokio::test]
async fn a_file_without_a_row_of_a_believable_time_is_an_error_that_names_it() {
    let cases: [(&[&str], &str); 3] = [
        (&["null", "null"], "none of its 2 rows has a value in ts, the event time"),
        (
            &["\"2999-01-01T00:00:00Z\"", "null"],
            "1 of its 2 rows have an event time (ts) later than",
        ),
        (
            &["\"2026-01-01T00:00:01Z\"", "\"2999-01-01T00:00:00Z\"", "\"2999-01-01T00:00:00Z\""],
            "2 of its 3 rows have an event time (ts) later than",
        ),
    ];
    for (times, why) in cases {
        let folder = scratch();
        let path = job(folder.path());
        write_rows(folder.path(), "1.json", &["\"2026-01-01T00:00:01Z\""]);
        write_rows(folder.path(), "2.json", times);
        let mut engine = open(compile(&path).await).await;
        let error = engine.run_once(false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord);
        assert!(error.message().contains(&format!("in/2.json: {why}")), "{}", error.message());
        // It was not read: corrected, it is a file like any other.
        write_rows(folder.path(), "2.json", &["\"2026-01-01T00:00:02Z\""]);
        assert_eq!(run_drained(&path).await.rows_used, 1);
    }
}

#[tokio::test]
async fn rows_without_a_time_or_of_the_future_are_counted_and_move_no_watermark() {
    let folder = scratch();
    let times = ["\"2026-01-01T00:00:01Z\"", "null", "\"2999-01-01T00:00:00Z\""];
    write_rows(folder.path(), "1.json", &times);
    write_rows(folder.path(), "2.json", &["\"2026-01-01T00:00:02Z\""]);
    let path = job(folder.path());
    let summary = run_drained(&path).await;
    assert_eq!((summary.rows_quarantined, summary.rows_late, summary.rows_used), (2, 0, 2));
    assert_eq!(published_rows(&path, "out").await, ["2026-01-01T00:00:00Z | 2"]);
}
