//! When rows arrive, and how old their events then are.
//!
//! ```text
//! rows a file: the day curve's integral over the file's time     (exact in total)
//! arrival:     evenly spread in the file, with jitter            (in order)
//! event time:  arrival - delay,  0 <= delay < 10 s               (out of order by < 10 s)
//! ```

use std::ops::Range;

use rand::Rng;
use rand::rngs::SmallRng;

use crate::settings::Settings;

const DAY_US: f64 = 86_400e6;
/// How far the volume swings about its mean: from 0.4 at 03:00 to 1.6 at 15:00 UTC.
const DAY_SWING: f64 = 0.6;
const DAY_MEAN_AT_US: f64 = 9.0 * 3600e6;
/// Kept under 10 s by more than the millisecond that event times are rounded down to.
const DELAY_US_MAX: f64 = 9_990_000.0;

/// Which of the normal rows arrive when.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start_us: i64,
    duration_us: i64,
    files: u32,
    rows: u64,
}

impl Schedule {
    /// Spreads `rows` normal rows over the time of `settings`.
    pub(crate) fn new(settings: &Settings, rows: u64) -> Self {
        Self {
            start_us: settings.start_us,
            duration_us: settings.duration_us(),
            files: settings.file_count(),
            rows,
        }
    }

    /// When the rows of `file` arrive, in microseconds since 1970.
    pub(crate) fn arrivals_us(&self, file: u32) -> Range<i64> {
        self.bound_us(file)..self.bound_us(file + 1)
    }

    /// How many normal rows arrive in `file`; over all files, exactly all rows.
    pub(crate) fn rows_in(&self, file: u32) -> u64 {
        self.rows_before(file + 1) - self.rows_before(file)
    }

    /// When row `index` of `count` arrives within `arrivals_us`: never before an earlier one.
    pub(crate) fn arrival_us(
        arrivals_us: &Range<i64>,
        index: u64,
        count: u64,
        rng: &mut SmallRng,
    ) -> i64 {
        let span = (arrivals_us.end - arrivals_us.start) as f64;
        let place = (index as f64 + rng.random::<f64>()) / count as f64;
        (arrivals_us.start + (span * place) as i64).min(arrivals_us.end - 1)
    }

    /// The event time, in milliseconds, of a row that arrives at `arrival_us`.
    ///
    /// In the first ten seconds delays are shorter, so that no event is older than the start.
    pub(crate) fn event_ms(&self, arrival_us: i64, rng: &mut SmallRng) -> i64 {
        let elapsed = (arrival_us - self.start_us) as f64;
        let delay = delay_us(rng).min(elapsed * rng.random::<f64>());
        (arrival_us - delay as i64).div_euclid(1000)
    }

    /// The rate, relative to the mean of a day, at which rows arrive.
    #[cfg(test)]
    fn rate(us: f64) -> f64 {
        let turn = (us - DAY_MEAN_AT_US) / DAY_US * std::f64::consts::TAU;
        1.0 + DAY_SWING * libm::sin(turn)
    }

    /// The integral of the rate, in microseconds of a mean day.
    fn volume(us: f64) -> f64 {
        let turn = (us - DAY_MEAN_AT_US) / DAY_US * std::f64::consts::TAU;
        us - DAY_SWING * libm::cos(turn) * DAY_US / std::f64::consts::TAU
    }

    fn rows_before(&self, file: u32) -> u64 {
        if file >= self.files {
            return self.rows;
        }
        // From the start's midnight on, so that the numbers stay small and exact.
        let midnight = self.start_us.div_euclid(DAY_US as i64) * DAY_US as i64;
        let volume = |us: i64| Self::volume((us - midnight) as f64);
        let start = volume(self.start_us);
        let all = volume(self.start_us + self.duration_us) - start;
        let before = volume(self.bound_us(file)) - start;
        ((self.rows as f64 * (before / all)) as u64).min(self.rows)
    }

    fn bound_us(&self, file: u32) -> i64 {
        let before = i128::from(self.duration_us) * i128::from(file) / i128::from(self.files);
        self.start_us + before as i64
    }
}

/// How long a row takes to arrive, in microseconds, less than 10 s: mostly well under a second,
/// two seconds on average.
pub(crate) fn delay_us(rng: &mut SmallRng) -> f64 {
    let uniform: f64 = rng.random();
    let square = uniform * uniform;
    DELAY_US_MAX * square * square
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random::{Purpose, stream};
    use crate::settings::Kind;

    fn day() -> Schedule {
        let settings = Settings {
            duration: Duration::from_secs(86_400),
            files: Some(24),
            ..Settings::new(Kind::Flows, "out", 1)
        };
        Schedule::new(&settings, 1_000_003)
    }

    #[test]
    fn files_hold_all_rows_and_follow_the_day() {
        let schedule = day();
        let counts: Vec<u64> = (0..24).map(|file| schedule.rows_in(file)).collect();
        assert_eq!(counts.iter().sum::<u64>(), 1_000_003);
        for (hour, count) in counts.iter().enumerate() {
            let rate = Schedule::rate((hour as f64 + 0.5) * 3600e6);
            let expected = 1_000_003.0 / 24.0 * rate;
            assert!((*count as f64 - expected).abs() < 0.02 * expected, "hour {hour}: {count}");
        }
    }

    #[test]
    fn arrivals_are_in_order_and_events_less_than_ten_seconds_older() {
        let schedule = day();
        let mut rng = stream(1, Purpose::File, 0);
        let arrivals = schedule.arrivals_us(0);
        let mut last = i64::MIN;
        for index in 0..50_000 {
            let arrival = Schedule::arrival_us(&arrivals, index, 50_000, &mut rng);
            assert!(arrivals.contains(&arrival) && arrival >= last);
            last = arrival;
            let event_us = schedule.event_ms(arrival, &mut rng) * 1000;
            assert!(event_us >= schedule.start_us && event_us <= arrival);
            assert!(arrival - event_us < 10_000_000);
        }
    }
}
