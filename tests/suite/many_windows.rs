//! Many windows over each row: what closes, changes or is open at once costs by rows, and not by
//! windows times panes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datafusion::physical_plan::collect;
use tidegauge_spec::JobSpec;

use super::harness::{compile, open, published_rows, run_drained, scratch, write_job};

/// Longer than any of them takes, also beside other tests, and far less than they took by pairs of
/// window and pane.
const PATIENCE: Duration = Duration::from_secs(30);

const HOP: &str = "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' DAY)";

fn job(folder: &Path, window: &str, more: &str) -> PathBuf {
    let place = folder.display();
    let yaml = format!(
        "name: many\nsources:\n  t:\n    location: {place}/in/\n    format: json\n    schema: {{ts: \
         TIMESTAMP, k: VARCHAR, x: BIGINT}}\n    event_time: {{column: ts, delay: 10s{more}}}\n\
         sinks:\n  out: {{location: {place}/out/}}\nstate: {{location: {place}/state/}}"
    );
    let sql = format!(
        "INSERT INTO out SELECT window_start, window_end, k, count(*) AS n, sum(x) AS x, max(x) AS most \
         FROM TABLE({window}) GROUP BY window_start, window_end, k;"
    );
    write_job(folder, &yaml, &sql)
}

/// A row each at these seconds of 2026-03-01, the value being its number.
fn write_rows(folder: &Path, name: &str, seconds: impl IntoIterator<Item = usize>) {
    let row = |(at, second): (usize, usize)| {
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let time = format!("2026-03-01T{hour:02}:{minute:02}:{second:02}Z");
        format!("{{\"ts\": \"{time}\", \"k\": \"a\", \"x\": {at}}}\n")
    };
    std::fs::create_dir_all(folder.join("in")).unwrap();
    let rows: String = seconds.into_iter().enumerate().map(row).collect();
    std::fs::write(folder.join("in").join(name), rows).unwrap();
}

/// The n, x and most of the window that starts at `start`.
fn window<'a>(rows: &'a [String], start: &str) -> Option<&'a str> {
    let row = rows.iter().find(|row| row.starts_with(start))?;
    row.split_once(" | a | ").map(|(_, values)| values)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_a_day_closes_all_windows_of_a_hop_by_the_minute() {
    let folder = scratch();
    for hour in 0..24 {
        let minutes = hour * 60..(hour + 1) * 60;
        write_rows(folder.path(), &format!("{hour:02}.json"), minutes.map(|at| at * 60 + 30));
    }
    let path = job(folder.path(), HOP, "");
    let began = Instant::now();
    run_drained(&path).await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let rows = published_rows(&path, "out").await;
    assert_eq!(rows.len(), 2_879);
    let sum = 24 * (0..60).sum::<i64>();
    for (start, values) in [
        ("2026-02-28T00:01:00Z", "1 | 0 | 0".to_owned()),
        ("2026-02-28T12:00:00Z", format!("720 | {} | 59", sum / 2)),
        ("2026-03-01T00:00:00Z", format!("1440 | {sum} | 59")),
        ("2026-03-01T23:59:00Z", "1 | 59 | 59".to_owned()),
    ] {
        assert_eq!(window(&rows, start), Some(values.as_str()), "{start}");
    }
}

/// Texts that come from a run are views of its pages: each merge is of the merge before, and must
/// not hold more of them than that.
#[tokio::test(flavor = "multi_thread")]
async fn merges_of_what_an_epoch_before_has_left_do_not_grow() {
    let folder = scratch();
    write_rows(folder.path(), "1.json", [12 * 3_600 + 30, 12 * 3_600 + 95]);
    let path = job(folder.path(), HOP, "");
    open(compile(&path).await).await.run_once(false).await.unwrap();
    let began = Instant::now();
    let summary = run_drained(&path).await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(summary.rows_out["out"], 1_440);
    let rows = published_rows(&path, "out").await;
    assert_eq!(window(&rows, "2026-03-01T12:00:00Z"), Some("2 | 1 | 1"));
    assert_eq!(window(&rows, "2026-03-01T12:01:00Z"), Some("1 | 1 | 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cumulated_windows_cost_by_their_rows() {
    let by_minute = "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' DAY)";
    let by_second = "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '1' HOUR)";
    for (shape, seconds, rows) in [
        (by_minute, vec![30], 1_440),
        (by_minute, (0..1_440).map(|minute| minute * 60).collect(), 1_440),
        (by_second, (0..10_800).collect(), 10_800),
        (by_second, vec![3_599, 3_600], 3_601),
    ] {
        let folder = scratch();
        let count = seconds.len();
        write_rows(folder.path(), "1.json", seconds);
        let path = job(folder.path(), shape, "");
        let began = Instant::now();
        let summary = run_drained(&path).await;
        assert!(began.elapsed() < PATIENCE, "{shape} of {count} rows: {:?}", began.elapsed());
        assert_eq!(summary.rows_out["out"], rows, "{shape} of {count} rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_row_writes_all_of_its_windows_again_at_once() {
    let folder = scratch();
    write_rows(folder.path(), "1.json", (0..1_440).map(|minute| minute * 60));
    let path = job(folder.path(), HOP, ", allowed_lateness: 2d");
    let began = Instant::now();
    let mut engine = open(compile(&path).await).await;
    let first = engine.run_once(true).await.unwrap().rows_out["out"];
    assert_eq!(first, 2_879);
    write_rows(folder.path(), "2.json", [12 * 3_600 + 5]);
    let again = engine.run_once(true).await.unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!((again.rows_late, again.rows_out["out"]), (0, 2_879 + 1_440));
    let rows = published_rows(&path, "out").await;
    let of = |start: &str| {
        let rows = rows.iter().filter(|row| row.starts_with(start));
        rows.map(|row| row.split_once(" | a | ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let sum: i64 = (0..1_440).sum();
    let all = [format!("1440 | {sum} | 1439 | 0"), format!("1441 | {sum} | 1439 | 1")];
    assert_eq!(of("2026-03-01T00:00:00Z"), all);
    assert_eq!(of("2026-03-01T12:01:00Z").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_shows_all_windows_of_a_long_hop() {
    for more in ["", ", allowed_lateness: 1h"] {
        let folder = scratch();
        write_rows(folder.path(), "1.json", [12 * 3_600 + 30, 12 * 3_600 + 95]);
        let path = job(folder.path(), HOP, more);
        let mut engine = open(compile(&path).await).await;
        engine.run_once(false).await.unwrap();
        let (view, job) = (engine.view().borrow().clone(), compile(&path).await);
        let began = Instant::now();
        let plan = job.live_plan(&job.plan.queries[0], &view).await.unwrap();
        let rows = collect(plan, job.session_at(view.clock_ms).task_ctx()).await.unwrap();
        assert!(began.elapsed() < PATIENCE / 3, "{:?}", began.elapsed());
        // The window that only the first row is in has closed.
        let count: usize = rows.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(count, 1_440, "{more}");
    }
}

#[test]
fn a_row_in_more_windows_than_are_taken_is_refused_with_what_would_be_right() {
    let folder = scratch();
    let window = "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MILLISECOND, INTERVAL '1' DAY)";
    let path = job(folder.path(), window, "");
    let spec = JobSpec::load(&path, &|_| None).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bad = runtime.block_on(tidegauge::runtime::CompiledJob::new(spec)).unwrap_err();
    let text = bad.to_string();
    assert!(text.contains("every row would be in 86400000 windows"), "{text}");
    assert!(text.contains("make the slide at least 865 milliseconds"), "{text}");
}
