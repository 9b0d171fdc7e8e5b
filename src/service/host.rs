//! The service itself: the jobs that it was started with, those that come later, and whether it is
//! ready. The doors ask it; it knows nothing of HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tidegauge_spec::{BadJob, JobText};
use tokio::sync::{Semaphore, oneshot};

use super::admission::SubmitRules;
use super::hosted::{Hosted, Origin};
use super::jobs::JobPhase;
use super::planning::plan_apart;
use super::registry::{Refusal, Registry};
use super::submissions::{Submission, Submissions};
use crate::access::{Caller, Role};
use crate::error::{Error, Result};
use crate::runtime::CompiledJob;

/// Planning takes the whole of a core, and the jobs need the others.
const SUBMITTED_AT_ONCE_MAX: usize = 2;

/// The jobs of a process and the rules for more of them.
#[derive(Debug)]
pub struct Host {
    registry: Arc<Registry>,
    submissions: Submissions,
    rules: SubmitRules,
    submitting: Semaphore,
    /// Kept jobs that this process cannot run, with the reason.
    unusable: Mutex<BTreeMap<String, String>>,
}

/// Why a submitted job does not run.
#[derive(Debug)]
pub enum NotAccepted {
    /// It is no good job.
    Bad(BadJob),
    /// Who submits it may not: its role or its locations.
    Forbidden(String),
    /// The service holds something that does not go with it.
    Refused(Refusal),
    /// As many as are allowed are being planned.
    Busy,
    /// It could not be kept.
    Failed(Error),
}

/// A job that keeps the service from being ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Its name.
    pub job: String,
    /// What it is doing instead.
    pub phase: JobPhase,
}

impl Host {
    /// A service without jobs.
    pub fn new(registry: Arc<Registry>, submissions: Submissions, rules: SubmitRules) -> Arc<Self> {
        Arc::new(Self {
            registry,
            submissions,
            rules,
            submitting: Semaphore::new(SUBMITTED_AT_ONCE_MAX),
            unusable: Mutex::default(),
        })
    }

    /// Its jobs.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Starts the jobs of the job files, all or none.
    ///
    /// # Errors
    /// When two of them do not go together.
    pub fn start_given(&self, jobs: Vec<CompiledJob>) -> Result<(), Refusal> {
        let mut admitted = Vec::with_capacity(jobs.len());
        for job in jobs {
            admitted.push(self.registry.admit(job, Origin::File)?);
        }
        for hosted in admitted {
            self.registry.start(hosted);
        }
        Ok(())
    }

    /// Starts the jobs that were submitted to an earlier process and not stopped there. One that
    /// cannot run here any more, such as after an upgrade, is listed with the reason and holds up
    /// no other.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn start_kept(&self) -> Result<()> {
        for (name, kept) in self.submissions.all().await? {
            let submission = match kept {
                Ok(submission) => submission,
                Err(error) => {
                    self.set_aside(name, error.to_string());
                    continue;
                }
            };
            // Who submitted it was asked for its locations then; the service's own are new ones.
            let admitted = match self.compile(&submission.text, &Caller::owner()).await {
                Ok(job) => self.registry.admit(job, Origin::Submitted).map_err(|e| e.to_string()),
                Err(NotAccepted::Bad(bad)) => Err(bad.to_string()),
                Err(NotAccepted::Forbidden(why)) => Err(why),
                Err(other) => Err(format!("{other:?}")),
            };
            match admitted {
                Ok(hosted) if submission.is_stopped => {
                    hosted.status.send_modify(|status| status.phase = JobPhase::Stopped);
                }
                Ok(hosted) => self.registry.start(hosted),
                Err(why) => self.set_aside(name, why),
            }
        }
        Ok(())
    }

    /// Takes a job in for `caller`, keeps it and starts it. It goes on when the caller no longer
    /// waits: a job is never kept and not started.
    ///
    /// # Errors
    /// Why not.
    pub async fn submit(
        self: &Arc<Self>,
        text: JobText,
        caller: Caller,
    ) -> Result<Arc<Hosted>, NotAccepted> {
        caller.check_role(Role::Operator, "submit a job").map_err(NotAccepted::Forbidden)?;
        let (answer, answered) = oneshot::channel();
        let host = Arc::clone(self);
        self.registry.own(async move {
            if answer.send(host.accept(text, &caller).await).is_err() {
                tracing::debug!("who submitted a job did not wait for the answer");
            }
        });
        answered.await.unwrap_or_else(|gone| {
            let error = Error::bug("the job could not be planned: its planning ended early");
            Err(NotAccepted::Failed(error.with_source(gone)))
        })
    }

    /// Whether `caller` may stop a job: the one who may submit it.
    ///
    /// # Errors
    /// What is missing.
    pub fn may_stop(&self, hosted: &Hosted, caller: &Caller) -> Result<(), NotAccepted> {
        let may = caller.check_role(Role::Operator, "stop a job");
        may.and_then(|()| caller.check_locations(&hosted.job.spec)).map_err(NotAccepted::Forbidden)
    }

    /// Asks a job to stop after its epoch, and marks it as stopped where it is kept.
    ///
    /// # Errors
    /// When it could not be marked; it stops nevertheless.
    pub async fn stop(self: &Arc<Self>, hosted: Arc<Hosted>) -> Result<()> {
        self.registry.stop(&hosted);
        if hosted.origin() != Origin::Submitted {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let submissions = self.submissions.clone();
        self.registry.own(async move {
            let marked = submissions.mark_stopped(&hosted.job.spec.name).await;
            if answer.send(marked).is_err() {
                tracing::debug!("who stopped a job did not wait for the answer");
            }
        });
        let marked = answered
            .await
            .unwrap_or_else(|gone| Err(Error::bug("the mark was lost").with_source(gone)));
        marked.map_err(|error| {
            let message = format!(
                "the job stops, but could not be marked as stopped: it will run again when the \
                 service is started again; stop it again later: {error}"
            );
            Error::new(error.kind(), message).with_source(error)
        })
    }

    /// The jobs of job files that were never open, which is what holds up readiness; `None` when
    /// the service is stopping, and ready for nothing.
    ///
    /// A job that fails later does not count, because the service still answers for the others;
    /// nor does a submitted one, because a mistake of one user is not to hold up a deployment.
    pub fn not_ready(&self) -> Option<Vec<NotReady>> {
        if self.registry.is_stopping() {
            return None;
        }
        let waiting = self
            .registry
            .all()
            .into_iter()
            .filter(|hosted| hosted.origin() == Origin::File && !hosted.was_open())
            .filter(|hosted| hosted.phase() != JobPhase::Standby);
        let not_ready = |hosted: Arc<Hosted>| NotReady {
            job: hosted.job.spec.name.clone(),
            phase: hosted.phase(),
        };
        Some(waiting.map(not_ready).collect())
    }

    /// Jobs that other coordinators run, which this service would take over, by name. It is ready all
    /// the same: there is nothing that it waits for.
    pub fn standby(&self) -> Vec<String> {
        let all = self.registry.all();
        let standing = all.iter().filter(|hosted| hosted.phase() == JobPhase::Standby);
        standing.map(|hosted| hosted.job.spec.name.clone()).collect()
    }

    /// Kept jobs that this process cannot run, with the reason, by name.
    pub fn unusable(&self) -> BTreeMap<String, String> {
        self.unusable.lock().clone()
    }

    /// Whether submitted jobs outlive the process.
    pub fn keeps_submitted(&self) -> bool {
        self.submissions.are_kept()
    }

    async fn accept(&self, text: JobText, caller: &Caller) -> Result<Arc<Hosted>, NotAccepted> {
        let Ok(_one) = self.submitting.try_acquire() else { return Err(NotAccepted::Busy) };
        let job = self.compile(&text, caller).await?;
        let name = job.spec.name.clone();
        let admitted = self.registry.admit(job, Origin::Submitted);
        let hosted = admitted.map_err(NotAccepted::Refused)?;
        let mut submission = Submission::new(text);
        if let Err(error) = self.submissions.keep(&name, &submission).await {
            self.registry.withdraw(&name);
            return Err(NotAccepted::Failed(self.not_kept(&name, error).await));
        }
        self.unusable.lock().remove(&name);
        self.registry.start(Arc::clone(&hosted));
        // It may have been stopped when there was nothing to mark yet.
        if hosted.is_asked_to_stop() {
            submission.is_stopped = true;
            self.submissions.keep(&name, &submission).await.map_err(NotAccepted::Failed)?;
        }
        Ok(hosted)
    }

    /// A write that failed may have taken effect all the same.
    async fn not_kept(&self, name: &str, error: Error) -> Error {
        let after = match self.submissions.forget(name).await {
            Ok(()) => "it does not run; submit it again".to_owned(),
            Err(again) => format!(
                "it does not run, but it may have been kept, and then runs when the service is \
                 started again; submit it again, or remove it there: {again}"
            ),
        };
        let message = format!("the job could not be kept: {error}; {after}");
        Error::new(error.kind(), message).with_source(error)
    }

    /// Reads and plans a job, if it may be one of this service's at all.
    async fn compile(&self, text: &JobText, caller: &Caller) -> Result<CompiledJob, NotAccepted> {
        let spec = self.rules.bounded(text.parse().map_err(NotAccepted::Bad)?);
        let spec = spec.map_err(NotAccepted::Bad)?;
        let others = self.registry.all();
        let others: Vec<&Hosted> = others.iter().map(Arc::as_ref).collect();
        let allowed = self.rules.check_places(&spec, caller, &others);
        allowed.map_err(NotAccepted::Forbidden)?;
        let job = plan_apart(spec).await.map_err(NotAccepted::Failed)?;
        let job = job.map_err(NotAccepted::Bad)?;
        Ok(job.with_text(text.clone()))
    }

    fn set_aside(&self, name: String, why: String) {
        tracing::error!(job = %name, why, "a submitted job cannot run any more");
        self.unusable.lock().insert(name, why);
    }
}
