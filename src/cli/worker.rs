//! `tidegauge worker --listen ADDRESS`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;

use super::failure::Failure;
use super::signals::stop_signal;
use crate::cluster::{WorkerAccess, WorkerSettings, serve};
use crate::runtime::runtime_env;

/// Arguments of `worker`.
#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:50052")]
    listen: SocketAddr,
    /// The memory that all plans may use together before they spill, such as 4GiB.
    #[arg(long, default_value = "2GiB", value_parser = bytes)]
    memory_max: u64,
}

fn bytes(text: &str) -> Result<u64, String> {
    tidegauge_spec::parse_bytes(text).map_err(|message| message.to_string())
}

pub(super) async fn worker(arguments: WorkerArguments) -> Result<(), Failure> {
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| {
        Failure::running(format!("error: cannot listen on {}: {error}", arguments.listen))
    })?;
    let settings = WorkerSettings {
        runtime: runtime_env(arguments.memory_max)?,
        authorize: Arc::new(|_| Ok(())),
        tls: None,
        peers: WorkerAccess::default(),
    };
    writeln!(std::io::stdout(), "worker {}", listener.local_addr()?)?;
    serve(listener, settings, async {
        if let Err(error) = stop_signal().await {
            tracing::warn!(%error, "signals cannot be waited for");
        }
    })
    .await?;
    Ok(())
}
