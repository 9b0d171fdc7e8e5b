//! How far each stream is complete, and so each stage.
//!
//! A stage waits for the least of its clocks. One that stands still (its source is idle, or the run
//! drains) holds nothing back; when all do, the stage moves on as far as is needed to close what is
//! open, and no further, so that rows which come after that are not refused.
//!
//! ```text
//!   source --> stage (minutes) --> feed --> stage (hours)
//!     W          W                  the least window_time that may still come
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::stage_work::StageWork;
use crate::plan::{Feed, Input};
use crate::sql::{WindowValue, Windows};

const MILLISECOND_US: i64 = 1_000;

/// How far a stream is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamClock {
    /// Its watermark.
    pub(super) watermark_us: Option<i64>,
    /// It holds nothing back.
    pub(super) is_still: bool,
}

/// The clocks of all streams that are known so far in an epoch.
#[derive(Debug, Clone, Default)]
pub(super) struct Clocks {
    known: BTreeMap<Input, StreamClock>,
}

impl Clocks {
    pub(super) fn set(&mut self, input: Input, clock: StreamClock) {
        self.known.insert(input, clock);
    }

    /// Whether all of `inputs` stand still.
    pub(super) fn all_still(&self, inputs: &BTreeSet<Input>) -> bool {
        inputs.iter().all(|input| self.of(input).is_still)
    }

    /// The watermark of stages that wait for `inputs`; `last_open_us` is the watermark at which
    /// none of their windows is open.
    fn watermark_us(&self, inputs: &BTreeSet<Input>, last_open_us: Option<i64>) -> Option<i64> {
        if self.all_still(inputs) {
            let known = inputs.iter().filter_map(|input| self.of(input).watermark_us);
            return known.min().max(last_open_us);
        }
        let holding = inputs.iter().map(|input| self.of(input)).filter(|clock| !clock.is_still);
        // No watermark is less than any.
        holding.map(|clock| clock.watermark_us).min().flatten()
    }

    fn of(&self, input: &Input) -> StreamClock {
        let unknown = StreamClock { watermark_us: None, is_still: false };
        self.known.get(input).copied().unwrap_or(unknown)
    }

    /// Moves the stages of a group together: what one of them closes, all do.
    pub(super) fn advance(&self, group: &BTreeSet<&str>, stages: &mut BTreeMap<String, StageWork>) {
        let mine = || group.iter().filter_map(|id| stages.get(*id));
        let last_open_us = mine().filter_map(StageWork::last_open_end_us).max();
        let Some(first) = mine().next() else { return };
        let watermark_us = self.watermark_us(&first.clocks, last_open_us);
        for id in group {
            if let Some(stage) = stages.get_mut(*id) {
                stage.advance(watermark_us);
            }
        }
    }

    /// The clock of a feed whose stages have advanced: the least event time that it may still give;
    /// `first_open_us` is the time of the first row of any of its sessions that is open.
    pub(super) fn of_feed(
        &self,
        feed: &Feed,
        stages: &BTreeMap<String, StageWork>,
        first_open_us: Option<i64>,
    ) -> StreamClock {
        let mine = || feed.stages.iter().filter_map(|id| stages.get(id));
        let is_still = mine().all(|stage| self.all_still(&stage.clocks));
        let reached = mine().map(|stage| stage.through_us).min().flatten();
        let least = |through_us| {
            least_to_come(&feed.told.windows, feed.told.value, through_us, first_open_us)
        };
        StreamClock { watermark_us: reached.map(least), is_still }
    }
}

/// The least value that a column may still have in the rows of windows that close after
/// `through_us`; `first_open_us` is the time of the first row of any session that is open.
fn least_to_come(
    windows: &Windows,
    value: WindowValue,
    through_us: i64,
    first_open_us: Option<i64>,
) -> i64 {
    let (start_us, end_us) = match windows {
        Windows::Aligned(shape) => {
            let end_us = shape.next_end(through_us);
            let length_us = shape.end_of(0);
            (shape.start_of(end_us.saturating_sub(length_us)), end_us)
        }
        // A session that is open may have begun long ago.
        Windows::Session(_) => {
            (first_open_us.map_or(through_us, |us| us.min(through_us)), through_us)
        }
    };
    match value {
        WindowValue::Start => start_us,
        WindowValue::End | WindowValue::Struct => end_us,
        WindowValue::Time => end_us.saturating_sub(MILLISECOND_US),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{SessionShape, WindowShape};

    #[test]
    fn minutes_that_are_closed_complete_the_hour_that_they_end() {
        let minute = Windows::Aligned(WindowShape::tumble(60_000_000, 0).unwrap());
        let hour_us = 3_600_000_000;
        let at = |value| least_to_come(&minute, value, hour_us, None);
        assert_eq!(at(WindowValue::Time), hour_us + 60_000_000 - 1_000);
        assert_eq!(at(WindowValue::Start), hour_us);
        assert_eq!(
            least_to_come(&minute, WindowValue::Start, hour_us - 1, None),
            hour_us - 60_000_000
        );
    }

    #[test]
    fn an_open_session_holds_back_its_start_and_not_its_end() {
        let sessions = Windows::Session(SessionShape::new(10_000).unwrap());
        let at = |value, first| least_to_come(&sessions, value, 100_000, first);
        assert_eq!(at(WindowValue::Start, Some(5_000)), 5_000);
        assert_eq!(at(WindowValue::Start, None), 100_000);
        assert_eq!(at(WindowValue::End, Some(5_000)), 100_000);
    }

    #[test]
    fn a_stream_without_a_watermark_holds_back_and_one_that_is_still_does_not() {
        let (a, b) = (Input::Source("a".to_owned()), Input::Source("b".to_owned()));
        let both: BTreeSet<Input> = [a.clone(), b.clone()].into();
        let mut clocks = Clocks::default();
        clocks.set(a.clone(), StreamClock { watermark_us: Some(5), is_still: false });
        assert_eq!(clocks.watermark_us(&both, Some(9)), None);
        clocks.set(b.clone(), StreamClock { watermark_us: Some(3), is_still: false });
        assert_eq!(clocks.watermark_us(&both, Some(9)), Some(3));
        clocks.set(b, StreamClock { watermark_us: Some(3), is_still: true });
        assert_eq!(clocks.watermark_us(&both, Some(9)), Some(5));
        clocks.set(a, StreamClock { watermark_us: Some(5), is_still: true });
        assert_eq!(clocks.watermark_us(&both, Some(9)), Some(9));
    }
}
