//! `tidegauge serve --http ADDRESS JOB.yaml ...`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidegauge_spec::{JobText, parse_duration};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::doors::DoorThreads;
use super::failure::Failure;
use super::stop_signal::StopSignals;
use super::worker::bytes;
use super::workers::WorkersArguments;
use crate::access::{Door, TlsFiles, Tokens, tls_for_axum, tls_for_tonic};
use crate::error::Result as EngineResult;
use crate::observe::Telemetry;
use crate::runtime::{CompiledJob, Remote};
use crate::service::flight::{self, FlightSettings, QueryLimits, QueryProcesses, QueryProgram};
use crate::service::http::{self, Metrics};
use crate::service::{
    Ceilings, Host, Jobs, MemoryBound, Registry, Submissions, SubmitRules, Surroundings,
    watch_memory,
};

/// The hidden command that a query's process is started with.
pub(super) const QUERY_PROCESS: &str = "query-process";
/// After the time to stop, so much longer until the process ends whatever it does.
const STOP_SLACK: Duration = Duration::from_secs(4);

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
    /// The most that a submitted job may ask for as its memory_max.
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = bytes)]
    submit_memory_max: u64,
    /// The most partitions that a submitted job may ask for.
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    submit_partitions_max: usize,
    /// The shortest epoch.interval that a submitted job may ask for.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_duration)]
    submit_interval_min: Duration,
    /// The most that a submitted job may ask for as its state.cache_max.
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = bytes)]
    submit_cache_max: u64,
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
    /// Run each query in a process of its own, which alone ends when it takes too much memory or
    /// time.
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    query_process: bool,
    /// The memory that the service and its queries may hold together, such as 8GiB; without it,
    /// what the system allows a container.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_max: Option<u64>,
    /// How long jobs may take to finish their epochs when the service is told to stop.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    stop_max: Duration,
    #[command(flatten)]
    workers: WorkersArguments,
}

impl ServeArguments {
    /// What a submitted job may be; `is_for_one` says that only who started the service submits.
    fn submit_rules(&self, is_for_one: bool) -> SubmitRules {
        let of_file = |what: &str, file: &Option<PathBuf>| {
            let file = file.as_ref()?.to_str()?.to_owned();
            Some((what.to_owned(), file))
        };
        let submitted = self.submitted.clone();
        let own = submitted
            .map(|location| ("the submitted jobs that are kept".to_owned(), location))
            .into_iter()
            .chain(of_file("the token file", &self.token_file))
            .chain(of_file("the key of the certificate", &self.tls_key));
        SubmitRules {
            allows_local: self.submit_local || is_for_one,
            ceilings: Ceilings {
                memory_bytes_max: self.submit_memory_max,
                partitions_max: self.submit_partitions_max,
                interval_min: self.submit_interval_min,
                cache_bytes_max: self.submit_cache_max,
            },
            own: own.collect(),
        }
    }

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
    process: Option<QueryProgram>,
    threads: DoorThreads,
}

pub(super) async fn serve(arguments: ServeArguments, telemetry: &Telemetry) -> Result<(), Failure> {
    let cluster = arguments.workers.cluster()?;
    let signals = StopSignals::start(arguments.stop_max + STOP_SLACK)?;
    let doors = listen(&arguments).await?;
    let jobs = compile_all(&arguments.jobs).await?;
    let submissions = match &arguments.submitted {
        Some(location) => Submissions::at(location)?,
        None => Submissions::default(),
    };
    let rules = arguments.submit_rules(doors.are_for_one());
    let surroundings = Surroundings {
        remote: cluster.map(|cluster| cluster as Arc<dyn Remote>),
        metrics: telemetry.metrics().clone(),
        ..Surroundings::plain()
    };
    let registry = Arc::new(Registry::new(surroundings, rand::random()));
    let queries = doors.process.as_ref().map(|process| process.processes.clone());
    let bound = MemoryBound { bytes_max: arguments.memory_max };
    watch_memory(&registry, queries.unwrap_or_default(), bound)?;
    let host = Host::new(registry, submissions, rules);
    host.start_given(jobs).map_err(|refusal| Failure::bad(format!("error: {refusal}")))?;
    doors.announce()?;
    host.start_kept().await?;
    let shown = telemetry.clone();
    let metrics: Metrics = Arc::new(move || shown.prometheus_text());
    answer(doors, host, metrics, (signals, arguments.stop_max)).await
}

/// Answers the queries of the service that started this process.
pub(super) fn answer_queries() -> ExitCode {
    match flight::answer_queries() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::from(error).report(),
    }
}

/// This program as it is now, also when another has taken its place on disk.
fn query_program() -> Result<QueryProgram, Failure> {
    let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let program = if own.exists() { own } else { std::env::current_exe()? };
    let processes = QueryProcesses::default();
    Ok(QueryProgram { program, arguments: vec![QUERY_PROCESS.into()], processes })
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
    if let Some(tokens) = &tokens {
        tokens.warn_of_missing_roles();
    }
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
    let process = match arguments.query_process {
        true => Some(query_program()?),
        false => None,
    };
    let (limits, threads) = (arguments.limits(), DoorThreads::start()?);
    Ok(Doors { door, http, flight, limits, process, threads })
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
        match compile(path).await {
            Ok(job) => jobs.push(job),
            Err(failure) => failures.push(failure),
        }
    }
    match Failure::all(failures) {
        Some(failure) => Err(failure),
        None => Ok(jobs),
    }
}

/// A job with its text, which the processes of queries are sent.
async fn compile(path: &Path) -> Result<CompiledJob, Failure> {
    let text = JobText::read(path, &|name| std::env::var(name).ok())?;
    Ok(CompiledJob::new(text.parse()?).await?.with_text(text))
}

/// Answers until a signal, then lets every job finish its epoch, then closes the doors.
async fn answer(
    doors: Doors,
    host: Arc<Host>,
    metrics: Metrics,
    (mut signals, stop_max): (StopSignals, Duration),
) -> Result<(), Failure> {
    let (close, closed) = watch::channel(false);
    let registry = Arc::clone(host.registry());
    let (mut open, _threads) = open_doors(doors, host, metrics, closed)?;
    tokio::select! {
        () = signals.told(1) => {}
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
    let in_the_middle = |why: String| {
        Err(Failure::running(format!(
            "error: stopped by {why} in the middle of an epoch; nothing is lost, each job goes on \
             from its last epoch that was committed"
        )))
    };
    tokio::select! {
        done = finish => done,
        () = signals.told(2) => in_the_middle("a second signal".to_owned()),
        () = tokio::time::sleep(stop_max) => {
            in_the_middle(format!("--stop-max, after {} s,", stop_max.as_secs_f64()))
        }
    }
}

/// Opens the doors, in threads of their own.
fn open_doors(
    doors: Doors,
    host: Arc<Host>,
    metrics: Metrics,
    closed: watch::Receiver<bool>,
) -> Result<(JoinSet<EngineResult<()>>, DoorThreads), Failure> {
    let mut open = JoinSet::new();
    let jobs = Arc::clone(host.registry()) as Arc<dyn Jobs>;
    let Doors { door, http, flight, limits, process, threads } = doors;
    let tls = match (&door.tls, &flight) {
        (Some(files), Some(_)) => Some(tls_for_tonic(files, None)?),
        _ => None,
    };
    if let Some(listener) = http {
        let listener = threads.adopt(listener)?;
        let served = http::serve(listener, host, door.clone(), metrics, closed.clone());
        open.spawn_on(served, threads.handle());
    }
    if let Some(listener) = flight {
        let listener = threads.adopt(listener)?;
        let settings = FlightSettings { limits, tls, tokens: door.token_check(), process };
        let mut closed = closed;
        let served = async move {
            let stop = async {
                // A sender that is gone wants the door to close, too.
                if closed.wait_for(|closed| *closed).await.is_err() {
                    tracing::debug!("the door is closed with the process");
                }
            };
            flight::serve(listener, jobs, settings, stop).await
        };
        open.spawn_on(served, threads.handle());
    }
    Ok((open, threads))
}

fn ended_early(ended: Option<Result<EngineResult<()>, tokio::task::JoinError>>) -> Failure {
    match ended {
        Some(Ok(Err(error))) => error.into(),
        Some(Err(error)) => Failure::running(format!("error: a door: {error}")),
        Some(Ok(Ok(()))) | None => Failure::running("error: a door closed by itself"),
    }
}
