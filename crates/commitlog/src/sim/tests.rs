//! Thousands of seeds with the rules as they are; and each rule broken, which must be noticed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::run::{Report, run_seed};
use crate::sabotage::Sabotage;

const SEEDS: u64 = 3_000;
const SABOTAGE_SEEDS: u64 = 2_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs seeds on every processor until one is found wanting.
fn run_seeds(
    count: u64,
    sabotage: Option<Sabotage>,
) -> (Option<(u64, Report)>, BTreeMap<&'static str, u64>) {
    let next = AtomicU64::new(0);
    let failed: Mutex<Option<(u64, Report)>> = Mutex::new(None);
    let totals: Mutex<BTreeMap<&'static str, u64>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    let report = run_seed(seed, sabotage, false);
                    for (what, n) in &report.counts {
                        *totals.lock().entry(what).or_default() += n;
                    }
                    if report.violation.is_some() {
                        failed.lock().get_or_insert((seed, report));
                    }
                }
            });
        }
    });
    (failed.into_inner(), totals.into_inner())
}

#[test]
fn epochs_survive_every_crash_pause_and_delay() {
    if let Some(seed) = variable("SIM_SEED") {
        let report = run_seed(seed, None, true);
        assert_eq!(report.violation, None, "SIM_SEED={seed}");
        return;
    }
    let (failed, counts) = run_seeds(variable("SIM_SEEDS").unwrap_or(SEEDS), None);
    if let Some((seed, report)) = failed {
        panic!("SIM_SEED={seed} reproduces: {:?}", report.violation);
    }
    println!("{counts:?}");
    // What the simulation is there to try has been tried.
    for what in [
        "abandoned",
        "answers exists",
        "cleared away",
        "committed",
        "crash",
        "delete",
        "earlier",
        "fails after",
        "fails before",
        "fenced",
        "gone",
        "impostor",
        "landed late",
        "lost",
        "pause",
        "published again",
        "refused",
        "taken",
        "unknown",
    ] {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "never: {what}");
    }
}

#[test]
fn a_seed_always_does_the_same() {
    for seed in 0..10 {
        let (first, second) = (run_seed(seed, None, false), run_seed(seed, None, false));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
    }
}

#[test]
fn every_broken_rule_is_noticed() {
    for sabotage in Sabotage::ALL {
        let (failed, _) = run_seeds(SABOTAGE_SEEDS, Some(sabotage));
        match failed {
            Some((seed, report)) => println!("{sabotage:?}: seed {seed}: {:?}", report.violation),
            None => panic!("{sabotage:?} goes unnoticed in {SABOTAGE_SEEDS} seeds"),
        }
    }
}
