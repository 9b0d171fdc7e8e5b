//! Time that stands still, and rows that come after it has moved on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::harness::{compile, open, published_rows, run_drained, scratch, write_job};

const SQL: &str = "INSERT INTO out SELECT date_trunc('minute', ts) AS w, count(*) AS n FROM t \
                   GROUP BY date_trunc('minute', ts);";

fn job(folder: &Path) -> PathBuf {
    let place = folder.display();
    let yaml = format!(
        "name: still\nsources:\n  t:\n    location: {place}/in/\n    format: json\n    schema: {{ts: \
         TIMESTAMP, x: BIGINT}}\n    event_time: {{column: ts, delay: 10s, idle_after: 200ms}}\n\
         sinks:\n  out: {{location: {place}/out/}}\nepoch: {{interval: 50ms, files_max: 1}}\n\
         state: {{location: {place}/state/}}"
    );
    write_job(folder, &yaml, SQL)
}

fn write_rows(folder: &Path, name: &str, times: &[&str]) {
    let rows: String = times.iter().map(|ts| format!("{{\"ts\": {ts}, \"x\": 1}}\n")).collect();
    std::fs::create_dir_all(folder.join("in")).unwrap();
    std::fs::write(folder.join("in").join(name), rows).unwrap();
}

#[tokio::test]
async fn a_source_that_shows_nothing_for_idle_after_stops_holding_its_windows_open() {
    let folder = scratch();
    write_rows(folder.path(), "1.json", &["\"2026-01-01T00:00:01Z\""]);
    let path = job(folder.path());
    let mut engine = open(compile(&path).await).await;
    let (stop, stopped) = watch::channel(false);
    let stopping = async {
        // Longer than idle_after by far; without it the window would stay open for ever.
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop.send_replace(true);
    };
    let (summary, ()) = tokio::join!(engine.run(stopped), stopping);
    let summary = summary.unwrap();
    assert_eq!(summary.rows_out["out"], 1, "{summary:?}");
    assert_eq!(published_rows(&path, "out").await, ["2026-01-01T00:00:00Z | 1"]);
    // A row that comes after the stillness belongs to a later window and is not refused.
    write_rows(folder.path(), "2.json", &["\"2026-01-01T00:05:01Z\""]);
    let summary = run_drained(&path).await;
    assert_eq!((summary.rows_late, summary.rows_used), (0, 1));
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
