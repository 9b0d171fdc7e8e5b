//! How far each stream is complete, and so each stage.
//!
//! A stage waits for the least of its clocks. One that is idle holds no other back, and moves
//! nothing by itself: when all are idle, the stage stays where the least of them is, for they are the
//! streams that can still fill its windows. When all are *closing* (silent for as long as is set for
//! that, or the run drains), the stage moves on as far as is needed to close what is open, and no
//! further, so that rows which come after that are not refused.
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
    /// It holds no other back.
    pub(super) is_idle: bool,
    /// What is open of it is to close.
    pub(super) is_closing: bool,
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

    /// Whether all of `inputs` are idle.
    fn all_idle(&self, inputs: &BTreeSet<Input>) -> bool {
        inputs.iter().all(|input| self.of(input).is_idle)
    }

    /// Whether all of `inputs` are to close what is open.
    fn all_closing(&self, inputs: &BTreeSet<Input>) -> bool {
        inputs.iter().all(|input| self.of(input).is_closing)
    }

    /// The watermark of stages that wait for `inputs`; `last_open_us` is the watermark at which
    /// none of their windows is open.
    fn watermark_us(&self, inputs: &BTreeSet<Input>, last_open_us: Option<i64>) -> Option<i64> {
        if self.all_closing(inputs) {
            let known = inputs.iter().filter_map(|input| self.of(input).watermark_us);
            return known.min().max(last_open_us);
        }
        let all_idle = self.all_idle(inputs);
        let clocks = inputs.iter().map(|input| self.of(input));
        let holding = clocks.filter(|clock| all_idle || !clock.is_idle);
        // No watermark is less than any.
        holding.map(|clock| clock.watermark_us).min().flatten()
    }

    fn of(&self, input: &Input) -> StreamClock {
        let unknown = StreamClock { watermark_us: None, is_idle: false, is_closing: false };
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
        let is_idle = mine().all(|stage| self.all_idle(&stage.clocks));
        let is_closing = mine().all(|stage| self.all_closing(&stage.clocks));
        let reached = mine().map(|stage| stage.through_us).min().flatten();
        let least = |through_us| {
            least_to_come(&feed.told.windows, feed.told.value, through_us, first_open_us)
        };
        StreamClock { watermark_us: reached.map(least), is_idle, is_closing }
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

    fn watermark_of(streams: [(Option<i64>, &str); 2]) -> Option<i64> {
        let mut clocks = Clocks::default();
        let mut inputs = BTreeSet::new();
        for (name, (watermark_us, how)) in ["a", "b"].into_iter().zip(streams) {
            let (is_idle, is_closing) = (how != "live", how == "closing");
            let input = Input::Source(name.to_owned());
            clocks.set(input.clone(), StreamClock { watermark_us, is_idle, is_closing });
            inputs.insert(input);
        }
        clocks.watermark_us(&inputs, Some(9))
    }

    #[test]
    fn a_stream_without_a_watermark_holds_back_until_it_is_idle() {
        assert_eq!(watermark_of([(Some(5), "live"), (None, "live")]), None);
        assert_eq!(watermark_of([(Some(5), "live"), (Some(3), "live")]), Some(3));
        assert_eq!(watermark_of([(Some(5), "live"), (Some(3), "idle")]), Some(5));
        assert_eq!(watermark_of([(Some(5), "live"), (None, "idle")]), Some(5));
    }

    #[test]
    fn streams_that_are_all_idle_close_nothing_and_those_that_all_close_do() {
        assert_eq!(watermark_of([(Some(5), "idle"), (Some(3), "idle")]), Some(3));
        assert_eq!(watermark_of([(Some(5), "idle"), (None, "idle")]), None);
        assert_eq!(watermark_of([(Some(5), "closing"), (Some(3), "idle")]), Some(3));
        assert_eq!(watermark_of([(Some(5), "closing"), (Some(3), "live")]), Some(3));
        assert_eq!(watermark_of([(Some(5), "closing"), (Some(3), "closing")]), Some(9));
    }
}
