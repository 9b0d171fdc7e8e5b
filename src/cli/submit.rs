//! `tidegauge submit JOB.yaml --to URL`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use tidegauge_spec::JobText;

use super::failure::Failure;
use super::remote::{Format, Remote, RemoteArguments};
use super::terminal::one_line;

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub(super) struct SubmitArguments {
    /// The job file. Its SQL file is sent along, and of the environment the variables that it
    /// names, and no others.
    job: PathBuf,
    #[command(flatten)]
    remote: RemoteArguments,
}

pub(super) async fn submit(arguments: SubmitArguments) -> Result<(), Failure> {
    let text = JobText::read(&arguments.job, &|name| std::env::var(name).ok())?;
    let remote = Remote::new(&arguments.remote)?;
    let answer = remote.post(&["api", "jobs"], Some(&text)).await?;
    let mut out = std::io::stdout().lock();
    if arguments.remote.format == Format::Json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    let name = one_line(answer["job"]["name"].as_str().unwrap_or("the job"));
    let kept = match answer["kept"].as_bool() {
        Some(true) => "it is started again with the service",
        _ => "it ends with the service, which was started without --submitted",
    };
    writeln!(out, "{name}: submitted; {kept}")?;
    Ok(())
}
