//! One job of a service: what runs it, and what it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::jobs::{JobPhase, JobSnapshot, JobStatus};
use super::registry::Surroundings;
use super::standby::Standby;
use super::supervisor::Runs;
use crate::error::{Error, Result};
use crate::runtime::{CompiledJob, Engine, JobView, OpenOptions, Progress};

/// Where a job came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A job file that the service was started with.
    File,
    /// It was submitted.
    Submitted,
}

/// A job, from when it is let in until the process ends: a stopped one is still shown.
#[derive(Debug)]
pub struct Hosted {
    pub(super) job: Arc<CompiledJob>,
    pub(super) origin: Origin,
    pub(super) status: watch::Sender<JobStatus>,
    pub(super) stop: watch::Sender<bool>,
    /// Why its epoch has to end now.
    cut_short: watch::Sender<String>,
    surroundings: Arc<Surroundings>,
    view: Mutex<watch::Receiver<Arc<JobView>>>,
    was_open: AtomicBool,
}

impl Hosted {
    pub(super) fn new(
        job: Arc<CompiledJob>,
        origin: Origin,
        surroundings: Arc<Surroundings>,
    ) -> Self {
        let (_, empty) = watch::channel(Arc::default());
        Self {
            job,
            origin,
            status: watch::Sender::new(JobStatus::default()),
            stop: watch::Sender::new(false),
            cut_short: watch::Sender::new(String::new()),
            surroundings,
            view: Mutex::new(empty),
            was_open: AtomicBool::new(false),
        }
    }

    /// The job and how it fares, now.
    pub fn snapshot(&self) -> JobSnapshot {
        // In this order: the view is there before the job is said to be open, and a status that is
        // newer than its view claims nothing about epochs.
        let was_open = self.was_open();
        let view = Arc::clone(&self.view.lock().borrow());
        let status = self.status.borrow().clone();
        JobSnapshot { job: Arc::clone(&self.job), view, status, was_open }
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What it is doing.
    pub fn phase(&self) -> JobPhase {
        self.status.borrow().phase
    }

    /// Whether its log was read and its sinks were accepted at least once.
    pub fn was_open(&self) -> bool {
        self.was_open.load(Ordering::SeqCst)
    }

    /// Ends the epoch that is under way; the job is started again after a pause.
    pub fn cut_short(&self, why: String) {
        self.cut_short.send_replace(why);
    }

    /// The memory that it may use by its job file, in bytes: of its plans and of its cache.
    pub fn memory_bytes_max(&self) -> u64 {
        let spec = &self.job.spec;
        spec.memory_max_bytes.saturating_add(spec.state.cache_max_bytes)
    }

    /// The memory that its plans say they hold now, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.job.memory_bytes()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.job.spec.name
    }

    /// Whether it was asked to stop.
    pub fn is_asked_to_stop(&self) -> bool {
        *self.stop.borrow()
    }
}

#[async_trait]
impl Runs for Hosted {
    async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let job = Arc::clone(&self.job);
        let progress = Arc::new(Progress::default());
        let clock = Arc::clone(&self.surroundings.clock);
        let opening = Engine::open(job, OpenOptions::default(), clock, progress);
        // A storage that is slow to answer must not hold up the end of the process.
        let mut engine = tokio::select! {
            opened = opening => opened?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        if let Some(remote) = &self.surroundings.remote {
            engine = engine.on_workers(Arc::clone(remote));
        }
        *self.view.lock() = engine.view();
        self.was_open.store(true, Ordering::SeqCst);
        self.status.send_modify(|status| status.phase = JobPhase::Running);
        let mut cut_short = self.cut_short.subscribe();
        tokio::select! {
            done = engine.run(stop) => done.map(drop),
            // An epoch that ends in the middle has left nothing behind.
            changed = cut_short.changed() => match changed {
                Ok(()) => Err(Error::unavailable(cut_short.borrow().clone())),
                Err(gone) => Err(Error::bug("the job is gone").with_source(gone)),
            },
        }
    }

    async fn stand_by(&self) -> Result<()> {
        let clock = &self.surroundings.clock;
        Standby::new(Arc::clone(&self.job), Arc::clone(clock))?.wait().await
    }

    fn progress(&self) -> u64 {
        self.view.lock().borrow().epoch.map_or(0, |epoch| epoch.0)
    }
}
