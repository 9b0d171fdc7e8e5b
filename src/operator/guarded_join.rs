//! Joins whose condition, beside its equalities, cannot be computed of some pairs of rows.
//!
//! ```text
//!   GuardedJoinExec  --  the join, whose condition is NULL for a pair that it fails of
//!   left, right
//! ```
//!
//! Such a pair does not match, as if its condition were NULL: each side goes on with what else it
//! matches. It is counted and told as a row that fails is (`isolate_exec.rs`).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_empty_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};

use super::fallible::may_fail;
use super::isolate_exec::{BatchLeaf, error_text, is_of_values};
use super::leaf::no_expressions;
use super::row_report::{Policy, RowNames, RowReports};

/// See the file.
#[derive(Debug)]
pub struct GuardedJoinExec {
    /// The join as it was planned.
    plain: Arc<dyn ExecutionPlan>,
    /// The join that runs.
    guarded: Arc<dyn ExecutionPlan>,
    policy: Policy,
    reports: RowReports,
    properties: Arc<PlanProperties>,
}

/// `plan` with every join whose condition may fail in a node of its own.
///
/// # Errors
/// When a node cannot be put together again, which is a defect.
pub(super) fn with_guarded_joins(
    plan: &Arc<dyn ExecutionPlan>,
    policy: Policy,
    reports: &RowReports,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut changed = false;
    let mut inputs = Vec::new();
    for child in plan.children() {
        let guarded = with_guarded_joins(child, policy, reports)?;
        changed |= !Arc::ptr_eq(&guarded, child);
        inputs.push(guarded);
    }
    let plan = match changed {
        true => over(plan, inputs)?,
        false => Arc::clone(plan),
    };
    let condition = condition_of(&plan);
    match condition.is_some_and(|filter| may_fail(filter.expression(), filter.schema())) {
        true => Ok(Arc::new(GuardedJoinExec::try_new(plan, policy, reports.clone())?)),
        false => Ok(plan),
    }
}

fn condition_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&JoinFilter> {
    let hashed = plan.downcast_ref::<HashJoinExec>().and_then(HashJoinExec::filter);
    hashed
        .or_else(|| plan.downcast_ref::<NestedLoopJoinExec>().and_then(NestedLoopJoinExec::filter))
}

fn over(
    plan: &Arc<dyn ExecutionPlan>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(inputs, options)
}

impl GuardedJoinExec {
    /// The join `plain`.
    ///
    /// # Errors
    /// When it is no join that can be guarded.
    pub fn try_new(
        plain: Arc<dyn ExecutionPlan>,
        policy: Policy,
        reports: RowReports,
    ) -> Result<Self> {
        let guarded = condition_of(&plain).map(|filter| {
            let condition = Guard {
                condition: Arc::clone(filter.expression()),
                policy,
                reports: reports.clone(),
            };
            let (columns, schema) = (filter.column_indices().to_vec(), Arc::clone(filter.schema()));
            Some(JoinFilter::new(Arc::new(condition), columns, schema))
        });
        let guarded: Arc<dyn ExecutionPlan> = match guarded {
            Some(filter) => {
                if let Some(join) = plain.downcast_ref::<HashJoinExec>() {
                    Arc::new(HashJoinExecBuilder::from(join).with_filter(filter).build()?)
                } else if let Some(join) = plain.downcast_ref::<NestedLoopJoinExec>() {
                    Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
                } else {
                    return internal_err!("{} is no join that is guarded", plain.name());
                }
            }
            None => return internal_err!("{} has no condition to be guarded", plain.name()),
        };
        let properties = Arc::clone(plain.properties());
        Ok(Self { plain, guarded, policy, reports, properties })
    }

    /// The join over inputs of its columns, without rows, for its way to a worker.
    ///
    /// # Errors
    /// When it cannot be put together again, which is a defect.
    pub fn emptied(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let leaf = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            Arc::new(BatchLeaf::empty(input.schema()))
        };
        let leaves = self.plain.children().into_iter().map(leaf).collect();
        over(&self.plain, leaves)
    }

    /// The join of [`Self::emptied`] over its inputs.
    ///
    /// # Errors
    /// When it is no join that can be guarded.
    pub fn of_emptied(
        emptied: &Arc<dyn ExecutionPlan>,
        inputs: &[Arc<dyn ExecutionPlan>],
        policy: Policy,
        reports: RowReports,
    ) -> Result<Self> {
        Self::try_new(over(emptied, inputs.to_vec())?, policy, reports)
    }

    /// What becomes of pairs that fail.
    pub fn policy(&self) -> Policy {
        self.policy
    }
}

impl DisplayAs for GuardedJoinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "GuardedJoinExec: ")?;
        self.plain.fmt_as(format, f)
    }
}

impl ExecutionPlan for GuardedJoinExec {
    fn name(&self) -> &str {
        "GuardedJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.plain.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.plain.maintains_input_order()
    }

    no_expressions!();

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plain = over(&self.plain, children)?;
        Ok(Arc::new(Self::try_new(plain, self.policy, self.reports.clone())?))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.guarded.execute(partition, task)
    }
}

/// A condition that is NULL for the rows that it cannot be computed of.
#[derive(Debug)]
struct Guard {
    condition: Arc<dyn PhysicalExpr>,
    policy: Policy,
    reports: RowReports,
}

impl Guard {
    /// The condition of each row, found by halves, and the first row that fails.
    fn by_halves(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let mut parts: Vec<ArrayRef> = vec![new_empty_array(&DataType::Boolean)];
        let mut failed = Vec::new();
        let mut ranges = vec![(0, batch.num_rows())];
        while let Some((first, count)) = ranges.pop() {
            let rows = batch.slice(first, count);
            match self.condition.evaluate(&rows).and_then(|value| value.into_array(count)) {
                Ok(part) => parts.push(part),
                Err(error) if !is_of_values(&error) => return Err(error),
                Err(error) if count == 1 => {
                    parts.push(Arc::new(BooleanArray::new_null(1)));
                    failed.push((first, error));
                }
                Err(_) => {
                    let half = count / 2;
                    ranges.push((first + half, count - half));
                    ranges.push((first, half));
                }
            }
        }
        if let Some((row, error)) = failed.first() {
            let pair = || RowNames::default().describe(batch, *row);
            let example =
                || format!("{} in the condition of a JOIN: {}", error_text(error), pair());
            self.reports.add(self.policy, failed.len() as u64, example)?;
        }
        let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

impl PhysicalExpr for Guard {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.condition.data_type(schema)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        match self.condition.evaluate(batch) {
            Err(error) if is_of_values(&error) => self.by_halves(batch),
            found => found,
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(condition) = children.pop() else {
            return internal_err!("a guard lost its condition");
        };
        Ok(Arc::new(Self { condition, policy: self.policy, reports: self.reports.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Guard {}

impl Hash for Guard {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}
