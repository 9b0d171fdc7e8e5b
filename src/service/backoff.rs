//! How long a failed job waits before it is started again.

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Pauses that double with each failure in a row, up to a bound, each cut at random by up to half,
/// so that jobs which failed together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    random: Mutex<SmallRng>,
}

impl Backoff {
    /// Pauses from `first` to `max`; the same ones for the same seed.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, random: Mutex::new(SmallRng::seed_from_u64(seed)) }
    }

    /// The pause after `failures` in a row, counted from 1.
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(31));
        let whole = self.first.saturating_mul(doubled).min(self.max);
        whole.mul_f64(self.random.lock().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_vary() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 7);
        let mut seen = Vec::new();
        for (failures, whole) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (500, 60)] {
            let whole = Duration::from_secs(whole);
            let pause = backoff.pause(failures);
            assert!(pause >= whole / 2 && pause <= whole, "{failures}: {pause:?}");
            seen.push(pause.as_secs_f64() / whole.as_secs_f64());
        }
        seen.dedup();
        assert!(seen.len() > 1, "{seen:?}");
    }
}
