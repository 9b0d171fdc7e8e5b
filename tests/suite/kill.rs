//! C2 through crashes: the real binary, killed again and again over one input, publishes what an
//! undisturbed run does; and at no moment does a listing show anything else than committed rows.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::process;
use super::s3_server::S3Server;
use super::storm::{Outcome, SINKS, Storm, published};
use super::watcher::Watcher;

/// When a process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after its start.
    After(Duration),
    /// So long after it has prepared its so-manieth file.
    Prepared(usize, Duration),
    /// So long after it has written its so-manieth record.
    Committed(usize, Duration),
}

/// How to kill.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    /// Processes that are to be killed while they work.
    interruptions: u32,
    /// Kills at most, so that one hits a record whose files have no names yet.
    kills_max: u32,
    /// The longest delay of most kills; every tenth waits up to four times as long.
    delay_max: Duration,
    /// Records that a process may write at most before it is killed, whatever its delay: the run
    /// that delays are measured by may have had a busier machine than those that are killed.
    records_max: usize,
    /// How often what a process has written is looked at.
    poll: Duration,
}

/// What became of the kills.
#[derive(Debug, Default)]
struct Toll {
    kills: u32,
    /// Kills that hit a process which was still running.
    interrupted: u32,
    /// Of these: with a record in the log and its files not yet published.
    unpublished: u32,
    /// Of these: with files prepared that no record names.
    prepared: u32,
}

#[tokio::test]
async fn killed_at_random_moments_a_job_publishes_what_an_undisturbed_run_does() {
    let seed = seed();
    let storm = Storm::local(600, 24_000);
    let (expected, elapsed) = storm.undisturbed().await;
    // So short a grace that garbage is collected between the kills.
    let outcome = storm.outcome("killed").with("GRACE", "3s");
    let watcher = Watcher::start(outcome.clone(), seed, 15);
    let delay_max = Duration::from_millis(30) + elapsed / 24;
    let poll = Duration::from_micros(50);
    let plan = Plan { seed, interruptions: 36, kills_max: 80, delay_max, records_max: 5, poll };
    let toll = kill_repeatedly(&storm, &outcome, plan).await;
    storm.run(&outcome).summary();
    let listings = watcher.finish();
    let epochs = outcome.epochs().await;
    println!("local: seed {seed}, {epochs} epochs in {elapsed:?}, {listings} listings, {toll:?}");
    outcome.assert_shows(&expected).await;
    assert!(toll.interrupted >= 15, "{toll:?}");
    assert!((records(&outcome).await.len() as u64) < epochs, "nothing was collected");
    assert!(toll.unpublished > 0 && toll.prepared > 0, "no kill hit a commit: {toll:?}");
}

#[tokio::test]
async fn killed_at_random_moments_on_s3_a_job_publishes_what_an_undisturbed_run_does() {
    let Some(server) = S3Server::start() else { return };
    let seed = seed();
    let storm = Storm::s3(&server, "killed", 90, 4_500).await;
    let (expected, elapsed) = storm.undisturbed().await;
    let outcome = storm.outcome("killed");
    let watcher = Watcher::start(outcome.clone(), seed, 60);
    let delay_max = Duration::from_millis(50) + elapsed / 10;
    let poll = Duration::from_millis(5);
    let plan = Plan { seed, interruptions: 12, kills_max: 12, delay_max, records_max: 2, poll };
    let toll = kill_repeatedly(&storm, &outcome, plan).await;
    storm.run(&outcome).summary();
    let listings = watcher.finish();
    let epochs = outcome.epochs().await;
    println!("S3: seed {seed}, {epochs} epochs in {elapsed:?}, {listings} listings, {toll:?}");
    outcome.assert_shows(&expected).await;
    assert!(toll.interrupted >= 10, "{toll:?}");
}

/// The seed of `KILL_SEED`, else a new one.
fn seed() -> u64 {
    let given = std::env::var("KILL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("KILL_SEED={seed}");
    seed
}

async fn kill_repeatedly(storm: &Storm, outcome: &Outcome, plan: Plan) -> Toll {
    let mut rng = SmallRng::seed_from_u64(plan.seed);
    let mut toll = Toll::default();
    // The moment between a record and the names of its files is short: a few more kills are meant
    // for it where none has hit it.
    let is_missed = |toll: &Toll| toll.unpublished == 0 && toll.kills < plan.kills_max;
    while toll.interrupted < plan.interruptions || is_missed(&toll) {
        let moment = match toll.interrupted < plan.interruptions {
            true => draw(&mut rng, plan.delay_max, toll.kills),
            false => Moment::Committed(1, Duration::from_micros(rng.random_range(0..200))),
        };
        let before = prepared(outcome).await;
        let records = records(outcome).await;
        let mut child = process::start(&storm.job(), &outcome.env, &["--once", "--drain"]);
        let came = wait_for(moment, outcome, &before, &records, plan, &mut child).await;
        toll.kills += 1;
        if child.try_wait().unwrap().is_some() {
            let ended = process::wait(child, process::RUN_MAX);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            // Nothing is left to be interrupted: the input was too small for this machine.
            break;
        }
        child.kill().unwrap();
        let ended = process::wait(child, process::RUN_MAX);
        assert!(ended.code.is_none() || ended.code == Some(0), "{moment:?} {came}: {ended:?}");
        toll.interrupted += u32::from(ended.code.is_none());
        count_remains(outcome, &before, &mut toll).await;
    }
    toll
}

/// Half of the kills wait for a time, a quarter each for a prepared file and for a record.
fn draw(rng: &mut SmallRng, delay_max: Duration, kill: u32) -> Moment {
    let nth = rng.random_range(1..=3);
    let shortly = Duration::from_micros(rng.random_range(0..2_000));
    match kill % 4 {
        1 => Moment::Prepared(nth, shortly),
        // Publishing follows at once.
        3 => Moment::Committed(nth, shortly / 10),
        _ => {
            let most = if kill.is_multiple_of(10) { delay_max * 4 } else { delay_max };
            Moment::After(rng.random_range(Duration::from_millis(5)..=most))
        }
    }
}

/// Waits for the moment or for the end of the process, and says whether the moment came.
async fn wait_for(
    moment: Moment,
    outcome: &Outcome,
    prepared_before: &BTreeSet<String>,
    records_before: &BTreeSet<String>,
    plan: Plan,
    child: &mut Child,
) -> bool {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        let committed = records(outcome).await.difference(records_before).count();
        let then = match moment {
            Moment::After(delay) => {
                let is_due = started.elapsed() >= delay || committed >= plan.records_max;
                is_due.then_some(Duration::ZERO)
            }
            Moment::Prepared(nth, then) => {
                (prepared(outcome).await.difference(prepared_before).count() >= nth).then_some(then)
            }
            Moment::Committed(nth, then) => (committed >= nth).then_some(then),
        };
        if let Some(then) = then {
            std::thread::sleep(then);
            return true;
        }
        std::thread::sleep(plan.poll);
    }
    false
}

async fn prepared(outcome: &Outcome) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for sink in SINKS {
        names.extend(outcome.names(&format!("{sink}/_prepared/storm")).await);
    }
    names
}

async fn records(outcome: &Outcome) -> BTreeSet<String> {
    outcome.names("_state/storm/log").await.into_iter().collect()
}

/// Looks at what a killed process has left behind.
async fn count_remains(outcome: &Outcome, before: &BTreeSet<String>, toll: &mut Toll) {
    let mut listed = BTreeSet::new();
    for sink in SINKS {
        listed.extend(outcome.list(sink).await);
    }
    let committed = outcome.committed().await;
    let is_unpublished = committed.iter().any(|(_, file)| !listed.contains(&published(file)));
    toll.unpublished += u32::from(is_unpublished);
    let named: BTreeSet<String> =
        committed.iter().map(|(_, file)| format!("{}/{}", file.sink, file.prepared)).collect();
    let remains = prepared(outcome).await;
    let is_orphaned = remains.difference(before).any(|name| !named.contains(name));
    toll.prepared += u32::from(is_orphaned);
}
