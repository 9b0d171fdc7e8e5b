//! The leaf of a query that runs a job's close plan over open windows.
//!
//! The plan is hidden from the query's optimiser: it was planned by the job's own rules, and what
//! is right above an answer, such as a limit, would cut its partial aggregates.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::TryStreamExt;

use crate::operator::leaf_methods;

/// Runs a close plan within the query's own memory.
#[derive(Debug)]
pub(super) struct LiveScan {
    plan: Arc<dyn ExecutionPlan>,
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl LiveScan {
    /// The rows of `plan` as `schema` has them, of which the columns at `projection` are wanted.
    pub(super) fn new(
        plan: Arc<dyn ExecutionPlan>,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
    ) -> Result<Self> {
        let columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema.project(&columns)?)),
            Partitioning::UnknownPartitioning(plan.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { plan, columns, properties: Arc::new(properties) })
    }
}

impl DisplayAs for LiveScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<String> =
            self.schema().fields().iter().map(|field| field.name().clone()).collect();
        write!(f, "LiveScan: [{}]", names.join(", "))
    }
}

impl ExecutionPlan for LiveScan {
    fn name(&self) -> &str {
        "LiveScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf_methods!();

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let (shown, columns) = (Arc::clone(&schema), self.columns.clone());
        let rows = self
            .plan
            .execute(partition, context)?
            .and_then(move |batch| futures::future::ready(projected(&batch, &columns, &shown)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The columns under a schema that allows NULL where the plan's does not.
fn projected(batch: &RecordBatch, columns: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = columns.iter().map(|at| Arc::clone(batch.column(*at))).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
