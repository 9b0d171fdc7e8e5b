//! The arguments that put a job on workers.

use std::sync::Arc;

use clap::Args;

use super::failure::Failure;
use crate::cluster::{Cluster, WorkerAccess, WorkerList};

/// Arguments of every command that runs jobs.
#[derive(Debug, Args)]
pub(super) struct WorkersArguments {
    /// Run the plans on these workers: host:port,host:port or dns:name:port.
    #[arg(long, value_name = "LIST")]
    workers: Option<WorkerList>,
}

impl WorkersArguments {
    /// The workers, where any are named.
    pub(super) fn cluster(&self) -> Result<Option<Arc<Cluster>>, Failure> {
        let Some(list) = &self.workers else { return Ok(None) };
        Ok(Some(Arc::new(Cluster::new(list.clone(), WorkerAccess::default())?)))
    }
}
