//! How far a source's event time is complete.

use std::time::Duration;

/// The watermark after rows up to `time_max_us`: `delay_us` behind the latest, never back.
pub(super) fn advanced(
    before_us: Option<i64>,
    time_max_us: Option<i64>,
    delay_us: i64,
) -> Option<i64> {
    before_us.max(time_max_us.map(|us| us.saturating_sub(delay_us)))
}

/// The watermark `wanted_us` held back at `hold_us`, the earliest time of a file that waits, but never
/// back behind where it was.
pub(super) fn held(
    before_us: Option<i64>,
    wanted_us: Option<i64>,
    hold_us: Option<i64>,
) -> Option<i64> {
    match (wanted_us, hold_us) {
        (Some(wanted), Some(hold)) => before_us.max(Some(wanted.min(hold))),
        _ => wanted_us,
    }
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_never_goes_back() {
        assert_eq!(advanced(Some(100), Some(105), 10), Some(100));
        assert_eq!(advanced(Some(100), Some(120), 10), Some(110));
        assert_eq!(advanced(None, None, 10), None);
    }

    #[test]
    fn a_waiting_file_holds_the_watermark_and_does_not_move_it_back() {
        assert_eq!(held(Some(50), Some(100), Some(80)), Some(80));
        assert_eq!(held(Some(90), Some(100), Some(80)), Some(90));
        assert_eq!(held(None, Some(100), Some(120)), Some(100));
        assert_eq!(held(None, Some(100), None), Some(100));
        assert_eq!(held(None, None, Some(80)), None);
    }
}
