//! A job as the doors see it, whoever runs it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::runtime::{CompiledJob, JobView};

/// The jobs of a process at one moment.
pub trait Jobs: Send + Sync {
    /// Every job, by name.
    fn snapshots(&self) -> Vec<JobSnapshot>;
}

/// One job at one moment: its view and its status belong together as far as both are known.
#[derive(Debug, Clone)]
pub struct JobSnapshot {
    /// The job.
    pub job: Arc<CompiledJob>,
    /// It after its last epoch.
    pub view: Arc<JobView>,
    /// How it fares.
    pub status: JobStatus,
    /// Whether its log was read in this process; if not, its view is empty and says nothing.
    pub was_open: bool,
}

/// How a job fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// What it is doing.
    pub phase: JobPhase,
    /// How often it was started again after a failure.
    pub restarts: u64,
    /// What its last failure said.
    pub last_error: Option<String>,
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPhase {
    /// It is being opened: its log is read.
    #[default]
    Starting,
    /// It runs epochs.
    Running,
    /// It failed, and waits to be started again.
    Restarting,
    /// Another coordinator runs it: it watches the log, and takes over when that stands still.
    Standby,
    /// It was asked to stop, and did.
    Stopped,
    /// It failed in a way that starting it again cannot mend.
    Failed,
}

impl fmt::Display for JobPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Standby => "standby",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

impl JobPhase {
    /// Whether the job does nothing any more, and will not by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}
