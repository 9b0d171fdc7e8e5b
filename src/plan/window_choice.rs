//! Which of an aggregate's keys is its window.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::lineage::{Origin, origin, unaliased};
use super::stream::Stream;
use crate::sql::{WINDOW_END, WINDOW_START, WindowNode, WindowValue, Windows, strip, window_key};

/// The window of a stage.
#[derive(Debug, Clone)]
pub(super) struct StageWindow {
    pub(super) windows: Windows,
    /// The positions of the grouping expressions that are this window, and what each gives of it.
    pub(super) keys: Vec<(usize, WindowValue)>,
    /// The time that a grouping expression takes; none for a window of FROM.
    pub(super) time: Option<Column>,
    /// For a window of FROM: the column of the aggregate's input, among the keys, that tells it.
    pub(super) first_column: (Column, WindowValue),
}

/// Finds the window among the grouping expressions `exprs` over `input`.
///
/// # Errors
/// When there is none, or it is not one of the stream's event time.
pub(super) fn choose_window(
    input: &LogicalPlan,
    exprs: &[Expr],
    stream: &Stream,
) -> Result<StageWindow> {
    match window_nodes(input)?.as_slice() {
        [] => from_expressions(input, exprs, stream),
        [node] => from_node(input, exprs, node, stream),
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

pub(super) fn window_nodes(plan: &LogicalPlan) -> Result<Vec<WindowNode>> {
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

/// Whether the window of FROM is over the event time of `stream`.
pub(super) fn check_time(node: &WindowNode, stream: &Stream) -> Result<()> {
    match origin(&node.input, &node.time) {
        Origin::Source { column, .. } if column == stream.event_time => Ok(()),
        _ => plan_err!(
            "the window is over {}, but the event time is {1}; write DESCRIPTOR({1})",
            node.time.name,
            stream.event_time
        ),
    }
}

/// What a column of a plan over a window of FROM gives of it.
pub(super) fn window_value_of(plan: &LogicalPlan, column: &Column) -> Option<WindowValue> {
    match origin(plan, column) {
        Origin::Window { column } => Some(match column.as_str() {
            WINDOW_START => WindowValue::Start,
            WINDOW_END => WindowValue::End,
            _ => WindowValue::Time,
        }),
        _ => None,
    }
}

fn from_node(
    input: &LogicalPlan,
    exprs: &[Expr],
    node: &WindowNode,
    stream: &Stream,
) -> Result<StageWindow> {
    check_time(node, stream)?;
    let mut keys = Vec::new();
    let mut told: Vec<(Column, WindowValue)> = Vec::new();
    for (position, expr) in exprs.iter().enumerate() {
        if let Expr::Column(column) = unaliased(expr)
            && let Some(value) = window_value_of(input, column)
        {
            keys.push((position, value));
            told.push((column.clone(), value));
        }
    }
    let is_enough =
        |value: &WindowValue| node.windows.is_told_by_start() || *value != WindowValue::Start;
    match told.iter().find(|(_, value)| is_enough(value)) {
        Some(first) => {
            let first_column = first.clone();
            Ok(StageWindow { windows: node.windows, keys, time: None, first_column })
        }
        None if told.is_empty() => plan_err!(
            "the query has a window but does not group by it, so that its groups would never be \
             complete; write GROUP BY window_start, window_end, ..."
        ),
        None => plan_err!(
            "several windows begin at the same time, so that window_start alone does not tell \
             which one it is; write GROUP BY window_start, window_end, ..."
        ),
    }
}

fn from_expressions(input: &LogicalPlan, exprs: &[Expr], stream: &Stream) -> Result<StageWindow> {
    let mut found: Vec<(usize, Windows, WindowValue, Column)> = Vec::new();
    for (position, expr) in exprs.iter().enumerate() {
        let Some(key) = window_key(unaliased(expr))? else { continue };
        let time = match key.time {
            Some(time) => match origin(input, &time) {
                Origin::Source { column, .. } if column == stream.event_time => time,
                _ => continue,
            },
            None => carried_time(input, stream)?,
        };
        found.push((position, key.windows, key.value, time));
    }
    let length_us = |windows: &Windows| match windows {
        // A session decides which rows are together, so every other window is a key beside it.
        Windows::Session(_) => 0,
        Windows::Aligned(shape) => shape.size_us(),
    };
    let Some((_, windows, _, time)) = found.iter().min_by_key(|(_, one, ..)| length_us(one)) else {
        return plan_err!("{}", no_window(exprs, stream));
    };
    let (windows, time) = (*windows, time.clone());
    let keys = found
        .iter()
        .filter(|(_, other, ..)| *other == windows)
        .map(|(position, _, value, _)| (*position, *value))
        .collect();
    let first_column = (time.clone(), WindowValue::Start);
    Ok(StageWindow { windows, keys, time: Some(time), first_column })
}

/// The column of `input` that holds the stream's event time.
fn carried_time(input: &LogicalPlan, stream: &Stream) -> Result<Column> {
    let is_time = |column: &Column| matches!(origin(input, column), Origin::Source { column, .. } if column == stream.event_time);
    match input.schema().columns().into_iter().find(is_time) {
        Some(column) => Ok(column),
        None => plan_err!(
            "tumble(), hop() and session() take the event time that FROM carries, but {} is not \
             among its columns; select it in the view",
            stream.event_time
        ),
    }
}

fn no_window(exprs: &[Expr], stream: &Stream) -> String {
    let keys: Vec<String> = exprs.iter().map(|expr| plain_name(strip(expr))).collect();
    let window = format!("date_trunc('minute', {})", stream.event_time);
    let suggestion: Vec<String> = std::iter::once(window).chain(keys).collect();
    format!(
        "an aggregate over the stream {} needs a window, for without one its groups are never \
         complete; write GROUP BY {}",
        stream.input.name(),
        suggestion.join(", ")
    )
}

fn plain_name(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.to_string(),
    }
}
