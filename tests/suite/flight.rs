//! The Flight SQL door over running jobs: what outside clients see, and what is refused.

mod floats;
mod limits;
mod partitions;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tidegauge::access::{Role, TokenCheck, Tokens, new_token};
use tidegauge::runtime::JobView;
use tidegauge::service::flight::FlightSettings;
use tokio::sync::watch;
use tonic::Code;

use super::binary::{Finished, python, repository, tidegauge};
use super::harness::{compile, scratch, write_job};
use service::{Running, Server, TestJobs, feed, job_file, ran_once, refused, text};

/// Runs a script of tests/python beside the server.
async fn script(name: &'static str, arguments: Vec<String>) -> Option<Finished> {
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        python(name, &arguments)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Runs the binary beside the server.
async fn command(arguments: Vec<String>, token: Option<&'static str>) -> Finished {
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let env: Vec<(&str, &str)> =
            token.iter().map(|token| ("TIDEGAUGE_TOKEN", *token)).collect();
        tidegauge(repository(), &arguments, &env)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn query(sql: &str, address: &str, more: &[&str]) -> Vec<String> {
    ["query", sql, "--to", address].iter().chain(more).map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_of_whole_epochs_while_the_job_runs() {
    const FILES: u32 = 61;
    let mut running = Running::start(FlightSettings::default()).await;
    running.feed(0..1).await;
    let arguments = vec![running.server.address(), FILES.to_string()];
    let mut reading = tokio::task::JoinSet::new();
    reading.spawn(script("flight_epochs.py", arguments));
    for number in 1..FILES {
        tokio::time::sleep(Duration::from_millis(60)).await;
        feed(running.folder.path(), number);
    }
    if let Some(finished) = reading.join_next().await.unwrap().unwrap() {
        let out = finished.done();
        println!("{out}");
        assert!(out.contains("all equal"), "{out}");
    }
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_clients_list_tables_read_schemas_and_bind_parameters() {
    let mut running = Running::start(FlightSettings::default()).await;
    running.feed(0..4).await;
    if let Some(finished) = script("flight_clients.py", vec![running.server.address()]).await {
        let out = finished.done();
        insta::assert_snapshot!(out, @r#"
        adbc: tidegauge
          tidegauge.live.host_minutes: VIEW
          tidegauge.results.host_minutes: TABLE
          tidegauge.results.large: TABLE
          tidegauge.system.epochs: SYSTEM TABLE
          tidegauge.system.jobs: SYSTEM TABLE
          types: ['SYSTEM TABLE', 'TABLE', 'VIEW']
          results.host_minutes pyarrow.Field<window_start: timestamp[us, tz=UTC]>
          results.host_minutes pyarrow.Field<window_end: timestamp[us, tz=UTC]>
          results.host_minutes pyarrow.Field<tenant: string>
          results.host_minutes pyarrow.Field<host: string>
          results.host_minutes pyarrow.Field<flows: int64>
          results.host_minutes pyarrow.Field<bytes: int64>
          ('b c', 'h2'): [('h0', 100), ('h1', 100)]
          ('a', 'h1'): [('h0', 100)]
          ('nobody', 'h9'): []
          sum: (507,)
          parameters: ['pyarrow.Field<$1: string>', 'pyarrow.Field<$2: int64>']
          ProgrammingError: INVALID_ARGUMENT: [FlightSQL] DROP TABLE is refused; only queries are answered: SELECT, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW TABLES (InvalidArgument; Prepare)
          ProgrammingError: INVALID_ARGUMENT: [FlightSQL] no value is bound for $2; the statement has $1, $2, the row 1 columns (InvalidArgument; ExecuteQuery)
          ProgrammingError: INVALID_ARGUMENT: [FlightSQL] No field named nothing. Valid fields are large.ts, large.tenant, large.host, large.bytes (InvalidArgument; Prepare)
          ProgrammingError: INVALID_ARGUMENT: [FlightSQL] nothing can be changed here; ask for rows with a query (InvalidArgument; ExecuteUpdate)
        flight: live.host_minutes: window_start, window_end, tenant, host, flows, bytes
        flight: results.host_minutes: window_start, window_end, tenant, host, flows, bytes
        flight: results.large: ts, tenant, host, bytes
        flight: system.epochs: job, epoch, committed, watermark, rows_in, rows_used, rows_filtered, rows_late, rows_quarantined, rows_out, files_in, files_out, ingest_ms, close_ms, state_ms
        flight: system.jobs: name, phase, epoch, watermark, max_event_time, lag_ms, rows_in, rows_used, rows_filtered, rows_late, rows_quarantined, rows_out, state_bytes, restarts, last_error
          [{'tenant': 'a', 'who': 'to h0', 'bytes': 100}, {'tenant': 'a', 'who': 'to h1', 'bytes': 100}]
          CommandGetCatalogs: 1 rows
          CommandGetDbSchemas: 3 rows
          CommandGetSqlInfo: 10 rows
          CommandGetXdbcTypeInfo: 11 rows
          keys: 0 of ['catalog_name', 'db_schema_name', 'table_name', 'column_name', 'key_name', 'key_sequence']
        "#);
    }
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_of_the_documentation_runs() {
    let mut running = Running::start(FlightSettings::default()).await;
    running.feed(0..4).await;
    let page = std::fs::read_to_string(repository().join("docs/querying.md")).unwrap();
    let (_, rest) = page.split_once("```python\n").unwrap();
    let (snippet, _) = rest.split_once("```").unwrap();
    let documented = "grpc://127.0.0.1:50051";
    assert!(snippet.contains(documented), "{snippet}");
    let path = running.folder.path().join("snippet.py");
    std::fs::write(&path, snippet.replace(documented, &running.server.address())).unwrap();
    if let Some(finished) = script("run_file.py", vec![path.display().to_string()]).await {
        let out = finished.done();
        assert!(out.contains("b c") && out.contains("500"), "{out}");
    }
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_open_windows_and_jobs_are_tables_of_one_epoch() {
    let mut running = Running::start(FlightSettings::default()).await;
    running.feed(0..3).await;
    let client = &mut running.server.client().await;
    let sums = "SELECT tenant, count(*), sum(bytes) FROM host_minutes GROUP BY tenant";
    assert_eq!(text(client, sums).await, ["a | 5 | 500", "b c | 5 | 500"]);
    let live = "SELECT DISTINCT window_start, flows, bytes FROM live.host_minutes \
                WHERE tenant = 'b c' AND bytes < 100";
    assert_eq!(text(client, live).await, ["2026-01-01T00:01:00Z | 1 | 50"]);
    assert_eq!(text(client, "SELECT count(*) FROM results.large").await, ["6"]);
    let jobs = "SELECT name, phase, epoch, watermark, rows_in, rows_used, rows_late, rows_out, \
                lag_ms > 0, last_error FROM system.jobs";
    assert_eq!(
        text(client, jobs).await,
        ["traffic | running | 3 | 2026-01-01T00:01:00Z | 30 | 30 | 0 | 16 | true | NULL"]
    );
    let epochs = "SELECT job, epoch, rows_in, rows_out, files_in, files_out > 0, watermark, \
                  committed > '2026-01-01', ingest_ms IS NOT NULL FROM system.epochs";
    let row = |epoch, out, watermark| {
        format!("traffic | {epoch} | 10 | {out} | 1 | true | {watermark} | true | true")
    };
    assert_eq!(
        text(client, epochs).await,
        [
            row(1, 2, "2026-01-01T00:00:00Z"),
            row(2, 2, "2026-01-01T00:00:30Z"),
            row(3, 12, "2026-01-01T00:01:00Z"),
        ]
    );
    let together = "SELECT (SELECT sum(bytes) FROM results.host_minutes), \
                    (SELECT sum(bytes) FROM live.host_minutes), \
                    (SELECT sum(rows_out) FROM system.epochs), entropy(host) \
                    FROM results.large";
    assert_eq!(text(client, together).await, ["1000 | 500 | 16 | 0.0"]);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_files_that_may_hold_an_answer_are_read() {
    let mut running = Running::start(FlightSettings::default()).await;
    running.feed(0..9).await;
    let client = &mut running.server.client().await;
    // Plans do not show which files they read, but how many were opened.
    let files = async |client: &mut service::Client, sql: &str| -> usize {
        let plans = text(client, &format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
        let opened = plans.split("files_opened=").skip(1);
        opened.map(|rest| rest.split([',', ']']).next().unwrap().parse::<usize>().unwrap()).sum()
    };
    assert_eq!(files(client, "SELECT * FROM host_minutes").await, 8);
    // The minutes were closed by every second epoch from the third.
    assert_eq!(files(client, "SELECT * FROM host_minutes WHERE tenant = 'b c'").await, 4);
    let late = "SELECT * FROM host_minutes WHERE tenant = 'a' AND window_start >= \
                '2026-01-01T00:02:00Z' AND bytes > 0";
    assert_eq!(files(client, late).await, 2);
    assert_eq!(text(client, late).await.len(), 10);
    let none = "SELECT count(*) FROM host_minutes WHERE tenant = 'nobody'";
    assert_eq!(text(client, none).await, ["0"]);
    // What is counted by the commit log is not read.
    for (sql, rows) in [
        ("SELECT count(*) FROM host_minutes", "40"),
        ("SELECT count(*) FROM host_minutes WHERE tenant = 'a'", "20"),
    ] {
        assert_eq!(text(client, sql).await, [rows]);
        assert_eq!(files(client, sql).await, 0, "{sql} reads files");
    }
    let order = "SELECT * FROM host_minutes WHERE host = 'h1' AND tenant = 'a' LIMIT 1";
    let row = text(client, order).await;
    assert!(row[0].ends_with(" | a | h1 | 2 | 100"), "{row:?}");
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_left_out() {
    let mut running = Running::start(FlightSettings::default()).await;
    running.feed(0..3).await;
    let client = &mut running.server.client().await;
    std::fs::remove_dir_all(running.folder.path().join("out/host_minutes/tenant=a")).unwrap();
    assert_eq!(text(client, "SELECT sum(bytes) FROM host_minutes").await, ["500"]);
    let other = "SELECT sum(bytes) FROM host_minutes WHERE tenant = 'b c'";
    assert_eq!(text(client, other).await, ["500"]);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_older_version_of_the_job_are_null_where_they_lack_a_column() {
    let folder = scratch();
    std::fs::create_dir_all(folder.path().join("in")).unwrap();
    feed(folder.path(), 0);
    let place = folder.path().display();
    let yaml = format!(
        "name: versions\nsources:\n  flows:\n    location: {place}/in/\n    format: json\n    \
         schema: {{ts: TIMESTAMP, tenant: VARCHAR, host: VARCHAR, bytes: BIGINT}}\n    event_time: \
         {{column: ts, delay: 10s}}\nsinks:\n  out: {{location: {place}/out/}}\nstate: {{location: \
         {place}/state/}}"
    );
    let first = "INSERT INTO out SELECT ts, bytes FROM flows WHERE host = 'h1' AND tenant = 'a'";
    ran_once(&write_job(folder.path(), &yaml, first), false).await;
    let second = "INSERT INTO out SELECT ts + INTERVAL '1 day' AS day, ts, host, CAST(bytes AS \
                  DOUBLE) AS bytes FROM flows WHERE host = 'h1' AND tenant = 'a'";
    let job = ran_once(&write_job(folder.path(), &yaml, second), true).await;
    let server = Server::start(Arc::new(TestJobs(vec![job])), FlightSettings::default()).await;
    let client = &mut server.client().await;
    assert_eq!(
        text(client, "SELECT ts, day, host, bytes FROM out").await,
        [
            "2026-01-01T00:00:10Z | 2026-01-02T00:00:10Z | h1 | 50.0",
            "2026-01-01T00:00:10Z | NULL | NULL | 50.0",
        ]
    );
    // The older file's times are of ts, which is not the first time of the newer.
    let by_ts = "SELECT count(*) FROM out WHERE ts < '2026-01-01T12:00:00Z'";
    assert_eq!(text(client, by_ts).await, ["2"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_of_one_name_are_told_apart_by_their_jobs() {
    let folder = scratch();
    let mut jobs = Vec::new();
    for name in ["east", "west"] {
        let job = Arc::new(compile(&job_file(folder.path(), name)).await);
        let (_, view) = watch::channel(Arc::new(JobView::default()));
        jobs.push((job, view));
    }
    let server = Server::start(Arc::new(TestJobs(jobs)), FlightSettings::default()).await;
    let client = &mut server.client().await;
    let (code, message) = refused(client, "SELECT * FROM large").await;
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(message, "several jobs have a sink large; write \"east.large\" or \"west.large\"");
    assert_eq!(text(client, "SELECT count(*) FROM results.\"west.large\"").await, ["0"]);
    assert_eq!(text(client, "SELECT count(*) FROM live.\"west.host_minutes\"").await, ["0"]);
    assert_eq!(text(client, "SELECT name, epoch FROM system.jobs").await.len(), 2);
    let (_, message) = refused(client, "SELECT * FROM live.large").await;
    assert!(
        message.ends_with(
            "'tidegauge.live.large' not found; there are live.\"east.host_minutes\", \
             live.\"west.host_minutes\", results.\"east.host_minutes\", results.\"east.large\", \
             results.\"west.host_minutes\", results.\"west.large\", system.epochs, system.jobs"
        ),
        "{message}"
    );
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_tables_csv_and_json() {
    let mut running = Running::start(FlightSettings::default()).await;
    running.feed(0..3).await;
    let to = running.server.address();
    let sql = "SELECT window_start, tenant, host, bytes, nullif(host, 'h0') AS other \
               FROM host_minutes WHERE host < 'h2' AND tenant = 'b c' ORDER BY host";
    insta::assert_snapshot!(command(query(sql, &to, &[]), None).await.done(), @"
    ──────────────────────────────────────────────────────
     window_start           tenant   host   bytes   other 
    ══════════════════════════════════════════════════════
     2026-01-01T00:00:00Z   b c      h0     100     NULL  
    ──────────────────────────────────────────────────────
     2026-01-01T00:00:00Z   b c      h1     100     h1    
    ──────────────────────────────────────────────────────
    2 rows
    ");
    let csv = command(query(sql, &to, &["--format", "csv"]), None).await.done();
    insta::assert_snapshot!(csv, @"
    window_start,tenant,host,bytes,other
    2026-01-01T00:00:00Z,b c,h0,100,
    2026-01-01T00:00:00Z,b c,h1,100,h1
    ");
    let json = command(query(sql, &to, &["--format", "json"]), None).await.done();
    insta::assert_snapshot!(json, @r#"
    {"window_start":"2026-01-01T00:00:00Z","tenant":"b c","host":"h0","bytes":100,"other":null}
    {"window_start":"2026-01-01T00:00:00Z","tenant":"b c","host":"h1","bytes":100,"other":"h1"}
    "#);
    let many = "SELECT * FROM generate_series(1, 2500)";
    let table = command(query(many, &to, &[]), None).await.done();
    assert!(table.ends_with("the first 1000 rows; --format csv or json prints all of them\n"));
    let csv = command(query(many, &to, &["--format", "csv"]), None).await.done();
    assert_eq!(csv.lines().count(), 2501);
    let wrong = command(query("SELECT bites FROM host_minutes", &to, &[]), None).await.failed(2);
    assert!(wrong.starts_with("error: No field named bites"), "{wrong}");
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_is_in_the_way() {
    let folder = scratch();
    let job = Arc::new(compile(&job_file(folder.path(), "traffic")).await);
    let (_, view) = watch::channel(Arc::new(JobView::default()));
    let (known, line) = new_token("analyst", Role::Reader, &[]).unwrap();
    let known: &'static str = known.leak();
    let tokens = TokenCheck::new(Some(Arc::new(Tokens::parse(&line, "tokens").unwrap())));
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let identity = tonic::transport::Identity::from_pem(&certificate, key);
    let tls = tonic::transport::ServerTlsConfig::new().identity(identity);
    let settings = FlightSettings { tokens, tls: Some(tls), ..FlightSettings::default() };
    let server = Server::start(Arc::new(TestJobs(vec![(job, view)])), settings).await;
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{known}\n")).unwrap();
    let (ca, token) = (ca.to_str().unwrap(), token.to_str().unwrap());
    let to = format!("grpc+tls://{}", server.place);
    let sql = "SELECT count(*) AS n FROM large";
    let csv = ["--format", "csv", "--ca", ca];
    let with_file = [csv.as_slice(), &["--token-file", token]].concat();
    assert_eq!(command(query(sql, &to, &with_file), None).await.done(), "n\n0\n");
    assert_eq!(command(query(sql, &to, &csv), Some(known)).await.done(), "n\n0\n");
    for token in [None, Some("tg_other")] {
        let refused = command(query(sql, &to, &csv), token).await.failed(1);
        assert!(refused.contains("wants a token that it knows"), "{refused}");
    }
    let untrusted = command(query(sql, &to, &[]), Some(known)).await.failed(1);
    assert!(untrusted.contains("cannot connect to grpc+tls://127.0.0.1"), "{untrusted}");
    let wrong = command(query(sql, "127.0.0.1:1", &[]), None).await.failed(2);
    assert!(wrong.contains("is not an address; write grpc://HOST:PORT"), "{wrong}");
    server.finish().await;
    let closed = command(query(sql, "grpc://127.0.0.1:1", &[]), None).await.failed(1);
    assert!(closed.contains("cannot connect to grpc://127.0.0.1:1: Connection refused"));
}
