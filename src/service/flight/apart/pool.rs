//! The processes of queries as the service has them: one for each query at a time, kept for the
//! next one when it has done its work.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_flight::FlightData;
use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::super::error::QueryError;
use super::super::planner::Declared;
use super::super::prepared::Question;
use super::super::query_job::outputs;
use super::super::settings::{QueryLimits, QueryProgram};
use super::keeper::{Keeper, Verdict, Watched};
use super::message::{
    Ask, AskJob, AskOutput, DeclaredFrame, FailedFrame, Frame, Kind, SchemaBytes,
};
use crate::service::JobSnapshot;

/// Processes that wait for the next query, so that it need not begin with a process.
const IDLE_MAX: usize = 2;
/// After so many answers a process makes way for a new one.
const ANSWERS_MAX: u32 = 500;
/// What a process holds beside its query: itself, its threads, what it has read of files that is
/// not decoded yet, and the jobs that it has planned.
const BESIDE_BYTES: u64 = 64 << 20;
/// One that still holds more than this after an answer is not kept.
const IDLE_BYTES_MAX: u64 = 96 << 20;
/// How long the keeper may take to say why a process is gone.
const VERDICT_MAX: Duration = Duration::from_millis(500);
/// How much lower than the service's its priority is.
const NICENESS: &str = "10";

/// The processes.
#[derive(Debug)]
pub(in super::super) struct Pool {
    program: QueryProgram,
    limits: QueryLimits,
    idle: Mutex<Vec<Process>>,
    keeper: Mutex<Option<Arc<Keeper>>>,
    has_nice: AtomicBool,
}

#[derive(Debug)]
struct Process {
    socket: UnixStream,
    watched: Watched,
    answers: u32,
    _keeper: Arc<Keeper>,
}

/// A process that runs a query.
pub(in super::super) struct Asked {
    process: Process,
    pool: Arc<Pool>,
}

impl Pool {
    /// No process yet.
    pub(in super::super) fn new(program: QueryProgram, limits: QueryLimits) -> Arc<Self> {
        Arc::new(Self {
            program,
            limits,
            idle: Mutex::default(),
            keeper: Mutex::default(),
            has_nice: AtomicBool::new(true),
        })
    }

    /// What `question` gives over `jobs`.
    pub(in super::super) async fn declare(
        self: &Arc<Self>,
        jobs: &[JobSnapshot],
        now_ms: i64,
        question: &Question,
        deadline: Instant,
    ) -> Result<Declared, QueryError> {
        let ask = self.ask(jobs, now_ms, false)?;
        let mut asked = self.begin(&ask, question, deadline).await?;
        let frame = asked.next().await?;
        let declared: DeclaredFrame = match frame.kind {
            Kind::Declared => frame.parse()?,
            _ => return Err(asked.answered(&frame)),
        };
        asked.give_back();
        let rows = declared.rows.map(|rows| rows.schema()).transpose()?;
        Ok(Declared { rows, parameters: declared.parameters.schema()? })
    }

    /// Begins to run `question` over `jobs`.
    pub(in super::super) async fn run(
        self: &Arc<Self>,
        jobs: &[JobSnapshot],
        now_ms: i64,
        question: &Question,
        deadline: Instant,
    ) -> Result<Asked, QueryError> {
        let ask = self.ask(jobs, now_ms, true)?;
        let mut asked = self.begin(&ask, question, deadline).await?;
        // The first frame says whether there is an answer at all.
        let frame = asked.next().await?;
        match frame.kind {
            Kind::Declared => Ok(asked),
            _ => Err(asked.answered(&frame)),
        }
    }

    fn ask(&self, jobs: &[JobSnapshot], now_ms: i64, runs: bool) -> Result<Frame, QueryError> {
        let mut asked = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Some(text) = &job.job.text else {
                return Err(QueryError::internal("a job has no text to send to a query's process"));
            };
            let outputs = outputs(&job.job).into_iter().map(|output| AskOutput {
                sink: output.sink,
                schema: SchemaBytes::new(&output.schema),
                has_windows: output.has_windows,
            });
            asked.push(AskJob {
                text: Arc::clone(text),
                view: Arc::clone(&job.view),
                status: job.status.clone(),
                was_open: job.was_open,
                outputs: outputs.collect(),
            });
        }
        let memory_bytes_max = self.limits.memory_bytes_max;
        Frame::json(Kind::Ask, &Ask { runs, now_ms, memory_bytes_max, jobs: asked })
    }

    async fn begin(
        self: &Arc<Self>,
        ask: &Frame,
        question: &Question,
        deadline: Instant,
    ) -> Result<Asked, QueryError> {
        let bytes = question.encode()?.to_vec();
        loop {
            let kept = self.idle.lock().pop();
            let is_new = kept.is_none();
            let mut process = match kept {
                Some(process) => process,
                None => self.start()?,
            };
            process.watched.set_deadline(Some(deadline.into_std()));
            let question = Frame { kind: Kind::Question, bytes: bytes.clone() };
            let sent = async {
                ask.send(&mut process.socket).await?;
                question.send(&mut process.socket).await
            };
            match sent.await {
                Ok(()) => return Ok(Asked { process, pool: Arc::clone(self) }),
                // One that waited may have died meanwhile.
                Err(_) if !is_new => {}
                Err(error) => return Err(away(&error.to_string())),
            }
        }
    }

    fn start(&self) -> Result<Process, QueryError> {
        let failed = |error: std::io::Error| away(&error.to_string());
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let keeper = self.keeper()?;
        let child = self.command(theirs.try_clone().map_err(failed)?).spawn();
        let child = match child {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.has_nice.store(false, Ordering::Relaxed);
                self.command(theirs).spawn()
            }
            done => done,
        };
        let watched = keeper.watch(child.map_err(failed)?);
        let socket = UnixStream::from_std(ours).map_err(failed)?;
        Ok(Process { socket, watched, answers: 0, _keeper: keeper })
    }

    /// At a lower priority, where the system has the command for it; else at the service's.
    fn command(&self, socket: StdUnixStream) -> Command {
        let QueryProgram { program, arguments, .. } = &self.program;
        let mut command = match self.has_nice.load(Ordering::Relaxed) {
            true => {
                let mut command = Command::new("nice");
                command.args(["-n", NICENESS]).arg(program);
                command
            }
            false => Command::new(program),
        };
        // Queries have no use for the tokens of the service.
        command
            .args(arguments)
            .env_remove(crate::access::TOKENS_VARIABLE)
            .env_remove("TIDEGAUGE_WORKER_TOKEN")
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null());
        command
    }

    fn keeper(&self) -> Result<Arc<Keeper>, QueryError> {
        let mut keeper = self.keeper.lock();
        if let Some(keeper) = keeper.as_ref() {
            return Ok(Arc::clone(keeper));
        }
        let query = u64::try_from(self.limits.memory_bytes_max).unwrap_or(u64::MAX);
        let made =
            Arc::new(Keeper::new(&self.program.processes, query.saturating_add(BESIDE_BYTES))?);
        *keeper = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl Asked {
    /// The messages of its rows. The process is kept when they are all there.
    pub(in super::super) fn messages(
        self,
    ) -> impl Stream<Item = Result<FlightData, Status>> + Send {
        futures::stream::unfold(Some(self), |asked| async move {
            let mut asked = asked?;
            let frame = match asked.next().await {
                Ok(frame) => frame,
                Err(error) => return Some((Err(error.into()), None)),
            };
            match frame.kind {
                Kind::Data => match FlightData::decode(Bytes::from(frame.bytes)) {
                    Ok(data) => Some((Ok(data), Some(asked))),
                    Err(error) => Some((Err(Status::internal(error.to_string())), None)),
                },
                Kind::End => {
                    asked.give_back();
                    None
                }
                _ => Some((Err(asked.answered(&frame).into()), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Frame, QueryError> {
        match Frame::receive(&mut self.process.socket).await {
            Ok(frame) => Ok(frame),
            Err(error) => Err(self.gone(&error).await),
        }
    }

    /// The error that the process answers; it has done its work and is kept.
    fn answered(self, frame: &Frame) -> QueryError {
        if frame.kind != Kind::Failed {
            return QueryError::internal("a query's process answered out of turn; report it");
        }
        let failed: FailedFrame = match frame.parse() {
            Ok(failed) => failed,
            Err(error) => return error,
        };
        self.give_back();
        QueryError::new(Code::from_i32(failed.code), failed.message)
    }

    fn give_back(mut self) {
        self.process.watched.set_deadline(None);
        self.process.answers += 1;
        let is_small = self.process.watched.bytes().is_none_or(|bytes| bytes < IDLE_BYTES_MAX);
        let mut idle = self.pool.idle.lock();
        if is_small && self.process.answers < ANSWERS_MAX && idle.len() < IDLE_MAX {
            idle.push(self.process);
        }
    }

    /// Why the process is no more.
    async fn gone(&self, error: &std::io::Error) -> QueryError {
        let began = Instant::now();
        let verdict = loop {
            match self.process.watched.verdict() {
                None if began.elapsed() < VERDICT_MAX => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                verdict => break verdict,
            }
        };
        let limits = &self.pool.limits;
        match verdict {
            Some(Verdict::Memory(bytes)) => QueryError::exhausted(format!(
                "the query needs more memory than a query may have: its process held {} MiB, and a \
                 query may hold {} MiB; ask for less of it, such as fewer columns, shorter values \
                 or one partition",
                bytes >> 20,
                limits.memory_bytes_max >> 20
            )),
            Some(Verdict::Crowded(bytes)) => QueryError::exhausted(format!(
                "the service as a whole was short of memory, and this query held most, {} MiB; ask \
                 again later, or for less",
                bytes >> 20
            )),
            Some(Verdict::Deadline) => QueryError::deadline(format!(
                "the query took longer than {} s, which is the most a query may",
                limits.time_max.as_secs_f64()
            )),
            Some(Verdict::Ended(how)) => {
                tracing::warn!(how, "a query's process ended early");
                QueryError::exhausted(format!(
                    "the query ended the process that ran it ({how}), and nothing else: it nests \
                     too deep or needs one value that is too large; ask for it in another way"
                ))
            }
            None => away(&error.to_string()),
        }
    }
}

fn away(why: &str) -> QueryError {
    QueryError::exhausted(format!("no process for the query: {why}; ask again"))
}
