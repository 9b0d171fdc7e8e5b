//! C3: two coordinators of one job. Only one commits an epoch; the other learns that it lost and
//! stops; nothing is lost or doubled.

use std::sync::Arc;

use tidegauge::runtime::{CompiledJob, Engine, OpenOptions, Progress};
use tidegauge_commitlog::{ErrorKind, SystemClock};
use tidegauge_spec::JobSpec;

use super::process::{self, Ended};
use super::s3_server::S3Server;
use super::storm::{Outcome, Storm};

#[tokio::test]
async fn of_two_processes_that_start_together_one_is_fenced() {
    let storm = Storm::local(60, 3_000);
    let fenced = race(&storm, 5).await;
    println!("local: {fenced} of 5 rounds ended with one of the two fenced");
    assert!(fenced > 0, "the two never met");
}

#[tokio::test]
async fn of_two_processes_that_start_together_on_s3_one_is_fenced() {
    let Some(server) = S3Server::start() else { return };
    let storm = Storm::s3(&server, "race", 15, 900).await;
    let fenced = race(&storm, 3).await;
    println!("S3: {fenced} of 3 rounds ended with one of the two fenced");
    assert!(fenced > 0, "the two never met");
}

#[tokio::test]
async fn a_continuous_coordinator_is_fenced_by_the_next_one() {
    let storm = Storm::local(60, 3_000);
    let (expected, _) = storm.undisturbed().await;
    let outcome = storm.outcome("takeover");
    // Both run on and on over an input that grows, until one has lost an epoch to the other.
    let held = hold_back(&storm, 30);
    let children = [(); 2].map(|()| process::start(&storm.job(), &outcome.env, &[]));
    let mut children = Vec::from(children);
    let mut arriving = held.into_iter();
    let loser = loop {
        std::thread::sleep(std::time::Duration::from_millis(30));
        if let Some(at) = children.iter_mut().position(|c| c.try_wait().unwrap().is_some()) {
            break children.remove(at);
        }
        let (from, to) = arriving.next().expect("two coordinators ran side by side to the end");
        std::fs::rename(from, to).unwrap();
    };
    assert_fenced(&process::wait(loser, process::RUN_MAX));
    for (from, to) in arriving {
        std::fs::rename(from, to).unwrap();
    }
    let winner = children.pop().unwrap();
    process::signal(&winner, "TERM");
    process::wait(winner, process::RUN_MAX).summary();
    storm.run(&outcome).summary();
    outcome.assert_shows(&expected).await;
}

#[tokio::test]
async fn the_second_of_two_engines_to_commit_an_epoch_is_fenced() {
    let storm = Storm::local(12, 600);
    let (expected, _) = storm.undisturbed().await;
    let outcome = storm.outcome("engines");
    let held = hold_back(&storm, 6);
    let mut first = engine(&storm, &outcome).await;
    let mut second = engine(&storm, &outcome).await;
    first.run_once(false).await.unwrap();
    let lost = second.run_once(false).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Fenced, "{lost}");
    // A third one takes over; the first, which led until now, learns it at its next epoch.
    let mut third = engine(&storm, &outcome).await;
    for (from, to) in held {
        std::fs::rename(from, to).unwrap();
    }
    third.run_once(false).await.unwrap();
    let lost = first.run_once(true).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Fenced, "{lost}");
    assert!(lost.message().contains("another coordinator runs this job"), "{lost}");
    let still = first.run_once(true).await.unwrap_err();
    assert_eq!(still.kind(), ErrorKind::Fenced, "{still}");
    third.run_once(true).await.unwrap();
    outcome.assert_shows(&expected).await;
}

async fn engine(storm: &Storm, outcome: &Outcome) -> Engine {
    let env = outcome.env.clone();
    let value = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, v)| v.clone());
    let spec = JobSpec::load(&storm.job(), &value).unwrap_or_else(|bad| panic!("{bad}"));
    let job = CompiledJob::new(spec).await.unwrap_or_else(|bad| panic!("{bad}"));
    let progress = Arc::new(Progress::default());
    Engine::open(job, OpenOptions::default(), Arc::new(SystemClock), progress).await.unwrap()
}

/// Takes the last files of the input away, each with the place to bring it back to.
fn hold_back(storm: &Storm, files: usize) -> Vec<(std::path::PathBuf, std::path::PathBuf)> {
    let aside = storm.folder().join("aside");
    std::fs::create_dir(&aside).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(storm.folder().join("in"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('_'))
        .collect();
    names.sort();
    let held = names.split_off(names.len() - files);
    held.into_iter()
        .map(|path| {
            let away = aside.join(path.file_name().unwrap());
            std::fs::rename(&path, &away).unwrap();
            (away, path)
        })
        .collect()
}

/// Starts two processes at once, round after round, and says how often one was fenced.
async fn race(storm: &Storm, rounds: usize) -> usize {
    let (expected, _) = storm.undisturbed().await;
    let mut fenced = 0;
    for round in 0..rounds {
        let outcome = storm.outcome(&format!("race-{round}"));
        let start = || process::start(&storm.job(), &outcome.env, &["--once", "--drain"]);
        let ended = [start(), start()].map(|child| process::wait(child, process::RUN_MAX));
        let losers: Vec<&Ended> = ended.iter().filter(|ended| ended.code != Some(0)).collect();
        assert!(losers.len() < 2, "both stopped: {ended:?}");
        for loser in &losers {
            assert_fenced(loser);
        }
        fenced += losers.len();
        outcome.assert_shows(&expected).await;
    }
    fenced
}

fn assert_fenced(ended: &Ended) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("another coordinator runs this job"), "{ended:?}");
}
