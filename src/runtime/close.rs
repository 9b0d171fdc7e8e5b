//! Step 4 of an epoch: the close plans of the queries whose windows are complete, and the run of
//! what stays open.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream, execute_stream_partitioned};
use futures::TryStreamExt;
use tidegauge_commitlog::SinkFile;

use super::compile::CompiledJob;
use super::ingest::{IngestContext, run_target};
use super::stage_work::{Piece, StageWork};
use crate::error::{Error, Result, from_datafusion};
use crate::observe::{Step, count_files, count_runs, in_span};
use crate::plan::Query;
use crate::sink::{SinkTarget, spread, write_streams};
use crate::state::{StateView, start_range, write_run};

/// Runs the close plans of all queries of which a window closes.
pub(super) async fn close(
    job: &CompiledJob,
    stages: &BTreeMap<String, StageWork>,
    context: &IngestContext,
) -> Result<Vec<SinkFile>> {
    let session = context.session(job);
    let mut files = Vec::new();
    for query in job.plan.queries.iter().filter(|query| !query.is_stateless()) {
        let works: Vec<&StageWork> = query.stages.iter().filter_map(|id| stages.get(id)).collect();
        if works.iter().all(|work| work.closing().is_none()) {
            continue;
        }
        let span = Step::Close.span_of("sink", &query.sink);
        let closing = close_query(job, query, &works, &session, context);
        files.extend(in_span(span, closing).await?);
    }
    Ok(files)
}

async fn close_query(
    job: &CompiledJob,
    query: &Query,
    works: &[&StageWork],
    session: &SessionState,
    context: &IngestContext,
) -> Result<Vec<SinkFile>> {
    // A stage of the query without a closing window gives no rows.
    let nothing = StateView::Closing { after_us: i64::MIN, through_us: i64::MIN };
    let inputs: HashMap<_, _> = works
        .iter()
        .map(|work| {
            let view = work.closing().unwrap_or(nothing);
            (work.id.clone(), work.input(&context.state, view))
        })
        .collect();
    let plan = job.plan.close_plan(session, query, inputs).await.map_err(from_datafusion)?;
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

/// Writes what stays open of a stage, merged to one row a key.
async fn keep_open(
    job: &CompiledJob,
    work: &mut StageWork,
    runs_max: usize,
    context: &IngestContext,
) -> Result<Option<WrittenRun>> {
    let pieces: Vec<Piece> = work.settle(runs_max);
    if pieces.is_empty() {
        return Ok(None);
    }
    let Some(stage) = job.plan.stages.get(&work.id) else {
        return Err(Error::bug(format!("there is no stage {}", work.id)));
    };
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
