//! A clock that nobody waits for: sleeping moves it, and what a test wants to happen at some second of
//! a run happens when a sleep has passed it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tidegauge::error::Result;
use tidegauge::runtime::{Engine, OpenOptions, Summary};
use tidegauge_commitlog::Clock;
use tokio::sync::watch;

use super::harness::compile;

/// The wall clock at the start of the first run, 2026-02-01: later than the rows of tests, and earlier
/// than the machine's clock, which runs after it take.
const START_MS: i64 = 1_769_904_000_000;
/// Each run starts so much after the one before: a clock does not go back.
const APART_MS: i64 = 3_600_000;
const SECOND_MS: i64 = 1_000;

static STARTS_MS: AtomicI64 = AtomicI64::new(START_MS);

/// What is done after so many seconds of a run; it may set the wall clock by the milliseconds that it
/// gives.
type Event = Box<dyn FnOnce() -> i64 + Send>;

/// See the head of the file.
pub(super) struct Leaping {
    origin: Instant,
    start_ms: i64,
    slept_ms: AtomicI64,
    set_by_ms: AtomicI64,
    end_ms: i64,
    stop: watch::Sender<bool>,
    events: Mutex<Vec<(i64, Event)>>,
}

impl fmt::Debug for Leaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaping").field("slept_ms", &self.slept_ms).finish_non_exhaustive()
    }
}

impl Clock for Leaping {
    fn now_ms(&self) -> i64 {
        let set_by_ms = self.set_by_ms.load(Ordering::SeqCst);
        self.start_ms + set_by_ms + self.slept_ms.load(Ordering::SeqCst)
    }

    fn instant(&self) -> Instant {
        let slept_ms = u64::try_from(self.slept_ms.load(Ordering::SeqCst)).unwrap();
        self.origin + Duration::from_millis(slept_ms)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let ms = i64::try_from(duration.as_millis()).unwrap().max(1);
        let now_ms = self.slept_ms.fetch_add(ms, Ordering::SeqCst) + ms;
        let mut events = self.events.lock();
        while events.last().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
            let (_, event) = events.pop().unwrap();
            self.set_by_ms.fetch_add(event(), Ordering::SeqCst);
        }
        if now_ms >= self.end_ms {
            self.stop.send_replace(true);
        }
        tokio::task::yield_now().boxed()
    }
}

/// A run in the making.
#[derive(Default)]
pub(super) struct Run {
    events: Vec<(i64, Event)>,
}

impl Run {
    /// Does `event` after so many seconds.
    pub(super) fn at(mut self, second: i64, event: impl FnOnce() + Send + 'static) -> Self {
        let event = move || {
            event();
            0
        };
        self.events.push((second * SECOND_MS, Box::new(event)));
        self
    }

    /// Sets the wall clock by so many seconds after so many.
    pub(super) fn set_clock(mut self, second: i64, by_seconds: i64) -> Self {
        self.events.push((second * SECOND_MS, Box::new(move || by_seconds * SECOND_MS)));
        self
    }

    /// Runs the job continuously for so many seconds.
    pub(super) async fn try_for(mut self, job: &Path, seconds: i64) -> Result<Summary> {
        let (stop, stopped) = watch::channel(false);
        self.events.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
        let clock = Leaping {
            origin: Instant::now(),
            start_ms: STARTS_MS.fetch_add(APART_MS, Ordering::SeqCst),
            slept_ms: AtomicI64::new(0),
            set_by_ms: AtomicI64::new(0),
            end_ms: seconds * SECOND_MS,
            stop,
            events: Mutex::new(self.events),
        };
        let (job, options) = (compile(job).await, OpenOptions::default());
        let mut engine =
            Engine::open(job, options, Arc::new(clock), Default::default()).await.unwrap();
        engine.run(stopped).await
    }

    /// As [`Run::try_for`], where nothing fails.
    pub(super) async fn during(self, job: &Path, seconds: i64) -> Summary {
        self.try_for(job, seconds).await.unwrap()
    }
}

/// Runs the job continuously for so many seconds, in which nothing happens.
pub(super) async fn run_for(job: &Path, seconds: i64) -> Summary {
    Run::default().during(job, seconds).await
}
