//! The command line: one file a command, and what they share: arguments, logs and exit codes.
//!
//! Exit codes: 0 done, 1 failed while running, 2 bad job or arguments.

mod check;
mod failure;
mod generate;
mod progress;
mod query;
mod review;
mod run;
mod show;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use failure::Failure;

/// Streaming anomaly detection in SQL over object storage.
#[derive(Debug, Parser)]
#[command(name = "tidegauge", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a job: continuously, or once over what is there.
    Run(run::RunArguments),
    /// Validate a job without reading data, and print what its sinks hold.
    Check(check::CheckArguments),
    /// Run the cases of tests/jobs/<job>.yaml.
    Test(test::TestArguments),
    /// Write realistic telemetry with labelled anomalies.
    Generate(generate::GenerateArguments),
    /// Print the findings of a sink, and hold them against labels.
    Review(review::ReviewArguments),
    /// Ask a running service: its results, its open windows, its jobs.
    Query(query::QueryArguments),
}

/// Parses the arguments, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way, too; clap knows where to print which.
            let code = if error.use_stderr() { 2 } else { 0 };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::running(format!("no threads to run in: {error}")).report(),
    };
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(arguments).await,
            Command::Check(arguments) => check::check(arguments).await,
            Command::Test(arguments) => test::test(arguments).await,
            Command::Generate(arguments) => generate::generate(arguments),
            Command::Review(arguments) => review::review(arguments).await,
            Command::Query(arguments) => query::query(arguments).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if logs.try_init().is_err() {
        tracing::debug!("logs were set up before");
    }
}
