//! The leaf of an ingest plan: the chunks of one source that one cut is handed.
//!
//! The table claims every filter that DataFusion can push to it. The filters are not evaluated
//! here but where the chunk is made, so that the rows that they drop are counted there.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream::poll_fn;

use super::chunk_queue::ChunkQueue;
use super::leaf::leaf_methods;

/// A source as a table of the session.
#[derive(Debug)]
pub struct StreamTable {
    schema: SchemaRef,
}

impl StreamTable {
    /// A table of the source's declared columns.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.cloned().unwrap_or(all);
        let filter = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
                Some(state.create_physical_expr(unqualified(filter)?, &schema)?)
            }
            None => None,
        };
        let partitions = state.config().target_partitions();
        Ok(Arc::new(ChunkScan::new(columns, filter, Arc::clone(&self.schema), partitions)?))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }
}

/// The columns of a filter belong to the source, whatever it is called in the query.
fn unqualified(filter: Expr) -> Result<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let bare = filter.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(bare.data)
}

/// Hands out the chunks of one source that one cut takes.
#[derive(Debug)]
pub struct ChunkScan {
    /// The positions of the source's columns that the cut reads.
    pub columns: Vec<usize>,
    /// The rows that the cut takes, over all columns of the source; all where there is none.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// A queue for each partition.
    pub queues: Vec<Arc<ChunkQueue>>,
    /// All columns of the source.
    pub source: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl ChunkScan {
    /// A scan of the columns at `columns` of `source`, with empty queues.
    ///
    /// # Errors
    /// When the source has no such column.
    pub fn new(
        columns: Vec<usize>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        source: SchemaRef,
        partitions: usize,
    ) -> Result<Self> {
        let schema = Arc::new(source.project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let queues = (0..partitions).map(|_| Arc::default()).collect();
        Ok(Self { columns, filter, queues, source, properties: Arc::new(properties) })
    }

    /// The same scan with empty queues of its own.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            columns: self.columns.clone(),
            filter: self.filter.clone(),
            queues: self.queues.iter().map(|_| Arc::default()).collect(),
            source: Arc::clone(&self.source),
            properties: Arc::clone(&self.properties),
        }
    }
}

impl DisplayAs for ChunkScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ChunkScan: columns={:?}", self.columns)?;
        match &self.filter {
            Some(filter) => write!(f, " filter={filter}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ChunkScan {
    fn name(&self) -> &str {
        "ChunkScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf_methods!();

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(queue) = self.queues.get(partition).cloned() else {
            return internal_err!("there is no partition {partition} of a chunk scan");
        };
        let chunks = poll_fn(move |cx| match queue.poll_pop(cx) {
            Poll::Ready(chunk) => Poll::Ready(chunk.map(Ok)),
            Poll::Pending => Poll::Pending,
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), chunks)))
    }
}
