//! Supervision, over scripted runs and a paused clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegauge_commitlog::VirtualClock;

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

    fn progress(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

struct Stage {
    script: Arc<Script>,
    status: watch::Receiver<JobStatus>,
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

fn begin(steps: impl IntoIterator<Item = Step>) -> Stage {
    let script = Arc::new(Script {
        steps: Mutex::new(steps.into_iter().collect()),
        epoch: AtomicU64::new(0),
        starts: AtomicU64::new(0),
    });
    let (told, status) = watch::channel(JobStatus::default());
    let (stop, stopped) = watch::channel(false);
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 1);
    let clock = Arc::new(VirtualClock::starting_at(0));
    let mut task = JoinSet::new();
    let runs = Arc::clone(&script);
    task.spawn(supervise(runs, told, stopped, clock, Arc::new(backoff)));
    Stage { script, status, stop, task }
}

impl Stage {
    async fn ends(mut self) -> JobStatus {
        self.task.join_next().await.unwrap().unwrap();
        self.status.borrow().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restart_may_mend_is_started_again_later_and_later() {
    let began = tokio::time::Instant::now();
    let mut stage = begin([
        Step::Fail(ErrorKind::Unavailable),
        Step::Fail(ErrorKind::BadRecord),
        Step::Fail(ErrorKind::Bug),
        Step::Panic,
        Step::Wait,
    ]);
    stage.status.wait_for(|status| status.restarts == 4).await.unwrap();
    let waited = began.elapsed().as_secs_f64();
    assert!((7.5..=15.1).contains(&waited), "1 + 2 + 4 + 8 s, each cut by up to half: {waited}");
    stage.stop.send_replace(true);
    let status = stage.ends().await;
    assert_eq!(status.phase, JobPhase::Stopped);
    assert_eq!(status.restarts, 4);
    assert_eq!(status.last_error.unwrap(), "the job's task ended: panic: off the rails");
}

#[tokio::test(start_paused = true)]
async fn what_a_restart_cannot_mend_is_left_alone() {
    for kind in [ErrorKind::BadJob, ErrorKind::Fenced, ErrorKind::Corrupt] {
        let stage = begin([Step::Fail(kind)]);
        let script = Arc::clone(&stage.script);
        let status = stage.ends().await;
        assert_eq!((status.phase, status.restarts), (JobPhase::Failed, 0));
        assert_eq!(status.last_error.unwrap(), format!("it is {kind}"));
        assert_eq!(script.starts.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_gets_on_does_not_wait_longer_each_time() {
    let began = tokio::time::Instant::now();
    let mut stage = begin((0..20).map(|_| Step::Work));
    stage.status.wait_for(|status| status.restarts == 20).await.unwrap();
    let waited = began.elapsed().as_secs_f64();
    assert!((10.0..=20.1).contains(&waited), "a second each, cut by up to half: {waited}");
    stage.stop.send_replace(true);
    assert_eq!(stage.ends().await.phase, JobPhase::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_to_be_started_again_stops_at_once() {
    let mut stage = begin((0..20).map(|_| Step::Fail(ErrorKind::Unavailable)));
    stage.status.wait_for(|status| status.restarts == 9).await.unwrap();
    stage.status.wait_for(|status| status.phase == JobPhase::Restarting).await.unwrap();
    let asked = tokio::time::Instant::now();
    stage.stop.send_replace(true);
    assert_eq!(stage.ends().await.phase, JobPhase::Stopped);
    assert!(asked.elapsed() < Duration::from_millis(10));
}
