//! Step 2 of an epoch: the pass over a source's new files, planned here and run here or on
//! workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use datafusion::execution::context::SessionState;
use tidegauge_commitlog::{Attempt, Storage};
use tidegauge_spec::Format;

use super::ahead::AheadRule;
use super::compile::{CompiledJob, SourceRuntime};
use super::epoch_session::EpochSession;
use super::failures::{FailedIn, FailureList};
use super::pass::{FilesOf, OutputTarget, PassCut, PassPlan, PassSource, SourceReceipt};
use super::progress::Progress;
use super::remote::Crew;
use super::split::split;
use super::state_buffer::RunTarget;
use super::watermark::micros;
use crate::error::{Error, Result, from_datafusion};
use crate::observe::count;
use crate::operator::StateInput;
use crate::plan::{CutTarget, IngestCut, Input, Stage};
use crate::sink::TaskFiles;
use crate::source::InputFile;
use crate::state::StateView;

/// What an epoch's plans need beside the job.
#[derive(Debug, Clone)]
pub(super) struct IngestContext {
    pub(super) attempt: Attempt,
    pub(super) state: Storage,
    pub(super) sinks: BTreeMap<String, Storage>,
    /// Each stage's watermark at the start of the epoch.
    pub(super) watermarks: BTreeMap<String, Option<i64>>,
    /// The sink files that this process writes.
    pub(super) files: TaskFiles,
    /// Counts merges that become runs, for their names.
    pub(super) merges: Arc<AtomicU32>,
    /// Rows that the attempt leaves out.
    pub(super) failures: FailureList,
    pub(super) progress: Arc<Progress>,
    /// The workers that this attempt runs on; none where it runs in this process.
    pub(super) crew: Option<Arc<dyn Crew>>,
    pub(super) session: EpochSession,
}

/// A plan of one partition has nothing that brings the rows of a key together, for one task has
/// them all; on workers a plan has several tasks.
const PARTITIONS_MIN_ON_WORKERS: usize = 2;

impl IngestContext {
    /// The epoch's clock, microseconds since 1970.
    fn clock_us(&self) -> i64 {
        self.attempt.started_ms.saturating_mul(1_000)
    }
}

/// The session that the plans of an attempt are made in, on workers or here.
pub(super) fn session_of(job: &CompiledJob, attempt: &Attempt, on_workers: bool) -> EpochSession {
    let mut session = job.session_at(attempt.started_ms);
    if on_workers {
        let execution = &mut session.config_mut().options_mut().execution;
        execution.target_partitions = execution.target_partitions.max(PARTITIONS_MIN_ON_WORKERS);
    }
    EpochSession::new(session)
}

/// Reads `files` of `source` once, for all cuts.
pub(super) async fn ingest(
    job: &CompiledJob,
    source: &SourceRuntime,
    files: Vec<InputFile>,
    context: &IngestContext,
) -> Result<SourceReceipt> {
    let session = &context.session;
    let pass = pass_of(job, source, context).await?;
    let partitions = pass.partitions;
    let (ahead, future_max_us) = (pass.source.ahead, pass.source.future_max_us);
    let files_read = files.len() as u64;
    let bytes_read = files.iter().map(|file| file.size).sum();
    let readers = partitions * context.crew.as_ref().map_or(1, |crew| crew.workers());
    let files = match source.spec.format {
        Format::Parquet if files.len() < readers => split(&source.store, files, readers).await?,
        _ => files,
    };
    let mut receipt = match &context.crew {
        Some(crew) => {
            let receipt = crew.ingest(session, pass, files).await?;
            for _ in 0..files_read {
                context.progress.add_file();
            }
            context.progress.add_rows(receipt.rows.rows_in, receipt.times.last_us());
            receipt
        }
        None => {
            let (store, progress) = (Arc::clone(&source.store), Arc::clone(&context.progress));
            pass.run(store, files, progress, session.task()).await?
        }
    };
    count([("files", files_read), ("bytes", bytes_read), ("rows", receipt.rows.rows_in)]);
    let clock_us = context.clock_us();
    receipt.file_rows.check(&source.spec.event_time.spoken(), clock_us, future_max_us)?;
    receipt.reach = ahead.map(|rule| receipt.times.reach(&rule)).unwrap_or_default();
    context.failures.add(receipt.failed.clone());
    Ok(receipt)
}

/// Reads through `files` of `source`, each by itself and without plans. Gives what is wrong with
/// those that cannot be used, by their places.
pub(super) async fn check_files(
    job: &CompiledJob,
    source: &SourceRuntime,
    files: Vec<InputFile>,
    context: &IngestContext,
) -> Result<Vec<(usize, Error)>> {
    let pass = pass_of(job, source, context).await?;
    let (clock_us, future_max_us) = (context.clock_us(), pass.source.future_max_us);
    let receipts = pass.check(Arc::clone(&source.store), files).await?;
    let failed = receipts.into_iter().filter_map(|(at, receipt)| {
        let column = source.spec.event_time.spoken();
        let checked =
            receipt.and_then(|receipt| receipt.file_rows.check(&column, clock_us, future_max_us));
        Some((at, checked.err()?))
    });
    Ok(failed.collect())
}

async fn pass_of(
    job: &CompiledJob,
    source: &SourceRuntime,
    context: &IngestContext,
) -> Result<PassPlan> {
    let session = &context.session;
    let input = Input::Source(source.table.name.clone());
    Ok(PassPlan {
        source: pass_source(source, context),
        schema: Arc::clone(&source.table.schema),
        cuts: pass_cuts(job, session, &input, context).await?,
        partitions: session.config().target_partitions(),
        task: "0".to_owned(),
        on_error: job.on_error(),
    })
}

fn pass_source(source: &SourceRuntime, context: &IngestContext) -> PassSource {
    let clock_us = context.clock_us();
    let time = &source.spec.event_time;
    let files = FilesOf {
        scheme: source.location.scheme.clone(),
        format: source.spec.format.clone(),
        compression: source.spec.compression,
        unit: time.unit,
    };
    PassSource {
        files: Some(files),
        time: source.time.clone(),
        future_max_us: clock_us.saturating_add(source.future_max_us),
        ahead: Some(AheadRule {
            clock_us: clock_us.saturating_add(micros(time.ahead_max)),
            delay_us: micros(time.delay),
            share_ppm: time.ahead_share_ppm,
        }),
    }
}

/// The cuts of the pass over `input`.
pub(super) async fn pass_cuts(
    job: &CompiledJob,
    session: &SessionState,
    input: &Input,
    context: &IngestContext,
) -> Result<Vec<PassCut>> {
    let partitions = session.config().target_partitions();
    let cuts = job.plan.ingest_cuts(session, input).await.map_err(from_datafusion)?;
    cuts.into_iter().map(|cut| pass_cut(job, cut, context, partitions)).collect()
}

fn pass_cut(
    job: &CompiledJob,
    plan: IngestCut,
    context: &IngestContext,
    partitions: usize,
) -> Result<PassCut> {
    match &plan.target {
        CutTarget::Stage(id) => {
            let Some(stage) = job.plan.stages.get(id) else {
                return Err(Error::bug(format!("there is no stage {id}")));
            };
            let target = run_target(stage, context)?;
            let nothing = StateInput {
                storage: context.state.clone(),
                parts: vec![],
                state: stage.state_shape(),
                view: StateView::Open { through_us: i64::MIN },
            };
            let merge = match &context.crew {
                Some(_) => Some(stage.merge_plan(nothing, partitions).map_err(from_datafusion)?),
                None => None,
            };
            let closed_us = context.watermarks.get(id).copied().flatten();
            // A window may still change for a while after it closed.
            let watermark_us = closed_us.map(|us| us.saturating_sub(stage.lateness_us));
            Ok(PassCut {
                window: Some((stage.windows, watermark_us)),
                copies: stage.copies(),
                query: FailedIn::of_stage(job, id)?,
                late: job.late_target(stage, context)?,
                output: OutputTarget::State(target),
                merge,
                plan,
            })
        }
        CutTarget::Query(at) => {
            let Some(query) = job.plan.queries.get(*at) else {
                return Err(Error::bug(format!("there is no query {at}")));
            };
            let output = OutputTarget::Sink(job.sink_target(query, context)?);
            let query = FailedIn::of(query);
            Ok(PassCut { query, window: None, copies: 1, late: None, output, merge: None, plan })
        }
    }
}

/// Where the runs of a stage go in one attempt.
pub(super) fn run_target(stage: &Stage, context: &IngestContext) -> Result<RunTarget> {
    Ok(RunTarget {
        storage: context.state.clone(),
        attempt: context.attempt.clone(),
        stage: stage.id.clone(),
        schema: stage.state_schema().map_err(from_datafusion)?,
        label: "open".to_owned(),
    })
}
