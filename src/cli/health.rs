//! `tidegauge health --to URL`: for images that have no other program to ask with.

use std::io::Write as _;

use clap::Args;

use super::failure::Failure;
use super::remote::{Remote, RemoteArguments};

/// Arguments of `health`.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    remote: RemoteArguments,
    /// Ask whether it is ready, not only whether it lives.
    #[arg(long)]
    ready: bool,
}

pub(super) async fn health(arguments: HealthArguments) -> Result<(), Failure> {
    let path = if arguments.ready { "readyz" } else { "healthz" };
    let answer = Remote::new(&arguments.remote)?.get(&[path]).await?;
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(())
}
