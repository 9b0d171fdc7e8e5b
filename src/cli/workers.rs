//! The arguments that put a job on workers.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::failure::Failure;
use super::remote::{WORKER_TOKEN_VARIABLE, token};
use crate::access::{TlsFiles, tls_client};
use crate::cluster::{Cluster, WorkerAccess, WorkerList};

/// Arguments of every command that runs jobs.
#[derive(Debug, Args)]
pub(super) struct WorkersArguments {
    /// Run the plans on these workers: host:port,host:port or dns:name:port.
    #[arg(long, value_name = "LIST")]
    workers: Option<WorkerList>,
    /// A file that holds the workers' token; else the variable TIDEGAUGE_WORKER_TOKEN is the token.
    #[arg(long, value_name = "FILE", requires = "workers")]
    worker_token_file: Option<PathBuf>,
    /// Who signs the workers' certificates, in PEM. With it, or with --worker-cert, connections to
    /// workers are encrypted.
    #[arg(long, value_name = "FILE", requires = "workers")]
    worker_ca: Option<PathBuf>,
    /// The certificate that is shown to workers, in PEM.
    #[arg(long, value_name = "FILE", requires = "workers")]
    worker_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "workers")]
    worker_key: Option<PathBuf>,
}

impl WorkersArguments {
    /// The workers, where any are named.
    pub(super) fn cluster(&self) -> Result<Option<Arc<Cluster>>, Failure> {
        let Some(list) = &self.workers else { return Ok(None) };
        let own = TlsFiles::from_flags(self.worker_cert.as_deref(), self.worker_key.as_deref())
            .map_err(|error| {
                Failure::bad(format!("error: {}", error.message().replace("--tls", "--worker")))
            })?;
        let ca = self.worker_ca.as_deref();
        let tls = match ca.is_some() || own.is_some() {
            true => Some(tls_client(ca, own.as_ref())?),
            false => None,
        };
        let token = token(self.worker_token_file.as_deref(), WORKER_TOKEN_VARIABLE)?;
        Ok(Some(Arc::new(Cluster::new(list.clone(), WorkerAccess { token, tls })?)))
    }
}
