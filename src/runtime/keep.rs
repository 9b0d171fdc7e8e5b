//! The end of step 4 of an epoch: what stays open of each stage becomes runs.
//!
//! Each run is written as its rows come from a plan that merges them, in the order of the first
//! column, so that no more than a row group of a large state is in memory. Runs are written side by
//! side, for storage answers late and packing takes time.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{TryStreamExt, stream};
use tidegauge_commitlog::Run;
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use super::compile::CompiledJob;
use super::epoch_session::EpochSession;
use super::ingest::{IngestContext, run_target};
use super::remote::Crew;
use super::stack_work::role_name;
use super::stage_work::{Piece, StageWork};
use super::state_buffer::RunTarget;
use crate::error::{Error, Result, from_datafusion};
use crate::observe::count_runs;
use crate::operator::{StateInput, few_by_first_column};
use crate::plan::Stage;
use crate::state::{RunWriter, StatePart, StateShape, StateView};

/// What is done at once, where it waits for storage more than it works.
pub(super) const MANY_AT_ONCE: usize = 8;

/// Memory of what is done beside others.
const MEMORY_OF_ONE: u64 = 64 << 20;

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
    let mut waiting = Vec::new();
    for work in stages.values_mut() {
        let Some(stage) = job.plan.stages.get(&work.id) else {
            return Err(Error::bug(format!("there is no stage {}", work.id)));
        };
        let stage = Keeping { job, stage, context };
        match work.state {
            StateShape::Stacks(_) => stage.stack(work, &mut waiting)?,
            _ => stage.open(work, &mut waiting)?,
        }
    }
    let mut written: Vec<(usize, Written)> = Vec::with_capacity(waiting.len());
    let mut tasks = JoinSet::new();
    for (place, write) in waiting.into_iter().enumerate() {
        if tasks.len() >= side_by_side(MANY_AT_ONCE, job.spec.memory_max_bytes) {
            written.extend(joined(&mut tasks).await?);
        }
        let writing = async move { Ok::<_, Error>((place, write.run().await?)) };
        tasks.spawn(writing.instrument(Span::current()));
    }
    while let Some(one) = joined(&mut tasks).await? {
        written.push(one);
    }
    // The order of a record does not depend on which run was written first.
    written.sort_by_key(|(place, _)| *place);
    let mut kept = Vec::new();
    for (_, Written { stage, runs, batches }) in written {
        kept.extend(runs.first().zip(batches).map(|(run, batches)| WrittenRun {
            path: run.path.clone(),
            batches: Arc::new(batches),
        }));
        if let Some(work) = stages.get_mut(&stage) {
            work.change.runs_added.extend(runs);
        }
    }
    count_runs(stages.values().flat_map(|work| &work.change.runs_added));
    Ok(kept)
}

/// How much is done side by side, of at most `most`: each must have memory worth the name.
pub(super) fn side_by_side(most: usize, memory_max_bytes: u64) -> usize {
    let fits = memory_max_bytes / MEMORY_OF_ONE;
    usize::try_from(fits).unwrap_or(usize::MAX).clamp(1, most.max(1))
}

async fn joined(tasks: &mut JoinSet<Result<(usize, Written)>>) -> Result<Option<(usize, Written)>> {
    match tasks.join_next().await {
        Some(done) => {
            let stopped = |error| Error::bug("the writing of a run stopped").with_source(error);
            done.map_err(stopped)?.map(Some)
        }
        None => Ok(None),
    }
}

/// One stage of which the open state is kept.
struct Keeping<'a> {
    job: &'a CompiledJob,
    stage: &'a Stage,
    context: &'a IngestContext,
}

impl Keeping<'_> {
    /// The panes of a stage of merged panes as one run, and each merge as its own.
    fn stack(&self, work: &mut StageWork, writes: &mut Vec<Write>) -> Result<()> {
        let (panes, merges) = work.settle_stack(self.job.spec.state.runs_max);
        let input = |pieces: &[Piece]| StateInput {
            storage: self.context.state.clone(),
            parts: pieces.iter().map(Piece::slice).collect(),
            state: self.stage.state_shape(),
            view: StateView::ALL,
        };
        if !panes.is_empty() {
            writes.push(self.merged(input(&panes))?);
        }
        for (at, piece) in merges.into_iter().enumerate() {
            let plan = self.stage.state_plan(input(std::slice::from_ref(&piece)));
            let role = role_name(piece.role);
            let label = format!("{}-{at}", role.as_deref().unwrap_or("panes"));
            // What is in memory or was spilled is here, also where there are workers.
            let write = Write { crew: None, role, ..self.write(plan.map_err(from_datafusion)?)? };
            let target = RunTarget { label, ..write.target };
            writes.push(Write { target, ..write });
        }
        Ok(())
    }

    /// What stays open of any other stage, as one run.
    fn open(&self, work: &mut StageWork, writes: &mut Vec<Write>) -> Result<()> {
        let pieces: Vec<Piece> = work.settle(self.job.spec.state.runs_max);
        if pieces.is_empty() {
            return Ok(());
        }
        work.pieces = pieces;
        let input = work.input(&self.context.state, work.open_view());
        work.pieces.clear();
        writes.push(self.merged(input)?);
        Ok(())
    }

    /// What `input` sees, a row a key.
    fn merged(&self, input: StateInput) -> Result<Write> {
        let partitions = self.context.session.config().target_partitions();
        let is_few = StatePart::are_few(&input.parts);
        let (plan, is_unsorted) = match (&self.context.crew, is_few) {
            (Some(_), _) => (self.stage.merge_plan(input, partitions), false),
            (None, true) => (self.stage.merge_plan(input, 1), true),
            (None, false) => (self.stage.sorted_merge_plan(input, partitions), false),
        };
        Ok(Write { is_unsorted, ..self.write(plan.map_err(from_datafusion)?)? })
    }

    fn write(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Write> {
        Ok(Write {
            stage: self.stage.id.clone(),
            role: None,
            plan,
            is_unsorted: false,
            target: run_target(self.stage, self.context)?,
            session: self.context.session.clone(),
            crew: self.context.crew.clone(),
            bytes_max: self.job.spec.state.cache_max_bytes,
        })
    }
}

/// A run that is to be written.
struct Write {
    stage: String,
    role: Option<String>,
    plan: Arc<dyn ExecutionPlan>,
    /// Whether its rows are few, and not in the order of the first column.
    is_unsorted: bool,
    target: RunTarget,
    session: EpochSession,
    crew: Option<Arc<dyn Crew>>,
    /// How much of its rows may be kept in memory as well.
    bytes_max: u64,
}

struct Written {
    stage: String,
    runs: Vec<Run>,
    /// All rows of the one run, where they are few.
    batches: Option<Vec<RecordBatch>>,
}

impl Write {
    async fn run(self) -> Result<Written> {
        let Self { stage, role, plan, is_unsorted, target, session, crew, bytes_max } = self;
        if let Some(crew) = crew {
            let runs = crew.merge_runs(&session, plan, target).await?;
            return Ok(Written { stage, runs, batches: None });
        }
        let task = session.task();
        let held = MemoryConsumer::new("runs in memory").register(task.memory_pool());
        let packed = MemoryConsumer::new("runs that are packed").register(task.memory_pool());
        let mut rows = execute_stream(plan, task).map_err(from_datafusion)?;
        if is_unsorted {
            let schema = rows.schema();
            let few: Vec<RecordBatch> = rows.try_collect().await.map_err(from_datafusion)?;
            let sorted = few_by_first_column(&schema, &few).map_err(from_datafusion)?;
            let sorted = stream::iter(sorted.map(Ok));
            rows = Box::pin(RecordBatchStreamAdapter::new(schema, sorted));
        }
        let mut writer = RunWriter::new(&target.storage, target.merged_path(), target.schema);
        let (mut batches, mut memory) = (Some(Vec::new()), RecordBatchMemoryCounter::new());
        while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
            writer.write(&batch).await?;
            if packed.try_resize(writer.memory()).is_err() {
                // What is packed of a run is bounded by a row group, and small beside its rows.
                packed.free();
            }
            if let Some(kept) = &mut batches {
                let fits = held.try_grow(memory.count_batch(&batch)).is_ok();
                kept.push(batch);
                if !fits || memory.memory_usage() as u64 > bytes_max {
                    batches = None;
                    held.free();
                }
            }
        }
        let run = writer.finish().await?.map(|run| Run { role, ..run });
        Ok(Written { stage, runs: run.into_iter().collect(), batches })
    }
}
