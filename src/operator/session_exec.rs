//! Puts pieces of sessions together: which pieces of a key are one session, and what becomes of
//! them.
//!
//! ```text
//!   closing pieces  --\
//!                      SessionExec  -->  Close: the pieces of sessions that are over
//!   open pieces of  --/                  Carry: the closing pieces of sessions that go on
//!   the same keys
//! ```
//!
//! A piece is a row of state: the partial aggregates of some rows of a key that are in one session,
//! with the times of the first and the last of them. A piece closes when its last time and the gap
//! are behind the watermark; its session may go on by then, in other pieces. Only keys that have a
//! closing piece are looked at: the others cannot have a session that is over.
//!
//! Pieces that go on are written again with the last time of the whole session, so that they
//! close no sooner than it does.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

const BATCH_ROWS: usize = 8_192;

/// What becomes of the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionMode {
    /// Those of sessions that are over at the watermark, with the session's start and end.
    Close {
        /// The watermark.
        through_us: i64,
    },
    /// Those of the first input whose sessions go on, until the session's last time.
    Carry {
        /// The watermark.
        through_us: i64,
    },
    /// All of the only input, with the first time of the session as first column.
    Merge,
}

/// Where things are in a row of the state of sessions: first a time, then the keys, the states of
/// aggregates, and the times of the piece's first and last row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLayout {
    /// The largest distance between two neighbours of a session.
    pub gap_us: i64,
    /// How many columns come before the states.
    pub keys: usize,
    /// How many keys after the first column have sessions of their own.
    pub partition: usize,
    /// The keys that the rows of a closed session have.
    pub grouped: Vec<usize>,
}

/// See the file.
#[derive(Debug)]
pub struct SessionExec {
    mode: SessionMode,
    layout: SessionLayout,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl SessionExec {
    /// Over the closing pieces and the open ones, or over all pieces that are to be merged;
    /// `schema` is that of closed sessions for [`SessionMode::Close`], else that of the state.
    ///
    /// # Errors
    /// When there is another number of inputs.
    pub fn try_new(
        mode: SessionMode,
        layout: SessionLayout,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        schema: SchemaRef,
    ) -> Result<Self> {
        let wanted = if mode == SessionMode::Merge { 1 } else { 2 };
        if inputs.len() != wanted {
            return internal_err!("sessions are made of {wanted} inputs, not {}", inputs.len());
        }
        let partitions = inputs[0].output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { mode, layout, inputs, properties: Arc::new(properties) })
    }

    /// What it does.
    pub fn mode(&self) -> SessionMode {
        self.mode
    }

    /// The layout of its input.
    pub fn layout(&self) -> &SessionLayout {
        &self.layout
    }

    fn partition_exprs(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let schema = self.inputs[0].schema();
        (1..=self.layout.partition)
            .map(|at| Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>)
            .collect()
    }
}

impl DisplayAs for SessionExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SessionExec: {:?} gap_us={}", self.mode, self.layout.gap_us)
    }
}

impl ExecutionPlan for SessionExec {
    fn name(&self) -> &str {
        "SessionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        let one = match (self.mode, self.layout.partition) {
            (SessionMode::Close { .. }, 1..) => {
                Distribution::KeyPartitioned(self.partition_exprs())
            }
            _ => Distribution::SinglePartition,
        };
        vec![one; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (mode, layout) = (self.mode, self.layout.clone());
        Ok(Arc::new(Self::try_new(mode, layout, children, self.schema())?))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let inputs = self.inputs.iter().map(|input| input.execute(partition, Arc::clone(&task)));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let reservation = MemoryConsumer::new("sessions").register(task.memory_pool());
        let work = Work {
            mode: self.mode,
            layout: self.layout.clone(),
            state: self.inputs[0].schema(),
            schema: self.schema(),
            reservation,
        };
        let rows = futures::stream::once(work.run(inputs)).map_ok(|batch| {
            let starts = (0..batch.num_rows()).step_by(BATCH_ROWS);
            let slices: Vec<Result<RecordBatch>> = starts
                .map(|at| Ok(batch.slice(at, BATCH_ROWS.min(batch.num_rows() - at))))
                .collect();
            futures::stream::iter(slices)
        });
        let stream = rows.try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// One partition at work.
struct Work {
    mode: SessionMode,
    layout: SessionLayout,
    /// The schema of the pieces.
    state: SchemaRef,
    /// The schema of what comes of them.
    schema: SchemaRef,
    reservation: MemoryReservation,
}

/// The session of each piece.
struct Assigned {
    start_us: Vec<i64>,
    last_us: Vec<i64>,
}

impl Work {
    async fn run(self, inputs: Vec<SendableRecordBatchStream>) -> Result<RecordBatch> {
        let mut inputs = inputs.into_iter();
        let mut keys = Keys::new(&self.layout, &self.state)?;
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut groups: Vec<u32> = Vec::new();
        if let Some(mut pieces) = inputs.next() {
            while let Some(batch) = pieces.next().await {
                let batch = batch?;
                self.reservation.try_grow(batch.get_array_memory_size())?;
                groups.extend(keys.number(&batch)?);
                batches.push(batch);
            }
        }
        let closing = groups.len();
        if closing == 0 {
            return Ok(RecordBatch::new_empty(self.schema));
        }
        if let Some(mut open) = inputs.next() {
            while let Some(batch) = open.next().await {
                let (batch, known) = keys.known(&batch?)?;
                if batch.num_rows() > 0 {
                    self.reservation.try_grow(batch.get_array_memory_size())?;
                    groups.extend(known);
                    batches.push(batch);
                }
            }
        }
        let pieces = concat_batches(&self.state, &batches)?;
        drop(batches);
        let assigned = self.assign(&pieces, &groups)?;
        match self.mode {
            SessionMode::Close { through_us } => self.close(&pieces, &assigned, through_us),
            SessionMode::Carry { through_us } => {
                self.carry(&pieces.slice(0, closing), &assigned, through_us)
            }
            SessionMode::Merge => {
                let mut columns = pieces.columns().to_vec();
                columns[0] = times(assigned.start_us);
                Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
            }
        }
    }

    /// Sorts the pieces of each key by time and finds the gaps between them.
    fn assign(&self, pieces: &RecordBatch, groups: &[u32]) -> Result<Assigned> {
        let columns = pieces.num_columns();
        let (first, last) = (time_at(pieces, columns - 2)?, time_at(pieces, columns - 1)?);
        let rows = pieces.num_rows();
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_unstable_by_key(|&row| (groups[row], first.value(row)));
        let mut assigned = Assigned { start_us: vec![0; rows], last_us: vec![0; rows] };
        let mut from = 0;
        while from < rows {
            let group = groups[order[from]];
            let start_us = first.value(order[from]);
            let mut last_us = last.value(order[from]);
            let mut to = from + 1;
            while to < rows && groups[order[to]] == group {
                if first.value(order[to]).saturating_sub(last_us) > self.layout.gap_us {
                    break;
                }
                last_us = last_us.max(last.value(order[to]));
                to += 1;
            }
            for &row in &order[from..to] {
                (assigned.start_us[row], assigned.last_us[row]) = (start_us, last_us);
            }
            from = to;
        }
        Ok(assigned)
    }

    fn ends(&self, assigned: &Assigned) -> Vec<i64> {
        let gap_us = self.layout.gap_us;
        assigned.last_us.iter().map(|last| last.saturating_add(gap_us)).collect()
    }

    fn close(
        &self,
        pieces: &RecordBatch,
        assigned: &Assigned,
        through_us: i64,
    ) -> Result<RecordBatch> {
        let ends = self.ends(assigned);
        let over = rows_where(ends.len(), |row| ends[row] < through_us);
        let taken = take_record_batch(pieces, &over)?;
        let of = |values: &[i64]| -> Vec<i64> {
            over.values().iter().map(|&row| values[row as usize]).collect()
        };
        let states = self.layout.keys..pieces.num_columns() - 2;
        let kept = self.layout.grouped.iter().copied().chain(states);
        let columns = [times(of(&assigned.start_us)), times(of(&ends))]
            .into_iter()
            .chain(kept.map(|at| Arc::clone(taken.column(at))));
        Ok(RecordBatch::try_new(self.schema.clone(), columns.collect())?)
    }

    fn carry(
        &self,
        closing: &RecordBatch,
        assigned: &Assigned,
        through_us: i64,
    ) -> Result<RecordBatch> {
        let ends = self.ends(assigned);
        let on = rows_where(closing.num_rows(), |row| ends[row] >= through_us);
        let of = |values: &[i64]| -> Vec<i64> {
            on.values().iter().map(|&row| values[row as usize]).collect()
        };
        let mut columns = take_record_batch(closing, &on)?.columns().to_vec();
        let last = columns.len() - 1;
        columns[0] = times(of(&assigned.start_us));
        columns[last] = times(of(&assigned.last_us));
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

fn rows_where(rows: usize, wanted: impl Fn(usize) -> bool) -> UInt32Array {
    let rows = u32::try_from(rows).unwrap_or(u32::MAX);
    (0..rows).filter(|&row| wanted(row as usize)).collect::<Vec<u32>>().into()
}

fn times(us: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(us))
}

fn time_at(batch: &RecordBatch, at: usize) -> Result<&TimestampMicrosecondArray> {
    match batch.column(at).as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => Ok(times),
        None => internal_err!("the pieces of sessions lack a time at {at}"),
    }
}

/// The partition's keys, numbered as they come.
struct Keys {
    partition: usize,
    converter: Option<RowConverter>,
    numbers: HashMap<Box<[u8]>, u32>,
}

impl Keys {
    fn new(layout: &SessionLayout, state: &SchemaRef) -> Result<Self> {
        let fields: Vec<SortField> = (1..=layout.partition)
            .map(|at| SortField::new(state.field(at).data_type().clone()))
            .collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields)?),
        };
        Ok(Self { partition: layout.partition, converter, numbers: HashMap::new() })
    }

    /// The number of each row's key; keys that are new get one.
    fn number(&mut self, batch: &RecordBatch) -> Result<Vec<u32>> {
        let Some(converter) = &self.converter else { return Ok(vec![0; batch.num_rows()]) };
        let rows = converter.convert_columns(&batch.columns()[1..=self.partition])?;
        let mut numbers = Vec::with_capacity(batch.num_rows());
        for row in &rows {
            let next = u32::try_from(self.numbers.len())
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            let number = match self.numbers.get(row.as_ref()) {
                Some(number) => *number,
                None => *self.numbers.entry(row.as_ref().into()).or_insert(next),
            };
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// The rows whose key has a number, with it.
    fn known(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<u32>)> {
        let Some(converter) = &self.converter else {
            return Ok((batch.clone(), vec![0; batch.num_rows()]));
        };
        let rows = converter.convert_columns(&batch.columns()[1..=self.partition])?;
        let found: Vec<Option<u32>> =
            rows.iter().map(|row| self.numbers.get(row.as_ref()).copied()).collect();
        let mask = found.iter().map(|number| Some(number.is_some())).collect();
        Ok((filter_record_batch(batch, &mask)?, found.into_iter().flatten().collect()))
    }
}
