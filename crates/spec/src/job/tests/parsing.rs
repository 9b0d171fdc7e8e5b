//! Jobs that are right, and the values that they have.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{JOB, changed, no_env, parse};
use crate::{
    Column, ColumnType, Compression, CsvOptions, DiscoveryOrder, EpochSpec, EpochUnit,
    EventTimeSpec, Format, JobSpec, LateSpec, OnChange, OnError, PathTime, SinkFormat, SinkSpec,
    SourceSpec, SqlText, StateSpec,
};

const EXAMPLE: &str = r#"
name: network_anomaly
description: Hosts whose traffic departs from their own baseline
sources:
  flows:
    location: ${FLOWS:-./data/flows/}     # folder, glob, file, file:// or s3://bucket/prefix/
    format: json                          # json (one object a line) | csv | parquet
    compression: auto                     # auto | none | gzip | zstd
    schema: {ts: TIMESTAMP, tenant: VARCHAR, src_ip: VARCHAR, dst_ip: VARCHAR, dst_port: INT,
             proto: VARCHAR, bytes_out: BIGINT, bytes_in: BIGINT, packets: INT, action: VARCHAR}
    event_time: {column: ts, delay: 10s, idle_after: 1m}
sql: ../sql/network_anomaly.sql           # a path relative to the job file, or the text itself
sinks:
  host_minutes: {location: "${OUT:-./out}/host_minutes/", format: parquet, partition_by: [tenant]}
epoch: {interval: 10s, bytes_max: 512MiB}
state: {location: "${STATE:-./out/_state/}"}
"#;

fn column(name: &str, ty: ColumnType) -> Column {
    Column { name: name.to_owned(), ty }
}

fn flows() -> SourceSpec {
    let columns = [
        ("ts", ColumnType::Timestamp),
        ("tenant", ColumnType::Varchar),
        ("src_ip", ColumnType::Varchar),
        ("dst_ip", ColumnType::Varchar),
        ("dst_port", ColumnType::Int),
        ("proto", ColumnType::Varchar),
        ("bytes_out", ColumnType::BigInt),
        ("bytes_in", ColumnType::BigInt),
        ("packets", ColumnType::Int),
        ("action", ColumnType::Varchar),
    ];
    SourceSpec {
        name: "flows".to_owned(),
        location: "./data/flows/".to_owned(),
        format: Format::Json,
        compression: Compression::Auto,
        schema: columns.map(|(name, ty)| column(name, ty)).to_vec(),
        event_time: EventTimeSpec {
            column: "ts".to_owned(),
            fields: vec![],
            delay: Duration::from_secs(10),
            allowed_lateness: Duration::ZERO,
            idle_after: Duration::from_secs(60),
            close_when_idle: None,
            delivery: None,
            future_max: Duration::from_secs(3600),
            ahead_max: Duration::ZERO,
            ahead_share_ppm: 20_000,
            unit: None,
        },
        order: DiscoveryOrder::Name,
        settle: Duration::ZERO,
        on_change: OnChange::Skip,
        appended: false,
    }
}

#[test]
fn the_example_job_has_exactly_these_values() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("sql")).unwrap();
    std::fs::create_dir_all(folder.path().join("jobs")).unwrap();
    let text = "INSERT INTO host_minutes SELECT 1;\n";
    std::fs::write(folder.path().join("sql/network_anomaly.sql"), text).unwrap();
    let path = folder.path().join("jobs/network_anomaly.yaml");
    std::fs::write(&path, EXAMPLE).unwrap();
    let env = |name: &str| (name == "OUT").then(|| "/srv/out".to_owned());

    let job = JobSpec::load(&path, &env).unwrap();

    let expected = JobSpec {
        path: path.clone(),
        name: "network_anomaly".to_owned(),
        description: Some("Hosts whose traffic departs from their own baseline".to_owned()),
        sources: vec![flows()],
        sql: SqlText {
            text: text.to_owned(),
            path: Some(folder.path().join("sql/network_anomaly.sql")),
        },
        sinks: vec![SinkSpec {
            name: "host_minutes".to_owned(),
            location: "/srv/out/host_minutes/".to_owned(),
            format: SinkFormat::Parquet,
            partition_by: vec!["tenant".to_owned()],
            retention: None,
        }],
        late: None,
        on_error: OnError::Skip,
        epoch: EpochSpec {
            interval: Duration::from_secs(10),
            bytes_max: 536_870_912,
            files_max: 10_000,
            close_bytes_max: 67_108_864,
            retry: 5,
        },
        state: StateSpec {
            location: "./out/_state/".to_owned(),
            checkpoint_every: 20,
            retain_epochs: 100,
            grace: Duration::from_secs(3600),
            takeover_after: None,
            runs_max: 16,
            cache_max_bytes: 268_435_456,
        },
        memory_max_bytes: 1_073_741_824,
        partitions: None,
    };
    assert_eq!(job, expected);
    assert!(serde_json::to_string(&job).unwrap().contains("\"memory_max_bytes\":1073741824"));
}

#[test]
fn every_setting_can_be_written() {
    let text = changed("state: {location: ./out/_state/}", "\
epoch: {interval: 1m30s, bytes_max: 1GB, files_max: 7, close_max: 2MiB, retry: 0}
state: {location: s3://b/state/, checkpoint_every: 3, retain_epochs: 9, grace: 2h, takeover_after: 90s, runs_max: 4, cache_max: 0}
memory_max: 64MiB
late: {location: ./out/_late/}
partitions: 3");
    let text = text.replace(
        "    event_time: {column: ts, delay: 10s}",
        "    event_time: {column: ts, delay: 0s, allowed_lateness: 5m, idle_after: 5s, close_when_idle: 10m, delivery: 75s, future_max: 1d, ahead_max: 2s, ahead_share: 0.5%, unit: us}
    compression: zstd
    discovery: {order: modified}",
    );
    let job = parse(&text).unwrap();
    assert_eq!(job.epoch.interval, Duration::from_secs(90));
    assert_eq!((job.epoch.bytes_max, job.epoch.files_max, job.epoch.retry), (1_000_000_000, 7, 0));
    assert_eq!(job.epoch.close_bytes_max, 2 << 20);
    assert_eq!((job.state.checkpoint_every, job.state.retain_epochs), (3, 9));
    assert_eq!(job.state.grace, Duration::from_secs(7200));
    assert_eq!(job.state.takeover_after, Some(Duration::from_secs(90)));
    assert_eq!((job.state.runs_max, job.state.cache_max_bytes), (4, 0));
    assert_eq!((job.memory_max_bytes, job.partitions), (64 << 20, Some(3)));
    let source = &job.sources[0];
    assert_eq!(source.event_time.unit, Some(EpochUnit::Microseconds));
    assert_eq!(source.event_time.close_when_idle, Some(Duration::from_secs(600)));
    assert_eq!(source.event_time.delivery, Some(Duration::from_secs(75)));
    assert_eq!(source.event_time.ahead_max, Duration::from_secs(2));
    assert_eq!(source.event_time.ahead_share_ppm, 5_000);
    assert_eq!(source.event_time.future_max, Duration::from_secs(86_400));
    assert_eq!(source.event_time.allowed_lateness, Duration::from_secs(300));
    assert_eq!((source.compression, &source.order), (Compression::Zstd, &DiscoveryOrder::Modified));
    assert_eq!(job.late, Some(LateSpec { location: "./out/_late/".to_owned() }));
}

#[test]
fn files_may_be_taken_in_the_order_of_the_time_in_their_path() {
    let order = |discovery: &str| {
        let text = changed("format: json", &format!("format: json\n    discovery: {discovery}"));
        parse(&text).unwrap().sources[0].order.clone()
    };
    assert_eq!(order("{order: path_time}"), DiscoveryOrder::PathTime(PathTime::default()));
    let pattern = "dt=%Y-%m-%d/hour=%H/";
    assert_eq!(
        order(&format!("{{order: path_time, path_time: \"{pattern}\"}}")),
        DiscoveryOrder::PathTime(PathTime::new(pattern).unwrap())
    );
    assert_eq!(order("{order: name}"), DiscoveryOrder::Name);
}

#[test]
fn sections_with_nothing_in_them_are_their_defaults() {
    let job = parse(&format!("{JOB}epoch:\n  # interval: 10s\n")).unwrap();
    assert_eq!(job.epoch, EpochSpec::default());
}

#[test]
fn columns_can_be_nested_and_have_dots_in_their_names() {
    let schema = "schema:
      ts: TIMESTAMP
      id.orig_h: VARCHAR
      alert: {signature: VARCHAR, severity: INT, tags: [VARCHAR]}
      hops: [{ip: VARCHAR, ms: \"DECIMAL(10, 2)\"}]
      answers: VARCHAR[]";
    let text = changed("schema: {ts: TIMESTAMP, host: VARCHAR}", schema);
    let strings = || ColumnType::Array(Box::new(ColumnType::Varchar));
    let expected = vec![
        column("ts", ColumnType::Timestamp),
        column("id.orig_h", ColumnType::Varchar),
        column(
            "alert",
            ColumnType::Struct(vec![
                column("signature", ColumnType::Varchar),
                column("severity", ColumnType::Int),
                column("tags", strings()),
            ]),
        ),
        column(
            "hops",
            ColumnType::Array(Box::new(ColumnType::Struct(vec![
                column("ip", ColumnType::Varchar),
                column("ms", ColumnType::Decimal { precision: 10, scale: 2 }),
            ]))),
        ),
        column("answers", strings()),
    ];
    assert_eq!(parse(&text).unwrap().sources[0].schema, expected);
}

#[test]
fn csv_has_its_options() {
    let csv = |text: &str| match &parse(&changed("format: json", text)).unwrap().sources[0].format {
        Format::Csv(options) => options.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(csv("format: csv"), CsvOptions { delimiter: b',', null: None });
    let null = Some("NULL".to_owned());
    assert_eq!(
        csv("format: csv\n    csv: {delimiter: \"\\t\", null: NULL}"),
        CsvOptions { delimiter: b'\t', null: null.clone() }
    );
    assert_eq!(
        csv("format: csv\n    csv: {delimiter: ;, null: \"NULL\"}"),
        CsvOptions { delimiter: b';', null }
    );
}

#[test]
fn sql_in_the_job_file_is_the_text() {
    let sql = "sql: |\n  INSERT INTO found\n  SELECT * FROM queries;\n";
    let job = parse(&changed("sql: INSERT INTO found SELECT * FROM queries;\n", sql)).unwrap();
    assert_eq!(job.sql.text, "INSERT INTO found\nSELECT * FROM queries;\n");
    assert_eq!(job.sql.path, None);
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.yaml");
    let message = JobSpec::load(&missing, &no_env).unwrap_err().to_string();
    assert!(message.contains("none.yaml: cannot be read: "), "{message}");
    let latin1 = folder.path().join("latin1.yaml");
    std::fs::write(&latin1, b"name: a\ndescription: caf\xe9\n").unwrap();
    let message = JobSpec::load(&latin1, &no_env).unwrap_err().to_string();
    assert!(message.ends_with("latin1.yaml:2: not UTF-8; save the file as UTF-8"), "{message}");
}

#[test]
fn a_path_of_sql_is_relative_to_the_job_file() {
    let text = changed("sql: INSERT INTO found SELECT * FROM queries;", "sql: ../none.sql");
    let bad = JobSpec::parse(&text, Path::new("/nowhere/jobs/a.yaml"), &no_env).unwrap_err();
    let problem = &bad.problems[0];
    assert_eq!(problem.file, PathBuf::from("/nowhere/jobs/a.yaml"));
    assert_eq!((problem.line, problem.path.as_str()), (Some(8), "sql"));
    let start = r#""../none.sql" cannot be read: /nowhere/jobs/../none.sql: "#;
    assert!(problem.message.starts_with(start), "{}", problem.message);
}

#[test]
fn who_believes_times_of_the_far_future_lets_them_move_the_watermark() {
    let at = |event_time: &str| {
        let text = changed("{column: ts, delay: 10s}", event_time);
        parse(&text).unwrap().sources[0].event_time.ahead_max
    };
    assert_eq!(at("{column: ts, delay: 0s, future_max: 1d}"), Duration::ZERO);
    assert_eq!(at("{column: ts, delay: 0s, future_max: 25h}"), Duration::from_secs(90_000));
    assert_eq!(at("{column: ts, delay: 0s, future_max: 25h, ahead_max: 0s}"), Duration::ZERO);
}
