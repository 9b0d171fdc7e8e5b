//! `tidegauge serve --http ADDRESS JOB.yaml ...`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tidegauge_commitlog::SystemClock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::run::compile;
use super::stop_signal::stop_signal;
use crate::access::{Door, TlsFiles, Tokens, tls_for_axum};
use crate::error::Result as EngineResult;
use crate::runtime::CompiledJob;
use crate::service::http::{self, Metrics};
use crate::service::{Host, Registry, Submissions};

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
}

/// What listens, before anything is answered.
struct Doors {
    door: Door,
    http: Option<TcpListener>,
}

pub(super) async fn serve(arguments: ServeArguments) -> Result<(), Failure> {
    let doors = listen(&arguments).await?;
    let jobs = compile_all(&arguments.jobs).await?;
    let submissions = match &arguments.submitted {
        Some(location) => Submissions::at(location)?,
        None => Submissions::default(),
    };
    let allows_local = arguments.submit_local || doors.are_near();
    let registry = Arc::new(Registry::new(Arc::new(SystemClock), rand::random()));
    let host = Host::new(registry, submissions, allows_local);
    host.start_given(jobs).map_err(|refusal| Failure::bad(format!("error: {refusal}")))?;
    doors.announce()?;
    host.start_kept().await?;
    // The metrics of telemetry go here.
    let metrics: Metrics = Arc::new(String::new);
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
    if arguments.flight.is_some() {
        // The listener of Flight SQL goes here, beside that of HTTP.
        return Err(Failure::bad("error: --flight is not part of this build; leave it out"));
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
    Ok(Doors { door, http })
}

impl Doors {
    /// Whether only this machine reaches the door that jobs are submitted at.
    fn are_near(&self) -> bool {
        let address = self.http.as_ref().and_then(|listener| listener.local_addr().ok());
        address.is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// One line for each door, which scripts read: `http http://127.0.0.1:8080`.
    fn announce(&self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let is_secret = self.door.tls.is_some();
        if let Some(listener) = &self.http {
            let scheme = if is_secret { "https" } else { "http" };
            writeln!(out, "http {scheme}://{}", listener.local_addr()?)?;
        }
        // The line of Flight SQL goes here: `flight grpc://...`, or `grpc+tls://` with TLS.
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
    // Flight SQL is spawned here: its listener, Arc::clone(&registry) as Arc<dyn Jobs>, the door,
    // and `closed`.
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
