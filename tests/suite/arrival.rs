//! In which order files come, how far the watermark may go while others wait, and what becomes of
//! the rows that are late all the same.

mod late_table;
mod month;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use tidegauge::runtime::{Summary, rfc3339};

use super::harness::{published_rows, run_drained, scratch, write_job};

const HOUR_US: i64 = 3_600_000_000;
/// 2026-01-01.
const START_US: i64 = 1_767_225_600_000_000;
const HOURLY: &str = "INSERT INTO out SELECT date_trunc('hour', ts) AS w, host, count(*) AS n, \
                      sum(bytes) AS bytes FROM t GROUP BY date_trunc('hour', ts), host;";

/// A row of the source: its time, host and bytes.
type Row = (i64, String, i64);

/// A job of hourly counts over `in/`; `source` are further keys of the source, `more` of the job.
fn job(folder: &Path, format: &str, source: &str, more: &str) -> PathBuf {
    let place = folder.display();
    let yaml = format!(
        "name: arrival\nsources:\n  t:\n    location: {place}/in/\n    format: {format}\n    schema: {{ts: \
         TIMESTAMP, host: VARCHAR, bytes: BIGINT}}\n    event_time: {{column: ts, delay: 1m}}\n{source}\
         sinks:\n  out: {{location: {place}/out/}}\nstate: {{location: {place}/state/}}\n{more}"
    );
    write_job(folder, &yaml, HOURLY)
}

fn write_json(folder: &Path, name: &str, rows: &[Row]) -> PathBuf {
    let path = folder.join("in").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let line = |(us, host, bytes): &Row| {
        let ts = rfc3339(*us).unwrap();
        format!("{{\"ts\": \"{ts}\", \"host\": \"{host}\", \"bytes\": {bytes}}}\n")
    };
    std::fs::write(&path, rows.iter().map(line).collect::<String>()).unwrap();
    path
}

fn write_parquet(folder: &Path, name: &str, rows: &[Row], statistics: EnabledStatistics) {
    let path = folder.join("in").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter([
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0)))
                as _,
        ),
        ("host", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1))) as _),
        ("bytes", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))) as _),
    ])
    .unwrap();
    let properties = WriterProperties::builder().set_statistics_enabled(statistics).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// What the hourly query gives over all `rows` at once, as [`published_rows`] shows it.
fn at_once<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<String> {
    let mut sums: BTreeMap<(i64, &str), (u64, i64)> = BTreeMap::new();
    for (us, host, bytes) in rows {
        let (count, sum) = sums.entry((us - us.rem_euclid(HOUR_US), host)).or_default();
        *count += 1;
        *sum += bytes;
    }
    let mut shown: Vec<String> = sums
        .into_iter()
        .map(|((us, host), (n, bytes))| {
            format!("{} | {host} | {n} | {bytes}", rfc3339(us).unwrap())
        })
        .collect();
    shown.sort();
    shown
}

fn rows_at(hours: &[i64]) -> Vec<Row> {
    hours
        .iter()
        .map(|hour| (START_US + hour * HOUR_US + 1_000_000, format!("h{hour}"), 1))
        .collect()
}

/// Three files a day, each with hours of the whole day: an epoch each.
async fn days_in_files(discovery: &str) -> (Summary, bool) {
    let folder = scratch();
    let mut all = Vec::new();
    for (day, name) in [(0, "a"), (0, "b"), (0, "c"), (1, "a"), (1, "b"), (1, "c")] {
        let rows = rows_at(&[day * 24, day * 24 + 11, day * 24 + 23]);
        write_json(folder.path(), &format!("dt=2026-01-0{}/{name}.json", day + 1), &rows);
        all.extend(rows);
    }
    let path = job(folder.path(), "json", discovery, "epoch: {files_max: 1}");
    let summary = run_drained(&path).await;
    assert_eq!(summary.epochs, 6);
    (summary, published_rows(&path, "out").await == at_once(&all))
}

#[tokio::test]
async fn a_day_stays_open_while_a_file_of_it_waits() {
    let (summary, is_whole) = days_in_files("    discovery: {order: path_time}\n").await;
    assert_eq!((summary.rows_late, summary.rows_used, is_whole), (0, 18, true));
    // Nothing waits in the end, and the watermark is where it would have been.
    assert_eq!(summary.watermark.as_deref(), Some("2026-01-02T22:59:01Z"));
    // By name the files come in the same order, and nothing says that the day is not over.
    let (summary, is_whole) = days_in_files("").await;
    assert!(summary.rows_late > 0 && !is_whole, "{summary:?}");
    assert_eq!(summary.rows_used + summary.rows_late, summary.rows_in);
}

/// Two hosts one after the other, a file an hour and an epoch a file.
async fn hosts_in_files(
    format: &str,
    write: impl Fn(&Path, &str, &[Row]),
) -> (Summary, Vec<String>, Vec<String>) {
    let folder = scratch();
    let mut all = Vec::new();
    for host in ["a", "b", "c"] {
        for hour in 0..6 {
            let rows = rows_at(&[hour]);
            write(folder.path(), &format!("{host}/{hour}.{format}"), &rows);
            all.extend(rows);
        }
    }
    let path = job(folder.path(), format, "", "epoch: {files_max: 1}");
    let summary = run_drained(&path).await;
    (summary, published_rows(&path, "out").await, at_once(&all))
}

#[tokio::test]
async fn the_statistics_of_parquet_files_that_wait_hold_the_watermark() {
    let write = |folder: &Path, name: &str, rows: &[Row]| {
        write_parquet(folder, name, rows, EnabledStatistics::Chunk);
    };
    let (summary, rows, expected) = hosts_in_files("parquet", write).await;
    assert_eq!((summary.rows_late, summary.rows_used), (0, 18));
    assert_eq!(rows, expected);
    let without = |folder: &Path, name: &str, rows: &[Row]| {
        write_parquet(folder, name, rows, EnabledStatistics::None);
    };
    let (summary, ..) = hosts_in_files("parquet", without).await;
    assert!(summary.rows_late > 0, "the declared order is trusted: {summary:?}");
}

#[tokio::test]
async fn statistics_hold_the_watermark_also_where_paths_tell_a_time() {
    let folder = scratch();
    let files = [("x", rows_at(&[10, 12])), ("y", rows_at(&[11]))];
    for (name, rows) in &files {
        // The rows are a day older than their path.
        let name = format!("date=2026-01-02/{name}.parquet");
        write_parquet(folder.path(), &name, rows, EnabledStatistics::Chunk);
    }
    let order = "    discovery: {order: path_time}\n";
    let path = job(folder.path(), "parquet", order, "epoch: {files_max: 1}");
    assert_eq!(run_drained(&path).await.rows_late, 0);
    let all = files.iter().flat_map(|(_, rows)| rows);
    assert_eq!(published_rows(&path, "out").await, at_once(all));
}

#[tokio::test]
async fn a_parquet_file_that_its_writer_has_not_filled_yet_holds_no_rows() {
    for more in ["", "epoch: {files_max: 1}"] {
        let folder = scratch();
        let rows = rows_at(&[0, 1]);
        write_parquet(folder.path(), "b.parquet", &rows, EnabledStatistics::Chunk);
        for name in ["a.parquet", "c.parquet"] {
            std::fs::write(folder.path().join("in").join(name), "").unwrap();
        }
        let path = job(folder.path(), "parquet", "", more);
        let summary = run_drained(&path).await;
        assert_eq!((summary.files, summary.rows_used), (3, 2));
        // It is another file once it is filled.
        let later = rows_at(&[2]);
        write_parquet(folder.path(), "c.parquet", &later, EnabledStatistics::Chunk);
        assert_eq!(run_drained(&path).await.rows_used, 1);
        assert_eq!(published_rows(&path, "out").await, at_once(rows.iter().chain(&later)));
    }
}

#[tokio::test]
async fn a_file_without_a_time_in_its_path_is_left_out_with_what_to_do() {
    let folder = scratch();
    write_json(folder.path(), "2026/01/01/a.json", &rows_at(&[0]));
    write_json(folder.path(), "notes.json", &rows_at(&[0]));
    let path = job(folder.path(), "json", "    discovery: {order: path_time}\n", "");
    let mut engine = super::harness::open(super::harness::compile(&path).await).await;
    let error = engine.run_once(true).await.unwrap_err();
    assert_eq!(error.kind(), tidegauge::error::ErrorKind::BadRecord);
    let place = format!("{}/in/notes.json: has no time in its path", folder.path().display());
    assert!(error.message().starts_with(&place), "{error}");
}
