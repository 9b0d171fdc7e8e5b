//! Puts pieces of sessions together: gives each the bounds of the session that it is of.
//!
//! ```text
//!   pieces          --\
//!                      SessionExec  -->  the pieces, with the start of the session as first column
//!   others of the   --/                  and its first and last time instead of their own
//!   same keys
//! ```
//!
//! A piece is a row of state: the partial aggregates of some rows of a key that are in one session,
//! with the times of the first and the last of them. A piece closes when its last time and the gap
//! are behind the watermark; its session may go on by then, in other pieces. Those are the second
//! input, of which only keys and times are read, and only where the key has a piece in the first:
//! the others cannot have a session that is over.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::hash_utils::RandomState;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::compact::compacted_rows;
use super::no_expressions;

const BATCH_ROWS: usize = 8_192;
/// What the times and the key's number of a piece take.
const PIECE_BYTES: usize = 20;

/// Where things are in a row of the state of sessions: first a time, then the keys, the states of
/// aggregates, and the times of the piece's first and last row. The second input has the keys of
/// the partition and the two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLayout {
    /// The largest distance between two neighbours of a session.
    pub gap_us: i64,
    /// How many keys after the first column have sessions of their own.
    pub partition: usize,
}

/// See the file.
#[derive(Debug)]
pub struct SessionExec {
    layout: SessionLayout,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl SessionExec {
    /// Over pieces and, where there are any, others of which their sessions may be as well; all of a
    /// key are in the same partition.
    ///
    /// # Errors
    /// When there is another number of inputs.
    pub fn try_new(layout: SessionLayout, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Self> {
        let (Some(pieces), 1..=2) = (inputs.first(), inputs.len()) else {
            return internal_err!("sessions are made of one or two inputs, not {}", inputs.len());
        };
        let partitions = pieces.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(pieces.schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { layout, inputs, properties: Arc::new(properties) })
    }

    /// The layout of its input.
    pub fn layout(&self) -> SessionLayout {
        self.layout
    }

    /// Whether it looks for the rest of sessions among other pieces.
    pub fn looks_further(&self) -> bool {
        self.inputs.len() > 1
    }
}

impl DisplayAs for SessionExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SessionExec: gap_us={}", self.layout.gap_us)
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

    no_expressions!();

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::try_new(self.layout, children)?))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let inputs = self.inputs.iter().map(|input| input.execute(partition, Arc::clone(&task)));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let reservation = MemoryConsumer::new("sessions").register(task.memory_pool());
        let work = Work { layout: self.layout, schema: self.schema(), reservation };
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
    layout: SessionLayout,
    schema: SchemaRef,
    reservation: MemoryReservation,
}

/// The key of each piece, by number, with the times of its first and last row.
#[derive(Default)]
struct Pieces {
    keys: Vec<u32>,
    first_us: Vec<i64>,
    last_us: Vec<i64>,
}

impl Pieces {
    /// Takes in the pieces of `batch`, whose last two columns are the times.
    fn add(&mut self, keys: impl IntoIterator<Item = u32>, batch: &RecordBatch) -> Result<()> {
        let columns = batch.num_columns();
        self.keys.extend(keys);
        self.first_us.extend(time_at(batch, columns - 2)?.values());
        self.last_us.extend(time_at(batch, columns - 1)?.values());
        Ok(())
    }

    /// Sorts the pieces of each key by time, finds the gaps between them, and gives each piece
    /// the bounds of its session.
    fn put_together(&mut self, gap_us: i64) {
        let rows = self.keys.len();
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_unstable_by_key(|&row| (self.keys[row], self.first_us[row]));
        let mut from = 0;
        while from < rows {
            let key = self.keys[order[from]];
            let (start_us, mut last_us) = (self.first_us[order[from]], self.last_us[order[from]]);
            let mut to = from + 1;
            while to < rows && self.keys[order[to]] == key {
                if self.first_us[order[to]].saturating_sub(last_us) > gap_us {
                    break;
                }
                last_us = last_us.max(self.last_us[order[to]]);
                to += 1;
            }
            for &row in &order[from..to] {
                (self.first_us[row], self.last_us[row]) = (start_us, last_us);
            }
            from = to;
        }
    }
}

impl Work {
    async fn run(self, inputs: Vec<SendableRecordBatchStream>) -> Result<RecordBatch> {
        let mut inputs = inputs.into_iter();
        let mut keys = Keys::new(self.layout, &self.schema)?;
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut memory = RecordBatchMemoryCounter::new();
        let mut pieces = Pieces::default();
        if let Some(mut rows) = inputs.next() {
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                self.reservation.try_grow(memory.count_batch(&batch))?;
                pieces.add(keys.number(&batch)?, &batch)?;
                batches.push(batch);
            }
        }
        let rows = pieces.keys.len();
        if rows == 0 {
            return Ok(RecordBatch::new_empty(self.schema));
        }
        if let Some(mut others) = inputs.next() {
            while let Some(batch) = others.next().await {
                let (batch, known) = keys.known(&batch?)?;
                self.reservation.try_grow(known.len() * PIECE_BYTES)?;
                pieces.add(known, &batch)?;
            }
        }
        pieces.put_together(self.layout.gap_us);
        pieces.first_us.truncate(rows);
        pieces.last_us.truncate(rows);
        let rows = compacted_rows(&concat_batches(&self.schema, &batches)?)?;
        let mut columns = rows.columns().to_vec();
        let times = columns.len() - 2;
        columns[0] = Arc::new(TimestampMicrosecondArray::from(pieces.first_us));
        columns[times] = Arc::clone(&columns[0]);
        columns[times + 1] = Arc::new(TimestampMicrosecondArray::from(pieces.last_us));
        Ok(RecordBatch::try_new(self.schema, columns)?)
    }
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
    numbers: HashMap<Box<[u8]>, u32, RandomState>,
}

impl Keys {
    fn new(layout: SessionLayout, state: &SchemaRef) -> Result<Self> {
        let fields: Vec<SortField> = (1..=layout.partition)
            .map(|at| SortField::new(state.field(at).data_type().clone()))
            .collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields)?),
        };
        Ok(Self { partition: layout.partition, converter, numbers: HashMap::default() })
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

    /// The rows of `batch`, which begins with the keys, whose key has a number, with it.
    fn known(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<u32>)> {
        let Some(converter) = &self.converter else {
            return Ok((batch.clone(), vec![0; batch.num_rows()]));
        };
        let rows = converter.convert_columns(&batch.columns()[..self.partition])?;
        let found: Vec<Option<u32>> =
            rows.iter().map(|row| self.numbers.get(row.as_ref()).copied()).collect();
        let mask = found.iter().map(|number| Some(number.is_some())).collect();
        Ok((filter_record_batch(batch, &mask)?, found.into_iter().flatten().collect()))
    }
}
