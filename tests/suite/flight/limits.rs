//! What a query may not do: change anything, read files by path, take memory, time or places
//! beyond its bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::decode::FlightRecordBatchStream;
use futures::TryStreamExt;
use tidegauge::runtime::JobView;
use tidegauge::service::flight::{FlightSettings, QueryLimits};
use tidegauge::service::{Origin, Registry, Surroundings};
use tokio::sync::watch;
use tonic::Code;

use super::super::harness::{compile, scratch};
use super::service::{Client, Server, TestJobs, job_file, refused, text};

/// More rows than anyone waits for.
const ENDLESS: &str = "SELECT * FROM generate_series(1, 1000000000000)";

async fn server(limits: QueryLimits) -> Server {
    let folder = scratch();
    let job = Arc::new(compile(&job_file(folder.path(), "traffic")).await);
    let (_, view) = watch::channel(Arc::new(JobView::default()));
    let settings = FlightSettings { limits, ..FlightSettings::default() };
    Server::start(Arc::new(TestJobs(vec![(job, view)])), settings).await
}

async fn stream(client: &mut Client, sql: &str) -> FlightRecordBatchStream {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_queries_is_answered() {
    let server = server(QueryLimits::default()).await;
    let client = &mut server.client().await;
    for sql in [
        "INSERT INTO results.large SELECT * FROM results.large",
        "DELETE FROM results.large",
        "UPDATE results.large SET bytes = 0",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/tmp/'",
        "DROP TABLE results.large",
        "COPY (SELECT 1) TO '/tmp/tidegauge.parquet'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE INSERT INTO results.large SELECT * FROM results.large",
    ] {
        let (code, message) = refused(client, sql).await;
        assert_eq!(code, Code::InvalidArgument, "{sql}: {message}");
        assert!(message.contains("is refused; only queries are answered: SELECT"), "{message}");
        let prepared = client.prepare(sql.to_owned(), None).await.unwrap_err().to_string();
        assert!(prepared.contains("only queries are answered"), "{sql}: {prepared}");
    }
    for sql in ["SHOW TABLES", "DESCRIBE results.large", "EXPLAIN SELECT 1", "VALUES (1)"] {
        assert!(!text(client, sql).await.is_empty(), "{sql}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_to_a_file() {
    let server = server(QueryLimits::default()).await;
    let client = &mut server.client().await;
    let folder = scratch();
    let file = folder.path().join("secret.parquet");
    std::fs::write(&file, "PAR1").unwrap();
    let path = file.display();
    for sql in [
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        format!("SELECT * FROM 'file://{path}'"),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        format!("SELECT * FROM read_parquet('{path}')"),
        "SELECT * FROM read_csv('/etc/passwd')".to_owned(),
        format!("SELECT * FROM parquet_metadata('{path}')"),
        "SELECT * FROM datafusion.public.t".to_owned(),
    ] {
        let (code, message) = refused(client, &sql).await;
        assert_eq!(code, Code::InvalidArgument, "{sql}: {message}");
        assert!(message.contains("not found"), "{sql}: {message}");
    }
    for sql in ["SELECT repeat('x', 2000000000)", "SELECT range(0, 100000000000)"] {
        let (code, message) = refused(client, sql).await;
        assert_eq!(code, Code::InvalidArgument, "{sql}: {message}");
        assert!(message.contains("Invalid function"), "{sql}: {message}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_would_overflow_the_stack_is_refused() {
    let server = server(QueryLimits::default()).await;
    let client = &mut server.client().await;
    let many = |one: &str, count: usize| one.repeat(count);
    for sql in [
        format!("SELECT 1{}", many("+1", 10_000)),
        format!("SELECT 1 WHERE 1{}", many(" IS NULL", 10_000)),
        format!("SELECT 1{}", many(" UNION ALL SELECT 1", 10_000)),
        format!("SELECT 1 FROM large{}", many(", large", 10_000)),
    ] {
        let (code, message) = refused(client, &sql).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains("there are more than") || message.contains("has more than"));
    }
    // As deep as is let through.
    let chain: Vec<String> =
        (1..330).map(|at| format!("a{at} AS (SELECT x + 1 AS x FROM a{})", at - 1)).collect();
    for (sql, answer) in [
        (format!("SELECT count(*) FROM (SELECT 1{})", many("+1", 495)), "1"),
        (format!("SELECT 1 WHERE 1=1{}", many(" OR 1=2", 160)), "1"),
        (format!("SELECT count(*) FROM (SELECT 1{})", many(" UNION ALL SELECT 1", 490)), "491"),
        (format!("WITH a0 AS (SELECT 0 AS x), {} SELECT x FROM a329", chain.join(", ")), "329"),
    ] {
        assert_eq!(text(client, &sql).await, [answer]);
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_never_open_is_no_empty_table() {
    let folder = scratch();
    let job = compile(&job_file(folder.path(), "traffic")).await;
    let registry = Registry::new(Surroundings::plain(), 0);
    registry.admit(job, Origin::Submitted).unwrap();
    let server = Server::start(Arc::new(registry), FlightSettings::default()).await;
    let client = &mut server.client().await;
    for table in ["results.large", "results.host_minutes", "live.host_minutes"] {
        let (code, message) = refused(client, &format!("SELECT * FROM {table}")).await;
        assert_eq!(code, Code::Unavailable, "{message}");
        assert!(message.contains("traffic was not open yet in this process"), "{message}");
        assert!(message.contains("it is starting; ask again"), "{message}");
    }
    assert_eq!(text(client, "SELECT name, phase FROM system.jobs").await, ["traffic | starting"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named_and_have_no_debug_text() {
    let server = server(QueryLimits::default()).await;
    let client = &mut server.client().await;
    for (sql, said) in [
        ("SELEC 1", "Expected: an SQL statement, found: SELEC"),
        ("SELECT bites FROM large", "No field named bites. Did you mean 'large.bytes'?"),
        ("SELECT * FROM lage", "'tidegauge.results.lage' not found; there are live.host_minutes"),
        ("SELECT summ(bytes) FROM large", "Invalid function 'summ'."),
        ("SELECT 1 / 0", "Divide by zero"),
        ("SELECT CAST('x' AS INT)", "Cannot cast string 'x' to value of Int32 type"),
        (
            "SELECT bytes FROM large WHERE tenant = $1",
            "has the parameters $1; bind a row of values",
        ),
    ] {
        let (code, message) = refused(client, sql).await;
        assert_eq!(code, Code::InvalidArgument, "{sql}: {message}");
        assert!(message.contains(said), "{sql}: {message}");
        assert!(!message.contains("Error(") && !message.contains("backtrace"), "{message}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_so_much_memory_and_no_disk() {
    let limits = QueryLimits { memory_bytes_max: 4 * 1024 * 1024, ..QueryLimits::default() };
    let server = server(limits).await;
    let client = &mut server.client().await;
    for sql in [
        "SELECT * FROM generate_series(1, 10000000) AS t(x) ORDER BY -x",
        "SELECT x, count(*) FROM generate_series(1, 10000000) AS t(x) GROUP BY x",
    ] {
        let (code, message) = refused(client, sql).await;
        assert_eq!(code, Code::ResourceExhausted, "{sql}: {message}");
        assert!(message.contains("more memory than a query may have"), "{message}");
    }
    assert_eq!(text(client, "SELECT 1").await, ["1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_so_much_time_also_with_a_client_that_does_not_read() {
    let limits = QueryLimits {
        time_max: Duration::from_millis(700),
        running_max: 1,
        ..QueryLimits::default()
    };
    let server = server(limits).await;
    let client = &mut server.client().await;
    let began = Instant::now();
    let counting = "SELECT count(*) FROM generate_series(1, 1000000000000)";
    let (code, message) = refused(client, counting).await;
    assert_eq!(code, Code::DeadlineExceeded, "{message}");
    assert!(message.contains("longer than 0.7 s, which is the most a query may"), "{message}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // This client takes nothing for longer than it may; its place is free all the same.
    let mut unread = stream(client, ENDLESS).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(text(client, "SELECT 1").await, ["1"]);
    let cut = async {
        while unread.try_next().await?.is_some() {}
        Ok(())
    };
    let error: arrow_flight::error::FlightError =
        tokio::time::timeout(Duration::from_secs(20), cut).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("longer than 0.7 s"), "{error}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_queries_run_at_once_and_a_client_that_leaves_makes_room() {
    let limits = QueryLimits { running_max: 2, ..QueryLimits::default() };
    let server = server(limits).await;
    let client = &mut server.client().await;
    let first = stream(client, ENDLESS).await;
    let second = stream(client, ENDLESS).await;
    let (code, message) = refused(client, "SELECT 1").await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("2 queries are running"), "{message}");
    drop(first);
    let began = Instant::now();
    while super::service::rows(client, "SELECT 1").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "no room was made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(second);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_how_many_files_and_no_paths() {
    let mut running = super::Running::start(FlightSettings::default()).await;
    running.feed(0..4).await;
    let client = &mut running.server.client().await;
    for explain in ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE", "EXPLAIN ANALYZE VERBOSE"] {
        for from in ["results.large", "live.host_minutes", "results.host_minutes WHERE bytes > 1"] {
            let plan = text(client, &format!("{explain} SELECT * FROM {from}")).await.join("\n");
            let place = running.folder.path().to_str().unwrap().trim_start_matches('/');
            let is_bare = !plan.contains(place) && !plan.contains(".parquet");
            assert!(is_bare, "{explain} {from}: {plan}");
            let shows_files = plan.contains("file_groups={");
            assert!(shows_files || !from.contains("large"), "{plan}");
        }
    }
    running.finish().await;
}
