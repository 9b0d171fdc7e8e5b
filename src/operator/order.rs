//! The order in which state is written and read: by its first column.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Few rows in the order of the first column: to begin a sort that could use files takes longer.
///
/// # Errors
/// When the rows are not of `schema`, which is a defect.
pub(crate) fn few_by_first_column(
    schema: &SchemaRef,
    rows: &[RecordBatch],
) -> Result<Option<RecordBatch>> {
    let rows = concat_batches(schema, rows)?;
    Ok(match rows.num_rows() {
        0 => None,
        1 => Some(rows),
        _ => Some(take_record_batch(&rows, &sort_to_indices(rows.column(0), None, None)?)?),
    })
}

/// The rows of `plan` in one partition and in the order of the first column, sorted in files where
/// memory is short.
///
/// # Errors
/// When the plan has no columns, which is a defect.
pub(crate) fn by_first_column(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let first = Arc::new(Column::new(schema.field(0).name(), 0));
    let plan: Arc<dyn ExecutionPlan> = match plan.output_partitioning().partition_count() {
        1 => plan,
        _ => Arc::new(CoalescePartitionsExec::new(plan)),
    };
    Ok(match LexOrdering::new([PhysicalSortExpr::new_default(first)]) {
        Some(ordering) => Arc::new(SortExec::new(ordering, plan)),
        None => plan,
    })
}
