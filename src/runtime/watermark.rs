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
}
