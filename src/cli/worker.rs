//! `tidegauge worker --listen ADDRESS`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::failure::Failure;
use super::stop_signal::stop_signal;
use crate::access::{Door, TlsFiles, Tokens, tls_client, tls_for_tonic};
use crate::cluster::{WorkerAccess, WorkerSettings, serve};
use crate::observe::Telemetry;
use crate::runtime::runtime_env;

/// Arguments of `worker`.
#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50052")]
    listen: String,
    /// The memory that all plans may use together before they spill, such as 4GiB.
    #[arg(long, value_name = "BYTES", default_value = "2GiB", value_parser = bytes)]
    memory_max: u64,
    /// The tokens that are let in, by their hashes; else the variable TIDEGAUGE_TOKENS holds them.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate that it shows, in PEM, to coordinators and to other workers.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Who signs the certificates of those that are let in; other workers must bear one, too.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

/// A number of bytes, as in a job file.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    tidegauge_spec::parse_bytes(text)
}

pub(super) async fn worker(
    arguments: WorkerArguments,
    telemetry: &Telemetry,
) -> Result<(), Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let tokens = Tokens::find(arguments.token_file.as_deref(), &env)?.map(Arc::new);
    if let Some(tokens) = &tokens {
        tokens.warn_of_missing_roles();
    }
    let files = TlsFiles::from_flags(arguments.tls_cert.as_deref(), arguments.tls_key.as_deref())?;
    let client_ca = arguments.tls_client_ca;
    let (mut tls, mut peers) = (None, WorkerAccess::default());
    if let Some(files) = &files {
        tls = Some(tls_for_tonic(files, client_ca.as_deref())?);
        peers.tls = Some(tls_client(client_ca.as_deref(), Some(files))?);
    }
    let door = Door { tokens, tls: files, client_ca };
    let listener = door.listen(&arguments.listen, Door::check_worker).await?;
    let settings = WorkerSettings {
        runtime: runtime_env(arguments.memory_max)?,
        tokens: door.token_check(),
        tls,
        peers,
        metrics: telemetry.metrics().clone(),
    };
    let mut out = std::io::stdout();
    writeln!(out, "worker {}", listener.local_addr()?)?;
    out.flush()?;
    serve(listener, settings, async {
        if let Err(error) = stop_signal().await {
            tracing::warn!(%error, "signals cannot be waited for");
        }
    })
    .await?;
    Ok(())
}
