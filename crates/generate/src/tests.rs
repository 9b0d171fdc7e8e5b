//! What the generator promises, looked at from outside: the files and the labels.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Error, Kind, Label, OutputFormat, Settings, Summary, generate};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use tempfile::TempDir;

const KINDS: [Kind; 3] = [Kind::Flows, Kind::Dns, Kind::Auth];

type Row = Map<String, Value>;

fn small(kind: Kind, out: &Path) -> Settings {
    Settings { anomalies: 8, files: Some(7), ..Settings::new(kind, out, 20_011) }
}

fn run(settings: &Settings) -> Summary {
    generate(settings, &|_| {}).unwrap()
}

fn files(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let is_data = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('_');
    let mut files: Vec<PathBuf> = entries.filter(is_data).collect();
    files.sort();
    files
}

fn contents(out: &Path) -> Vec<Vec<u8>> {
    let mut contents: Vec<Vec<u8>> = files(out).iter().map(|f| fs::read(f).unwrap()).collect();
    contents.push(fs::read(out.join("_labels.json")).unwrap());
    contents
}

fn json_rows(out: &Path) -> Vec<Row> {
    files(out)
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let rows: Vec<Row> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            rows
        })
        .collect()
}

fn labels(out: &Path) -> Vec<Label> {
    serde_json::from_slice(&fs::read(out.join("_labels.json")).unwrap()).unwrap()
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row[name].as_str().unwrap()
}

/// Milliseconds of an instant on 2026-01-01, since that day began.
fn ms_of(instant: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| instant[range].parse::<i64>().unwrap();
    assert!(instant.starts_with("2026-01-01T") && instant.ends_with('Z') && instant.len() == 24);
    ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23)
}

#[test]
fn equal_seeds_give_equal_bytes_whatever_the_number_of_threads() {
    for format in [OutputFormat::Json, OutputFormat::Parquet] {
        let bytes_of = |kind, seed, threads| {
            let folder = TempDir::new().unwrap();
            run(&Settings { seed, threads, format, ..small(kind, folder.path()) });
            contents(folder.path())
        };
        for kind in KINDS {
            let one = bytes_of(kind, 1, 1);
            assert!(one == bytes_of(kind, 1, 3), "{kind:?} {format:?}");
            assert!(one != bytes_of(kind, 2, 1), "{kind:?} {format:?}");
        }
    }
}

#[test]
fn rows_are_as_many_as_asked_for() {
    for (rows, files, anomalies) in [(1, 1, 0), (3, 60, 0), (50, 4, 1), (20_011, 7, 400)] {
        for kind in KINDS {
            let folder = TempDir::new().unwrap();
            let settings = Settings {
                files: Some(files),
                anomalies,
                ..Settings::new(kind, folder.path(), rows)
            };
            let told = std::cell::Cell::new(0);
            let summary = generate(&settings, &|rows| told.set(rows)).unwrap();
            assert_eq!(json_rows(folder.path()).len() as u64, rows);
            assert_eq!((summary.rows, told.get(), summary.files), (rows, rows, files));
            let labelled: u64 = labels(folder.path()).iter().map(|label| label.rows).sum();
            assert_eq!(labelled, summary.rows_anomalous);
            assert!(labelled <= rows / 5);
        }
    }
}

#[test]
fn events_are_out_of_order_by_less_than_ten_seconds_and_within_the_hour() {
    for kind in KINDS {
        let folder = TempDir::new().unwrap();
        run(&small(kind, folder.path()));
        let (mut latest, mut worst) = (i64::MIN, 0);
        for row in json_rows(folder.path()) {
            let event = ms_of(text(&row, "ts"));
            assert!((0..3_600_000).contains(&event));
            latest = latest.max(event);
            worst = worst.max(latest - event);
        }
        assert!((5_000..10_000).contains(&worst), "{worst} ms");
    }
}

#[test]
fn labelled_rows_are_there_and_hosts_have_normal_traffic_too() {
    for kind in KINDS {
        let folder = TempDir::new().unwrap();
        let settings = Settings { anomalies: 8, ..Settings::new(kind, folder.path(), 200_000) };
        run(&settings);
        let rows = json_rows(folder.path());
        let labels = labels(folder.path());
        assert_eq!(labels.len(), 8);
        for label in &labels {
            let source = if kind == Kind::Dns { "client_ip" } else { "src_ip" };
            let (start, end) = (ms_of(&label.start), ms_of(&label.end));
            assert!(start <= end);
            let of_host = rows.iter().filter(|row| text(row, source) == label.host);
            let (inside, outside): (Vec<&Row>, Vec<&Row>) =
                of_host.partition(|row| (start..=end).contains(&ms_of(text(row, "ts"))));
            assert!(outside.len() > 50, "{label:?}: {}", outside.len());
            assert!(inside.iter().all(|row| text(row, "tenant") == label.tenant));
            let found: Vec<&Row> = inside.into_iter().filter(|row| is_of(label, row)).collect();
            let count = found.len() as u64;
            match label.anomaly_type.as_str() {
                "volume_surge" => assert!(count >= label.rows, "{label:?}: {count}"),
                "password_spraying" => {
                    let users: HashSet<&str> = found.iter().map(|row| text(row, "user")).collect();
                    assert!(users.len() as u64 >= label.rows, "{label:?}: {}", users.len());
                }
                _ => assert_eq!(count, label.rows, "{label:?}"),
            }
        }
        let distinct: HashSet<_> = labels.iter().map(|l| &l.host).collect();
        assert_eq!(distinct.len(), 8);
    }
}

/// Whether a row of the label's host and time looks like one of its anomaly's.
fn is_of(label: &Label, row: &Row) -> bool {
    let number = |name: &str| row[name].as_i64().unwrap();
    match label.anomaly_type.as_str() {
        "volume_surge" => true,
        "port_scan" => {
            number("bytes_out") < 90 && number("bytes_in") <= 40 && {
                label.description.ends_with(text(row, "dst_ip"))
            }
        }
        "beacon" | "exfiltration" => label.description.contains(text(row, "dst_ip")),
        "password_spraying" => {
            text(row, "method") == "password" && label.description.contains(text(row, "host"))
        }
        "dns_tunnel" => {
            let domain = label.description.rsplit(' ').next().unwrap();
            text(row, "query").ends_with(domain)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_type_appears_at_spread_times_and_tenants() {
    let folder = TempDir::new().unwrap();
    run(&Settings {
        anomalies: 12,
        tenants: 4,
        hosts: 200,
        ..Settings::new(Kind::Flows, folder.path(), 100_000)
    });
    let mut by_type: HashMap<String, Vec<Label>> = HashMap::new();
    for label in labels(folder.path()) {
        by_type.entry(label.anomaly_type.clone()).or_default().push(label);
    }
    assert_eq!(by_type.len(), 4);
    for same in by_type.values() {
        let tenants: HashSet<&str> = same.iter().map(|label| label.tenant.as_str()).collect();
        assert_eq!(tenants.len(), 3);
    }
}

#[test]
fn formats_agree_row_for_row() {
    for kind in KINDS {
        let (json, parquet) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        run(&small(kind, json.path()));
        run(&Settings { format: OutputFormat::Parquet, ..small(kind, parquet.path()) });
        assert_eq!(labels(json.path()), labels(parquet.path()));
        let parquet_rows: Vec<Row> =
            files(parquet.path()).iter().flat_map(|f| rows_of(f)).collect();
        assert!(json_rows(json.path()) == parquet_rows, "{kind:?}");
    }
}

fn rows_of(file: &Path) -> Vec<Row> {
    let file = fs::File::open(file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader
        .flat_map(|batch| {
            let batch = batch.unwrap();
            (0..batch.num_rows()).map(|index| row_of(&batch, index)).collect::<Vec<Row>>()
        })
        .collect()
}

fn row_of(batch: &RecordBatch, row: usize) -> Row {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .map(|(field, column)| {
            assert!(column.is_valid(row));
            let value = match field.data_type() {
                DataType::Utf8 => column.as_string::<i32>().value(row).into(),
                DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
                DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
                DataType::Timestamp(_, Some(zone)) => {
                    assert_eq!(zone.as_ref(), "UTC");
                    let us = column.as_primitive::<TimestampMicrosecondType>().value(row);
                    let ms = us / 1000 - 1_767_225_600_000;
                    let (seconds, hour) = (ms / 1000 % 60, ms / 3_600_000);
                    let (minute, ms) = (ms / 60_000 % 60, ms % 1000);
                    format!("2026-01-01T{hour:02}:{minute:02}:{seconds:02}.{ms:03}Z").into()
                }
                other => panic!("{other}"),
            };
            (field.name().clone(), value)
        })
        .collect()
}

#[test]
fn columns_are_the_documented_ones_and_addresses_are_nobodys() {
    let columns = [
        "ts tenant src_ip dst_ip dst_port proto bytes_out bytes_in packets action",
        "ts tenant client_ip query qtype rcode answers bytes",
        "ts tenant user src_ip host method outcome",
    ];
    for (kind, columns) in KINDS.into_iter().zip(columns) {
        let folder = TempDir::new().unwrap();
        run(&small(kind, folder.path()));
        let first = fs::read_to_string(&files(folder.path())[0]).unwrap();
        let mut at = 0;
        for name in columns.split(' ') {
            at += first[at..].find(&format!("\"{name}\":")).unwrap();
        }
        for row in json_rows(folder.path()) {
            assert_eq!(row.len(), columns.split(' ').count());
            for name in ["src_ip", "dst_ip", "client_ip"] {
                let address = row.get(name).map_or("10.0.0.1", |value| value.as_str().unwrap());
                let reserved =
                    ["10.", "192.0.2.", "198.51.100.", "203.0.113.", "198.18.", "198.19."];
                assert!(reserved.iter().any(|network| address.starts_with(network)), "{address}");
            }
            for name in ["query", "host"] {
                let domain = row.get(name).map_or(".test", |value| value.as_str().unwrap());
                assert!(domain.ends_with(".example") || domain.ends_with(".test"), "{domain}");
            }
        }
    }
}

#[test]
fn bad_settings_are_refused_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("new");
    let base = || Settings::new(Kind::Flows, &out, 1000);
    let bad = [
        (Settings { rows: 0, ..base() }, "rows: 0 is not between 1"),
        (
            Settings { anomalies: 21, ..base() },
            "anomalies: 21 do not fit among 1000 rows: at most 20",
        ),
        (Settings { tenants: 0, ..base() }, "tenants: 0 is not between 1"),
        (Settings { hosts: 1, ..base() }, "hosts: 1 is not between 2"),
        (Settings { files: Some(0), ..base() }, "files: 0 is not between 1"),
        (Settings { duration: Duration::ZERO, ..base() }, "duration: 0ns is not between 1s"),
        (Settings { start_us: i64::MAX, ..base() }, "is not between 1900 and 2200"),
    ];
    for (settings, message) in bad {
        let error = generate(&settings, &|_| {}).unwrap_err();
        assert!(error.is_bad_settings() && error.to_string().contains(message), "{error}");
    }
    assert!(!out.exists());
    let error = "syslog".parse::<Kind>().unwrap_err().to_string();
    assert_eq!(error, "kind: \"syslog\" is not one; use flows, dns or auth");
    let error = "csv".parse::<OutputFormat>().unwrap_err().to_string();
    assert_eq!(error, "format: \"csv\" is not one; use json or parquet");
    assert_eq!("dns".parse::<Kind>().unwrap(), Kind::Dns);
}

#[test]
fn folder_with_other_files_is_refused_and_own_files_are_replaced() {
    let folder = TempDir::new().unwrap();
    run(&small(Kind::Auth, folder.path()));
    let before = contents(folder.path());
    run(&small(Kind::Auth, folder.path()));
    assert!(before == contents(folder.path()));
    let fewer = Settings { files: Some(3), ..small(Kind::Auth, folder.path()) };
    let error = generate(&fewer, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::BadSettings { setting: "out", .. }), "{error}");
    let blocked = folder.path().join("auth-000000.json");
    let error = generate(&small(Kind::Auth, &blocked), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("auth-000000.json"), "{error}");
    assert!(!error.is_bad_settings());
}
