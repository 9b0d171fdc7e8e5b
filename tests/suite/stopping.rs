//! A continuous run that is told to stop finishes its epoch, says what it did, and loses nothing.

use std::time::{Duration, Instant};

use super::process;
use super::storm::Storm;

async fn stopped_by(signal: &str) {
    let storm = Storm::local(150, 4_500);
    let (expected, _) = storm.undisturbed().await;
    let outcome = storm.outcome("stopped");
    let (mut runs, mut epochs) = (0, 0);
    // Whatever moment the signal comes at, the run ends well and the next one goes on from there.
    for pause_ms in [0, 7, 23, 61] {
        let mut child = process::start(&storm.job(), &outcome.env, &[]);
        let before = outcome.epochs().await;
        while outcome.epochs().await == before {
            assert!(child.try_wait().unwrap().is_none(), "it has stopped by itself");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(pause_ms));
        process::signal(&child, signal);
        let told = Instant::now();
        let summary = process::wait(child, process::RUN_MAX).summary();
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        let committed = outcome.epochs().await - before;
        assert_eq!(summary["epochs"], committed, "the summary counts what is in the log");
        assert_eq!(summary["files"], 3 * committed);
        (runs, epochs) = (runs + 1, epochs + committed);
    }
    println!("{signal}: {runs} runs stopped after {epochs} of 50 epochs");
    assert!(epochs < 50, "the signals came after the end of the input");
    storm.run(&outcome).summary();
    outcome.assert_shows(&expected).await;
}

#[tokio::test]
async fn an_interrupt_finishes_the_epoch() {
    stopped_by("INT").await;
}

#[tokio::test]
async fn a_termination_finishes_the_epoch() {
    stopped_by("TERM").await;
}
