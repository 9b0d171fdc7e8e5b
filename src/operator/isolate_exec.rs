//! Finds the rows of which an expression cannot be computed, and leaves them out.
//!
//! ```text
//!   aggregate
//!   IsolateExec  --  the segment: projections, filters and unnests that look at a row at a time
//!   input            each batch goes through the segment by itself; one that fails in halves,
//!                    down to the rows that fail
//! ```
//!
//! So a division by zero costs its row and not the job, and rows that can be computed cost nothing
//! more. A segment is put into a node when a plan is complete (`isolated`), around expressions that
//! may fail (`fallible.rs`).
//!
//! Over a chunk scan the rows that fail are told to the chunk's queue, by their place in the chunk,
//! so that whoever fed it can count them. Elsewhere they are told to [`RowReports`].

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt, future};

use super::chunk_queue::ChunkQueue;
use super::chunk_scan::ChunkScan;
use super::fallible::may_fail;
use super::guarded_join::with_guarded_joins;
use super::leaf::{leaf_methods, no_expressions};
use super::row_report::{Policy, RowNames, RowReports};

/// See the file.
#[derive(Debug)]
pub struct IsolateExec {
    /// The segment, over the input.
    top: Arc<dyn ExecutionPlan>,
    /// How many nodes the segment has.
    depth: usize,
    isolation: Isolation,
    properties: Arc<PlanProperties>,
}

/// What becomes of rows that fail.
#[derive(Debug, Clone, Default)]
pub struct Isolation {
    /// Whether they are left out.
    pub policy: Policy,
    /// What their columns are called.
    pub names: RowNames,
    /// Where they are told.
    pub reports: RowReports,
}

/// `plan` with every segment, and every join, that may fail in a node of its own; `names` gives the
/// names of the columns that a segment reads.
///
/// # Errors
/// When a node cannot be put together again, which is a defect.
pub fn isolated(
    plan: &Arc<dyn ExecutionPlan>,
    policy: Policy,
    names: &dyn Fn(&SchemaRef) -> RowNames,
    reports: &RowReports,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = wrapped(plan, &|below| {
        let names = names(&below.schema());
        Some(Isolation { policy, names, reports: reports.clone() })
    })?;
    with_guarded_joins(&plan, policy, reports)
}

/// `plan` with the segment over its chunk scan in a node of its own, where it may fail. What is above
/// an aggregate of chunks stays as it is: there is nobody to be told of its rows.
///
/// # Errors
/// When a node cannot be put together again, which is a defect.
pub fn isolated_over_chunks(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    wrapped(plan, &|below| below.is::<ChunkScan>().then(Isolation::default))
}

/// `plan` with segments that may fail in nodes; `isolation` says for the input of one whether, and
/// what becomes of its rows.
fn wrapped(
    plan: &Arc<dyn ExecutionPlan>,
    isolation: &dyn Fn(&Arc<dyn ExecutionPlan>) -> Option<Isolation>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let nodes = || std::iter::successors(Some(plan), |node| node.children().first().copied());
    let depth = nodes().take_while(|node| is_row_wise(node)).count();
    if depth > 0 && nodes().take(depth).any(node_may_fail) {
        let below = wrapped(input_of(plan, depth)?, isolation)?;
        let found = isolation(&below);
        // A segment in its node has the properties that it had.
        let top = replaced(plan, depth, below, ChildrenPropertiesMode::Keep)?;
        return match found {
            Some(isolation) => Ok(Arc::new(IsolateExec::try_new(top, depth, isolation)?)),
            None => Ok(top),
        };
    }
    let children = plan.children();
    let mut changed = false;
    let mut inputs = Vec::with_capacity(children.len());
    for child in children {
        let isolated = wrapped(child, isolation)?;
        changed |= !Arc::ptr_eq(&isolated, child);
        inputs.push(isolated);
    }
    if !changed {
        return Ok(Arc::clone(plan));
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Arc::clone(plan).replace_children(inputs, options)
}

fn is_row_wise(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<ProjectionExec>()
        || node.is::<CooperativeExec>()
        || node.is::<UnnestExec>()
        || node.is::<FilterExec>() && node.fetch().is_none()
}

fn node_may_fail(node: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let schema = projection.input().schema();
        return projection.expr().iter().any(|one| may_fail(&one.expr, &schema));
    }
    let filter = node.downcast_ref::<FilterExec>();
    filter.is_some_and(|filter| may_fail(filter.predicate(), &filter.input().schema()))
}

fn input_of(top: &Arc<dyn ExecutionPlan>, depth: usize) -> Result<&Arc<dyn ExecutionPlan>> {
    let mut nodes = std::iter::successors(Some(top), |node| node.children().first().copied());
    match nodes.nth(depth) {
        Some(input) => Ok(input),
        None => internal_err!("a segment of {depth} nodes has no input"),
    }
}

/// The segment of `depth` nodes under `top`, over another input.
fn over(
    top: &Arc<dyn ExecutionPlan>,
    depth: usize,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    replaced(top, depth, input, ChildrenPropertiesMode::Recompute)
}

fn replaced(
    top: &Arc<dyn ExecutionPlan>,
    depth: usize,
    input: Arc<dyn ExecutionPlan>,
    mode: ChildrenPropertiesMode,
) -> Result<Arc<dyn ExecutionPlan>> {
    if depth == 0 {
        return Ok(input);
    }
    let below = replaced(input_of(top, 1)?, depth - 1, input, mode)?;
    Arc::clone(top).replace_children(vec![below], ReplaceChildrenOptions::new(mode))
}

impl IsolateExec {
    /// The segment of `depth` nodes under `top`.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn try_new(
        top: Arc<dyn ExecutionPlan>,
        depth: usize,
        isolation: Isolation,
    ) -> Result<Self> {
        input_of(&top, depth)?;
        let properties = Arc::clone(top.properties());
        Ok(Self { top, depth, isolation, properties })
    }

    /// The segment over an input of these columns, and how many nodes it has.
    ///
    /// # Errors
    /// When a node cannot be put together again, which is a defect.
    pub fn segment(&self) -> Result<(Arc<dyn ExecutionPlan>, usize)> {
        let input = input_of(&self.top, self.depth)?;
        let empty = BatchLeaf::empty(input.schema());
        Ok((over(&self.top, self.depth, Arc::new(empty))?, self.depth))
    }

    /// The node of a `segment` of `depth` nodes over `input`.
    ///
    /// # Errors
    /// When a node cannot be put together again, which is a defect.
    pub fn of_segment(
        segment: &Arc<dyn ExecutionPlan>,
        depth: usize,
        input: Arc<dyn ExecutionPlan>,
        isolation: Isolation,
    ) -> Result<Self> {
        Self::try_new(over(segment, depth, input)?, depth, isolation)
    }

    /// What becomes of rows that fail.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }
}

impl DisplayAs for IsolateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "IsolateExec:")?;
        let nodes = std::iter::successors(Some(&self.top), |node| node.children().first().copied());
        for node in nodes.take(self.depth) {
            write!(f, " [")?;
            node.fmt_as(DisplayFormatType::Default, f)?;
            write!(f, "]")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for IsolateExec {
    fn name(&self) -> &str {
        "IsolateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        input_of(&self.top, self.depth).into_iter().collect()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    no_expressions!();

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("a segment has one input") };
        let top = over(&self.top, self.depth, input)?;
        Ok(Arc::new(Self::try_new(top, self.depth, self.isolation.clone())?))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = input_of(&self.top, self.depth)?;
        let segment = Segment { top: Arc::clone(&self.top), depth: self.depth, task };
        let rows = match input.downcast_ref::<ChunkScan>() {
            Some(scan) => {
                let Some(queue) = scan.queues.get(partition).cloned() else {
                    return internal_err!("there is no partition {partition} of a chunk scan");
                };
                of_chunks(segment, queue)
            }
            None => {
                let task = Arc::clone(&segment.task);
                of_input(segment, input.execute(partition, task)?, self.isolation.clone())
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

type Rows = BoxStream<'static, Result<RecordBatch>>;

/// The rows of chunks as they come through `queue`, which is told those that fail.
fn of_chunks(segment: Segment, queue: Arc<ChunkQueue>) -> Rows {
    let segment = Arc::new(segment);
    let taken = {
        let queue = Arc::clone(&queue);
        stream::poll_fn(move |cx| queue.poll_begin(cx))
    };
    let rows = taken.then(move |chunk| {
        let (segment, queue) = (Arc::clone(&segment), Arc::clone(&queue));
        async move {
            let mut failed = Vec::new();
            let rows = segment.run(&chunk, &mut failed).await?;
            let told = failed.into_iter().map(|(row, error)| (row, error_text(&error)));
            queue.done(told.collect());
            Ok::<_, DataFusionError>(stream::iter(rows.into_iter().map(Ok)))
        }
    });
    rows.try_flatten().boxed()
}

/// The rows of `input`; what fails is told to the reports of `isolation`.
fn of_input(segment: Segment, input: SendableRecordBatchStream, isolation: Isolation) -> Rows {
    let (segment, isolation) = (Arc::new(segment), Arc::new(isolation));
    let rows = input.and_then(move |batch| {
        let (segment, isolation) = (Arc::clone(&segment), Arc::clone(&isolation));
        async move {
            let mut failed = Vec::new();
            let rows = segment.run(&batch, &mut failed).await?;
            if let Some((row, error)) = failed.first() {
                let example =
                    || format!("{}: {}", error_text(error), isolation.names.describe(&batch, *row));
                isolation.reports.add(isolation.policy, failed.len() as u64, example)?;
            }
            Ok(stream::iter(rows.into_iter().map(Ok)))
        }
    });
    rows.try_flatten().boxed()
}

/// A segment that runs.
struct Segment {
    top: Arc<dyn ExecutionPlan>,
    depth: usize,
    task: Arc<TaskContext>,
}

impl Segment {
    /// What the segment makes of `batch`, without the rows that go into `failed`.
    async fn run(
        &self,
        batch: &RecordBatch,
        failed: &mut Vec<(usize, DataFusionError)>,
    ) -> Result<Vec<RecordBatch>> {
        if batch.num_rows() == 0 {
            return Ok(vec![]);
        }
        let mut rows = Vec::new();
        let mut ranges = vec![(0, batch.num_rows())];
        while let Some((first, count)) = ranges.pop() {
            match self.through(batch.slice(first, count)).await {
                Ok(batches) => rows.extend(batches),
                Err(error) if !is_of_values(&error) => return Err(error),
                Err(error) if count == 1 => failed.push((first, error)),
                Err(_) => {
                    let half = count / 2;
                    ranges.push((first + half, count - half));
                    ranges.push((first, half));
                }
            }
        }
        Ok(rows)
    }

    async fn through(&self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        // What the nodes say of themselves is asked by no one here.
        let (leaf, mode) = (Arc::new(BatchLeaf::new(batch)), ChildrenPropertiesMode::Keep);
        let plan = replaced(&self.top, self.depth, leaf, mode)?;
        let rows: Vec<RecordBatch> = plan.execute(0, Arc::clone(&self.task))?.try_collect().await?;
        Ok(rows.into_iter().filter(|rows| rows.num_rows() > 0).collect())
    }
}

/// Whether it is an error of what an expression computes, which other values may not give. Functions
/// also call it external (a pattern that is none), one of planning (an option) or internal (a length
/// below nothing) when the fault is in a value.
pub fn is_of_values(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Execution(_)
        | DataFusionError::Plan(_)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Internal(_) => true,
        DataFusionError::External(error) => !error.is::<crate::error::Error>(),
        DataFusionError::ArrowError(error, _) => !matches!(
            error.as_ref(),
            ArrowError::IoError(..) | ArrowError::IpcError(_) | ArrowError::MemoryError(_)
        ),
        _ => false,
    }
}

/// An error of an expression in few words.
pub fn error_text(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::Execution(message)
        | DataFusionError::Plan(message)
        | DataFusionError::NotImplemented(message)
        | DataFusionError::Internal(message) => message.clone(),
        DataFusionError::External(error) => error.to_string(),
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => "division by zero".to_owned(),
            error => error.to_string(),
        },
        error => error.strip_backtrace(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One batch as the input of a segment.
#[derive(Debug)]
pub struct BatchLeaf {
    batch: RecordBatch,
    properties: Arc<PlanProperties>,
}

impl BatchLeaf {
    /// No row of these columns.
    pub fn empty(schema: SchemaRef) -> Self {
        Self::new(RecordBatch::new_empty(schema))
    }

    fn new(batch: RecordBatch) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(batch.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { batch, properties: Arc::new(properties) }
    }
}

impl DisplayAs for BatchLeaf {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "BatchLeaf: rows={}", self.batch.num_rows())
    }
}

impl ExecutionPlan for BatchLeaf {
    fn name(&self) -> &str {
        "BatchLeaf"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf_methods!();

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = stream::once(future::ready(Ok(self.batch.clone())));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
