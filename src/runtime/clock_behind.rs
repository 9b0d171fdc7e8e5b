//! A clock that stands far behind that of the last commit: by it, rows that are not would be of the
//! future, and gone.

use std::time::Duration;

use tidegauge_spec::format_duration;

use super::engine::Engine;
use super::summary::rfc3339;
use crate::error::{Error, Result};

/// How far this machine's clock may be behind the last commit, whose clock may have been another
/// machine's.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(60);

impl Engine {
    /// By a clock that is far behind, rows would be of the future that are not.
    pub(super) fn refuse_clock_behind(&self) -> Result<()> {
        let (now_ms, last_ms) = (self.clock.now_ms(), self.state().clock_ms);
        let behind_ms = u64::try_from(last_ms.saturating_sub(now_ms)).unwrap_or_default();
        let behind = Duration::from_millis(behind_ms);
        if self.accepts_clock || behind <= CLOCK_BEHIND_MAX {
            return Ok(());
        }
        let time =
            |ms: i64| rfc3339(ms.saturating_mul(1_000)).unwrap_or_else(|| format!("{ms} ms"));
        Err(Error::unavailable(format!(
            "the clock of this machine is at {}, {} behind that of the last commit, {}; correct the \
             clock, or run with --accept-clock if it is right and the last one was wrong",
            time(now_ms),
            format_duration(Duration::from_secs(behind.as_secs())),
            time(last_ms),
        )))
    }
}
