//! The leaf of a close plan: what a view sees of a stage's state, in parts that are dealt out to
//! the plan's partitions.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tidegauge_commitlog::Storage;

use super::leaf::leaf_methods;
use crate::state::{StatePart, StateShape, StateView, read_run};

/// Reads the state of one stage.
#[derive(Debug, Clone)]
pub struct StateScan {
    input: StateInput,
    /// That of the partial aggregates.
    schema: SchemaRef,
    /// Which of its columns are read; all where there are none.
    columns: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

/// What a [`StateScan`] reads.
#[derive(Debug, Clone)]
pub struct StateInput {
    /// The storage that holds the runs.
    pub storage: Storage,
    /// The pieces of the state.
    pub parts: Vec<StatePart>,
    /// How its rows stand for windows.
    pub state: StateShape,
    /// Which of them are seen.
    pub view: StateView,
}

impl StateScan {
    /// A scan of `input` in `partitions` partitions; `schema` is that of the partial aggregates.
    pub fn new(input: StateInput, schema: SchemaRef, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions.max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, schema, columns: None, properties: Arc::new(properties) }
    }

    /// The same scan of these columns only.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn only(self, columns: Vec<usize>) -> Result<Self> {
        let schema = Arc::new(self.schema.project(&columns)?);
        let properties = PlanProperties::clone(&self.properties)
            .with_eq_properties(EquivalenceProperties::new(schema));
        Ok(Self { columns: Some(columns), properties: Arc::new(properties), ..self })
    }

    /// The schema of the state, of which it may read some columns only.
    pub fn state_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns that it reads, where it does not read all.
    pub fn columns(&self) -> Option<&[usize]> {
        self.columns.as_deref()
    }

    /// What it reads.
    pub fn input(&self) -> &StateInput {
        &self.input
    }

    /// The same scan of other parts.
    pub fn with_parts(&self, parts: Vec<StatePart>) -> Self {
        Self { input: StateInput { parts, ..self.input.clone() }, ..self.clone() }
    }

    fn part(&self, part: &StatePart) -> BoxStream<'static, Result<RecordBatch>> {
        let (state, view) = (self.input.state, self.input.view);
        match part {
            StatePart::Slice(slice) => {
                let view = StateView::Keys { first_us: slice.first_us, last_us: slice.last_us };
                let key_us = slice.key_us;
                let input = StateInput { view, ..self.input.clone() };
                let whole = Self { input, columns: None, ..self.clone() };
                let rows = whole.part(&slice.of);
                let columns = self.columns.clone();
                let under = move |batch| projected(under_key(batch, key_us)?, columns.as_deref());
                rows.map(move |batch| batch.and_then(&under)).boxed()
            }
            StatePart::Memory(batches) => {
                let (batches, columns) = (Arc::clone(batches), self.columns.clone());
                let seen = (0..batches.len()).map(move |at| {
                    projected(view.apply(&state, batches[at].clone())?, columns.as_deref())
                });
                futures::stream::iter(seen).boxed()
            }
            StatePart::File(run) if !view.may_see(&state, run.pane_min_us, run.pane_max_us) => {
                futures::stream::empty().boxed()
            }
            StatePart::File(run) => {
                let (storage, schema) = (self.input.storage.clone(), Arc::clone(&self.schema));
                read_run(storage, run.clone(), schema, self.columns.clone(), (state, view))
            }
        }
    }
}

fn projected(batch: RecordBatch, columns: Option<&[usize]>) -> Result<RecordBatch> {
    match columns {
        Some(columns) => Ok(batch.project(columns)?),
        None => Ok(batch),
    }
}

/// The rows of `batch` with `key_us` as first column.
fn under_key(batch: RecordBatch, key_us: Option<i64>) -> Result<RecordBatch> {
    let Some(key_us) = key_us else { return Ok(batch) };
    let mut columns = batch.columns().to_vec();
    columns[0] = Arc::new(TimestampMicrosecondArray::from_value(key_us, batch.num_rows()));
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

impl DisplayAs for StateScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let parts = &self.input.parts;
        let files = parts.iter().filter(|part| part.run().is_some()).count();
        write!(f, "StateScan: {:?} memory={} runs={files}", self.input.view, parts.len() - files)
    }
}

impl ExecutionPlan for StateScan {
    fn name(&self) -> &str {
        "StateScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf_methods!();

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = self.properties.partitioning.partition_count();
        let mine: Vec<_> = self
            .input
            .parts
            .iter()
            .enumerate()
            .filter(|(at, _)| at % partitions == partition)
            .map(|(_, part)| self.part(part))
            .collect();
        let rows = futures::stream::iter(mine).flatten().filter(|batch| {
            let empty = matches!(batch, Ok(batch) if batch.num_rows() == 0);
            futures::future::ready(!empty)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
