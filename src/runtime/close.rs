//! Step 4 of an epoch: the close plans of the queries whose windows are complete. What stays open is
//! kept by `keep.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::context::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, execute_stream, execute_stream_partitioned};
use futures::TryStreamExt;
use tidegauge_commitlog::{FailedWhere, Revisions, SinkFile, Storage};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tracing::{Instrument, Span};

use super::assign::TimePlace;
use super::clocks::Clocks;
use super::compile::CompiledJob;
use super::epoch_session::EpochSession;
use super::failures::FailedIn;
use super::ingest::{IngestContext, pass_cuts, run_target};
use super::keep::{MANY_AT_ONCE, side_by_side};
use super::merger::Merger;
use super::pass::{PassPlan, PassSource, SourceReceipt, StageReceipt};
use super::remote::{Isolating, Written};
use super::revise::Revising;
use super::round::Rounds;
use super::stage_work::{Piece, StageWork};
use super::state_buffer::RunTarget;
use crate::error::{Error, Result, from_datafusion};
use crate::observe::{Step, count_files, in_span};
use crate::operator::{RowReports, StateInput};
use crate::plan::{Feed, Input, JobPlan, Query, Stage};
use crate::sink::{SinkTarget, spread, write_streams};
use crate::state::{StateShape, StateView};

/// Advances the stages in their order, feeds those that are fed by others, and runs the close
/// plans of all queries of which a window closes.
pub(super) async fn close(
    job: &Arc<CompiledJob>,
    stages: &mut BTreeMap<String, StageWork>,
    mut clocks: Clocks,
    context: &Arc<IngestContext>,
    revisions: &mut Revisions,
) -> Result<Vec<SinkFile>> {
    let mut files = Vec::new();
    for wave in waves(&job.plan) {
        for ids in &wave {
            clocks.advance(ids, stages);
        }
        for closed in close_wave(job, &wave, stages, context, revisions).await? {
            files.extend(closed.files);
            stages.extend(closed.works);
            revisions.extend(closed.revisions);
            for (id, receipt) in closed.fed {
                let Some(work) = stages.get_mut(&id) else {
                    return Err(Error::bug(format!("a feed goes to {id}, which is no stage")));
                };
                work.add(receipt);
            }
        }
        for ids in &wave {
            Group::of(job, ids).tell_feeds(&mut clocks, stages, &context.state).await?;
        }
    }
    revisions.retain(|_, counts| !counts.is_empty());
    Ok(files)
}

/// The groups of stages in their order, those together of which none feeds another.
fn waves(plan: &JobPlan) -> Vec<Vec<BTreeSet<&str>>> {
    let mut waves: Vec<Vec<BTreeSet<&str>>> = Vec::new();
    for ids in plan.groups() {
        let is_fed = |id: &&str| {
            plan.stages.get(*id).is_some_and(|stage| matches!(stage.input, Input::Feed(_)))
        };
        match waves.last_mut() {
            Some(wave) if !ids.iter().any(is_fed) => wave.push(ids),
            _ => waves.push(vec![ids]),
        }
    }
    waves
}

/// What the closing of a group gave, and its stages again.
#[derive(Default)]
struct Closed {
    works: BTreeMap<String, StageWork>,
    files: Vec<SinkFile>,
    revisions: Revisions,
    /// What stages of other groups were fed.
    fed: Vec<(String, StageReceipt)>,
}

/// Closes the groups of one wave, as many at once as there are partitions; more of those that have
/// little to do but to wait for storage. None of them needs what another gives.
async fn close_wave(
    job: &Arc<CompiledJob>,
    wave: &[BTreeSet<&str>],
    stages: &mut BTreeMap<String, StageWork>,
    context: &Arc<IngestContext>,
    revisions: &mut Revisions,
) -> Result<Vec<Closed>> {
    let partitions = context.session.config().target_partitions();
    let at_once = side_by_side(partitions, job.spec.memory_max_bytes);
    let many = MANY_AT_ONCE.max(at_once);
    let places = Arc::new(Semaphore::new(many * at_once));
    let mut closed: Vec<(usize, Closed)> = Vec::with_capacity(wave.len());
    let mut tasks: JoinSet<Result<(usize, Closed)>> = JoinSet::new();
    for (place, ids) in wave.iter().enumerate() {
        let mut group = Closed::default();
        for id in ids {
            group.works.extend(stages.remove_entry(*id));
        }
        for (at, query) in job.plan.queries.iter().enumerate() {
            if query.stages.iter().any(|id| ids.contains(id.as_str())) {
                group.revisions.extend(revisions.remove_entry(&at.to_string()));
            }
        }
        while let Some(done) = tasks.try_join_next() {
            closed.push(joined(done)?);
        }
        let taken = match is_small(&job.plan, &group) {
            true => at_once,
            false => many,
        };
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        let taking = Arc::clone(&places).acquire_many_owned(taken).await;
        let taken = taking.map_err(|error| Error::bug("no place").with_source(error))?;
        let (job, context) = (Arc::clone(job), Arc::clone(context));
        let closing = async move {
            let ids: BTreeSet<String> = group.works.keys().cloned().collect();
            let ids = ids.iter().map(String::as_str).collect();
            Group::of(&job, &ids).close(&mut group, &context).await?;
            drop(taken);
            Ok((place, group))
        };
        tasks.spawn(closing.instrument(Span::current()));
    }
    while let Some(done) = tasks.join_next().await {
        closed.push(joined(done)?);
    }
    // The order of a record does not depend on which group was done first.
    closed.sort_by_key(|(place, _)| *place);
    Ok(closed.into_iter().map(|(_, closed)| closed).collect())
}

/// Whether a group has little to do: it gives no more rows than it has, and has few.
fn is_small(plan: &JobPlan, group: &Closed) -> bool {
    let mut works = group.works.values();
    let (Some(work), None) = (works.next(), works.next()) else { return false };
    work.is_small() && plan.stages.get(&work.id).is_some_and(|stage| !stage.keeps_rows)
}

fn joined<T>(done: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    done.map_err(|error| Error::bug("the closing of a group stopped").with_source(error))?
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
    async fn close(&self, closed: &mut Closed, context: &IngestContext) -> Result<()> {
        let Closed { works: stages, files, revisions, fed } = closed;
        files.extend(self.revise(stages, context, revisions).await?);
        let mut mergers = self.start_stacks(stages, context).await?;
        self.join_sessions(stages, context).await?;
        let works = self.stages.iter().filter_map(|stage| stages.get(&stage.id));
        let after_us = works.clone().map(|work| work.after_us.unwrap_or(i64::MIN)).min();
        let through_us = works.filter_map(|work| work.through_us).max();
        if let Some((after_us, through_us)) = after_us.zip(through_us) {
            let span_us = (after_us, through_us);
            let (mergers, stages) = (&mut mergers, &mut *stages);
            let mut rounds = Rounding { stages, mergers, files, fed };
            Box::pin(self.rounds(&mut rounds, span_us, context)).await?;
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
        Ok(())
    }

    async fn rounds(
        &self,
        rounding: &mut Rounding<'_>,
        (mut from_us, through_us): (i64, i64),
        context: &IngestContext,
    ) -> Result<()> {
        let Rounding { stages, mergers, files, fed } = rounding;
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
            files.extend(self.close_round(stages, context, round, fed).await?);
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
        Ok(())
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
            if !matches!(work.state, StateShape::Stacks(_) | StateShape::Panes(_)) {
                continue;
            }
            let mut merger = Merger::new(stage, context)?;
            // What a plan reads goes to workers with it, and is bounded by the size of a message.
            let bytes_max = match context.crew {
                Some(_) => 0,
                None => self.job.spec.epoch.close_bytes_max,
            };
            if work.start_stack(bytes_max, &mut merger).await? {
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
            let session = &context.session;
            let (joined, held) = match &context.crew {
                Some(crew) => {
                    let partitions = session.config().target_partitions();
                    let plan = stage.sessions_plan(pieces, partitions).map_err(from_datafusion)?;
                    let target = run_target(stage, context)?;
                    let target = RunTarget { label: "sessions".to_owned(), ..target };
                    let runs = crew.write_runs(session, plan, target).await?;
                    (runs.into_iter().map(Piece::of_new_run).collect(), None)
                }
                None => {
                    let (rows, held) = joined_sessions(stage, pieces, session).await?;
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
        fed: &mut Vec<(String, StageReceipt)>,
    ) -> Result<Vec<SinkFile>> {
        let mut files = Vec::new();
        for feed in &self.feeds {
            let span = Step::Close.span_of("feed", &feed.id);
            let running = run_feed(self.job, feed, stages, context, round);
            let receipt = in_span(span, running).await?;
            for (id, receipt) in receipt.stages {
                match stages.get_mut(&id) {
                    Some(work) => work.add(receipt),
                    None => fed.push((id, receipt)),
                }
            }
            files.extend(receipt.files);
        }
        let session = &context.session;
        for (_, query) in &self.queries {
            let works: Vec<&StageWork> =
                query.stages.iter().filter_map(|id| stages.get(id)).collect();
            if works.iter().all(|work| work.closing().is_none()) {
                continue;
            }
            let span = Step::Close.span_of("sink", &query.sink);
            let inputs = closing_inputs(&works, context);
            let closing = close_query(self.job, query, inputs, session, context, 0);
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
        let mut files = Vec::new();
        for (at, query) in self.queries.iter().filter(|(_, query)| query.revises) {
            let works: Vec<&StageWork> =
                query.stages.iter().filter_map(|id| stages.get(id)).collect();
            let counts = revisions.entry(at.to_string()).or_default();
            let revising = Revising { job: self.job, query, works: &works, context };
            files.extend(revising.write(counts).await?);
        }
        Ok(files)
    }
}

/// A group while its windows close in rounds.
struct Rounding<'a> {
    stages: &'a mut BTreeMap<String, StageWork>,
    mergers: &'a mut Vec<(String, Merger)>,
    files: &'a mut Vec<SinkFile>,
    fed: &'a mut Vec<(String, StageReceipt)>,
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
    round: usize,
) -> Result<SourceReceipt> {
    let works: Vec<&StageWork> = feed.stages.iter().filter_map(|id| stages.get(id)).collect();
    if works.iter().all(|work| work.closing().is_none()) {
        return Ok(SourceReceipt::default());
    }
    let session = &context.session;
    let inputs = closing_inputs(&works, context);
    let plan = job.plan.feed_plan(session, feed, inputs).await.map_err(from_datafusion)?;
    // Its rows come in one stream: they are few beside those of sources.
    let mut one = SessionState::clone(session);
    one.config_mut().options_mut().execution.target_partitions = 1;
    let pass = PassPlan {
        source: PassSource {
            files: None,
            time: TimePlace::column(feed.time_column()),
            future_max_us: i64::MAX,
            ahead: None,
        },
        schema: Arc::clone(&feed.schema),
        cuts: pass_cuts(job, &one, &Input::Feed(feed.id.clone()), context).await?,
        partitions: 1,
        task: format!("{}-{round}", feed.id),
        on_error: job.on_error(),
    };
    let query = FailedIn::of_feed(job, feed)?;
    let reports = RowReports::default();
    let plan = Isolating::new(job, &feed.stages, plan, &reports)?;
    let fed = match &context.crew {
        Some(crew) => crew.feed(session, plan, pass).await,
        None => {
            let task = session.task();
            let rows = execute_stream(plan.isolated, Arc::clone(&task)).map_err(from_datafusion)?;
            pass.run_rows(rows, task).await
        }
    };
    let mut receipt = fed.map_err(|error| query.blamed(job, error))?;
    receipt.reported.add(reports.take());
    context.failures.add(std::mem::take(&mut receipt.failed));
    context.failures.report(&query, FailedWhere::Results, std::mem::take(&mut receipt.reported));
    check_fed(feed, &receipt)?;
    count_files(&receipt.files);
    Ok(receipt)
}

/// Each stage accounts for every row of its feed.
fn check_fed(feed: &Feed, receipt: &SourceReceipt) -> Result<()> {
    for (id, stage) in &receipt.stages {
        let rows = &stage.rows;
        if rows.total() != receipt.rows.rows_in {
            return Err(Error::bug(format!(
                "the stage {id} accounts for other rows than its feed {}: {rows:?} of {}",
                feed.id, receipt.rows.rows_in
            )));
        }
    }
    Ok(())
}

/// Writes the rows of the close plan of `query`.
pub(super) async fn close_query(
    job: &CompiledJob,
    query: &Query,
    inputs: HashMap<String, StateInput>,
    session: &EpochSession,
    context: &IngestContext,
    revision: u32,
) -> Result<Vec<SinkFile>> {
    let plan = job.plan.close_plan(session, query, inputs, revision).await;
    let plan = plan.map_err(from_datafusion)?;
    let target = job.sink_target(query, context)?;
    let reports = RowReports::default();
    let plan = Isolating::new(job, &query.stages, plan, &reports)?;
    let of = FailedIn::of(query);
    let written = match &context.crew {
        Some(crew) => crew.write_sink(session, plan, target).await,
        None => write_plan(plan.isolated, session, target).await.map(Written::from),
    };
    let mut written = written.map_err(|error| of.blamed(job, error))?;
    written.reported.add(reports.take());
    context.failures.report(&of, FailedWhere::Results, written.reported);
    count_files(&written.files);
    Ok(written.files)
}

/// Writes a plan's rows: by partition of the sink where it has any, else into one file.
async fn write_plan(
    plan: Arc<dyn ExecutionPlan>,
    session: &EpochSession,
    target: SinkTarget,
) -> Result<Vec<SinkFile>> {
    let task = session.task();
    let streams = if target.partition_by.is_empty() {
        vec![execute_stream(plan, task).map_err(from_datafusion)?]
    } else {
        let plan = spread(plan, &target.partition_by).map_err(from_datafusion)?;
        execute_stream_partitioned(plan, task).map_err(from_datafusion)?
    };
    write_streams(streams, &target).await
}

/// The pieces of sessions that close, with the bounds of their sessions, put together here, and
/// what holds their memory reserved.
pub(super) async fn joined_sessions(
    stage: &Stage,
    pieces: (StateInput, StateInput),
    session: &EpochSession,
) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
    let partitions = session.config().target_partitions();
    let plan = stage.sessions_plan(pieces, partitions).map_err(from_datafusion)?;
    let task = session.task();
    let held = MemoryConsumer::new("closing sessions").register(task.memory_pool());
    let mut rows = execute_stream(plan, task).map_err(from_datafusion)?;
    let (mut batches, mut memory) = (Vec::new(), RecordBatchMemoryCounter::new());
    while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
        held.try_grow(memory.count_batch(&batch)).map_err(from_datafusion)?;
        batches.push(batch);
    }
    Ok((batches, held))
}
