//! The leaf of a close plan: what a view sees of a stage's state, in parts that are dealt out to
//! the plan's partitions.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegauge_commitlog::{Run, Storage};

use super::key_ranges::InRanges;
use super::leaf::leaf_methods;
use crate::state::{PartSlice, StatePart, StateShape, StateView, read_run};

/// Reads the state of one stage.
#[derive(Debug, Clone)]
pub struct StateScan {
    input: StateInput,
    /// That of the partial aggregates.
    schema: SchemaRef,
    /// The identity of the stage, for a plan that is filled in later.
    stage: Option<Arc<str>>,
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

impl StateInput {
    /// The most rows that are seen of it, where all of it is in memory and none is seen more than once.
    pub fn rows_in_memory(&self) -> Option<usize> {
        if let (StateShape::Panes(_), StateView::Closing { .. }) = (self.state, self.view) {
            return None;
        }
        self.parts.iter().map(StatePart::rows_in_memory).sum()
    }
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
        Self { input, schema, stage: None, columns: None, properties: Arc::new(properties) }
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

    /// The same scan, known to be of this stage.
    #[must_use]
    pub fn of_stage(self, stage: &str) -> Self {
        Self { stage: Some(stage.into()), ..self }
    }

    /// The stage that it was said to be of.
    pub fn stage(&self) -> Option<&str> {
        self.stage.as_deref()
    }

    /// The same scan of another input.
    #[must_use]
    pub fn with_input(&self, input: StateInput) -> Self {
        Self { input, ..self.clone() }
    }

    /// The same scan of other parts.
    pub fn with_parts(&self, parts: Vec<StatePart>) -> Self {
        Self { input: StateInput { parts, ..self.input.clone() }, ..self.clone() }
    }

    fn part(&self, part: &StatePart) -> BoxStream<'static, Result<RecordBatch>> {
        let view = self.input.view;
        match part {
            StatePart::Slice(slice) => self.slice(slice),
            StatePart::Memory(batches) => {
                let (batches, columns) = (Arc::clone(batches), self.columns.clone());
                let state = self.input.state;
                let seen = (0..batches.len()).flat_map(move |at| {
                    let columns = columns.clone();
                    let seen = view.applied(state, batches[at].clone());
                    seen.map(move |batch| projected(batch?, columns.as_deref()))
                });
                futures::stream::iter(seen).boxed()
            }
            StatePart::File(run) => self.run(run, view, self.columns.clone()),
        }
    }

    fn slice(&self, slice: &PartSlice) -> BoxStream<'static, Result<RecordBatch>> {
        let firsts = slice.ranges.iter().map(|range| range.first_us);
        let lasts = slice.ranges.iter().map(|range| range.last_us);
        let Some((first_us, last_us)) = firsts.min().zip(lasts.max()) else {
            return futures::stream::empty().boxed();
        };
        let hull = StateView::Keys { first_us, last_us };
        let rows = match &slice.of {
            StatePart::Memory(batches) => {
                let batches = Arc::clone(batches);
                let rows = (0..batches.len()).map(move |at| Ok(batches[at].clone()));
                futures::stream::iter(rows).boxed()
            }
            StatePart::File(run) => self.run(run, hull, None),
            StatePart::Slice(inner) => self.slice(inner),
        };
        let (ranges, columns) = (Arc::clone(&slice.ranges), self.columns.clone());
        rows.map(move |batch| {
            let columns = columns.clone();
            let found = InRanges::new(batch?, Arc::clone(&ranges))?;
            let found = found.map(move |batch| projected(batch?, columns.as_deref()));
            Ok::<_, DataFusionError>(futures::stream::iter(found))
        })
        .try_flatten()
        .boxed()
    }

    fn run(
        &self,
        run: &Run,
        view: StateView,
        columns: Option<Vec<usize>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let state = self.input.state;
        if !view.may_see(&state, run.pane_min_us, run.pane_max_us) {
            return futures::stream::empty().boxed();
        }
        let (storage, schema) = (self.input.storage.clone(), Arc::clone(&self.schema));
        read_run(storage, run.clone(), schema, columns, (state, view))
    }
}

fn projected(batch: RecordBatch, columns: Option<&[usize]>) -> Result<RecordBatch> {
    match columns {
        Some(columns) => Ok(batch.project(columns)?),
        None => Ok(batch),
    }
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
