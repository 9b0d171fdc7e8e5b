//! Supervision, over scripted runs and a clock that notes how long it was slept by.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;

/// What one start does.
enum Step {
    Fail(ErrorKind),
    Panic,
    /// Makes progress, then fails.
    Work,
    /// Runs until it is told to stop.
    Wait,
}

struct Script {
    steps: Mutex<VecDeque<Step>>,
    epoch: AtomicU64,
    starts: AtomicU64,
    /// How often the log cannot be read by who stands by.
    unreadable: AtomicU64,
    /// The coordinator that runs the job instead.
    rival_died: Notify,
}

#[async_trait]
impl Runs for Script {
    async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<()> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        let step = self.steps.lock().pop_front();
        match step {
            Some(Step::Fail(kind)) => Err(Error::new(kind, format!("it is {kind}"))),
            Some(Step::Panic) => panic!("off the rails"),
            Some(Step::Work) => {
                self.epoch.fetch_add(1, Ordering::SeqCst);
                Err(Error::unavailable("it went away"))
            }
            Some(Step::Wait) | None => {
                stop.wait_for(|stop| *stop).await.unwrap();
                Ok(())
            }
        }
    }

    async fn stand_by(&self) -> Result<()> {
        let left = self.unreadable.load(Ordering::SeqCst);
        if left > 0 {
            self.unreadable.store(left - 1, Ordering::SeqCst);
            return Err(Error::unavailable("the log is away"));
        }
        self.rival_died.notified().await;
        Ok(())
    }

    fn progress(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

/// Sleeps take no time, or never end.
#[derive(Debug, Default)]
struct NotedClock {
    slept: Mutex<Vec<Duration>>,
    is_stuck: bool,
}

impl Clock for NotedClock {
    fn now_ms(&self) -> i64 {
        0
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.slept.lock().push(duration);
        match self.is_stuck {
            true => futures::future::pending().boxed(),
            false => tokio::task::yield_now().boxed(),
        }
    }
}

impl NotedClock {
    fn slept_s(&self) -> f64 {
        self.slept.lock().iter().sum::<Duration>().as_secs_f64()
    }
}

struct Stage {
    script: Arc<Script>,
    clock: Arc<NotedClock>,
    status: watch::Receiver<JobStatus>,
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

fn begin(steps: impl IntoIterator<Item = Step>, clock: NotedClock) -> Stage {
    let script = Arc::new(Script {
        steps: Mutex::new(steps.into_iter().collect()),
        epoch: AtomicU64::new(0),
        starts: AtomicU64::new(0),
        unreadable: AtomicU64::new(2),
        rival_died: Notify::new(),
    });
    let (told, status) = watch::channel(JobStatus::default());
    let (stop, stopped) = watch::channel(false);
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 1);
    let clock = Arc::new(clock);
    let mut task = JoinSet::new();
    let runs = Arc::clone(&script);
    let sleeps: Arc<dyn Clock> = Arc::<NotedClock>::clone(&clock);
    task.spawn(supervise(runs, told, stopped, sleeps, Arc::new(backoff)));
    Stage { script, clock, status, stop, task }
}

impl Stage {
    async fn ends(mut self) -> JobStatus {
        self.task.join_next().await.unwrap().unwrap();
        self.status.borrow().clone()
    }
}

#[tokio::test]
async fn what_a_restart_may_mend_is_started_again_later_and_later() {
    let steps = [
        Step::Fail(ErrorKind::Unavailable),
        Step::Fail(ErrorKind::BadRecord),
        Step::Fail(ErrorKind::Bug),
        Step::Panic,
        Step::Wait,
    ];
    let mut stage = begin(steps, NotedClock::default());
    stage.status.wait_for(|status| status.restarts == 4).await.unwrap();
    let slept_s = stage.clock.slept_s();
    assert!((7.5..=15.0).contains(&slept_s), "1 + 2 + 4 + 8 s, each cut by up to half: {slept_s}");
    stage.stop.send_replace(true);
    let status = stage.ends().await;
    assert_eq!(status.phase, JobPhase::Stopped);
    assert_eq!(status.restarts, 4);
    assert_eq!(status.last_error.unwrap(), "the job's task ended: panic: off the rails");
}

#[tokio::test]
async fn what_a_restart_cannot_mend_is_left_alone() {
    for kind in [ErrorKind::BadJob, ErrorKind::Corrupt] {
        let stage = begin([Step::Fail(kind)], NotedClock::default());
        let script = Arc::clone(&stage.script);
        let status = stage.ends().await;
        assert_eq!((status.phase, status.restarts), (JobPhase::Failed, 0));
        assert_eq!(status.last_error.unwrap(), format!("it is {kind}"));
        assert_eq!(script.starts.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_job_that_another_runs_stands_by_and_takes_over() {
    let steps = [Step::Fail(ErrorKind::Fenced), Step::Fail(ErrorKind::Fenced), Step::Wait];
    let mut stage = begin(steps, NotedClock::default());
    for takeovers in 0..2 {
        let stands_by =
            |status: &JobStatus| status.phase == JobPhase::Standby && status.restarts == takeovers;
        stage.status.wait_for(stands_by).await.unwrap();
        assert_eq!(stage.script.starts.load(Ordering::SeqCst), takeovers + 1);
        stage.script.rival_died.notify_one();
    }
    stage.status.wait_for(|status| status.restarts == 2).await.unwrap();
    let slept_s = stage.clock.slept_s();
    assert!((1.5..=3.0).contains(&slept_s), "1 + 2 s while the log is away: {slept_s}");
    stage.stop.send_replace(true);
    assert_eq!(stage.ends().await.phase, JobPhase::Stopped);
    let mut stage = begin([Step::Fail(ErrorKind::Fenced)], NotedClock::default());
    stage.status.wait_for(|status| status.phase == JobPhase::Standby).await.unwrap();
    stage.stop.send_replace(true);
    assert_eq!(stage.ends().await.phase, JobPhase::Stopped);
}

#[tokio::test]
async fn a_job_that_gets_on_does_not_wait_longer_each_time() {
    let mut stage = begin((0..20).map(|_| Step::Work), NotedClock::default());
    stage.status.wait_for(|status| status.restarts == 20).await.unwrap();
    let slept_s = stage.clock.slept_s();
    assert!((10.0..=20.0).contains(&slept_s), "a second each, cut by up to half: {slept_s}");
    stage.stop.send_replace(true);
    assert_eq!(stage.ends().await.phase, JobPhase::Stopped);
}

#[tokio::test]
async fn a_job_that_waits_to_be_started_again_stops_at_once() {
    let clock = NotedClock { is_stuck: true, ..NotedClock::default() };
    let mut stage = begin([Step::Fail(ErrorKind::Unavailable)], clock);
    stage.status.wait_for(|status| status.phase == JobPhase::Restarting).await.unwrap();
    stage.stop.send_replace(true);
    let status = stage.ends().await;
    assert_eq!((status.phase, status.restarts), (JobPhase::Stopped, 0));
}
