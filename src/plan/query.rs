//! One INSERT of a job: where its rows go and which stages they come from.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, plan_err};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, cast};
use std::sync::Arc;

use super::blank::Blanks;
use super::input::Input;
use crate::sql::with_intervals_spoken;

/// A logical plan, optimised once where nothing in it depends on the epoch's clock.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    plan: LogicalPlan,
    optimized: bool,
    /// Its physical plans, where nothing in it depends on the epoch's clock.
    blanks: Option<Blanks>,
}

impl Prepared {
    /// Optimises `plan` now, unless it reads the clock.
    pub(crate) fn new(state: &SessionState, plan: LogicalPlan) -> Result<Self> {
        if reads_clock(&plan)? {
            return Ok(Self { plan, optimized: false, blanks: None });
        }
        let blanks = Some(Blanks::default());
        Ok(Self { plan: state.optimize(&plan)?, optimized: true, blanks })
    }

    /// Its physical plans that are filled in for each epoch, where it may have any.
    pub(super) fn blanks(&self) -> Option<&Blanks> {
        self.blanks.as_ref()
    }

    /// Whether it brings rows together by a join.
    pub(super) fn has_join(&self) -> bool {
        self.plan.exists(|plan| Ok(matches!(plan, LogicalPlan::Join(_)))).unwrap_or(false)
    }

    /// The optimised plan; `state` holds the epoch's clock.
    pub(crate) fn at(&self, state: &SessionState) -> Result<LogicalPlan> {
        if self.optimized { Ok(self.plan.clone()) } else { state.optimize(&self.plan) }
    }
}

/// The column that counts how often a window was written before.
pub(crate) const REVISION: &str = "_revision";

/// One INSERT of a job.
#[derive(Debug, Clone)]
pub struct Query {
    /// The sink that it writes.
    pub sink: String,
    /// The line of the SQL text where it begins.
    pub line: u64,
    /// The sources that reach it.
    pub sources: Vec<String>,
    /// The stages that it reads; none where rows pass as they arrive.
    pub stages: Vec<String>,
    /// The stream whose rows pass as they arrive, where it has no stage.
    pub input: Option<Input>,
    /// Whether late rows may make it write windows again, each time with a higher [`REVISION`].
    pub revises: bool,
    /// The columns that it writes, those of the partition among them.
    pub schema: SchemaRef,
    /// The columns of the partition that may have a value which no folder can be called by.
    pub folders: Vec<String>,
    /// What a change of the query changes.
    pub logic: String,
    pub(crate) prepared: Prepared,
}

impl Query {
    /// Whether rows pass to the sink as they arrive.
    pub fn is_stateless(&self) -> bool {
        self.stages.is_empty()
    }
}

/// The plan's columns as a sink writes them: timestamps in microseconds of UTC.
pub(super) fn sink_projection(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut names: Vec<String> = Vec::new();
    let mut exprs = Vec::new();
    for (qualifier, field) in plan.schema().iter() {
        let name = with_intervals_spoken(field.name());
        if names.contains(&name) {
            return plan_err!("the column \"{name}\" is there twice; name one of them with AS");
        }
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let written = written_type(field.data_type());
        if holds_interval(&written) {
            return plan_err!(
                "the column \"{name}\" is an INTERVAL, which Parquet files cannot hold; write its \
                 length as a number, as in date_part('epoch', {name})"
            );
        }
        let expr = if written == *field.data_type() { column } else { cast(column, written) };
        exprs.push(expr.alias(&name));
        names.push(name);
    }
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// `plan` with texts and bytes of one type each, wherever they are from: queries that share a sink have
/// the same columns. It says nothing of what a query means, and is no part of its logic.
pub(super) fn with_one_text(plan: LogicalPlan) -> Result<LogicalPlan> {
    let is_other = |field: &FieldRef| one_text(field.data_type()) != *field.data_type();
    if !plan.schema().fields().iter().any(is_other) {
        return Ok(plan);
    }
    let exprs = plan.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match is_other(field) {
            true => cast(column, one_text(field.data_type())).alias(field.name()),
            false => column,
        }
    });
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

fn one_text(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => with_inner(other, &one_text),
    }
}

/// `data_type` with `change` of each type in it.
fn with_inner(data_type: &DataType, change: &dyn Fn(&DataType) -> DataType) -> DataType {
    let field =
        |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(change(field.data_type())));
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(field(item), *length),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

/// The type that a sink's files have for `data_type`.
fn written_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, _) => utc_type(),
        DataType::Null => DataType::Utf8,
        other => with_inner(other, &written_type),
    }
}

/// Whether `data_type` is an interval, or has one inside.
pub(super) fn holds_interval(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_interval(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => holds_interval(item.data_type()),
        _ => false,
    }
}

/// The type of timestamps in a sink's files.
pub fn utc_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Whether a plan calls a function that depends on the time of the query.
fn reads_clock(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr {
                    found |= call.func.signature().volatility == Volatility::Stable;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The schema that a plan's rows have in Arrow.
pub(super) fn arrow_schema(plan: &LogicalPlan) -> SchemaRef {
    Arc::clone(plan.schema().inner())
}
