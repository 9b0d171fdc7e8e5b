//! Time, injected: the only home of the wall clock, and a virtual clock that tests set.
//!
//! There are two readings. The wall clock says when something happened, and may jump; how long
//! something took, and how long nothing came, is measured by the monotonic one, which does not.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;

/// Where the present comes from.
///
/// Implementations may be ahead or behind each other: nothing in the protocol relies on two
/// clocks agreeing, only young objects are spared by it (see `collect`).
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since 1970-01-01 UTC. It may jump, ahead and back.
    fn now_ms(&self) -> i64;

    /// The monotonic reading: it never goes back, and whoever sets the wall clock does not move it.
    fn instant(&self) -> Instant;

    /// Completes after `duration` of this clock's time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // This is the home of the wall clock.
    fn now_ms(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

/// A clock for tests: it starts where it is told, can be set and advanced, and otherwise moves
/// with tokio's time, which a test may pause (`#[tokio::test(start_paused = true)]`).
///
/// Setting it is setting the wall clock; advancing it is the passing of time.
#[derive(Debug)]
pub struct VirtualClock {
    origin: tokio::time::Instant,
    offset_ms: AtomicI64,
    passed_ms: AtomicI64,
}

impl VirtualClock {
    /// A clock that shows `start_ms` now. Must be made inside a tokio runtime.
    pub fn starting_at(start_ms: i64) -> Self {
        VirtualClock {
            origin: tokio::time::Instant::now(),
            offset_ms: AtomicI64::new(start_ms),
            passed_ms: AtomicI64::new(0),
        }
    }

    /// Shows `now_ms` from now on.
    pub fn set(&self, now_ms: i64) {
        self.offset_ms.store(now_ms - self.elapsed_ms(), Ordering::SeqCst);
    }

    /// Jumps ahead; nothing that sleeps wakes from it.
    pub fn advance(&self, duration: Duration) {
        let step_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.offset_ms.fetch_add(step_ms, Ordering::SeqCst);
        self.passed_ms.fetch_add(step_ms, Ordering::SeqCst);
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::SeqCst) + self.elapsed_ms()
    }

    fn instant(&self) -> Instant {
        let passed_ms = self.passed_ms.load(Ordering::SeqCst) + self.elapsed_ms();
        let passed = Duration::from_millis(u64::try_from(passed_ms).unwrap_or_default());
        self.origin.into_std() + passed
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_clock_moves_with_paused_time_and_can_be_set() {
        let clock = VirtualClock::starting_at(1_000);
        let before = clock.instant();
        clock.sleep(Duration::from_millis(500)).await;
        assert_eq!(clock.now_ms(), 1_500);
        clock.set(9_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now_ms(), 10_000);
        // Setting it is no passing of time.
        assert_eq!(clock.instant() - before, Duration::from_millis(1_500));
    }
}
