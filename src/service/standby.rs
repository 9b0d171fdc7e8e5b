//! A job that another coordinator runs: its log is watched, and when that stands still for longer
//! than an epoch can take, its coordinator is taken for dead.
//!
//! This need not be right. Whoever is wrong about it runs a second coordinator beside the first, and
//! of two the log lets one commit each epoch; the other loses it and stands by. So a job that has
//! nothing to do, whose log stands still, changes hands at most once in each such time, and nothing
//! is lost but the work of an epoch that two have tried.

use std::sync::Arc;
use std::time::Duration;

use tidegauge_commitlog::{Clock, Epoch, LogReader};

use crate::error::Result;
use crate::runtime::CompiledJob;

/// What an epoch may take without a commit: this many intervals, or times what the last one took.
const EPOCHS: u32 = 10;
/// At least this long, where the job does not say it.
const AFTER_MIN: Duration = Duration::from_secs(60);
/// The log is looked at so many times in the time that decides.
const LOOKS: u32 = 10;
const LOOK_MAX: Duration = Duration::from_secs(30);

/// A job and its log.
pub(super) struct Standby {
    job: Arc<CompiledJob>,
    log: LogReader,
    clock: Arc<dyn Clock>,
}

impl Standby {
    pub(super) fn new(job: Arc<CompiledJob>, clock: Arc<dyn Clock>) -> Result<Self> {
        let log = LogReader::new(job.state_storage()?);
        Ok(Self { job, log, clock })
    }

    /// Returns when the log has stood still for long enough.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn wait(&self) -> Result<()> {
        let mut head = self.log.state().await?.epoch;
        let mut after = self.after(head).await?;
        let mut still = Duration::ZERO;
        while still < after {
            // Counted in sleeps and not read off a clock, which may be set.
            let look = (after / LOOKS).min(LOOK_MAX);
            self.clock.sleep(look).await;
            still += look;
            let newest = self.log.newest_after(head).await?;
            if newest.is_some() {
                head = newest;
                (after, still) = (self.after(head).await?, Duration::ZERO);
            }
        }
        tracing::warn!(job = %self.job.spec.name, ?still, "the log stands still: taking over");
        Ok(())
    }

    /// How long the log must stand still after the epoch `head`.
    async fn after(&self, head: Option<Epoch>) -> Result<Duration> {
        if let Some(after) = self.job.spec.state.takeover_after {
            return Ok(after);
        }
        let last = match head {
            Some(head) => self.log.records(head, 1).await?.pop(),
            None => None,
        };
        let took_ms: u64 = last.map_or(0, |record| record.timings_ms.values().sum());
        let took = Duration::from_millis(took_ms).max(self.job.spec.epoch.interval);
        Ok(AFTER_MIN.max(took * EPOCHS))
    }
}
