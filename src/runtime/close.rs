//! Step 4 of an epoch: the close plans of the queries whose windows are complete, and the run of
//! what stays open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::context::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, execute_stream, execute_stream_partitioned};
use futures::TryStreamExt;
use tidegauge_commitlog::{Revisions, Run, SinkFile, Storage};

use super::clocks::Clocks;
use super::compile::CompiledJob;
use super::ingest::{IngestContext, pass_cuts, run_target};
use super::pass::{PassPlan, PassSource, SourceReceipt};
use super::round::Rounds;
use super::stack_work::{Merger, role_name};
use super::stage_work::{Piece, StageWork};
use super::state_buffer::RunTarget;
use crate::error::{Error, Result, from_datafusion};
use crate::observe::{Step, count_files, count_runs, in_span};
use crate::operator::StateInput;
use crate::plan::{Feed, Input, Query, Stage};
use crate::sink::{SinkTarget, spread, write_streams};
use crate::state::{StatePart, StateShape, StateView, start_range, write_run};

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
    for ids in job.plan.groups() {
        clocks.advance(&ids, stages);
        let group = Group::of(job, &ids);
        files.extend(Box::pin(group.close(stages, context, revisions)).await?);
        group.tell_feeds(&mut clocks, stages, &context.state).await?;
    }
    revisions.retain(|_, counts| !counts.is_empty());
    Ok(files)
}

/// Whether a window may close where no row comes.
pub(super) async fn may_close(
    job: &CompiledJob,
    stages: &mut BTreeMap<String, StageWork>,
    mut clocks: Clocks,
    storage: &Storage,
) -> Result<bool> {
    for ids in job.plan.groups() {
        clocks.advance(&ids, stages);
        if ids.iter().filter_map(|id| stages.get(*id)).any(StageWork::may_close) {
            return Ok(true);
        }
        Group::of(job, &ids).tell_feeds(&mut clocks, stages, storage).await?;
    }
    Ok(false)
}

/// The stages that are read together, and what is above them: it closes as one.
struct Group<'a> {
    job: &'a CompiledJob,
    stages: Vec<&'a Stage>,
    feeds: Vec<&'a Feed>,
    queries: Vec<(usize, &'a Query)>,
}

impl<'a> Group<'a> {
    fn of(job: &'a CompiledJob, ids: &BTreeSet<&str>) -> Self {
        let mine = |id: &String| ids.contains(id.as_str());
        let stages = job.plan.stages.values().filter(|stage| mine(&stage.id)).collect();
        let feeds = job.plan.feeds.values().filter(|feed| feed.stages.iter().any(mine)).collect();
        let queries = job.plan.queries.iter().enumerate();
        let queries = queries.filter(|(_, query)| query.stages.iter().any(mine)).collect();
        Self { job, stages, feeds, queries }
    }

    /// How far the streams are complete that its stages give.
    async fn tell_feeds(
        &self,
        clocks: &mut Clocks,
        stages: &BTreeMap<String, StageWork>,
        storage: &Storage,
    ) -> Result<()> {
        for feed in &self.feeds {
            let mut first_open_us = None;
            if feed.waits_for_open_sessions() {
                for stage in self.stages.iter().filter(|stage| feed.stages.contains(&stage.id)) {
                    let Some(work) = stages.get(&stage.id) else { continue };
                    let schema = stage.state_schema().map_err(from_datafusion)?;
                    let of_stage_us = work.first_open_us(&schema, storage).await?;
                    first_open_us = first_open_us.into_iter().chain(of_stage_us).min();
                }
            }
            let clock = clocks.of_feed(feed, stages, first_open_us);
            clocks.set(Input::Feed(feed.id.clone()), clock);
        }
        Ok(())
    }

    /// Closes what there is to close, a bounded number of windows at a time.
    async fn close(
        &self,
        stages: &mut BTreeMap<String, StageWork>,
        context: &IngestContext,
        revisions: &mut Revisions,
    ) -> Result<Vec<SinkFile>> {
        let mut files = self.revise(stages, context, revisions).await?;
        let mut mergers = self.start_stacks(stages, context).await?;
        self.join_sessions(stages, context).await?;
        let works = self.stages.iter().filter_map(|stage| stages.get(&stage.id));
        let after_us = works.clone().map(|work| work.after_us.unwrap_or(i64::MIN)).min();
        let through_us = works.filter_map(|work| work.through_us).max();
        if let Some((after_us, through_us)) = after_us.zip(through_us) {
            let span_us = (after_us, through_us);
            files.extend(self.rounds(stages, &mut mergers, span_us, context).await?);
        }
        for (id, mut merger) in mergers {
            if let Some(work) = stages.get_mut(&id) {
                work.finish_stack(&mut merger).await?;
            }
        }
        for stage in &self.stages {
            if let Some(work) = stages.get_mut(&stage.id) {
                work.finish_sessions()?;
            }
        }
        Ok(files)
    }

    async fn rounds(
        &self,
        stages: &mut BTreeMap<String, StageWork>,
        mergers: &mut [(String, Merger)],
        (mut from_us, through_us): (i64, i64),
        context: &IngestContext,
    ) -> Result<Vec<SinkFile>> {
        let mut files = Vec::new();
        let bytes_max = self.job.spec.epoch.close_bytes_max;
        let works = self.stages.iter().filter_map(|stage| stages.get(&stage.id));
        let bounds: Vec<Rounds> = works.filter_map(|work| Rounds::new(work, bytes_max)).collect();
        for round in 0.. {
            let bounded = bounds.iter().filter_map(|bound| bound.through_us(from_us)).min();
            let mut to_us = bounded.map_or(through_us, |bound_us| bound_us.min(through_us));
            for (id, merger) in mergers.iter_mut() {
                if let Some(stack) = stages.get_mut(id).and_then(|work| work.stack.as_mut()) {
                    to_us = to_us.min(stack.pull(merger).await?.unwrap_or(through_us));
                }
            }
            let is_whole = to_us == through_us && round == 0;
            self.set_round(stages, (!is_whole).then_some((from_us, to_us)));
            files.extend(self.close_round(stages, context, round).await?);
            for (id, _) in mergers.iter() {
                if let Some(stack) = stages.get_mut(id).and_then(|work| work.stack.as_mut()) {
                    stack.close_through(to_us);
                }
            }
            if to_us == through_us {
                break;
            }
            from_us = to_us;
        }
        self.set_round(stages, None);
        Ok(files)
    }

    fn set_round(&self, stages: &mut BTreeMap<String, StageWork>, round_us: Option<(i64, i64)>) {
        for stage in &self.stages {
            if let Some(work) = stages.get_mut(&stage.id) {
                work.round_us = round_us;
            }
        }
    }

    async fn start_stacks(
        &self,
        stages: &mut BTreeMap<String, StageWork>,
        context: &IngestContext,
    ) -> Result<Vec<(String, Merger)>> {
        let mut mergers = Vec::new();
        for stage in &self.stages {
            let Some(work) = stages.get_mut(&stage.id) else { continue };
            if !matches!(work.state, StateShape::Stacks(_)) {
                continue;
            }
            let mut merger = Merger::new(self.job, stage, context)?;
            if work.start_stack(&mut merger).await? {
                mergers.push((stage.id.clone(), merger));
            }
        }
        Ok(mergers)
    }

    /// Puts the sessions together of which a piece closes.
    async fn join_sessions(
        &self,
        stages: &mut BTreeMap<String, StageWork>,
        context: &IngestContext,
    ) -> Result<()> {
        for stage in &self.stages {
            let Some(work) = stages.get_mut(&stage.id) else { continue };
            let through_us = work.through_us.unwrap_or(i64::MIN);
            let Some(pieces) = work.pieces_to_join(&context.state, through_us) else { continue };
            let session = context.session(self.job);
            let (joined, held) = match &context.crew {
                Some(crew) => {
                    let partitions = session.config().target_partitions();
                    let plan = stage.sessions_plan(pieces, partitions).map_err(from_datafusion)?;
                    let target = run_target(stage, context)?;
                    let target = RunTarget { label: "sessions".to_owned(), ..target };
                    let runs = crew.write_runs(&session, plan, target).await?;
                    (runs.into_iter().map(Piece::of_new_run).collect(), None)
                }
                None => {
                    let (rows, held) = joined_sessions(stage, pieces, &session).await?;
                    (Piece::of_rows(rows).into_iter().collect(), Some(held))
                }
            };
            work.set_sessions(joined, held);
        }
        Ok(())
    }

    async fn close_round(
        &self,
        stages: &mut BTreeMap<String, StageWork>,
        context: &IngestContext,
        round: usize,
    ) -> Result<Vec<SinkFile>> {
        let mut files = Vec::new();
        for feed in &self.feeds {
            let span = Step::Close.span_of("feed", &feed.id);
            let running = run_feed(self.job, feed, stages, context, round);
            let receipt = in_span(span, running).await?;
            for (id, receipt) in receipt.stages {
                if let Some(work) = stages.get_mut(&id) {
                    work.add(receipt);
                }
            }
            files.extend(receipt.files);
        }
        let session = context.session(self.job);
        for (_, query) in &self.queries {
            let works: Vec<&StageWork> =
                query.stages.iter().filter_map(|id| stages.get(id)).collect();
            if works.iter().all(|work| work.closing().is_none()) {
                continue;
            }
            let span = Step::Close.span_of("sink", &query.sink);
            let inputs = closing_inputs(&works, context);
            let closing = close_query(self.job, query, inputs, &session, context, 0);
            files.extend(in_span(span, closing).await?);
        }
        Ok(files)
    }

    /// Writes closed windows that have changed.
    async fn revise(
        &self,
        stages: &BTreeMap<String, StageWork>,
        context: &IngestContext,
        revisions: &mut Revisions,
    ) -> Result<Vec<SinkFile>> {
        let session = context.session(self.job);
        let mut files = Vec::new();
        for (at, query) in self.queries.iter().filter(|(_, query)| query.revises) {
            let works: Vec<&StageWork> =
                query.stages.iter().filter_map(|id| stages.get(id)).collect();
            let counts = revisions.entry(at.to_string()).or_default();
            files.extend(revise(self.job, query, &works, &session, context, counts).await?);
        }
        Ok(files)
    }
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
    let settled = works.iter().map(|work| work.settled_us());
    let settled_us = settled.min().unwrap_or(i64::MIN);
    counts.retain(|end_us, _| *end_us > settled_us);
    Ok(files)
}

/// Runs the close plan of a feed and hands its rows to the stages and queries above.
async fn run_feed(
    job: &CompiledJob,
    feed: &Feed,
    stages: &BTreeMap<String, StageWork>,
    context: &IngestContext,
    round: usize,
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
        task: format!("{}-{round}", feed.id),
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
        let runs_max = job.spec.state.runs_max;
        match work.state {
            StateShape::Stacks(_) => {
                written.extend(keep_stack(job, work, runs_max, context).await?)
            }
            _ => written.extend(keep_open(job, work, runs_max, context).await?),
        }
    }
    count_runs(stages.values().flat_map(|work| &work.change.runs_added));
    Ok(written)
}

/// Writes what stays of a stage of merged panes: the panes as one run, and each merge as its own.
async fn keep_stack(
    job: &CompiledJob,
    work: &mut StageWork,
    runs_max: usize,
    context: &IngestContext,
) -> Result<Vec<WrittenRun>> {
    let Some(stage) = job.plan.stages.get(&work.id) else {
        return Err(Error::bug(format!("there is no stage {}", work.id)));
    };
    let (panes, merges) = work.settle_stack(runs_max);
    let mut written = Vec::new();
    if !panes.is_empty() {
        let input = StateInput {
            storage: context.state.clone(),
            parts: panes.iter().map(Piece::slice).collect(),
            state: work.state,
            view: StateView::ALL,
        };
        written.extend(write_merged(job, stage, input, work, context).await?);
    }
    let target = run_target(stage, context)?;
    for (at, piece) in merges.into_iter().enumerate() {
        let StatePart::Memory(batches) = &piece.part else { continue };
        let all = StateView::Keys { first_us: piece.first_us, last_us: piece.last_us };
        let rows = batches.iter().map(|batch| all.apply(&work.state, batch.clone()));
        let rows = rows.collect::<datafusion::common::Result<Vec<_>>>();
        let rows: Vec<RecordBatch> = rows.map_err(from_datafusion)?;
        let role = role_name(piece.role);
        let label = format!("{}-{at}", role.as_deref().unwrap_or("panes"));
        let path = RunTarget { label, ..target.clone() }.merged_path();
        let schema = Arc::clone(&target.schema);
        let run = write_run(&target.storage, path.clone(), schema, rows.clone()).await?;
        if let Some(run) = run {
            work.change.runs_added.push(Run { role, ..run });
            written.push(WrittenRun { path, batches: Arc::new(rows) });
        }
    }
    Ok(written)
}

/// The pieces of sessions that close, with the bounds of their sessions, put together here, and
/// what holds their memory reserved.
pub(super) async fn joined_sessions(
    stage: &Stage,
    pieces: (StateInput, StateInput),
    session: &SessionState,
) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
    let partitions = session.config().target_partitions();
    let plan = stage.sessions_plan(pieces, partitions).map_err(from_datafusion)?;
    let task = session.task_ctx();
    let held = MemoryConsumer::new("closing sessions").register(task.memory_pool());
    let mut rows = execute_stream(plan, task).map_err(from_datafusion)?;
    let (mut batches, mut memory) = (Vec::new(), RecordBatchMemoryCounter::new());
    while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
        held.try_grow(memory.count_batch(&batch)).map_err(from_datafusion)?;
        batches.push(batch);
    }
    Ok((batches, held))
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
    let pieces: Vec<Piece> = work.settle(runs_max);
    if pieces.is_empty() {
        return Ok(None);
    }
    work.pieces = pieces;
    let input = work.input(&context.state, work.open_view());
    work.pieces.clear();
    write_merged(job, stage, input, work, context).await
}

/// Writes what `input` sees as one run, a row a key.
async fn write_merged(
    job: &CompiledJob,
    stage: &Stage,
    input: StateInput,
    work: &mut StageWork,
    context: &IngestContext,
) -> Result<Option<WrittenRun>> {
    let session = context.session(job);
    let partitions = session.config().target_partitions();
    let plan = stage.merge_plan(input, partitions).map_err(from_datafusion)?;
    let target = run_target(stage, context)?;
    if let Some(crew) = &context.crew {
        work.change.runs_added.extend(crew.merge_runs(&session, plan, target).await?);
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
