//! The process of queries: it answers one question after another until its service is gone.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use futures::StreamExt;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;

use super::super::error::QueryError;
use super::super::planner::{Declared, Moment, Planner};
use super::super::prepared::Question;
use super::super::query_job::{Output, Planned, QueryJob};
use super::super::query_runtime::runtime;
use super::super::running::encoded;
use super::message::{Ask, AskJob, DeclaredFrame, FailedFrame, Frame, Kind, SchemaBytes};
use crate::error::{Error, Result};

/// Frames that wait to be written.
const WAITING_MAX: usize = 2;
/// The system ends this process before any other when memory is short.
const OOM_SCORE: &str = "1000";

/// Answers the questions that come over standard input, which is a socket, until it is closed.
/// What works then is not waited for: the process is about to end.
///
/// # Errors
/// When it cannot begin, as where standard input is something else.
pub fn answer_queries() -> Result<()> {
    let failed = |what: &str, error: io::Error| {
        Error::unavailable(format!("{what}: {error}")).with_source(error)
    };
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let mut socket = UnixStream::from(stdin.map_err(|e| failed("no standard input", e))?);
    let mut answers = socket.try_clone().map_err(|e| failed("standard input is no socket", e))?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        tracing::debug!(%error, "memory that is short is not taken from queries first");
    }
    let cannot = |error: QueryError| Error::bug(format!("queries cannot be answered: {error}"));
    let runtime = runtime().map_err(cannot)?;
    let planner = Arc::new(Planner::new().map_err(cannot)?);
    let (sender, mut frames) = mpsc::channel::<Frame>(WAITING_MAX);
    // Ends when the service does, whoever else still works.
    let writer = std::thread::Builder::new().name("query-answers".to_owned()).spawn(move || {
        while let Some(frame) = frames.blocking_recv() {
            if frame.write(&mut answers).is_err() {
                return;
            }
        }
    });
    writer.map_err(|e| failed("no thread for answers", e))?;
    let mut jobs = HashMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok(ask) = Frame::read(&mut socket) {
        let Ok(question) = Frame::read(&mut socket) else { break };
        let begun = begin(&ask, &question, &mut jobs);
        let (planner, sender) = (Arc::clone(&planner), sender.clone());
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(answer_or_fail(planner, begun, sender), runtime.handle());
    }
    runtime.shutdown_background();
    Ok(())
}

/// What is asked, of which jobs.
type Begun = std::result::Result<(bool, Moment, Question), QueryError>;

/// Answers one question, with an error if there is no other answer.
async fn answer_or_fail(planner: Arc<Planner>, begun: Begun, sender: mpsc::Sender<Frame>) {
    let failed: Status = match begun {
        Ok((runs, moment, question)) => {
            match answer(&planner, runs, &moment, &question, &sender).await {
                Ok(()) => return,
                Err(status) => status,
            }
        }
        Err(error) => error.into(),
    };
    let (code, message) = (i32::from(failed.code()), failed.message().to_owned());
    match Frame::json(Kind::Failed, &FailedFrame { code, message }) {
        Ok(frame) => {
            if sender.send(frame).await.is_err() {
                tracing::debug!("the service is gone");
            }
        }
        Err(error) => tracing::error!(%error, "an error could not be told"),
    }
}

/// Reads a question; the jobs that it is about are kept for the next one.
fn begin(ask: &Frame, question: &Frame, known: &mut HashMap<String, Arc<Planned>>) -> Begun {
    let ask: Ask = ask.parse()?;
    let question = Question::decode(&question.bytes)?;
    let mut still = HashMap::new();
    let mut jobs = Vec::with_capacity(ask.jobs.len());
    for job in ask.jobs {
        let planned = planned(&job, known)?;
        still.insert(planned.spec().name.clone(), Arc::clone(&planned));
        let outputs = job.outputs.into_iter().map(|output| {
            let schema = output.schema.schema()?;
            Ok(Output { sink: output.sink, schema, has_windows: output.has_windows })
        });
        let outputs = outputs.collect::<std::result::Result<_, QueryError>>()?;
        let AskJob { view, status, was_open, .. } = job;
        jobs.push(Arc::new(QueryJob { view, status, was_open, outputs, planned }));
    }
    *known = still;
    let moment = Moment { jobs, now_ms: ask.now_ms, memory_bytes_max: ask.memory_bytes_max };
    Ok((ask.runs, moment, question))
}

fn planned(
    job: &AskJob,
    known: &HashMap<String, Arc<Planned>>,
) -> std::result::Result<Arc<Planned>, QueryError> {
    if let Some(same) = known.values().find(|known| known.is_of(&job.text)) {
        return Ok(Arc::clone(same));
    }
    Ok(Arc::new(Planned::later(job.text.as_ref().clone())?))
}

/// Answers one question, all of it but an error.
async fn answer(
    planner: &Planner,
    runs: bool,
    moment: &Moment,
    question: &Question,
    sender: &mpsc::Sender<Frame>,
) -> std::result::Result<(), Status> {
    let gone = |_| Status::cancelled("the service is gone");
    if !runs {
        let Declared { rows, parameters } = planner.declare(moment, question).await?;
        let declared = DeclaredFrame {
            rows: rows.map(|rows| SchemaBytes::new(&rows)),
            parameters: SchemaBytes::new(&parameters),
        };
        let frame = Frame::json(Kind::Declared, &declared)?;
        return sender.send(frame).await.map_err(gone);
    }
    let started = planner.start(moment, question).await?;
    let begun = Frame { kind: Kind::Declared, bytes: vec![] };
    sender.send(begun).await.map_err(gone)?;
    let mut messages = Box::pin(encoded(started));
    while let Some(message) = messages.next().await {
        let frame = Frame { kind: Kind::Data, bytes: message?.encode_to_vec() };
        sender.send(frame).await.map_err(gone)?;
    }
    // Rows and plan go before the service may ask again.
    drop(messages);
    sender.send(Frame { kind: Kind::End, bytes: vec![] }).await.map_err(gone)
}
