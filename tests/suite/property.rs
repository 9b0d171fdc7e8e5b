//! C1, batch equality: drawn tables, in a drawn order of arrival, in drawn files, epochs and
//! partitions, under drawn queries, in this process or on two workers, with crashes between and
//! inside epochs, give what one-shot DataFusion gives.
//!
//! The reference shares nothing with the planner: it joins the rows with windows that are listed
//! here by counting, and runs plain SQL over that, a view at a time. Where rows come late, it
//! leaves out those pairs of row and window that were closed when the row came, and where they may
//! change for a while after that, of each window the last revision counts.
//!
//! ```text
//!   PROPERTY_CASES=100000     how many are drawn
//!   PROPERTY_SEED=7           from which seed; a failure prints its own
//!   PROPERTY_CASE=42          only this one
//!   PROPERTY_SHOW=1           show each case before it is run
//!   PROPERTY_FAILURES=10      go on until so many have failed
//!   PROPERTY_DUCKDB=1         hold every case to DuckDB, too; 10 is every tenth, which is done unless
//!                             another is said, 0 none
//! ```

mod chain;
mod crash;
mod crew;
mod found;
mod inside;
mod lateness;
mod nest;
mod query;
mod reference;
mod second_reference;
mod table;
mod windows;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::max;
use datafusion::arrow::datatypes::Int32Type;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tidegauge::cluster::Cluster;

use super::harness::sorted_text;
use chain::{DrawnChain, Program, drawn_chain};
use crew::workers_of_this_process;
use lateness::Lateness;
use reference::Reference;
use second_reference::SecondReference;
use table::{DrawnTable, Limits, RawTable, raw_table};

const CASES: u32 = 5_000;
/// Every case whose number is a multiple of it is held to DuckDB.
const DUCKDB_EVERY: u32 = 10;
/// The progress of long runs is shown after so many cases.
const SHOWN_EVERY: u32 = 1_000;

/// One drawn case.
#[derive(Clone)]
struct Case {
    table: DrawnTable,
    second: DrawnTable,
    /// Whether some rows come later than the delay.
    lates: bool,
    /// How long windows may change after they closed.
    allowed_ms: i64,
    chains: Vec<DrawnChain>,
    partitions: usize,
    files_per_epoch: usize,
    runs_max: usize,
    cache_max: &'static str,
    close_max: &'static str,
    on_workers: bool,
    /// The files come in so many parts; the engine is opened anew for each.
    portions: usize,
    /// The windows that are open after a portion are closed, and the next is of another day.
    drains: bool,
    /// A run is dropped after so many polls.
    crashes: Vec<usize>,
    /// What becomes of the files of a portion when they have been read.
    changes: Vec<Change>,
    /// The rows of a later portion are appended to the files of the first.
    appends: bool,
}

/// What becomes of a file that was read: nothing of it may show.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Nothing,
    /// It is written anew as it is.
    Touched,
    /// Rows are added to it, and it is not said that files grow.
    Appended,
    Removed,
}

fn drawn_case() -> impl Strategy<Value = Case> {
    let chains = prop_oneof![
        6 => proptest::collection::vec(drawn_chain(), 1),
        1 => proptest::collection::vec(drawn_chain(), 2..4),
    ];
    let state = (
        prop_oneof![Just(1_usize), Just(2), Just(7)],
        prop_oneof![3 => Just(1_usize), 1 => Just(3)],
        prop_oneof![Just(2_usize), Just(3), Just(16)],
        prop_oneof![Just(("1B", "1B")), Just(("64MiB", "2kB")), Just(("64MiB", "64MiB"))],
        prop_oneof![7 => Just(false), 1 => Just(true)],
    );
    let polls = prop_oneof![0_usize..20, 0_usize..100, 0_usize..400];
    let crashes = prop_oneof![
        2 => Just(vec![]),
        1 => proptest::collection::vec(polls, 1..4),
    ];
    let portions = prop_oneof![2 => Just(1_usize), 1 => 2_usize..4];
    let portions = (portions, proptest::bool::weighted(0.3));
    let allowed_ms = prop_oneof![Just(0_i64), Just(1_000), Just(20_000), Just(300_000)];
    let late = (proptest::bool::weighted(0.25), allowed_ms);
    let change = prop_oneof![
        3 => Just(Change::Nothing),
        1 => Just(Change::Touched),
        1 => Just(Change::Appended),
        1 => Just(Change::Removed),
    ];
    let changes = (proptest::collection::vec(change, 0..6), proptest::bool::weighted(0.3));
    let after = (crashes, late, changes);
    (raw_table(), raw_table(), chains, state, portions, after).prop_map(
        |(first, mut second, chains, state, (portions, drains), after)| {
            let (crashes, (lates, allowed_ms), (changes, appends)) = after;
            if drains {
                // What closes the windows of one source closes those of the other up to the same time.
                second.begin_with(&first);
            }
            let (partitions, files_per_epoch, runs_max, memory, on_workers) = state;
            let (cache_max, close_max) = memory;
            let depth = chains.iter().map(DrawnChain::depth).max().unwrap_or(1);
            let may_change = lates && chains.iter().all(DrawnChain::may_be_revised);
            // Every stage multiplies the rows by the windows that hold them.
            let rows_max = [80, 25, 12][depth - 1];
            let table = |raw: RawTable, first_id| {
                let table = raw.arranged(Limits { rows_max, lates, first_id });
                if drains { table.a_day_apart(portions) } else { table }
            };
            Case {
                table: table(first, 0),
                second: table(second, 1_000),
                lates,
                allowed_ms: if may_change { allowed_ms } else { 0 },
                chains,
                partitions,
                files_per_epoch,
                runs_max,
                cache_max,
                close_max,
                on_workers,
                portions,
                drains,
                crashes,
                changes,
                // Which files share an epoch decides which rows are late, and a file to which
                // nothing is added is in none.
                appends: appends && !lates,
            }
        },
    )
}

/// As a defect is reported: the job, the files of its sources, and how it ran.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.job_sql())?;
        for (name, table) in self.sources() {
            writeln!(f, "{name}:\n{table}")?;
        }
        let Self {
            partitions, files_per_epoch, runs_max, cache_max, close_max, on_workers, ..
        } = self;
        writeln!(
            f,
            "{partitions} partitions, {files_per_epoch} files an epoch, {runs_max} runs, {cache_max} of \
             cache, {close_max} to close, {} portions{}{}, files then {:?}, crashes after {:?} \
             polls{}{}",
            self.portions,
            if self.drains { " that are drained" } else { "" },
            if self.appends { " that are appended" } else { "" },
            self.changes,
            self.crashes,
            if *on_workers { ", on workers" } else { "" },
            if self.lates {
                format!(", late rows, {} ms allowed", self.allowed_ms)
            } else {
                String::new()
            },
        )?;
        write!(f, "{:?}", self.program().0.steps)
    }
}

impl Case {
    /// The sources that any query reads.
    fn sources(&self) -> Vec<(&'static str, &DrawnTable)> {
        let mut sources = vec![("t", &self.table)];
        if self.chains.iter().any(DrawnChain::reads_second_source) {
            sources.push(("u", &self.second));
        }
        sources
    }

    /// What all queries are in the job and in the reference, and the views of their answers.
    fn program(&self) -> (Program, Vec<String>) {
        let mut program = Program::default();
        let prefixes = ["p", "q", "r"];
        let answers = self
            .chains
            .iter()
            .zip(prefixes)
            .map(|(chain, prefix)| chain.add_to(&mut program, prefix));
        let answers = answers.collect();
        (program, answers)
    }

    fn job_sql(&self) -> String {
        let (program, answers) = self.program();
        let inserts = answers
            .iter()
            .enumerate()
            .map(|(at, view)| format!("INSERT INTO out{at} SELECT * FROM {view}"));
        let statements: Vec<String> = program.views.into_iter().chain(inserts).collect();
        format!("{};", statements.join(";\n"))
    }
}

fn setting(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn a_stream_gives_what_the_batch_query_gives() {
    let seed = setting("PROPERTY_SEED").unwrap_or_else(rand::random);
    let cases = match setting("PROPERTY_CASE") {
        Some(case) => case..case + 1,
        None => 0..setting("PROPERTY_CASES").unwrap_or(CASES),
    };
    eprintln!("PROPERTY_SEED={seed}");
    let failures_max = setting("PROPERTY_FAILURES").unwrap_or(1) as usize;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU32::new(cases.start);
    let failures: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let seen = Seen::default();
    let every = setting("PROPERTY_DUCKDB").unwrap_or(DUCKDB_EVERY);
    let second = if every > 0 { SecondReference::start() } else { None };
    let is_over = || failures.lock().unwrap().len() >= failures_max;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let workers = runtime.block_on(async { workers_of_this_process() });
                while !is_over() {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= cases.end {
                        break;
                    }
                    let second = second.as_ref().filter(|_| case.is_multiple_of(every));
                    if let Err(why) = check(&runtime, &workers, (seed, case), (&seen, second)) {
                        eprintln!("{why}");
                        failures.lock().unwrap().push(why);
                    }
                    if (case + 1).is_multiple_of(SHOWN_EVERY) {
                        eprintln!("PROPERTY_SEED={seed}: {} of {} cases", case + 1, cases.end);
                    }
                }
            });
        }
    });
    let Seen { revised, twice, steps } = seen;
    eprintln!(
        "PROPERTY_SEED={seed}: {} cases wrote windows again; {} were held to DuckDB, in {} steps",
        revised.into_inner(),
        twice.into_inner(),
        steps.into_inner()
    );
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cases failed; the first:\n{}", failures.len(), failures[0]);
}

/// Draws the case of this number, which depends on the seed and on nothing else, and shrinks it
/// where it fails.
fn check(
    runtime: &tokio::runtime::Runtime,
    workers: &Arc<Cluster>,
    (seed, number): (u32, u32),
    (seen, second): (&Seen, Option<&SecondReference>),
) -> Result<(), String> {
    let mut bytes = [0_u8; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    bytes[4..8].copy_from_slice(&number.to_le_bytes());
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: setting("PROPERTY_SHRINKS").unwrap_or(600),
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(&drawn_case(), |case| {
        if setting("PROPERTY_SHOW").is_some() {
            eprintln!("{case:?}");
        }
        let workers = case.on_workers.then(|| Arc::clone(workers));
        let (stream, batch) = runtime.block_on(both(&case, workers, (seen, second)))?;
        prop_assert_eq!(stream, batch);
        Ok(())
    });
    outcome.map_err(|why| format!("PROPERTY_SEED={seed} PROPERTY_CASE={number}\n{why}"))
}

/// What the sinks show, as a stream and at once.
async fn both(
    case: &Case,
    workers: Option<Arc<Cluster>>,
    (seen, second): (&Seen, Option<&SecondReference>),
) -> Result<(Vec<Vec<String>>, Vec<Vec<String>>), TestCaseError> {
    let sources = case.sources().into_iter().map(|(name, table)| (name, table.batch()));
    let sources: Vec<(&str, RecordBatch)> = sources.collect();
    let reference = Reference::new(sources.clone(), Lateness::of(case));
    let (program, answers) = case.program();
    let made = reference.run(&program.steps).await;
    if let Some(second) = second {
        let steps = second.compare(&sources, &program.steps, &made).map_err(TestCaseError::fail)?;
        seen.twice.fetch_add(1, Ordering::Relaxed);
        seen.steps.fetch_add(steps, Ordering::Relaxed);
    }
    let sinks = crash::as_a_stream(case, workers).await;
    let (mut stream, mut batch) = (Vec::new(), Vec::new());
    for ((view, sink), chain) in answers.iter().zip(sinks).zip(&case.chains) {
        let rows = reference.answer(&format!("SELECT * FROM {view}")).await;
        let sink = match sink.schema().index_of("_revision") {
            Ok(at) => {
                let is_revised = max(sink.column(at).as_primitive::<Int32Type>()) > Some(0);
                seen.revised.fetch_add(u32::from(is_revised), Ordering::Relaxed);
                reference.last_revisions(sink, view, &chain.window_columns()).await
            }
            Err(_) => sink,
        };
        stream.push(sorted_text(&[sink]));
        batch.push(sorted_text(&[rows]));
    }
    Ok((stream, batch))
}

/// What the cases of a run were.
#[derive(Default)]
struct Seen {
    /// Those whose late rows changed windows.
    revised: AtomicU32,
    /// Those that were held to DuckDB, and in how many steps.
    twice: AtomicU32,
    steps: AtomicU64,
}
