//! Running merges of partial aggregates: for each of a row of steps the merge of all rows of that
//! step and of the steps before it, a row a key.
//!
//! ```text
//!   rows of step 1, 3, 2, 1 ... --> RunningExec --> step 1: keys of 1
//!                                                   step 2: keys of 1 and 2, merged
//!                                                   step 3: keys of 1, 2 and 3, merged
//! ```
//!
//! One plan makes the merges of many windows. The keys are looked up once for each row that comes
//! in, and a step in which nothing comes repeats the columns of the one before, so that what it
//! costs is proportional to the rows in and the rows out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, Partitioning};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use super::compact::compacted;
use super::no_expressions;
use crate::state::starts_of;

/// See the file.
#[derive(Debug)]
pub struct RunningExec {
    merge: Arc<RunningMerge>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

/// What is merged: rows of state, of which the first column tells the step.
#[derive(Debug)]
pub struct RunningMerge {
    /// The values of the first column, in the order of the steps.
    pub steps: Vec<i64>,
    /// How many columns are keys, the first among them.
    pub keys: usize,
    /// The aggregates whose states are the other columns.
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Whether the rows of the input are in no other memory.
    pub owns_input: bool,
}

impl RunningExec {
    /// The running merges of `input`, whose rows of one key are all in one partition.
    pub fn new(merge: Arc<RunningMerge>, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { merge, input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RunningExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "RunningExec: steps={}", self.merge.steps.len())
    }
}

impl ExecutionPlan for RunningExec {
    fn name(&self) -> &str {
        "RunningExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    no_expressions!();

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return internal_err!("running merges have one input");
        };
        Ok(Arc::new(Self::new(Arc::clone(&self.merge), input)))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, Arc::clone(&task))?;
        let reservation = MemoryConsumer::new("running merges").register(task.memory_pool());
        let (merge, schema) = (Arc::clone(&self.merge), self.schema());
        let steps = async move {
            let waiting = Waiting::collect(&merge, rows, &reservation).await?;
            let running = Running::new(merge, schema, waiting, reservation)?;
            Ok::<_, DataFusionError>(futures::stream::try_unfold(
                running,
                |mut running| async move {
                    // A step may be all that is done for a long time: let others and the deadline in.
                    tokio::task::consume_budget().await;
                    Ok::<_, DataFusionError>(running.next_step()?.map(|batch| (batch, running)))
                },
            ))
        };
        let schema = self.schema();
        let stream = futures::stream::once(steps).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream.boxed())))
    }
}

/// The rows of each step, as they came.
struct Waiting {
    rows: HashMap<i64, Vec<RecordBatch>>,
    bytes: usize,
}

impl Waiting {
    async fn collect(
        merge: &RunningMerge,
        mut input: SendableRecordBatchStream,
        reservation: &MemoryReservation,
    ) -> Result<Self> {
        let mut rows: HashMap<i64, Vec<RecordBatch>> =
            merge.steps.iter().map(|step| (*step, vec![])).collect();
        let mut memory = RecordBatchMemoryCounter::new();
        let mut bytes = 0;
        while let Some(batch) = input.try_next().await? {
            if merge.owns_input {
                let more = memory.count_batch(&batch);
                reservation.try_grow(more)?;
                bytes += more;
            }
            let Some(starts) = starts_of(&batch).cloned() else {
                return internal_err!("the state has no first column of times");
            };
            let mut from = 0;
            for rows_of_step in starts.values().chunk_by(|one, next| one == next) {
                let Some(known) = rows.get_mut(&rows_of_step[0]) else {
                    return internal_err!("{} is no step of a running merge", rows_of_step[0]);
                };
                known.push(batch.slice(from, rows_of_step.len()));
                from += rows_of_step.len();
            }
        }
        Ok(Self { rows, bytes })
    }
}

/// The merge up to the last step that was made.
struct Running {
    merge: Arc<RunningMerge>,
    schema: SchemaRef,
    waiting: Waiting,
    at: usize,
    /// The numbers of keys; none where the step is the only key.
    groups: Option<Box<dyn GroupValues>>,
    /// The keys in the order of their numbers.
    keys: Vec<ArrayRef>,
    count: usize,
    /// The states of the last step by the number of the key.
    states: Vec<ArrayRef>,
    reservation: MemoryReservation,
}

impl Running {
    fn new(
        merge: Arc<RunningMerge>,
        schema: SchemaRef,
        waiting: Waiting,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let keys: Vec<usize> = (1..merge.keys).collect();
        let groups = match keys.is_empty() {
            true => None,
            false => {
                let schema = Arc::new(schema.project(&keys)?);
                Some(new_group_values(schema, &GroupOrdering::None)?)
            }
        };
        let (keys, states) = (vec![], vec![]);
        Ok(Self { merge, schema, waiting, at: 0, groups, keys, count: 0, states, reservation })
    }

    /// The rows of the next step that has any.
    fn next_step(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(step) = self.merge.steps.get(self.at).copied() {
            self.at += 1;
            let rows = self.waiting.rows.remove(&step).unwrap_or_default();
            if !rows.is_empty() {
                self.take_in(&rows)?;
            }
            if self.count > 0 {
                let step = TimestampMicrosecondArray::from_value(step, self.count);
                let step: ArrayRef = Arc::new(step);
                let columns = std::iter::once(&step).chain(&self.keys).chain(&self.states);
                let columns = columns.cloned().collect();
                return Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?));
            }
        }
        Ok(None)
    }

    /// Merges rows of a step into what there is.
    fn take_in(&mut self, rows: &[RecordBatch]) -> Result<()> {
        let numbers = rows.iter().map(|rows| self.numbers(rows)).collect::<Result<Vec<_>>>()?;
        let before: Vec<usize> =
            (0..self.states.first().map_or(0, |states| states.len())).collect();
        let (mut made, mut bytes) = (Vec::with_capacity(self.states.len()), 0);
        let (mut first, mut first_of_rows) = (0, self.merge.keys);
        for aggregate in &self.merge.aggregates {
            let count = aggregate.state_fields()?.len();
            let mut accumulator = accumulator(aggregate)?;
            // Of keys that an accumulator is told of before it has a row of them, some take it that
            // there was one: those that come later are counted when they come.
            let mut known = before.len();
            if known > 0 {
                let states = &self.states[first..first + count];
                accumulator.merge_batch(states, &before, known)?;
            }
            for (rows, numbers) in rows.iter().zip(&numbers) {
                let states = &rows.columns()[first_of_rows..first_of_rows + count];
                known = numbers.iter().fold(known, |known, &number| known.max(number + 1));
                accumulator.merge_batch(states, numbers, known)?;
            }
            bytes = bytes.max(accumulator.size());
            for state in accumulator.state(EmitTo::All)? {
                made.push(compacted(&state)?);
            }
            first += count;
            first_of_rows += count;
        }
        let columns = self.keys.iter().chain(&self.states).chain(&made);
        bytes += columns.map(|column| column.get_array_memory_size()).sum::<usize>();
        bytes += self.groups.as_ref().map_or(0, |groups| groups.size());
        self.reservation.try_resize(bytes + self.waiting.bytes)?;
        self.states = made;
        Ok(())
    }

    /// The number of the key of each row; keys that are new are added.
    fn numbers(&mut self, rows: &RecordBatch) -> Result<Vec<usize>> {
        let Some(groups) = &mut self.groups else {
            self.count = 1;
            return Ok(vec![0; rows.num_rows()]);
        };
        let columns = &rows.columns()[1..self.merge.keys];
        let mut numbers = Vec::with_capacity(rows.num_rows());
        groups.intern(columns, &mut numbers)?;
        // Numbers are given without a gap, but not in the order of rows.
        let known = self.count;
        let mut new: Vec<u32> = vec![0; groups.len() - known];
        for (row, number) in numbers.iter().enumerate() {
            if let Some(place) = number.checked_sub(known) {
                let row = u32::try_from(row);
                new[place] = row.map_err(|_| exec_datafusion_err!("a batch of too many rows"))?;
            }
        }
        self.count = groups.len();
        if new.is_empty() {
            return Ok(numbers);
        }
        let new = UInt32Array::from(new);
        let added = columns.iter().map(|column| Ok(take(column, &new, None)?));
        let added = added.collect::<Result<Vec<ArrayRef>>>()?;
        self.keys = match self.keys.is_empty() {
            true => added,
            false => {
                let pairs = self.keys.iter().zip(&added);
                pairs.map(|(known, new)| Ok(concat(&[known, new])?)).collect::<Result<_>>()?
            }
        };
        self.keys = self.keys.iter().map(compacted).collect::<Result<_>>()?;
        Ok(numbers)
    }
}

fn accumulator(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.groups_accumulator_supported() {
        return aggregate.create_groups_accumulator();
    }
    let aggregate = Arc::clone(aggregate);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
}
