//! A storage that is busy, stalls, or loses answers: requests are repeated with backoff, what took
//! effect counts once, and an outage that lasts ends the run within a bound.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::process::{self, Ended};
use super::proxy::{Fault, Proxy, Request};
use super::s3_server::{S3Server, env_of};
use super::storm::{Outcome, Rows, Storm};

/// A server, a job on it, and what it gives undisturbed.
struct Ground {
    server: S3Server,
    storm: Storm,
    expected: Rows,
}

async fn ground() -> Option<Ground> {
    let server = S3Server::start()?;
    let storm = Storm::s3(&server, "outage", 12, 600).await;
    let (expected, _) = storm.undisturbed().await;
    Some(Ground { server, storm, expected })
}

impl Ground {
    /// A place of its own that is reached through `proxy`, by a client of little patience.
    fn behind(&self, proxy: &Proxy, retry_timeout_ms: u32) -> Outcome {
        let mut outcome = self.storm.outcome("behind");
        for (name, value) in env_of(proxy.port()) {
            outcome = outcome.with(&name, &value);
        }
        outcome
            .with("TIDEGAUGE_S3_TIMEOUT_MS", "400")
            .with("TIDEGAUGE_S3_RETRY_TIMEOUT_MS", &retry_timeout_ms.to_string())
    }

    async fn assert_overcome(&self, proxy: &Proxy, faults_min: u64) {
        let outcome = self.behind(proxy, 20_000);
        let started = Instant::now();
        let ended = self.storm.run(&outcome);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let (requests, faults) = (proxy.requests(), proxy.faults());
        println!("overcome: {faults} of {requests} requests failed, {:?}", started.elapsed());
        assert!(faults >= faults_min, "{faults}");
        outcome.assert_shows(&self.expected).await;
    }

    /// Runs until the client gives up, then heals the storage and runs again.
    async fn assert_given_up(&self, proxy: &Proxy) -> Ended {
        let outcome = self.behind(proxy, 1_000);
        let started = Instant::now();
        let ended = process::wait(
            process::start(&self.storm.job(), &outcome.env, &["--once", "--drain"]),
            Duration::from_secs(60),
        );
        println!("given up after {:?}: {}", started.elapsed(), ended.stderr.trim());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("s3://tide/outage/"), "{ended:?}");
        proxy.heal();
        self.storm.run(&outcome).summary();
        outcome.assert_shows(&self.expected).await;
        ended
    }
}

fn is_record(request: &Request) -> bool {
    request.path.contains("/_state/storm/log/") && request.method == "PUT"
}

#[tokio::test]
async fn a_server_that_is_busy_at_first_is_asked_again() {
    let Some(ground) = ground().await else { return };
    let busy = |request: &Request| if request.n < 5 { Fault::Busy } else { Fault::None };
    let proxy = Proxy::start(ground.server.port(), busy);
    ground.assert_overcome(&proxy, 5).await;
}

#[tokio::test]
async fn a_stalled_request_is_repeated() {
    let Some(ground) = ground().await else { return };
    let stall = |request: &Request| match request.n % 29 {
        28 => Fault::Stall,
        _ => Fault::None,
    };
    let proxy = Proxy::start(ground.server.port(), stall);
    ground.assert_overcome(&proxy, 3).await;
}

#[tokio::test]
async fn what_took_effect_while_its_answer_was_lost_counts_once() {
    let Some(ground) = ground().await else { return };
    let lose = |request: &Request| match (is_record(request), request.method.as_str()) {
        (true, _) if request.n.is_multiple_of(3) => Fault::Lost,
        (true, _) if request.n % 3 == 1 => Fault::BusyAfter,
        (false, "PUT") if request.n.is_multiple_of(5) => Fault::BusyAfter,
        (false, "PUT") if request.n.is_multiple_of(7) => Fault::Lost,
        (_, "POST" | "DELETE") if request.n.is_multiple_of(2) => Fault::BusyAfter,
        _ => Fault::None,
    };
    let proxy = Proxy::start(ground.server.port(), lose);
    ground.assert_overcome(&proxy, 6).await;
}

#[tokio::test]
async fn a_record_whose_first_try_had_no_effect_is_written_again() {
    let Some(ground) = ground().await else { return };
    let tried = Mutex::new(HashSet::new());
    let fail = move |request: &Request| {
        let is_first = is_record(request) && tried.lock().unwrap().insert(request.path.clone());
        if is_first { Fault::Stall } else { Fault::None }
    };
    let proxy = Proxy::start(ground.server.port(), fail);
    ground.assert_overcome(&proxy, 4).await;
}

#[tokio::test]
async fn a_storage_that_stays_away_ends_the_run_within_a_bound() {
    let Some(ground) = ground().await else { return };
    let proxy = Proxy::start(ground.server.port(), |_| Fault::Stall);
    ground.assert_given_up(&proxy).await;
    let proxy = Proxy::start(ground.server.port(), |request| match request.n < 40 {
        true => Fault::None,
        false => Fault::Busy,
    });
    // Here the outage begins in the middle of the run.
    let outcome = ground.behind(&proxy, 1_000).with("OUT", "s3://tide/outage/second");
    let ended = ground.storm.run(&outcome);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("s3://tide/outage/"), "{ended:?}");
}

#[tokio::test]
async fn records_that_cannot_be_written_end_the_run_within_a_bound() {
    let Some(ground) = ground().await else { return };
    let proxy = Proxy::start(ground.server.port(), |request| match is_record(request) {
        true => Fault::Busy,
        false => Fault::None,
    });
    let ended = ground.assert_given_up(&proxy).await;
    assert!(ended.stderr.contains("whether epoch 1 was committed is not known"), "{ended:?}");
}

#[tokio::test]
async fn a_second_signal_ends_an_epoch_that_waits_for_the_storage() {
    let Some(ground) = ground().await else { return };
    let proxy = Proxy::start(ground.server.port(), |request| match is_record(request) {
        true => Fault::Stall,
        false => Fault::None,
    });
    // Patient enough to wait longer than the test does.
    let outcome = ground.behind(&proxy, 60_000).with("TIDEGAUGE_S3_TIMEOUT_MS", "60000");
    let mut child = process::start(&ground.storm.job(), &outcome.env, &[]);
    while proxy.faults() == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it has stopped by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    process::signal(&child, "TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the first signal lets the epoch finish");
    process::signal(&child, "INT");
    let ended = process::wait(child, Duration::from_secs(10));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("second signal"), "{ended:?}");
    proxy.heal();
    ground.storm.run(&outcome).summary();
    outcome.assert_shows(&ground.expected).await;
}
