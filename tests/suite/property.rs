//! C1, batch equality: a drawn table, in a drawn order of arrival within the delay, in drawn
//! files, epochs and partitions, under a drawn query, in this process or on two workers, gives what
//! one-shot DataFusion gives.
//!
//! The reference shares nothing with the planner: it joins the rows with a list of windows that
//! is made here by counting, and runs plain SQL over that.

mod crew;
mod query;
mod table;

use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidegauge::cluster::Cluster;

use super::harness::{published_rows, run_drained_on, scratch, sorted_text, write_job};
use crew::workers_of_this_process;
use query::{DrawnQuery, drawn_query};
use table::{DrawnTable, drawn_table};

const CASES: u32 = 2_000;

/// One drawn case.
#[derive(Debug, Clone)]
struct Case {
    table: DrawnTable,
    query: DrawnQuery,
    partitions: usize,
    files_per_epoch: usize,
    runs_max: usize,
    cache_max: &'static str,
    on_workers: bool,
}

fn drawn_case() -> impl Strategy<Value = Case> {
    (
        drawn_table(),
        drawn_query(),
        prop_oneof![Just(1_usize), Just(2), Just(7)],
        prop_oneof![3 => Just(1_usize), 1 => Just(3)],
        prop_oneof![Just(2_usize), Just(3), Just(16)],
        prop_oneof![Just("1B"), Just("64MiB")],
        prop_oneof![7 => Just(false), 1 => Just(true)],
    )
        .prop_map(
            |(table, query, partitions, files_per_epoch, runs_max, cache_max, on_workers)| Case {
                table,
                query,
                partitions,
                files_per_epoch,
                runs_max,
                cache_max,
                on_workers,
            },
        )
}

#[test]
fn a_stream_gives_what_the_batch_query_gives() {
    let cases = std::env::var("PROPERTY_CASES").ok().and_then(|text| text.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(CASES), failure_persistence: None, ..Config::default() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = config.cases.div_ceil(u32::try_from(threads).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let config = Config { cases: each, ..config.clone() };
                run_cases(config);
            });
        }
    });
}

fn run_cases(config: Config) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let workers = runtime.block_on(async { workers_of_this_process() });
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&drawn_case(), |case| {
        let (stream, batch) = runtime.block_on(both(&case, &workers));
        prop_assert_eq!(
            stream,
            batch,
            "job:\n{}\nreference:\n{}",
            case.query.job_sql(),
            case.query.reference_sql()
        );
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

async fn both(case: &Case, workers: &Arc<Cluster>) -> (Vec<String>, Vec<String>) {
    let workers = case.on_workers.then(|| Arc::clone(workers));
    (as_a_stream(case, workers).await, at_once(case).await)
}

async fn as_a_stream(case: &Case, workers: Option<Arc<Cluster>>) -> Vec<String> {
    let folder = scratch();
    let input = folder.path().join("in");
    case.table.write_files(&input);
    let yaml = format!(
        "name: drawn\nsources:\n  t:\n    location: {input}/\n    format: json\n    schema: {schema}\n    \
         event_time: {{column: ts, delay: {delay}ms, future_max: 36500d}}\nsinks:\n  out: {{location: {out}/}}\n\
         epoch: {{files_max: {files}}}\n\
         state: {{location: {state}/, runs_max: {runs}, cache_max: {cache}, checkpoint_every: 3, retain_epochs: 2}}\n\
         partitions: {partitions}",
        input = input.display(),
        schema = table::SCHEMA,
        delay = table::DELAY_MS,
        out = folder.path().join("out").display(),
        files = case.files_per_epoch,
        state = folder.path().join("state").display(),
        runs = case.runs_max,
        cache = case.cache_max,
        partitions = case.partitions,
    );
    let job = write_job(folder.path(), &yaml, &case.query.job_sql());
    let summary = run_drained_on(&job, workers).await;
    assert_eq!(summary.rows_late, 0, "the drawn order of arrival stays within the delay");
    assert_eq!(summary.rows_in, case.table.rows.len() as u64);
    published_rows(&job, "out").await
}

async fn at_once(case: &Case) -> Vec<String> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    for function in tidegauge_udfs::all_scalars() {
        context.register_udf(function);
    }
    for function in tidegauge_udfs::all_aggregates() {
        context.register_udaf(function);
    }
    let rows = case.table.batch();
    let windows = case.query.windows(&case.table);
    for (name, batch) in [("rows", rows), ("windows", windows)] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    let sql = case.query.reference_sql();
    let frame = context.sql(&sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    sorted_text(&frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}")))
}
