//! `tidegauge run JOB.yaml`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use tidegauge_commitlog::SystemClock;
use tidegauge_spec::JobSpec;
use tokio::sync::watch;

use super::failure::Failure;
use super::progress::Display;
use super::stop_signal::stop_signal;
use super::workers::WorkersArguments;
use crate::error::Error;
use crate::observe::Telemetry;
use crate::runtime::{CompiledJob, Engine, OpenOptions, Progress, Summary};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The job file.
    job: PathBuf,
    /// Process what is there now, then exit.
    #[arg(long)]
    once: bool,
    /// With --once: close all windows at the end.
    #[arg(long, requires = "once")]
    drain: bool,
    /// Forget the job's state and progress and start anew.
    #[arg(long)]
    reset_state: bool,
    /// Accept sinks that hold files already.
    #[arg(long)]
    adopt: bool,
    /// Go on although this machine's clock is behind the last commit.
    #[arg(long)]
    accept_clock: bool,
    /// How the summary is printed on stdout.
    #[arg(long, value_enum, default_value_t = SummaryFormat::Text)]
    summary: SummaryFormat,
    #[command(flatten)]
    workers: WorkersArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SummaryFormat {
    Text,
    Json,
}

/// Loads and plans a job; every problem is in the failure.
pub(super) async fn compile(path: &Path) -> Result<CompiledJob, Failure> {
    let spec = JobSpec::load(path, &|name| std::env::var(name).ok())?;
    Ok(CompiledJob::new(spec).await?)
}

pub(super) async fn run(arguments: RunArguments, telemetry: &Telemetry) -> Result<(), Failure> {
    let cluster = arguments.workers.cluster()?;
    let job = compile(&arguments.job).await?.observed(telemetry.metrics());
    let progress = Arc::new(Progress::default());
    let options = OpenOptions {
        reset_state: arguments.reset_state,
        adopt: arguments.adopt,
        accept_clock: arguments.accept_clock,
    };
    let display = Display::start(&job.spec.name, Arc::clone(&progress));
    let mut engine = Engine::open(job, options, Arc::new(SystemClock), progress).await?;
    if let Some(cluster) = cluster {
        engine = engine.on_workers(cluster);
    }
    let summary = match arguments.once {
        true => engine.process_once(arguments.drain).await,
        false => run_until_stopped(&mut engine).await,
    };
    display.finish();
    // While the engine is there, so that its gauges are exported as they are at the end.
    telemetry.shutdown().await;
    print(&summary?, arguments.summary)?;
    match arguments.once {
        true => Ok(engine.refuse_parked()?),
        false => Ok(()),
    }
}

async fn run_until_stopped(engine: &mut Engine) -> crate::error::Result<Summary> {
    let (stop, stopped) = watch::channel(false);
    let running = engine.run(stopped);
    tokio::pin!(running);
    tokio::select! {
        done = &mut running => done,
        signal = stop_signal() => {
            if let Err(error) = signal {
                tracing::warn!(%error, "signals cannot be waited for");
            }
            tracing::info!("stopping after this epoch");
            stop.send_replace(true);
            tokio::select! {
                done = running => done,
                // The epoch may be waiting for a storage that is away.
                _ = stop_signal() => Err(Error::unavailable(
                    "stopped by a second signal in the middle of an epoch; nothing is lost, the \
                     next run goes on from the last one that was committed",
                )),
            }
        }
    }
}

fn print(summary: &Summary, format: SummaryFormat) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if format == SummaryFormat::Json {
        let text = serde_json::to_string(summary)
            .map_err(|error| Failure::running(format!("error: the summary: {error}")))?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {} rows of {} files in {} epochs, {:.1} s, {:.0} rows/s",
        summary.job,
        summary.rows_in,
        summary.files,
        summary.epochs,
        summary.elapsed_s,
        summary.rows_per_s
    )?;
    writeln!(
        out,
        "  used {}, filtered {}, late {}, quarantined {}; watermark {}",
        summary.rows_used,
        summary.rows_filtered,
        summary.rows_late,
        summary.rows_quarantined,
        summary.watermark.as_deref().unwrap_or("none")
    )?;
    if summary.rows_ahead > 0 {
        writeln!(
            out,
            "  ahead of the others, without moving the watermark: {}",
            summary.rows_ahead
        )?;
    }
    let odd = [
        ("changed", summary.files_changed),
        ("gone", summary.files_gone),
        ("left out", summary.files_parked),
    ];
    let odd: Vec<String> = odd
        .iter()
        .filter(|(_, files)| *files > 0)
        .map(|(what, files)| format!("{what} {files}"))
        .collect();
    if !odd.is_empty() {
        writeln!(out, "  files: {}", odd.join(", "))?;
    }
    if summary.results_late > 0 {
        writeln!(out, "  between stages: late {}", summary.results_late)?;
    }
    if summary.results_failed > 0 {
        writeln!(out, "  closed windows: failed {}", summary.results_failed)?;
    }
    for (sink, rows) in &summary.rows_out {
        writeln!(out, "  {sink}: {rows} rows")?;
    }
    Ok(())
}
