//! Brings the rows of a sink's partition together, so that an epoch makes one file of each.
//!
//! The repartition is put above the finished plan: the optimiser takes one out that no operator
//! asks for.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};

/// `plan` with the rows of each value of `columns` in one of its partitions, of which there are
/// as many as before.
///
/// # Errors
/// When the plan has no such column, which `check` would have found.
pub fn spread(plan: Arc<dyn ExecutionPlan>, columns: &[String]) -> Result<Arc<dyn ExecutionPlan>> {
    let partitions = plan.output_partitioning().partition_count();
    if columns.is_empty() || partitions < 2 {
        return Ok(plan);
    }
    let schema = plan.schema();
    let columns: Vec<Arc<dyn PhysicalExpr>> =
        columns.iter().map(|name| col(name, &schema)).collect::<Result<_>>()?;
    Ok(Arc::new(RepartitionExec::try_new(plan, Partitioning::Hash(columns, partitions))?))
}
