//! The command line: one file a command, and what they share: arguments, logs and exit codes.
//!
//! Exit codes: 0 done, 1 failed while running, 2 bad job or arguments.

mod check;
mod doors;
mod explain;
mod failure;
mod generate;
mod health;
mod list;
mod progress;
mod query;
mod remote;
mod review;
mod run;
mod serve;
mod show;
mod status;
mod stop;
mod stop_signal;
mod submit;
mod terminal;
mod test;
mod token;
mod worker;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::observe::{Telemetry, TelemetrySettings};

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
    /// Run several jobs as a service, with an HTTP door to them.
    Serve(Box<serve::ServeArguments>),
    /// Give a job to a service.
    Submit(submit::SubmitArguments),
    /// Print the jobs of a service.
    List(list::ListArguments),
    /// Print how a job of a service fares.
    Status(status::StatusArguments),
    /// Stop a job of a service after its epoch.
    Stop(stop::StopArguments),
    /// Ask whether a service lives; no token is needed.
    Health(health::HealthArguments),
    /// Make a token, and its line for a token file.
    Token(token::TokenArguments),
    /// Validate a job without reading data, and print what its sinks hold.
    Check(check::CheckArguments),
    /// Print the stages of a job: what each keeps and for how long, and where it runs.
    Explain(explain::ExplainArguments),
    /// Run plans that coordinators send.
    Worker(worker::WorkerArguments),
    /// Run the cases of tests/jobs/<job>.yaml.
    Test(test::TestArguments),
    /// Write realistic telemetry with labelled anomalies.
    Generate(generate::GenerateArguments),
    /// Print the findings of a sink, and hold them against labels.
    Review(review::ReviewArguments),
    /// Ask a running service: its results, its open windows, its jobs.
    Query(query::QueryArguments),
    /// Answer the queries of a service: it starts this itself.
    #[command(name = serve::QUERY_PROCESS, hide = true)]
    QueryProcess,
}

/// Statements nest, and so do what reads, plans and drops them; only what is used takes memory.
const STACK_BYTES: usize = 64 << 20;

/// Parses the arguments, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let working = std::thread::Builder::new()
        .name("command".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(run_command);
    match working.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        // A panic has said what it is.
        Ok(Err(_)) => ExitCode::from(101),
        Err(error) => Failure::running(format!("no thread to run in: {error}")).report(),
    }
}

fn run_command() -> ExitCode {
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
    if matches!(arguments.command, Command::QueryProcess) {
        Telemetry::off().log_to_stderr();
        return serve::answer_queries();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Failure::running(format!("no threads to run in: {error}")).report(),
    };
    let telemetry = {
        let _entered = runtime.enter();
        arguments.command.telemetry()
    };
    telemetry.log_to_stderr();
    let done = runtime.block_on(async {
        let done = arguments.command.run(&telemetry).await;
        telemetry.shutdown().await;
        done
    });
    // What never yields is not waited for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl Command {
    async fn run(self, telemetry: &Telemetry) -> Result<(), Failure> {
        match self {
            Command::Run(arguments) => run::run(arguments, telemetry).await,
            Command::Serve(arguments) => serve::serve(*arguments, telemetry).await,
            Command::Submit(arguments) => submit::submit(arguments).await,
            Command::List(arguments) => list::list(arguments).await,
            Command::Status(arguments) => status::status(arguments).await,
            Command::Stop(arguments) => stop::stop(arguments).await,
            Command::Health(arguments) => health::health(arguments).await,
            Command::Token(arguments) => token::token(&arguments),
            Command::Check(arguments) => check::check(arguments).await,
            Command::Explain(arguments) => explain::explain(arguments).await,
            Command::Worker(arguments) => worker::worker(arguments, telemetry).await,
            Command::Test(arguments) => test::test(arguments).await,
            Command::Generate(arguments) => generate::generate(arguments),
            Command::Review(arguments) => review::review(arguments).await,
            Command::Query(arguments) => query::query(arguments).await,
            Command::QueryProcess => Ok(()),
        }
    }

    /// Commands that run jobs are observed; the others only log.
    fn telemetry(&self) -> Telemetry {
        let settings = || TelemetrySettings::from_env(&|name| std::env::var(name).ok());
        match self {
            Command::Run(_) => Telemetry::start(settings()),
            Command::Worker(_) => Telemetry::start(settings().of_worker()),
            Command::Serve(_) => Telemetry::start(settings().with_prometheus()),
            _ => Telemetry::off(),
        }
    }
}
