//! Hands a plan that is made already to the library's planner, which cuts it into stages.
//!
//! The library plans from a logical plan through the session's query planner. An epoch's plans are
//! physical when they come here: the logical plan is one node that holds one, and the query
//! planner takes it out.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;

/// The logical plan that stands for `plan`.
pub(super) fn handed_over(plan: Arc<dyn ExecutionPlan>) -> Result<LogicalPlan> {
    let schema = Arc::new(DFSchema::try_from(plan.schema())?);
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(Planned { plan, schema }) }))
}

/// Takes the plan out of what [`handed_over`] made.
#[derive(Debug)]
pub(super) struct HandOver;

#[async_trait]
impl QueryPlanner for HandOver {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        _: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let LogicalPlan::Extension(extension) = plan
            && let Some(planned) = extension.node.as_any().downcast_ref::<Planned>()
        {
            return Ok(Arc::clone(&planned.plan));
        }
        internal_err!("only plans that are made already run on workers")
    }
}

#[derive(Debug)]
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    schema: DFSchemaRef,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for Planned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.plan).cast::<()>().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for Planned {
    fn name(&self) -> &str {
        "Planned"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Planned: {}", self.plan.name())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Self> {
        Ok(Self { plan: Arc::clone(&self.plan), schema: Arc::clone(&self.schema) })
    }
}
