//! Which of an aggregate's keys is its window.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::lineage::{Origin, origin, unaliased};
use crate::sql::{
    WINDOW_END, WINDOW_START, WindowNode, WindowShape, WindowValue, Windows, strip, window_key,
};

/// The window of a stage.
#[derive(Debug, Clone)]
pub(super) struct StageWindow {
    pub(super) shape: WindowShape,
    /// The positions of the grouping expressions that are this window, and what each gives of it.
    pub(super) keys: Vec<(usize, WindowValue)>,
    /// The time that a grouping expression takes; none for a window of FROM.
    pub(super) time: Option<Column>,
    /// For a window of FROM: the first key's column of the aggregate's input.
    pub(super) first_column: (Column, WindowValue),
}

/// Finds the window among the grouping expressions `exprs` over `input`.
///
/// # Errors
/// When there is none, or it is not one of the source's event time.
pub(super) fn choose_window(
    input: &LogicalPlan,
    exprs: &[Expr],
    source: &str,
    event_time: &str,
) -> Result<StageWindow> {
    match window_nodes(input)?.as_slice() {
        [] => from_expressions(input, exprs, source, event_time),
        [node] => from_node(input, exprs, node, event_time),
        _ => plan_err!("a query takes one window; put the second over the first in a view"),
    }
}

impl StageWindow {
    /// Whether nothing below the aggregate or in its arguments reads the window's columns.
    pub(super) fn only_in_keys(&self, input: &LogicalPlan, aggregates: &[Expr]) -> bool {
        let reads_window = |plan: &LogicalPlan, expr: &Expr| {
            expr.column_refs()
                .into_iter()
                .any(|column| matches!(origin(plan, column), Origin::Window { .. }))
        };
        if aggregates.iter().any(|expr| reads_window(input, expr)) {
            return false;
        }
        let mut clean = true;
        let walked = input.apply(|plan| {
            for below in plan.inputs() {
                clean &= plan.expressions().iter().all(|expr| {
                    matches!(unaliased(expr), Expr::Column(_)) || !reads_window(below, expr)
                });
            }
            Ok(TreeNodeRecursion::Continue)
        });
        clean && walked.is_ok()
    }
}

fn window_nodes(plan: &LogicalPlan) -> Result<Vec<WindowNode>> {
    let mut nodes = Vec::new();
    plan.apply(|plan| {
        if let LogicalPlan::Extension(extension) = plan
            && let Some(node) = extension.node.as_any().downcast_ref::<WindowNode>()
        {
            nodes.push(node.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(nodes)
}

fn from_node(
    input: &LogicalPlan,
    exprs: &[Expr],
    node: &WindowNode,
    event_time: &str,
) -> Result<StageWindow> {
    match origin(&node.input, &node.time) {
        Origin::Source { column, .. } if column == event_time => {}
        _ => {
            return plan_err!(
                "the window is over {}, but the event time is {event_time}; write DESCRIPTOR({event_time})",
                node.time.name
            );
        }
    }
    let Windows::Aligned(shape) = node.windows else {
        return plan_err!("SESSION windows are not supported yet");
    };
    let mut keys = Vec::new();
    let mut first_column = None;
    for (position, expr) in exprs.iter().enumerate() {
        if let Expr::Column(column) = unaliased(expr)
            && let Origin::Window { column: name } = origin(input, column)
        {
            let value = match name.as_str() {
                WINDOW_START => WindowValue::Start,
                WINDOW_END => WindowValue::End,
                _ => WindowValue::Time,
            };
            keys.push((position, value));
            first_column.get_or_insert((column.clone(), value));
        }
    }
    match first_column {
        Some(first_column) => Ok(StageWindow { shape, keys, time: None, first_column }),
        None => plan_err!(
            "the query has a window but does not group by it, so that its groups would never be \
             complete; write GROUP BY window_start, window_end, ..."
        ),
    }
}

fn from_expressions(
    input: &LogicalPlan,
    exprs: &[Expr],
    source: &str,
    event_time: &str,
) -> Result<StageWindow> {
    let mut found: Vec<(usize, WindowShape, WindowValue, Column)> = Vec::new();
    for (position, expr) in exprs.iter().enumerate() {
        let Some(key) = window_key(unaliased(expr))? else { continue };
        let time = match key.time {
            Some(time) => match origin(input, &time) {
                Origin::Source { column, .. } if column == event_time => time,
                _ => continue,
            },
            None => carried_time(input, event_time)?,
        };
        let Windows::Aligned(shape) = key.windows else {
            return plan_err!("SESSION windows are not supported yet");
        };
        found.push((position, shape, key.value, time));
    }
    let Some((_, shape, _, time)) = found.iter().min_by_key(|(_, shape, ..)| shape.size_us())
    else {
        return plan_err!("{}", no_window(exprs, source, event_time));
    };
    let (shape, time) = (*shape, time.clone());
    let keys = found
        .iter()
        .filter(|(_, other, ..)| *other == shape)
        .map(|(position, _, value, _)| (*position, *value))
        .collect();
    let first_column = (time.clone(), WindowValue::Start);
    Ok(StageWindow { shape, keys, time: Some(time), first_column })
}

/// The column of `input` that holds the source's event time.
fn carried_time(input: &LogicalPlan, event_time: &str) -> Result<Column> {
    let is_time = |column: &Column| matches!(origin(input, column), Origin::Source { column, .. } if column == event_time);
    match input.schema().columns().into_iter().find(is_time) {
        Some(column) => Ok(column),
        None => plan_err!(
            "tumble() and hop() take the event time that FROM carries, but {event_time} is not \
             among its columns; select it in the view"
        ),
    }
}

fn no_window(exprs: &[Expr], source: &str, event_time: &str) -> String {
    let keys: Vec<String> = exprs.iter().map(|expr| plain_name(strip(expr))).collect();
    let suggestion: Vec<String> =
        std::iter::once(format!("date_trunc('minute', {event_time})")).chain(keys).collect();
    format!(
        "an aggregate over the stream {source} needs a window, for without one its groups are \
         never complete; write GROUP BY {}",
        suggestion.join(", ")
    )
}

fn plain_name(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.to_string(),
    }
}
