//! `tidegauge stop NAME --to URL`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::remote::{Format, Remote, RemoteArguments};
use super::show::plain;

const ASKED_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub(super) struct StopArguments {
    /// The job's name.
    name: String,
    /// How long to wait for the end of its epoch, in seconds.
    #[arg(long, default_value_t = 60)]
    wait_s: u64,
    #[command(flatten)]
    remote: RemoteArguments,
}

pub(super) async fn stop(arguments: StopArguments) -> Result<(), Failure> {
    let remote = Remote::new(&arguments.remote)?;
    let name = &arguments.name;
    let mut answer = remote.post(&["api", "jobs", name, "stop"], None::<&()>).await?;
    let asked = Instant::now();
    let mut job = answer["job"].take();
    while job["stopping"] == true && asked.elapsed() < Duration::from_secs(arguments.wait_s) {
        tokio::time::sleep(ASKED_EVERY).await;
        job = remote.get(&["api", "jobs", name]).await?;
    }
    say(&job, arguments.remote.format)
}

fn say(job: &Value, format: Format) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match (format, job["stopping"] == true) {
        (Format::Json, _) => writeln!(out, "{job}")?,
        (Format::Text, true) => {
            writeln!(out, "{}: stops after the epoch that it is in", plain(&job["name"]))?;
        }
        (Format::Text, false) => {
            writeln!(out, "{}: {}", plain(&job["name"]), plain(&job["phase"]))?;
        }
    }
    Ok(())
}
