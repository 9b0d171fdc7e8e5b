//! `TUMBLE`, `HOP`, `CUMULATE` and `SESSION` in FROM: Flink's spelling, with and without
//! `TABLE(...)`, with named arguments, and RisingWave's.

use datafusion::common::{Column, DataFusionError, Diagnostic, Result, Span, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Ident, TableFactor, UnaryOperator};
use std::sync::Arc;

use super::error::planner_message;
use super::field_path::{field_path, with_column, without_column};
use super::interval::interval_us;
use super::window_call::{
    Arguments, CUMULATE, HOP, SESSION, Signature, TimeArgument, WindowCall, relation_of,
    time_argument,
};
use super::window_node::WindowNode;
use super::window_shape::WindowShape;
use super::windows::{SessionShape, Windows};

/// Plans window table functions into [`WindowNode`]s.
#[derive(Debug, Default)]
pub(super) struct WindowRelationPlanner;

impl RelationPlanner for WindowRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = WindowCall::of(&relation)? else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let placed = |error| place(error, &call);
        let Arguments { data, time, lengths, partition } = call.bind().map_err(placed)?;
        // What is wrong in the table's own query is at another place than the call.
        let input = context.plan(relation_of(data).map_err(placed)?)?;
        let plan = windows(call.signature, lengths, &input, context)
            .and_then(|windows| {
                let partition = partition_columns(partition, &input, context)?;
                match time_of(time, &input, context)? {
                    Time::Column(time) => window(input, time, windows, partition),
                    Time::Field(field) => {
                        let (input, time) = with_column(input, field)?;
                        without_column(window(input, time.clone(), windows, partition)?, &time)
                    }
                }
            })
            .map_err(placed)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, call.alias))))
    }
}

/// The error at the place of the call, unless it names one itself.
fn place(error: DataFusionError, call: &WindowCall) -> DataFusionError {
    if error.iter().any(|error| error.diagnostic().is_some_and(|found| found.span.is_some())) {
        return error;
    }
    let message = planner_message(&error);
    let span = Span::try_from_sqlparser_span(call.span);
    error.with_diagnostic(Diagnostic::new_error(message, span))
}

/// The windows of the given lengths, in the order of the signature.
fn windows(
    signature: &Signature,
    lengths: Vec<Option<SqlExpr>>,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Windows> {
    let mut lengths_us = Vec::new();
    for (length, name) in lengths.into_iter().zip(&signature.parameters[2..]) {
        let Some(length) = length else { continue };
        match length_us(length, input, context) {
            Ok(us) => lengths_us.push(us),
            Err(error) => {
                return plan_err!("{name}: {}: {}", planner_message(&error), signature.usage);
            }
        }
    }
    let offset = |at: usize| lengths_us.get(at).copied().unwrap_or_default();
    let windows = match (signature.name, lengths_us.as_slice()) {
        (SESSION, [gap, ..]) => SessionShape::new(*gap).map(Windows::Session),
        (CUMULATE, [step, size, ..]) => {
            WindowShape::cumulate(*size, *step, offset(2)).map(Windows::Aligned)
        }
        (HOP, [slide, size, ..]) => {
            WindowShape::new(*size, *slide, offset(2)).map(Windows::Aligned)
        }
        (_, [size, ..]) => WindowShape::tumble(*size, offset(1)).map(Windows::Aligned),
        _ => Err("a length is missing".to_owned()),
    };
    match windows {
        Ok(windows) => Ok(windows),
        Err(why) => plan_err!("{why}: {}", signature.usage),
    }
}

/// The length that an argument gives. A sign before it is of the whole interval, while DataFusion
/// puts it before the first of its parts.
fn length_us(
    expr: SqlExpr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<i64> {
    match expr {
        SqlExpr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            Ok(-length_us(*expr, input, context)?)
        }
        SqlExpr::Nested(expr) => length_us(*expr, input, context),
        expr => interval_us(&context.sql_to_expr(expr, input.schema())?),
    }
}

fn window(
    input: LogicalPlan,
    time: Column,
    windows: Windows,
    partition: Vec<Column>,
) -> Result<LogicalPlan> {
    let node = WindowNode::try_new(input, time, windows, partition)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// The time that a window is over.
enum Time {
    Column(Column),
    /// A field of a struct.
    Field(Expr),
}

fn time_of(
    expr: SqlExpr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Time> {
    let ident = match time_argument(expr)? {
        TimeArgument::Column(ident) => ident,
        // A column comes before a field of the same spelling, also in SQL.
        TimeArgument::Path(path, last) => match context.sql_to_expr(*path, input.schema()) {
            Ok(field) if field_path(&field).is_some() => return Ok(Time::Field(field)),
            _ => last,
        },
    };
    time_column(ident, input, context).map(Time::Column)
}

fn time_column(
    ident: Ident,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Column> {
    let span = Span::try_from_sqlparser_span(ident.span);
    let name = context.normalize_ident(ident);
    let (qualifier, field) = input.schema().qualified_field_with_unqualified_name(&name)?;
    let mut column = Column::new(qualifier.cloned(), field.name());
    // A refusal of the window shows where it stands.
    span.into_iter().for_each(|span| column.spans_mut().add_span(span));
    Ok(column)
}

/// The columns after `PARTITION BY`, each once.
fn partition_columns(
    exprs: Vec<SqlExpr>,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    for expr in exprs {
        let text = expr.to_string();
        let Expr::Column(column) = context.sql_to_expr(expr, input.schema())? else {
            return plan_err!(
                "PARTITION BY takes columns of the table, and \"{text}\" is none; make it one in a \
                 view"
            );
        };
        let column = Column::new(column.relation, column.name);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests;
