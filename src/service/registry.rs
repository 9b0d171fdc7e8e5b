//! The jobs of a process and their tasks: which there are, who may join them, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegauge_commitlog::{Clock, SystemClock};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::backoff::Backoff;
use super::hosted::{Hosted, Origin};
use super::jobs::{JobPhase, JobSnapshot, Jobs};
use super::supervisor::supervise;
use crate::observe::Metrics;
use crate::runtime::{CompiledJob, Remote};

/// More jobs than one process can do justice to; it bounds what submitting can do to it.
const JOBS_MAX: usize = 256;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The jobs of a process, by name.
#[derive(Debug)]
pub struct Registry {
    jobs: Mutex<BTreeMap<String, Arc<Hosted>>>,
    tasks: Mutex<JoinSet<()>>,
    surroundings: Arc<Surroundings>,
    backoff: Arc<Backoff>,
    is_stopping: AtomicBool,
    /// Where jobs run, whoever starts them: a door has threads of its own.
    threads: Option<Handle>,
}

/// What all jobs of a process run in.
#[derive(Debug)]
pub struct Surroundings {
    /// The clock that they go by.
    pub clock: Arc<dyn Clock>,
    /// The workers that their plans run on; none where they run in this process.
    pub remote: Option<Arc<dyn Remote>>,
    /// What counts them.
    pub metrics: Metrics,
}

impl Surroundings {
    /// This process alone, with the machine's clock, uncounted.
    pub fn plain() -> Self {
        Self { clock: Arc::new(SystemClock), remote: None, metrics: Metrics::off() }
    }
}

/// Why a job was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its name or a place that it writes to is another's.
    #[error("{0}")]
    Taken(String),
    /// There are as many jobs as there may be.
    #[error("the service holds {JOBS_MAX} jobs, and no more; start another service")]
    Full,
    /// The process is about to end.
    #[error("the service is stopping; submit the job again when it is back")]
    Stopping,
}

impl Registry {
    /// No jobs yet, which run in the threads of whoever makes this; `seed` spreads their restarts.
    pub fn new(surroundings: Surroundings, seed: u64) -> Self {
        Self {
            jobs: Mutex::default(),
            tasks: Mutex::default(),
            surroundings: Arc::new(surroundings),
            backoff: Arc::new(Backoff::new(PAUSE_FIRST, PAUSE_MAX, seed)),
            is_stopping: AtomicBool::new(false),
            threads: Handle::try_current().ok(),
        }
    }

    /// The clock that the jobs go by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.surroundings.clock
    }

    /// Lists a job, which takes its name and places, and does not start it yet. A submitted job
    /// that is over makes way for another of its name.
    ///
    /// # Errors
    /// When something of it is another's.
    pub fn admit(&self, job: CompiledJob, origin: Origin) -> Result<Arc<Hosted>, Refusal> {
        let mut jobs = self.jobs.lock();
        if self.is_stopping() {
            return Err(Refusal::Stopping);
        }
        let name = job.spec.name.clone();
        if let Some(namesake) = jobs.get(&name) {
            check_namesake(namesake, &name)?;
        } else if jobs.len() >= JOBS_MAX {
            return Err(Refusal::Full);
        }
        for other in jobs.values().filter(|other| !other.phase().is_over()) {
            if let Some(clash) = job.spec.clash(&other.job.spec) {
                return Err(Refusal::Taken(format!("the job {name}: {clash}")));
            }
        }
        let hosted = Arc::new(Hosted::new(
            Arc::new(job.observed(&self.surroundings.metrics)),
            origin,
            Arc::clone(&self.surroundings),
        ));
        jobs.insert(name, Arc::clone(&hosted));
        Ok(hosted)
    }

    /// Takes a job that was never started off the list again.
    pub fn withdraw(&self, name: &str) {
        self.jobs.lock().remove(name);
    }

    /// Starts a job that was admitted.
    pub fn start(&self, hosted: Arc<Hosted>) {
        let span = tracing::info_span!("job", name = %hosted.job.spec.name);
        let (status, stop) = (hosted.status.clone(), hosted.stop.subscribe());
        let (clock, backoff) = (Arc::clone(self.clock()), Arc::clone(&self.backoff));
        self.own(supervise(hosted, status, stop, clock, backoff).instrument(span));
    }

    /// Runs `task` to its end, whoever waits for it; the process waits for it before it ends.
    pub fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the service ended early");
            }
        }
        match &self.threads {
            Some(threads) => drop(tasks.spawn_on(task, threads)),
            None => drop(tasks.spawn(task)),
        }
    }

    /// The job of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Hosted>> {
        self.jobs.lock().get(name).map(Arc::clone)
    }

    /// Every job, by name.
    pub fn all(&self) -> Vec<Arc<Hosted>> {
        self.jobs.lock().values().map(Arc::clone).collect()
    }

    /// Asks a job to stop after its epoch; one that has failed is stopped at once.
    pub fn stop(&self, hosted: &Hosted) {
        hosted.stop.send_replace(true);
        hosted.status.send_if_modified(|status| {
            let has_failed = status.phase == JobPhase::Failed;
            if has_failed {
                status.phase = JobPhase::Stopped;
            }
            has_failed
        });
    }

    /// Asks every job to stop; no other is let in from now on.
    pub fn stop_all(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        for hosted in self.all() {
            hosted.stop.send_replace(true);
        }
    }

    /// Whether all were asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Waits until every task has ended, which [`Registry::stop_all`] leads to.
    pub async fn ended(&self) {
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock());
            if tasks.is_empty() {
                return;
            }
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of the service ended early");
                }
            }
        }
    }
}

impl Jobs for Registry {
    fn snapshots(&self) -> Vec<JobSnapshot> {
        self.all().iter().map(|hosted| hosted.snapshot()).collect()
    }
}

fn check_namesake(namesake: &Hosted, name: &str) -> Result<(), Refusal> {
    if namesake.origin == Origin::File {
        return Err(Refusal::Taken(format!(
            "the job {name} is one that the service was started with; use another name"
        )));
    }
    if !namesake.phase().is_over() {
        return Err(Refusal::Taken(format!(
            "a job {name} is there already; stop it first, or use another name"
        )));
    }
    Ok(())
}
