//! How long each source has been silent: it counts on the monotonic clock, while the run is alive,
//! and between listings that found nothing new of the source.
//!
//! ```text
//!   listings:   found a    nothing    nothing    nothing    found b
//!                          |<---- silent for so long ---->|
//! ```
//!
//! What came after the last listing began is not known yet, so silence ends there, and not now; a
//! source with a backlog is not silent at all. Files without rows are no sign of life.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegauge_spec::EventTimeSpec;

use super::work::Work;

/// What is known of each source's silence.
#[derive(Debug, Default)]
pub(super) struct Silence {
    sources: BTreeMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// How many rows it had shown at the last listing.
    rows: u64,
    /// When the first listing since then began that found nothing.
    since: Option<Instant>,
    /// For how long it was silent as of the last listing; none where that found something.
    silent: Option<Duration>,
}

impl Silence {
    /// Takes in a listing that began at `began`: whether it found anything new of `source`, which has
    /// shown `rows` rows in all.
    pub(super) fn listed(&mut self, source: &str, found: bool, rows: u64, began: Instant) {
        let seen = self.sources.entry(source.to_owned()).or_default();
        if seen.rows != rows {
            *seen = Seen { rows, ..Seen::default() };
        }
        seen.silent = match found {
            true => None,
            false => Some(began.saturating_duration_since(*seen.since.get_or_insert(began))),
        };
    }

    /// Says in `work` what the silence of `source` means to it.
    pub(super) fn mark(&self, source: &str, time: &EventTimeSpec, work: &mut Work) {
        let is_silent = |wait: Duration| self.is_silent(source, wait);
        if is_silent(time.idle_after) {
            work.add_idle(source);
        }
        if time.close_when_idle.is_some_and(is_silent) {
            work.add_closing(source);
        }
    }

    /// Whether the source was silent for `wait` as of the last listing.
    pub(super) fn is_silent(&self, source: &str, wait: Duration) -> bool {
        let silent = self.sources.get(source).and_then(|seen| seen.silent);
        silent.is_some_and(|silent| silent >= wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_between_listings_that_found_nothing() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut silence = Silence::default();
        let is = |silence: &Silence, seconds| silence.is_silent("a", Duration::from_secs(seconds));
        assert!(!is(&silence, 0), "it was never listed");
        silence.listed("a", true, 0, at(0));
        assert!(!is(&silence, 0));
        silence.listed("a", false, 5, at(100));
        assert!(is(&silence, 0) && !is(&silence, 1), "its rows came at some time before");
        silence.listed("a", false, 5, at(160));
        assert!(is(&silence, 60) && !is(&silence, 61));
        // A file that is there is a backlog, even if it turns out to hold no row.
        silence.listed("a", true, 5, at(170));
        assert!(!is(&silence, 0));
        silence.listed("a", false, 5, at(180));
        assert!(is(&silence, 80));
        silence.listed("a", false, 6, at(190));
        assert!(!is(&silence, 1));
    }
}
