//! The command line as scripts use it: what is on stdout, and the exit codes.

use insta::assert_snapshot;
use tempfile::TempDir;

use super::binary::{repository, tidegauge};
use super::harness::scratch;

const JOB: &str = "name: minutes
sources:
  flows:
    location: ${IN:-in/}
    format: json
    schema: {ts: TIMESTAMP, tenant: VARCHAR, bytes: BIGINT}
    event_time: {column: ts, delay: 1s}
sql: ../sql/minutes.sql
sinks:
  out: {location: out/, partition_by: [tenant]}
state: {location: state/}
";
const SQL: &str = "INSERT INTO out
SELECT window_start, tenant, sum(bytes) AS bytes, avg(bytes) AS mean
FROM TUMBLE(flows, ts, INTERVAL '1 minute')
WHERE bytes > 0
GROUP BY window_start, tenant
";
const CASES: &str = r#"cases:
  - name: bytes of a minute
    input:
      flows:
        - {ts: "2026-01-01T00:00:01Z", tenant: a, bytes: 1}
        - {ts: "2026-01-01T00:00:02Z", tenant: a, bytes: 2}
        - {ts: "2026-01-01T00:01:00Z", tenant: b, bytes: 4}
    expect:
      out:
        - {window_start: "2026-01-01T00:00:00Z", tenant: a, bytes: 3, mean: 1.5}
        - {window_start: "2026-01-01T00:01:00Z", tenant: b, bytes: 4, mean: 4}
"#;

/// A repository of one job with its SQL, its cases and an input.
fn repository_of_one() -> TempDir {
    let folder = scratch();
    let rows = [
        r#"{"ts": "2026-01-01T00:00:01Z", "tenant": "a", "bytes": 1}"#,
        r#"{"ts": "2026-01-01T00:00:02Z", "tenant": "a", "bytes": 0}"#,
        r#"{"tenant": "a", "bytes": 1}"#,
        r#"{"ts": "2026-01-01T00:01:00Z", "tenant": "b", "bytes": 4}"#,
    ];
    for (path, text) in [
        ("jobs/minutes.yaml", JOB),
        ("sql/minutes.sql", SQL),
        ("tests/jobs/minutes.yaml", CASES),
        ("in/a.json", &rows.join("\n")),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn the_summary_is_one_json_object_and_logs_go_elsewhere() {
    let folder = repository_of_one();
    let arguments = ["run", "jobs/minutes.yaml", "--once", "--drain", "--summary", "json"];
    let ran = tidegauge(folder.path(), &arguments, &[("RUST_LOG", "tidegauge=debug")]);
    assert!(!ran.stderr.is_empty(), "the logs are on stderr");
    let out = ran.done();
    assert_eq!(out.lines().count(), 1, "{out}");
    let mut summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    for measured in ["elapsed_s", "rows_per_s"] {
        assert!(summary[measured].as_f64().is_some_and(|value| value > 0.0), "{out}");
        summary[measured] = 0.into();
    }
    assert_snapshot!(serde_json::to_string_pretty(&summary).unwrap(), @r#"
    {
      "elapsed_s": 0,
      "epochs": 1,
      "files": 1,
      "files_changed": 0,
      "files_gone": 0,
      "files_parked": 0,
      "job": "minutes",
      "results_failed": 0,
      "results_late": 0,
      "rows_ahead": 0,
      "rows_filtered": 1,
      "rows_in": 4,
      "rows_late": 0,
      "rows_out": {
        "out": 2
      },
      "rows_per_s": 0,
      "rows_quarantined": 1,
      "rows_used": 2,
      "watermark": "2026-01-01T00:00:59Z"
    }
    "#);
}

#[test]
fn a_second_run_with_nothing_new_commits_nothing() {
    let folder = repository_of_one();
    let arguments = ["run", "jobs/minutes.yaml", "--once", "--drain", "--summary", "json"];
    tidegauge(folder.path(), &arguments, &[]).done();
    let log = || std::fs::read_dir(folder.path().join("state/minutes/log")).unwrap().count();
    let epochs = log();
    let out = tidegauge(folder.path(), &arguments, &[]).done();
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&summary["epochs"], &summary["rows_out"]["out"]), (&0.into(), &0.into()), "{out}");
    assert_eq!(log(), epochs);
}

#[test]
fn check_prints_the_sinks_schemas_and_writes_nothing() {
    let folder = repository_of_one();
    let out = tidegauge(folder.path(), &["check", "jobs/minutes.yaml"], &[]).done();
    assert_snapshot!(out, @r#"
    minutes: the job is good
    sink out at out/, partitioned by tenant
      window_start Timestamp(µs, "UTC")
      tenant Utf8View
      bytes Int64
      mean Float64
    "#);
    assert!(!folder.path().join("out").exists() && !folder.path().join("state").exists());
}

#[test]
fn cases_that_hold_pass() {
    let folder = repository_of_one();
    let out = tidegauge(folder.path(), &["test"], &[]).done();
    assert_snapshot!(out, @r"
    ok      jobs/minutes.yaml / bytes of a minute
    1 passed, 0 failed
    ");
}

#[test]
fn a_case_that_fails_shows_the_rows_that_differ() {
    let folder = repository_of_one();
    let path = folder.path().join("tests/jobs/minutes.yaml");
    std::fs::write(&path, CASES.replace("bytes: 3, mean", "bytes: 5, mean")).unwrap();
    let ran = tidegauge(folder.path(), &["test", "jobs/minutes.yaml"], &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_snapshot!(ran.stdout, @r#"
    FAILED  jobs/minutes.yaml / bytes of a minute
      at the cut flows: 3 rows
      sink out:
        - missing:    {"bytes":5,"mean":1.5,"tenant":"a","window_start":"2026-01-01T00:00:00Z"}
        + unexpected: {"bytes":3,"mean":1.5,"tenant":"a","window_start":"2026-01-01T00:00:00Z"}
    0 passed, 1 failed
    "#);
    assert_snapshot!(ran.stderr, @"error: 1 cases failed");
}

#[test]
fn cases_that_cannot_be_read_are_bad_arguments() {
    let folder = repository_of_one();
    let path = folder.path().join("tests/jobs/minutes.yaml");
    std::fs::write(&path, CASES.replace("    expect:", "    expected:")).unwrap();
    let said = tidegauge(folder.path(), &["test", "jobs/minutes.yaml"], &[]).failed(2);
    assert!(said.contains("tests/jobs/minutes.yaml") && said.contains("expected"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let said = tidegauge(folder.path(), &["test", "jobs/minutes.yaml"], &[]).failed(2);
    assert!(said.contains("tests/jobs/minutes.yaml: the cases cannot be read"), "{said}");
}

#[test]
fn bad_jobs_and_arguments_end_with_2_and_failures_with_1() {
    let folder = repository_of_one();
    let code =
        |arguments: &[&str], env: &[(&str, &str)]| tidegauge(folder.path(), arguments, env).code;
    assert_eq!(code(&["run", "jobs/nowhere.yaml"], &[]), 2);
    assert_eq!(code(&["run"], &[]), 2);
    assert_eq!(code(&["rum", "jobs/minutes.yaml"], &[]), 2);
    assert_eq!(code(&["run", "jobs/minutes.yaml", "--drain"], &[]), 2, "--drain needs --once");
    assert_eq!(code(&["run", "jobs/minutes.yaml", "--once"], &[("IN", "nowhere/")]), 1);
    assert_eq!(code(&["run", "jobs/minutes.yaml", "--once"], &[]), 0);
    assert_eq!(code(&["--help"], &[]), 0);
}

#[test]
fn a_changed_job_is_refused_with_what_changed_until_its_state_is_reset() {
    let folder = repository_of_one();
    let run = ["run", "jobs/minutes.yaml", "--once", "--drain"];
    tidegauge(folder.path(), &run, &[]).done();
    std::fs::write(folder.path().join("sql/minutes.sql"), SQL.replace("> 0", "> 1")).unwrap();
    let said = tidegauge(folder.path(), &run, &[]).failed(2);
    assert_snapshot!(said, @"error: the job minutes has changed since its last epoch: query into out changed. Its state no longer fits; run it with --reset-state to start anew (with --adopt, if its sinks are to keep the files they hold), or under another name and into other sinks");
    let reset = [&run[..], &["--reset-state"]].concat();
    let said = tidegauge(folder.path(), &reset, &[]).failed(2);
    assert!(said.contains("holds files already") && said.contains("--adopt"), "{said}");
    let adopt = [&reset[..], &["--adopt"]].concat();
    let out = tidegauge(folder.path(), &adopt, &[]).done();
    assert!(out.contains("out: 1 rows"), "{out}");
}

#[test]
fn every_job_of_the_repository_is_good() {
    for entry in std::fs::read_dir(repository().join("jobs")).unwrap() {
        let path = entry.unwrap().path();
        let out = tidegauge(repository(), &["check", path.to_str().unwrap()], &[]).done();
        assert!(out.contains("the job is good"), "{out}");
    }
}
