//! Step 4 of an epoch: the close plans of the queries whose windows are complete, and the run of
//! what stays open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream, execute_stream_partitioned};
use futures::TryStreamExt;
use tidegauge_commitlog::{Revisions, SinkFile};

use super::clocks::Clocks;
use super::compile::CompiledJob;
use super::ingest::{IngestContext, pass_cuts, run_target};
use super::pass::{PassPlan, PassSource, SourceReceipt};
use super::stage_work::{Piece, StageWork};
use super::state_buffer::RunTarget;
use crate::error::{Error, Result, from_datafusion};
use crate::observe::{Step, count_files, count_runs, in_span};
use crate::operator::StateInput;
use crate::plan::{Feed, Input, Query, Stage, Unit};
use crate::sink::{SinkTarget, spread, write_streams};
use crate::state::{StateView, start_range, write_run};

/// Advances the stages in their order, feeds those that are fed by others, and runs the close
/// plans of all queries of which a window closes.
pub(super) async fn close(
    job: &CompiledJob,
    stages: &mut BTreeMap<String, StageWork>,
    mut clocks: Clocks,
    context: &IngestContext,
    revisions: &mut Revisions,
) -> Result<Vec<SinkFile>> {
    let mut files = Vec::new();
    let mut advanced = BTreeSet::new();
    for unit in &job.plan.order {
        match unit {
            Unit::Stage(id) => {
                let Some(stage) = job.plan.stages.get(id) else { continue };
                if advanced.insert(&stage.clocks) {
                    clocks.advance(&stage.clocks, stages);
                }
            }
            Unit::Feed(id) => {
                let Some(feed) = job.plan.feeds.get(id) else { continue };
                let clock = clocks.of_feed(feed, stages);
                let span = Step::Close.span_of("feed", id);
                let receipt = in_span(span, run_feed(job, feed, stages, context)).await?;
                for (id, receipt) in receipt.stages {
                    if let Some(stage) = stages.get_mut(&id) {
                        stage.add(receipt);
                    }
                }
                files.extend(receipt.files);
                clocks.set(Input::Feed(id.clone()), clock);
            }
        }
    }
    let session = context.session(job);
    for (at, query) in job.plan.queries.iter().enumerate() {
        let works: Vec<&StageWork> = query.stages.iter().filter_map(|id| stages.get(id)).collect();
        if query.revises {
            let counts = revisions.entry(at.to_string()).or_default();
            files.extend(revise(job, query, &works, &session, context, counts).await?);
        }
        if works.iter().all(|work| work.closing().is_none()) {
            continue;
        }
        let span = Step::Close.span_of("sink", &query.sink);
        let inputs = closing_inputs(&works, context);
        let closing = close_query(job, query, inputs, &session, context, 0);
        files.extend(in_span(span, closing).await?);
    }
    revisions.retain(|_, counts| !counts.is_empty());
    Ok(files)
}

/// Writes the closed windows that have new rows once more, each in its next revision.
async fn revise(
    job: &CompiledJob,
    query: &Query,
    works: &[&StageWork],
    session: &SessionState,
    context: &IngestContext,
    counts: &mut BTreeMap<i64, u32>,
) -> Result<Vec<SinkFile>> {
    let mut files = Vec::new();
    let mut ends = BTreeSet::new();
    for work in works {
        let Some(stage) = job.plan.stages.get(&work.id) else { continue };
        let schema = stage.state_schema().map_err(from_datafusion)?;
        ends.extend(work.changed_ends_us(schema, &context.state).await?);
    }
    for end_us in ends {
        let view = StateView::Closing { after_us: end_us - 1, through_us: end_us };
        let input = |work: &&StageWork| (work.id.clone(), work.input(&context.state, view));
        let inputs = works.iter().map(input).collect();
        let revision = counts.entry(end_us).or_default();
        *revision += 1;
        files.extend(close_query(job, query, inputs, session, context, *revision).await?);
    }
    // A window that can change no more needs no count.
    let settled = works.iter().map(|work| match work.open_view() {
        StateView::Open { through_us } | StateView::Closing { through_us, .. } => through_us,
    });
    let settled_us = settled.min().unwrap_or(i64::MIN);
    counts.retain(|end_us, _| *end_us > settled_us);
    Ok(files)
}

/// What the plan of a query or of a feed reads of its stages. A stage without a closing window
/// gives no rows.
fn closing_inputs(works: &[&StageWork], context: &IngestContext) -> HashMap<String, StateInput> {
    let nothing = StateView::Closing { after_us: i64::MIN, through_us: i64::MIN };
    let input = |work: &&StageWork| {
        let view = work.closing().unwrap_or(nothing);
        (work.id.clone(), work.input(&context.state, view))
    };
    works.iter().map(input).collect()
}

/// Runs the close plan of a feed and hands its rows to the stages and queries above.
async fn run_feed(
    job: &CompiledJob,
    feed: &Feed,
    stages: &BTreeMap<String, StageWork>,
    context: &IngestContext,
) -> Result<SourceReceipt> {
    let works: Vec<&StageWork> = feed.stages.iter().filter_map(|id| stages.get(id)).collect();
    if works.iter().all(|work| work.closing().is_none()) {
        return Ok(SourceReceipt::default());
    }
    let session = context.session(job);
    let inputs = closing_inputs(&works, context);
    let plan = job.plan.feed_plan(&session, feed, inputs).await.map_err(from_datafusion)?;
    // Its rows come in one stream: they are few beside those of sources.
    let mut one = session.clone();
    one.config_mut().options_mut().execution.target_partitions = 1;
    let pass = PassPlan {
        source: PassSource {
            files: None,
            time_column: feed.time_column(),
            future_max_us: i64::MAX,
        },
        schema: Arc::clone(&feed.schema),
        cuts: pass_cuts(job, &one, &Input::Feed(feed.id.clone()), context).await?,
        partitions: 1,
        task: feed.id.clone(),
    };
    let receipt = match &context.crew {
        Some(crew) => crew.feed(&session, plan, pass).await?,
        None => {
            let task = session.task_ctx();
            let rows = execute_stream(plan, Arc::clone(&task)).map_err(from_datafusion)?;
            pass.run_rows(rows, task).await?
        }
    };
    check_fed(feed, &receipt)?;
    count_files(&receipt.files);
    Ok(receipt)
}

/// Each stage accounts for every row of its feed.
fn check_fed(feed: &Feed, receipt: &SourceReceipt) -> Result<()> {
    for (id, stage) in &receipt.stages {
        let rows = &stage.rows;
        if rows.used + rows.filtered + rows.late != receipt.rows.rows_in {
            return Err(Error::bug(format!(
                "the stage {id} accounts for other rows than its feed {}: {rows:?} of {}",
                feed.id, receipt.rows.rows_in
            )));
        }
    }
    Ok(())
}

async fn close_query(
    job: &CompiledJob,
    query: &Query,
    inputs: HashMap<String, StateInput>,
    session: &SessionState,
    context: &IngestContext,
    revision: u32,
) -> Result<Vec<SinkFile>> {
    let plan = job.plan.close_plan(session, query, inputs, revision).await;
    let plan = plan.map_err(from_datafusion)?;
    let target = job.sink_target(query, context)?;
    let files = match &context.crew {
        Some(crew) => crew.write_sink(session, plan, target).await?,
        None => write_plan(plan, session, target).await?,
    };
    count_files(&files);
    Ok(files)
}

/// Writes a plan's rows: by partition of the sink where it has any, else into one file.
async fn write_plan(
    plan: Arc<dyn ExecutionPlan>,
    session: &SessionState,
    target: SinkTarget,
) -> Result<Vec<SinkFile>> {
    let task = session.task_ctx();
    let streams = if target.partition_by.is_empty() {
        vec![execute_stream(plan, task).map_err(from_datafusion)?]
    } else {
        let plan = spread(plan, &target.partition_by).map_err(from_datafusion)?;
        execute_stream_partitioned(plan, task).map_err(from_datafusion)?
    };
    write_streams(streams, &target).await
}

/// A run that an epoch wrote, with its rows to be kept in memory.
pub(super) struct WrittenRun {
    pub(super) path: String,
    pub(super) batches: Arc<Vec<RecordBatch>>,
}

/// Writes what stays open of each stage.
pub(super) async fn keep_all_open(
    job: &CompiledJob,
    stages: &mut BTreeMap<String, StageWork>,
    context: &IngestContext,
) -> Result<Vec<WrittenRun>> {
    let mut written = Vec::new();
    for work in stages.values_mut() {
        written.extend(keep_open(job, work, job.spec.state.runs_max, context).await?);
    }
    count_runs(stages.values().flat_map(|work| &work.change.runs_added));
    Ok(written)
}

/// Takes the closing pieces of sessions that go on over into what is open.
async fn carry(
    job: &CompiledJob,
    stage: &Stage,
    work: &mut StageWork,
    context: &IngestContext,
) -> Result<()> {
    let Some(view) = work.closing() else { return Ok(()) };
    let session = context.session(job);
    let partitions = session.config().target_partitions();
    let input = work.input(&context.state, view);
    let Some(plan) = stage.carry_plan(input, partitions).map_err(from_datafusion)? else {
        return Ok(());
    };
    match &context.crew {
        Some(crew) => {
            let target = RunTarget { label: "carried".to_owned(), ..run_target(stage, context)? };
            work.add_runs(crew.write_run(&session, plan, target).await?);
        }
        None => {
            let rows = execute_stream(plan, session.task_ctx()).map_err(from_datafusion)?;
            let rows: Vec<RecordBatch> = rows.try_collect().await.map_err(from_datafusion)?;
            work.add_rows(rows);
        }
    }
    Ok(())
}

/// Writes what stays open of a stage, merged to one row a key.
async fn keep_open(
    job: &CompiledJob,
    work: &mut StageWork,
    runs_max: usize,
    context: &IngestContext,
) -> Result<Option<WrittenRun>> {
    let Some(stage) = job.plan.stages.get(&work.id) else {
        return Err(Error::bug(format!("there is no stage {}", work.id)));
    };
    carry(job, stage, work, context).await?;
    let pieces: Vec<Piece> = work.settle(runs_max);
    if pieces.is_empty() {
        return Ok(None);
    }
    work.pieces = pieces;
    let session = context.session(job);
    let input = work.input(&context.state, work.open_view());
    work.pieces.clear();
    let partitions = session.config().target_partitions();
    let plan = stage.merge_plan(input, partitions).map_err(from_datafusion)?;
    let target = run_target(stage, context)?;
    if let Some(crew) = &context.crew {
        work.change.runs_added.extend(crew.write_runs(&session, plan, target).await?);
        return Ok(None);
    }
    let rows = execute_stream(plan, session.task_ctx()).map_err(from_datafusion)?;
    let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(from_datafusion)?;
    if start_range(&batches).is_none() {
        return Ok(None);
    }
    let path = target.merged_path();
    let run = write_run(&target.storage, path.clone(), target.schema, batches.clone()).await?;
    work.change.runs_added.extend(run);
    Ok(Some(WrittenRun { path, batches: Arc::new(batches) }))
}
