//! `tidegauge serve --http ADDRESS JOB.yaml ...`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidegauge_spec::parse_duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::run::compile;
use super::stop_signal::stop_signal;
use super::worker::bytes;
use super::workers::WorkersArguments;
use crate::access::{Door, TlsFiles, Tokens, tls_for_axum, tls_for_tonic};
use crate::error::Result as EngineResult;
use crate::observe::Telemetry;
use crate::runtime::{CompiledJob, Remote};
use crate::service::flight::{self, FlightSettings, QueryLimits};
use crate::service::http::{self, Metrics};
use crate::service::{Host, Jobs, Registry, Submissions, Surroundings};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// The job files to run.
    jobs: Vec<PathBuf>,
    /// Where HTTP is answered, such as 127.0.0.1:8080; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Where Flight SQL is answered, such as 127.0.0.1:50051; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    flight: Option<String>,
    /// Where submitted jobs are kept: a folder or s3://bucket/prefix/. Without it they end with
    /// the process.
    #[arg(long, value_name = "LOCATION")]
    submitted: Option<String>,
    /// Let submitted jobs use the disk of this machine, also where others can submit them.
    #[arg(long)]
    submit_local: bool,
    /// The tokens that are let in, by their hashes; else the variable TIDEGAUGE_TOKENS holds them.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate that the doors show, in PEM.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The memory that one query may use, such as 256MiB.
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = bytes)]
    query_memory_max: u64,
    /// The time that one query may take, such as 60s.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    query_time_max: Duration,
    /// How many queries may run at once.
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    queries_max: usize,
    #[command(flatten)]
    workers: WorkersArguments,
}

impl ServeArguments {
    fn limits(&self) -> QueryLimits {
        QueryLimits {
            memory_bytes_max: usize::try_from(self.query_memory_max).unwrap_or(usize::MAX),
            time_max: self.query_time_max,
            running_max: self.queries_max,
        }
    }
}

/// What listens, before anything is answered.
struct Doors {
    door: Door,
    http: Option<TcpListener>,
    flight: Option<TcpListener>,
    limits: QueryLimits,
}

pub(super) async fn serve(arguments: ServeArguments, telemetry: &Telemetry) -> Result<(), Failure> {
    let cluster = arguments.workers.cluster()?;
    let doors = listen(&arguments).await?;
    let jobs = compile_all(&arguments.jobs).await?;
    let submissions = match &arguments.submitted {
        Some(location) => Submissions::at(location)?,
        None => Submissions::default(),
    };
    let allows_local = arguments.submit_local || doors.are_for_one();
    let surroundings = Surroundings {
        remote: cluster.map(|cluster| cluster as Arc<dyn Remote>),
        metrics: telemetry.metrics().clone(),
        ..Surroundings::plain()
    };
    let registry = Arc::new(Registry::new(surroundings, rand::random()));
    let host = Host::new(registry, submissions, allows_local);
    host.start_given(jobs).map_err(|refusal| Failure::bad(format!("error: {refusal}")))?;
    doors.announce()?;
    host.start_kept().await?;
    let shown = telemetry.clone();
    let metrics: Metrics = Arc::new(move || shown.prometheus_text());
    answer(doors, host, metrics).await
}

/// Listens and answers nothing yet, so that a wrong address or certificate is told at once.
async fn listen(arguments: &ServeArguments) -> Result<Doors, Failure> {
    if arguments.http.is_none() && arguments.flight.is_none() {
        return Err(Failure::bad(
            "error: the service would answer nobody; add --http 127.0.0.1:8080 or --flight \
             127.0.0.1:50051",
        ));
    }
    let env = |name: &str| std::env::var(name).ok();
    let tokens = Tokens::find(arguments.token_file.as_deref(), &env)?.map(Arc::new);
    let tls = TlsFiles::from_flags(arguments.tls_cert.as_deref(), arguments.tls_key.as_deref())?;
    if let Some(files) = &tls {
        tls_for_axum(files, None)?;
    }
    let door = Door { tokens, tls, client_ca: None };
    let http = match &arguments.http {
        Some(address) => Some(door.listen(address, Door::check).await?),
        None => None,
    };
    let flight = match &arguments.flight {
        Some(address) => Some(door.listen(address, Door::check).await?),
        None => None,
    };
    Ok(Doors { door, http, flight, limits: arguments.limits() })
}

impl Doors {
    /// Whether jobs are submitted by whoever started the service: on loopback, and without tokens,
    /// which say that there are others, such as behind a proxy.
    fn are_for_one(&self) -> bool {
        let address = self.http.as_ref().and_then(|listener| listener.local_addr().ok());
        let is_near = address.is_none_or(|address| address.ip().to_canonical().is_loopback());
        is_near && self.door.tokens.is_none()
    }

    /// One line for each door, which scripts read: `http http://127.0.0.1:8080`.
    fn announce(&self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let is_secret = self.door.tls.is_some();
        if let Some(listener) = &self.http {
            let scheme = if is_secret { "https" } else { "http" };
            writeln!(out, "http {scheme}://{}", listener.local_addr()?)?;
        }
        if let Some(listener) = &self.flight {
            let scheme = if is_secret { "grpc+tls" } else { "grpc" };
            writeln!(out, "flight {scheme}://{}", listener.local_addr()?)?;
        }
        out.flush()?;
        Ok(())
    }
}

/// All jobs, or the problems of all.
async fn compile_all(paths: &[PathBuf]) -> Result<Vec<CompiledJob>, Failure> {
    let mut jobs = Vec::with_capacity(paths.len());
    let mut failures = Vec::new();
    for path in paths {
        match compile(Path::new(path)).await {
            Ok(job) => jobs.push(job),
            Err(failure) => failures.push(failure),
        }
    }
    match Failure::all(failures) {
        Some(failure) => Err(failure),
        None => Ok(jobs),
    }
}

/// Answers until a signal, then lets every job finish its epoch, then closes the doors.
async fn answer(doors: Doors, host: Arc<Host>, metrics: Metrics) -> Result<(), Failure> {
    let (close, closed) = watch::channel(false);
    let mut open: JoinSet<EngineResult<()>> = JoinSet::new();
    let registry = Arc::clone(host.registry());
    if let Some(listener) = doors.http {
        open.spawn(http::serve(listener, host, doors.door.clone(), metrics, closed.clone()));
    }
    if let Some(listener) = doors.flight {
        let tls = match &doors.door.tls {
            Some(files) => Some(tls_for_tonic(files, None)?),
            None => None,
        };
        let tokens = doors.door.token_check();
        let settings = FlightSettings { limits: doors.limits, tls, tokens };
        let jobs = Arc::clone(&registry) as Arc<dyn Jobs>;
        let mut closed = closed;
        open.spawn(async move {
            let stop = async {
                // A sender that is gone wants the door to close, too.
                if closed.wait_for(|closed| *closed).await.is_err() {
                    tracing::debug!("the door is closed with the process");
                }
            };
            flight::serve(listener, jobs, settings, stop).await
        });
    }
    tokio::select! {
        signal = stop_signal() => signal?,
        ended = open.join_next() => return Err(ended_early(ended)),
    }
    tracing::info!("stopping after the epochs that are under way");
    registry.stop_all();
    let finish = async {
        registry.ended().await;
        close.send_replace(true);
        while let Some(ended) = open.join_next().await {
            ended.map_err(|error| Failure::running(format!("error: a door: {error}")))??;
        }
        Ok(())
    };
    tokio::select! {
        done = finish => done,
        _ = stop_signal() => Err(Failure::running(
            "error: stopped by a second signal in the middle of an epoch; nothing is lost, each \
             job goes on from its last epoch that was committed",
        )),
    }
}

fn ended_early(ended: Option<Result<EngineResult<()>, tokio::task::JoinError>>) -> Failure {
    match ended {
        Some(Ok(Err(error))) => error.into(),
        Some(Err(error)) => Failure::running(format!("error: a door: {error}")),
        Some(Ok(Ok(()))) | None => Failure::running("error: a door closed by itself"),
    }
}
