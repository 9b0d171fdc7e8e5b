//! How long a stage keeps a row, in event time: until its last window has closed and may not change
//! any more. It closes when the stage's watermark reaches its end, which is behind the latest event
//! time by what the sources' delays and the stages below add up to.

use tidegauge_spec::JobSpec;

use super::super::feed::Feed;
use super::super::input::Input;
use super::super::job_plan::JobPlan;
use super::super::stage::Stage;
use super::micros;
use crate::sql::{WindowShape, WindowValue, Windows};

const MILLISECOND_US: i64 = 1_000;

/// How far the latest event time may pass that of a row of `stage` while the row is kept.
pub(super) fn kept_us_max(spec: &JobSpec, plan: &JobPlan, stage: &Stage) -> Option<i64> {
    let own_us = match stage.windows {
        Windows::Aligned(shape) => shape.size_us(),
        Windows::Session(shape) => shape.gap_us(),
    };
    let late_us = own_us.saturating_add(stage.lateness_us);
    Some(late_us.saturating_add(Lag { spec, plan }.of_stage(stage)?))
}

struct Lag<'a> {
    spec: &'a JobSpec,
    plan: &'a JobPlan,
}

impl Lag<'_> {
    fn of_stage(&self, stage: &Stage) -> Option<i64> {
        let lags = stage.clocks.iter().map(|clock| self.of_clock(clock, &stage.windows));
        lags.collect::<Option<Vec<i64>>>()?.into_iter().max()
    }

    /// How far `clock` is behind the latest event time when it closes a window of `above`.
    fn of_clock(&self, clock: &Input, above: &Windows) -> Option<i64> {
        match clock {
            Input::Source(name) => {
                let source = self.spec.sources.iter().find(|source| source.name == *name)?;
                Some(micros(source.event_time.delay))
            }
            Input::Feed(id) => {
                let feed = self.plan.feeds.get(id)?;
                let stages = feed.stages.iter().map(|id| self.of_stage(self.plan.stages.get(id)?));
                let below_us = stages.collect::<Option<Vec<i64>>>()?.into_iter().max()?;
                Some(below_us.saturating_add(behind_us(feed, above)?))
            }
        }
    }
}

/// How far a feed's watermark is behind that of its stages when it closes a window of `above`.
fn behind_us(feed: &Feed, above: &Windows) -> Option<i64> {
    match (&feed.told.windows, feed.told.value) {
        // The rows of a window that closed carry its end; the next to come are past it.
        (Windows::Aligned(_), WindowValue::End | WindowValue::Struct | WindowValue::Time) => {
            Some(0)
        }
        (Windows::Aligned(shape), WindowValue::Start) => {
            let longer_us = shape.size_us() - shape.slide_us();
            let fits =
                !shape.cumulates() && above.aligned().is_some_and(|above| is_on_grid(shape, above));
            Some(if fits { longer_us } else { shape.size_us() })
        }
        // A session that is open may have begun at any time.
        (Windows::Session(_), WindowValue::Start) => None,
        (Windows::Session(_), WindowValue::Time) => Some(MILLISECOND_US),
        (Windows::Session(_), WindowValue::End | WindowValue::Struct) => Some(0),
    }
}

/// Whether every end of a window of `above` is a start of one of `below`.
fn is_on_grid(below: &WindowShape, above: &WindowShape) -> bool {
    let step_us = below.slide_us();
    let apart_us = above.offset_us().saturating_sub(below.offset_us());
    [above.size_us(), above.slide_us(), apart_us].iter().all(|length_us| length_us % step_us == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: i64 = 60_000_000;

    #[test]
    fn windows_whose_ends_are_starts_below_lie_on_their_grid() {
        let minute = WindowShape::tumble(MINUTE_US, 0).unwrap();
        let hour = WindowShape::tumble(60 * MINUTE_US, 0).unwrap();
        let odd = WindowShape::tumble(MINUTE_US, MINUTE_US / 2).unwrap();
        assert!(is_on_grid(&minute, &hour));
        assert!(!is_on_grid(&hour, &minute));
        assert!(!is_on_grid(&odd, &hour));
    }
}
