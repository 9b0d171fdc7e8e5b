//! Merges the partial aggregates of one stage for windows that are put together from merges of
//! panes: here, with memory of the job's pool and a run where that is short, or on workers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::common::internal_err;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt;
use tidegauge_commitlog::Storage;

use super::epoch_session::EpochSession;
use super::ingest::{IngestContext, run_target};
use super::remote::Crew;
use super::state_buffer::RunTarget;
use crate::error::{Result, from_datafusion, is_short_of_memory};
use crate::operator::{StateInput, compacted_rows};
use crate::plan::Stage;
use crate::state::stacks::{Merge, Role, Slice, Step, Sum};
use crate::state::{KeyRange, RunWriter, StatePart, StateView, starts_of};

/// About how much more memory than storage the rows of a run take.
pub(super) const UNPACKED: u64 = 8;
/// Rows of a batch that is kept of a merge.
const BATCH_ROWS: usize = 8_192;

/// What the logic merges: rows in one or several places, and the piece of the stage's state that
/// they are, if they are one.
#[derive(Debug, Clone)]
pub(super) struct StackPart {
    pub(super) parts: Arc<Vec<StatePart>>,
    pub(super) given: Option<usize>,
    /// About the memory that all its rows take.
    pub(super) bytes: u64,
    /// Hold the memory reserved, where it is not held elsewhere.
    held: Vec<Arc<MemoryReservation>>,
}

impl StackPart {
    /// The part that is the piece number `at` of the stage's state.
    pub(super) fn given(part: &StatePart, at: usize) -> Self {
        let bytes = bytes_of(part);
        Self { parts: Arc::new(vec![part.clone()]), given: Some(at), bytes, held: vec![] }
    }

    fn made(parts: Vec<StatePart>, held: Vec<Arc<MemoryReservation>>) -> Option<Self> {
        let bytes = parts.iter().map(bytes_of).sum();
        let parts = Arc::new(parts);
        (!parts.is_empty()).then_some(Self { parts, given: None, bytes, held })
    }
}

/// About the memory that the rows of a part take.
pub(super) fn bytes_of(part: &StatePart) -> u64 {
    match part {
        StatePart::Memory(batches) => {
            let mut memory = RecordBatchMemoryCounter::new();
            for batch in batches.iter() {
                memory.count_batch(batch);
            }
            memory.memory_usage() as u64
        }
        StatePart::File(run) => run.bytes * UNPACKED,
        StatePart::Slice(slice) => bytes_of(&slice.of),
    }
}

/// What a plan reads of slices, each under its key: each place of rows once, whatever the number of
/// slices of it.
pub(super) fn read_of<'a>(
    slices: impl Iterator<Item = (Option<i64>, &'a Slice<StackPart>)>,
) -> Vec<StatePart> {
    let mut places: HashMap<*const Vec<StatePart>, usize> = HashMap::new();
    let mut read: Vec<(&Arc<Vec<StatePart>>, Vec<KeyRange>)> = Vec::new();
    for (key_us, slice) in slices {
        let parts = &slice.part.parts;
        let place = *places.entry(Arc::as_ptr(parts)).or_insert(read.len());
        if place == read.len() {
            read.push((parts, vec![]));
        }
        let (first_us, last_us) = (slice.first_us, slice.last_us);
        read[place].1.push(KeyRange { first_us, last_us, key_us });
    }
    let mut found = Vec::new();
    for (parts, ranges) in read {
        let ranges: Arc<[KeyRange]> = ranges.into();
        let is_read = |part: &&StatePart| {
            let Some(run) = part.run() else { return true };
            let meets = |range: &KeyRange| {
                range.first_us <= run.pane_max_us && range.last_us >= run.pane_min_us
            };
            ranges.iter().any(meets)
        };
        let parts = parts.iter().filter(is_read).cloned();
        found.extend(parts.map(|part| part.sliced(Arc::clone(&ranges))));
    }
    found
}

/// Merges the partial aggregates of one stage.
pub(super) struct Merger {
    stage: Stage,
    session: EpochSession,
    storage: Storage,
    /// Where merges go that are made on workers, or for which there is no memory; none for whoever
    /// writes nothing.
    target: Option<RunTarget>,
    crew: Option<Arc<dyn Crew>>,
    /// Counts the runs of an attempt, for their names.
    merges: Arc<AtomicU32>,
}

impl Merger {
    /// For one attempt at an epoch.
    pub(super) fn new(stage: &Stage, context: &IngestContext) -> Result<Self> {
        Ok(Self {
            stage: stage.clone(),
            session: context.session.clone(),
            storage: context.state.clone(),
            target: Some(run_target(stage, context)?),
            crew: context.crew.clone(),
            merges: Arc::clone(&context.merges),
        })
    }

    /// In this process, for whoever writes nothing.
    pub(super) fn here(stage: &Stage, session: EpochSession, storage: Storage) -> Self {
        let (stage, merges) = (stage.clone(), Arc::default());
        Self { stage, session, storage, target: None, crew: None, merges }
    }

    fn input(&self, parts: Vec<StatePart>) -> StateInput {
        let (storage, state) = (self.storage.clone(), self.stage.state_shape());
        StateInput { storage, parts, state, view: StateView::ALL }
    }

    fn next_target(&self) -> Option<RunTarget> {
        let target = self.target.as_ref()?;
        let label = format!("merged-{}", self.merges.fetch_add(1, Ordering::Relaxed) + 1);
        Some(RunTarget { label, ..target.clone() })
    }

    /// The merge of `parts`, a row a key, in the order of the first column.
    async fn merged(&mut self, parts: Vec<StatePart>) -> Result<Option<StackPart>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let partitions = self.session.config().target_partitions();
        let input = self.input(parts);
        if let Some(crew) = self.crew.clone()
            && let Some(target) = self.next_target()
        {
            let plan = self.stage.merge_plan(input, partitions).map_err(from_datafusion)?;
            let runs = crew.merge_runs(&self.session, plan, target).await?;
            return Ok(StackPart::made(runs.into_iter().map(StatePart::File).collect(), vec![]));
        }
        let plan = self.stage.sorted_merge_plan(input, partitions).map_err(from_datafusion)?;
        self.kept(plan, false).await
    }

    /// The rows of `plan`, in memory or, where that is short, in a run.
    async fn kept(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        descends: bool,
    ) -> Result<Option<StackPart>> {
        let task = self.session.task();
        let held = MemoryConsumer::new("merges of panes").register(task.memory_pool());
        let mut rows = execute_stream(plan, task).map_err(from_datafusion)?;
        let (mut batches, mut memory) = (Vec::new(), RecordBatchMemoryCounter::new());
        while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
            if batch.num_rows() == 0 {
                continue;
            }
            let grown = held.try_grow(memory.count_batch(&batch));
            batches.push(batch);
            let Err(short) = grown else { continue };
            let Some(target) = self.next_target() else { return Err(from_datafusion(short)) };
            let mut run = RunWriter::new(&target.storage, target.merged_path(), target.schema);
            for batch in batches.drain(..) {
                run.write(&batch).await?;
            }
            held.free();
            while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
                run.write(&batch).await?;
            }
            let run = run.finish().await?.map(StatePart::File);
            return Ok(StackPart::made(run.into_iter().collect(), vec![]));
        }
        if batches.is_empty() {
            return Ok(None);
        }
        if descends {
            batches.reverse();
        }
        let batches = Arc::new(joined(batches).map_err(from_datafusion)?);
        Ok(StackPart::made(vec![StatePart::Memory(batches)], vec![Arc::new(held)]))
    }

    /// The running merges of `steps`, in one plan.
    async fn running(&mut self, steps: &[Step<StackPart>]) -> Result<Option<StackPart>> {
        let parts = read_of(steps.iter().flat_map(keyed));
        let keys: Vec<i64> = steps.iter().map(|step| step.key_us).collect();
        let descends = keys.first() > keys.last();
        let plan = self.stage.running_plan(self.input(parts), keys).map_err(from_datafusion)?;
        self.kept(plan, descends).await
    }

    /// The running merges of `steps`, a plan each: it may spill, or run on workers.
    async fn step_by_step(&mut self, steps: &[Step<StackPart>]) -> Result<Option<StackPart>> {
        let mut made: Vec<StackPart> = Vec::new();
        for step in steps {
            let (role, first_us, last_us) = (Role::Panes, i64::MIN, i64::MAX);
            let before = made.last().cloned();
            let before = before.map(|part| Slice { role, first_us, last_us, part });
            let before = before.iter().map(|slice| (Some(step.key_us), slice));
            let parts = read_of(before.chain(keyed(step)));
            made.extend(self.merged(parts).await?);
        }
        let parts = made.iter().flat_map(|part| part.parts.iter().cloned()).collect();
        Ok(StackPart::made(parts, made.into_iter().flat_map(|part| part.held).collect()))
    }
}

impl Merge<StackPart> for Merger {
    async fn merge(&mut self, steps: Vec<Step<StackPart>>, sum: Sum) -> Result<Option<StackPart>> {
        // Whoever waits for many merges must not hold up others.
        tokio::task::yield_now().await;
        match sum {
            Sum::Each => {
                let parts = read_of(steps.iter().flat_map(keyed));
                self.merged(parts).await
            }
            Sum::Running if self.crew.is_some() => self.step_by_step(&steps).await,
            Sum::Running => match self.running(&steps).await {
                Err(error) if is_short_of_memory(&error) => self.step_by_step(&steps).await,
                made => made,
            },
        }
    }

    async fn select(&mut self, slice: Slice<StackPart>) -> Result<Option<StackPart>> {
        let parts = read_of(std::iter::once((None, &slice)));
        self.merged(parts).await
    }

    async fn keys(&mut self, slice: Slice<StackPart>) -> Result<Vec<i64>> {
        let input = self.input(read_of(std::iter::once((None, &slice))));
        let scan = self.stage.state_plan(input).map_err(from_datafusion)?;
        let mut rows = execute_stream(scan, self.session.task()).map_err(from_datafusion)?;
        let mut keys = BTreeSet::new();
        while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
            keys.extend(starts_of(&batch).into_iter().flat_map(|starts| starts.values()));
        }
        Ok(keys.into_iter().collect())
    }
}

fn keyed(step: &Step<StackPart>) -> impl Iterator<Item = (Option<i64>, &Slice<StackPart>)> {
    step.inputs.iter().map(|slice| (Some(step.key_us), slice))
}

/// `batches` in the same order, small ones put together.
fn joined(batches: Vec<RecordBatch>) -> datafusion::common::Result<Vec<RecordBatch>> {
    let mut joined = Vec::new();
    let (mut waiting, mut rows): (Vec<RecordBatch>, usize) = (vec![], 0);
    for batch in batches {
        if rows > 0 && rows + batch.num_rows() > BATCH_ROWS {
            joined.push(one(std::mem::take(&mut waiting))?);
            rows = 0;
        }
        rows += batch.num_rows();
        waiting.push(batch);
    }
    if rows > 0 {
        joined.push(one(waiting)?);
    }
    Ok(joined)
}

fn one(batches: Vec<RecordBatch>) -> datafusion::common::Result<RecordBatch> {
    match batches.as_slice() {
        [batch] => Ok(batch.clone()),
        [first, ..] => compacted_rows(&concat_batches(&first.schema(), &batches)?),
        [] => internal_err!("no batches to put together"),
    }
}
