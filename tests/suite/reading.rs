//! Files as strangers write them, read without a setting: where the event time is inside a struct,
//! rows stand in an array, values in folders, and times outside of any calendar.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::parquet::arrow::ArrowWriter;
use tidegauge::runtime::Summary;

use super::binary::{files_below, python, tidegauge};
use super::harness::{published_rows, run_drained, scratch, write_job};

/// Runs a job with one source `s` over `in/`, and one sink `out`; its rows and its summary.
async fn answer(folder: &Path, source: &str, sql: &str) -> (Vec<String>, Summary) {
    for state in ["out", "state", "late"] {
        std::fs::remove_dir_all(folder.join(state)).ok();
    }
    let place = folder.display();
    let yaml = format!(
        "name: reading\nsources:\n  s:\n    location: {place}/in/\n{source}\nsinks:\n  out: \
         {{location: {place}/out/}}\nstate: {{location: {place}/state/}}\npartitions: 2"
    );
    let job = write_job(folder, &yaml, sql);
    let summary = run_drained(&job).await;
    (published_rows(&job, "out").await, summary)
}

fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join("in").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

const NESTED: &str = "    format: json
    schema: {fw: VARCHAR, event: {timestamp: TIMESTAMP, src: {ip: VARCHAR}, bytes: BIGINT}}
    event_time: {column: event.timestamp, delay: 10s}";

#[tokio::test]
async fn the_event_time_may_be_a_field_of_a_struct() {
    let folder = scratch();
    let rows = [
        r#"{"fw": "a", "event": {"timestamp": "2026-03-01T10:00:05Z", "src": {"ip": "x"}, "bytes": 60}}"#,
        r#"{"fw": "a", "event": {"timestamp": 1772359215, "src": {"ip": "x"}, "bytes": 40}}"#,
        r#"{"fw": "a", "event": {"timestamp": "2026-03-01T10:01:05Z", "bytes": 1}}"#,
        r#"{"fw": "b", "event": {"bytes": 1}}"#,
        r#"{"fw": "b"}"#,
    ];
    put(folder.path(), "a.json", rows.join("\n"));
    let expected = ["2026-03-01T10:00:00Z | a | x | 100", "2026-03-01T10:01:00Z | a | NULL | 1"];
    let select = "INSERT INTO out SELECT window_start, fw, event.src.ip AS ip, sum(event.bytes) AS b \
                  FROM";
    let grouped = "GROUP BY window_start, window_end, fw, event.src.ip";
    for sql in [
        format!("{select} TABLE(TUMBLE(TABLE s, DESCRIPTOR(event.timestamp), INTERVAL '1' MINUTE)) {grouped}"),
        format!("{select} TABLE(TUMBLE(TABLE s, DESCRIPTOR(s.event.timestamp), INTERVAL '1' MINUTE)) {grouped}"),
        format!("{select} TABLE(TUMBLE(TABLE s, DESCRIPTOR(event['timestamp']), INTERVAL '1' MINUTE)) {grouped}"),
        format!("{select} TUMBLE(s, event.timestamp, INTERVAL '1 minute') {grouped}"),
        format!("CREATE VIEW v AS SELECT fw, event FROM s; {select} TUMBLE(v, event.timestamp, INTERVAL '1 minute') {grouped}"),
        "CREATE VIEW v AS SELECT event.timestamp AS at, fw, event.src AS src, event.bytes AS bytes FROM s;
         INSERT INTO out SELECT window_start, fw, src.ip AS ip, sum(bytes) AS b
         FROM TUMBLE(v, at, INTERVAL '1 minute') GROUP BY window_start, window_end, fw, src.ip"
            .to_owned(),
        "INSERT INTO out SELECT date_trunc('minute', event.timestamp) AS m, fw, event.src.ip AS ip,
         sum(event.bytes) AS b FROM s GROUP BY date_trunc('minute', event.timestamp), fw, event.src.ip"
            .to_owned(),
    ] {
        let (rows, summary) = answer(folder.path(), NESTED, &sql).await;
        assert_eq!(rows, expected, "{sql}");
        assert_eq!((summary.rows_in, summary.rows_used, summary.rows_quarantined), (5, 3, 2), "{sql}");
    }
    let all = "INSERT INTO out SELECT * FROM TUMBLE(s, event.timestamp, INTERVAL '1 minute')";
    let (rows, _) = answer(folder.path(), NESTED, all).await;
    let columns = rows[0].split(" | ").count();
    assert_eq!(columns, 5, "no column of the engine's own is among them: {}", rows[0]);
    let arroyo =
        "INSERT INTO out SELECT tumble(INTERVAL '1 minute') AS w, count(*) AS n FROM s GROUP BY w";
    let (rows, _) = answer(folder.path(), NESTED, arroyo).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
}

#[tokio::test]
async fn a_late_row_is_told_by_the_time_inside_its_struct() {
    let folder = scratch();
    let row = |minute: u32| {
        format!("{{\"fw\":\"a\",\"event\":{{\"timestamp\":\"2026-03-01T10:{minute:02}:05Z\"}}}}\n")
    };
    for (at, minute) in [9, 1, 20].into_iter().enumerate() {
        put(folder.path(), &format!("{at}.json"), row(minute));
    }
    let late = format!(
        "{NESTED}\nepoch: {{files_max: 1}}\nlate: {{location: {}/late/}}",
        folder.path().display()
    );
    let sql = "INSERT INTO out SELECT window_start, count(*) AS n
               FROM TUMBLE(s, event.timestamp, INTERVAL '1 minute') GROUP BY window_start";
    let (rows, summary) = answer(folder.path(), &late, sql).await;
    assert_eq!(rows, ["2026-03-01T10:09:00Z | 1", "2026-03-01T10:20:00Z | 1"]);
    assert_eq!((summary.rows_used, summary.rows_late), (2, 1));
    assert_eq!(files_below(&folder.path().join("late")).len(), 1);
}

#[tokio::test]
async fn a_column_with_a_dot_in_its_name_comes_before_a_field() {
    let folder = scratch();
    put(
        folder.path(),
        "a.json",
        r#"{"a.b": "2026-03-01T10:00:05Z", "a": {"b": "2026-03-01T11:00:05Z"}}"#,
    );
    let source = "    format: json
    schema: {a.b: TIMESTAMP, a: {b: TIMESTAMP}}
    event_time: {column: a.b, delay: 10s}";
    let sql = "INSERT INTO out SELECT window_start, count(*) AS n
               FROM TUMBLE(s, \"a.b\", INTERVAL '1 minute') GROUP BY window_start";
    assert_eq!(answer(folder.path(), source, sql).await.0, ["2026-03-01T10:00:00Z | 1"]);
}

#[test]
fn a_window_over_another_field_is_refused_by_the_names_that_sql_has() {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let source = NESTED.replace("bytes: BIGINT", "bytes: BIGINT, end: TIMESTAMP");
    let yaml = format!(
        "name: r\nsources:\n  s:\n    location: in/\n{source}\nsinks:\n  out: {{location: out/}}\n\
         state: {{location: state/}}"
    );
    write_job(
        folder.path(),
        &yaml,
        "INSERT INTO out SELECT window_start, count(*) AS n\nFROM TUMBLE(s, event.\"end\", INTERVAL '1 minute')\nGROUP BY window_start",
    );
    let said = tidegauge(folder.path(), &["check", "job.yaml"], &[]).failed(2);
    assert!(
        said.contains(
            "the window is over event.end, but the event time of the stream s is event.timestamp"
        ),
        "{said}"
    );
    write_job(
        folder.path(),
        &yaml,
        "INSERT INTO out SELECT window_start, count(*) AS n\nFROM TUMBLE(s, event.timestamp, INTERVAL '1 minute')\nGROUP BY window_start",
    );
    let explained = tidegauge(folder.path(), &["explain", "job.yaml"], &[]).done();
    assert!(explained.contains("event.timestamp"), "{explained}");
}

#[tokio::test]
async fn rows_in_an_object_around_them_are_rows() {
    let folder = scratch();
    let file = r#"{"Records":[{"eventTime":"2026-03-01T10:00:05Z","eventName":"ListBuckets","requestParameters":{"a":[1]}},{"eventTime":"2026-03-01T10:01:05Z","eventName":"GetObject"},{"eventTime":"2026-03-01T10:02:05Z","eventName":"ListBuckets"}]}"#;
    put(folder.path(), "a.json", file);
    let source = "    format: json
    schema: {eventTime: TIMESTAMP, eventName: VARCHAR, requestParameters: VARCHAR}
    event_time: {column: eventTime, delay: 10s}";
    let sql = "INSERT INTO out SELECT window_start, \"eventName\" AS name, count(*) AS n,
               max(\"requestParameters\") AS p
               FROM TUMBLE(s, \"eventTime\", INTERVAL '5 minutes') GROUP BY window_start, \"eventName\"";
    let (rows, summary) = answer(folder.path(), source, sql).await;
    assert_eq!(
        rows,
        [
            "2026-03-01T10:00:00Z | GetObject | 1 | NULL",
            "2026-03-01T10:00:00Z | ListBuckets | 2 | {\"a\":[1]}"
        ]
    );
    assert_eq!(summary.rows_in, 3);
}

fn times(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()))
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

const AT_US: i64 = 1_772_359_205_000_000;

#[tokio::test]
async fn folders_give_the_values_that_files_do_not_have() {
    let sql = "INSERT INTO out SELECT window_start, tenant, sum(v) AS v, count(*) AS n
               FROM TUMBLE(s, ts, INTERVAL '1 minute') WHERE hour > 6 AND tenant IS DISTINCT FROM 'no'
               GROUP BY window_start, tenant";
    for format in ["json", "csv", "parquet"] {
        let folder = scratch();
        for (tenant, value) in
            [("b%20c", 4), ("acme", 1), ("no", 8), ("__HIVE_DEFAULT_PARTITION__", 2)]
        {
            let file = match format {
                "json" => format!("{{\"ts\": {AT_US}, \"v\": {value}}}\n").into_bytes(),
                "csv" => format!("ts,v\n{AT_US},{value}\n").into_bytes(),
                _ => parquet(vec![
                    ("ts", times(&[AT_US])),
                    ("v", Arc::new(datafusion::arrow::array::Int64Array::from(vec![value]))),
                ]),
            };
            for hour in ["06", "07"] {
                put(folder.path(), &format!("tenant={tenant}/hour={hour}/a.{format}"), &file);
            }
        }
        let source = format!(
            "    format: {format}
    schema: {{ts: TIMESTAMP, tenant: VARCHAR, hour: INT, v: BIGINT}}
    event_time: {{column: ts, delay: 10s}}"
        );
        let (rows, summary) = answer(folder.path(), &source, sql).await;
        assert_eq!(
            rows,
            [
                "2026-03-01T10:00:00Z | NULL | 2 | 1",
                "2026-03-01T10:00:00Z | acme | 1 | 1",
                "2026-03-01T10:00:00Z | b c | 4 | 1"
            ],
            "{format}"
        );
        assert_eq!((summary.rows_used, summary.rows_filtered), (3, 5), "{format}");
    }
}

#[tokio::test]
async fn event_times_outside_of_the_years_1_to_9999_are_quarantined() {
    let folder = scratch();
    let hosts: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "c", "d"]));
    let far = [-i64::MAX, AT_US, i64::MAX, -62_135_596_800_000_001];
    put(folder.path(), "a.parquet", parquet(vec![("ts", times(&far)), ("host", hosts)]));
    let source = "    format: parquet
    schema: {ts: TIMESTAMP, host: VARCHAR}
    event_time: {column: ts, delay: 10s}";
    let sql = "INSERT INTO out SELECT window_start, host, count(*) AS n
               FROM TUMBLE(s, ts, INTERVAL '1 minute') GROUP BY window_start, host";
    let (rows, summary) = answer(folder.path(), source, sql).await;
    assert_eq!(rows, ["2026-03-01T10:00:00Z | a | 1"]);
    assert_eq!((summary.rows_in, summary.rows_used, summary.rows_quarantined), (4, 1, 3));
    std::fs::remove_dir_all(folder.path().join("in")).unwrap();
    put(
        folder.path(),
        "a.json",
        "{\"ts\":\"0000-05-01\",\"host\":\"x\"}\n{\"ts\":1772359205,\"host\":\"a\"}",
    );
    let (rows, summary) = answer(folder.path(), &source.replace("parquet", "json"), sql).await;
    assert_eq!((rows.len(), summary.rows_quarantined), (1, 1));
}

#[test]
fn another_time_that_is_infinite_is_refused_with_file_row_and_column() {
    let folder = scratch();
    let columns = vec![("ts", times(&[AT_US, AT_US])), ("until", times(&[0, i64::MAX]))];
    put(folder.path(), "a.parquet", parquet(columns));
    let yaml = "name: r\nsources:\n  s:\n    location: in/\n    format: parquet\n    \
                schema: {ts: TIMESTAMP, until: TIMESTAMP}\n    \
                event_time: {column: ts, delay: 10s}\nsinks:\n  out: {location: out/}\n\
                state: {location: state/}";
    write_job(
        folder.path(),
        yaml,
        "INSERT INTO out SELECT window_start, max(until) AS until
         FROM TUMBLE(s, ts, INTERVAL '1 minute') GROUP BY window_start",
    );
    let run = tidegauge(folder.path(), &["run", "job.yaml", "--once"], &[]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains(
            "a.parquet: row 2, column until: \"infinity\" is out of the range of TIMESTAMP"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn types_may_be_written_as_sql_has_them() {
    let folder = scratch();
    put(
        folder.path(),
        "a.json",
        r#"{"ts":1772359205,"e":{"a":1,"l":[{"x":2},{"x":3}]},"t":["u"]}"#,
    );
    let source = "    format: json
    schema:
      ts: TIMESTAMP
      e: STRUCT<a BIGINT, l ARRAY<STRUCT<x INT>>>
      t: VARCHAR[]
    event_time: {column: ts, delay: 10s}";
    let sql = "INSERT INTO out SELECT ts, e.a AS a, e.l[2]['x'] AS x, t[1] AS t FROM s";
    let (rows, _) = answer(folder.path(), source, sql).await;
    assert_eq!(rows, ["2026-03-01T10:00:05Z | 1 | 3 | u"]);
}

#[tokio::test]
async fn parquet_of_every_encoding_gives_what_duckdb_says_of_the_rows() {
    let folder = scratch();
    let written = folder.path().join("encodings");
    let Some(told) = python("write_encodings.py", &[written.to_str().unwrap()]) else { return };
    let told = told.done();
    let mut expected: Vec<&str> = told.lines().collect();
    expected.sort_unstable();
    assert!(expected.len() > 30, "{told}");
    let source = "    format: parquet
    schema: {ts: TIMESTAMP, host: VARCHAR, n: BIGINT, until: TIMESTAMP,
             answers: [{absent: VARCHAR, rdata: VARCHAR, ttl: BIGINT}]}
    event_time: {column: ts, delay: 10s}";
    let sql = "INSERT INTO out SELECT window_start, host, count(*) AS c, sum(n) AS n,
               max(answers[1]['rdata']) AS rdata, sum(answers[1]['ttl']) AS ttl,
               CAST(max(until) AS BIGINT) AS last, CAST(min(until) AS BIGINT) AS first
               FROM TUMBLE(s, ts, INTERVAL '1 minute')
               WHERE answers[1]['absent'] IS NULL GROUP BY window_start, host";
    let mut encodings = 0;
    for place in std::fs::read_dir(&written).unwrap() {
        let place = place.unwrap().path();
        put(folder.path(), "a.parquet", std::fs::read(place.join("a.parquet")).unwrap());
        let (rows, _) = answer(folder.path(), source, sql).await;
        assert_eq!(rows, expected, "{}", place.display());
        encodings += 1;
    }
    assert_eq!(encodings, 10);
}
