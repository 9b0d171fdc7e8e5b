//! Keeps one job running: starts it, and starts it again after a failure that this may mend.
//!
//! ```text
//!            opened             asked to stop
//!  Starting -------> Running -----------------> Stopped
//!     ^                 |                          ^
//!     | after a pause   | failed                   | asked to stop
//!     +----------- Restarting ---------------------+
//!     |                 |                          |
//!     |                 +--> Failed, where starting again cannot help
//!     | the log stands  |
//!     | still           | fenced: another runs it
//!     +------------- Standby ----------------------+
//! ```
//!
//! Each start has a task of its own, so that a panic in one job ends that task and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use tidegauge_commitlog::Clock;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::backoff::Backoff;
use super::jobs::{JobPhase, JobStatus};
use crate::error::{Error, ErrorKind, Result};

/// What is kept running.
#[async_trait]
pub(super) trait Runs: Send + Sync + 'static {
    /// Opens and runs until `stop` says so or something fails; says in its status when it is open.
    async fn run(&self, stop: watch::Receiver<bool>) -> Result<()>;

    /// Another coordinator runs it: returns when that seems to have died. Stopped from outside.
    async fn stand_by(&self) -> Result<()>;

    /// How far it has come. Failures with progress between them are not failures in a row.
    fn progress(&self) -> u64;
}

/// Whether starting a job again may mend an error of this kind.
///
/// A storage that is away comes back, and a bad record is mended when its file is corrected or
/// taken away, which the job should notice by itself. A bug (a panic is one) may be met by chance,
/// and an epoch that it ended left nothing behind. The others stay: a bad job needs another job
/// file, and damaged state a hand. A job that another coordinator runs belongs to that one, as long as it
/// lives: see [`Runs::stand_by`].
pub(super) fn may_be_mended(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unavailable | ErrorKind::BadRecord | ErrorKind::Bug => true,
        ErrorKind::BadJob | ErrorKind::Fenced | ErrorKind::Corrupt => false,
    }
}

/// Runs `runs` until it is stopped or failed for good, and tells `status` how it fares.
pub(super) async fn supervise(
    runs: Arc<dyn Runs>,
    status: watch::Sender<JobStatus>,
    mut stop: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
    backoff: Arc<Backoff>,
) {
    let mut failures = 0;
    loop {
        let before = runs.progress();
        status.send_modify(|status| status.phase = JobPhase::Starting);
        let Err(error) = run_apart(Arc::clone(&runs), stop.clone()).await else { break };
        if error.kind() == ErrorKind::Fenced {
            tracing::warn!(%error, "the job stands by");
            status.send_modify(|status| {
                status.phase = JobPhase::Standby;
                status.last_error = Some(error.to_string());
            });
            tokio::select! {
                () = stand_by(&runs, &backoff, &clock) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            status.send_modify(|status| status.restarts += 1);
            continue;
        }
        if !may_be_mended(error.kind()) {
            tracing::error!(%error, kind = %error.kind(), "the job has failed");
            status.send_modify(|status| {
                status.phase = JobPhase::Failed;
                status.last_error = Some(error.to_string());
            });
            return;
        }
        failures = if runs.progress() > before { 1 } else { failures + 1 };
        let pause = backoff.pause(failures);
        tracing::warn!(%error, failures, ?pause, "the job failed and is started again");
        status.send_modify(|status| {
            status.phase = JobPhase::Restarting;
            status.last_error = Some(error.to_string());
        });
        tokio::select! {
            () = clock.sleep(pause) => {}
            // A registry that is gone wants its jobs to stop, too.
            _ = stop.wait_for(|stop| *stop) => break,
        }
        status.send_modify(|status| status.restarts += 1);
    }
    status.send_modify(|status| status.phase = JobPhase::Stopped);
}

/// Waits until the job may be taken over, however often the log cannot be read.
async fn stand_by(runs: &Arc<dyn Runs>, backoff: &Backoff, clock: &Arc<dyn Clock>) {
    for failures in 1.. {
        match runs.stand_by().await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "the log of a job that stands by cannot be read");
                clock.sleep(backoff.pause(failures)).await;
            }
        }
    }
}

/// One start, in a task that ends with this call.
async fn run_apart(runs: Arc<dyn Runs>, stop: watch::Receiver<bool>) -> Result<()> {
    let mut task = JoinSet::new();
    task.spawn(async move { runs.run(stop).await });
    match task.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(ended)) => Err(Error::bug(format!("the job's task ended: {}", why(ended)))),
        None => Err(Error::bug("the job's task was never there")),
    }
}

fn why(ended: JoinError) -> String {
    match ended.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => format!("panic: {text}"),
            (None, Some(text)) => format!("panic: {text}"),
            (None, None) => "panic".to_owned(),
        },
        Err(ended) => ended.to_string(),
    }
}

#[cfg(test)]
mod tests;
