//! Stages of sessions.
//!
//! All rows of a key within one gap of time are in one session, so the state of a stage of
//! sessions is kept by panes of the gap's length, with the times of the first and the last row
//! beside the aggregates: *pieces* of sessions. Which pieces are together is known when they are
//! read (`operator/session_exec.rs`).
//!
//! ```text
//!   keys of the state:   __pane | PARTITION BY ... | other grouping keys       states | first, last
//!   of the final rows:   start, end | the grouping keys
//! ```

use std::collections::BTreeSet;

use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use super::lineage::{column_at_window, unaliased};
use super::nodes::Keys;
use super::output::OutputKey;
use super::stage::{Grouping, SessionKeys, Stage, StageAndOutput, StageParts};
use super::stream::Stream;
use super::template::{PANE, SESSION_END};
use super::window_choice::{StageWindow, window_nodes};
use super::window_values::{Bounds, window_columns};
use crate::sql::{WindowNode, WindowValue, Windows, pane_start_expr, time_type};

/// The column that carries the event time up to the aggregate.
const CARRIED_TIME: &str = "__session_time";

/// The columns of sessions' final rows.
pub(super) fn session_bounds() -> Bounds {
    Bounds { start: col(PANE), end: col(SESSION_END) }
}

/// Whether `aggregate` can keep partial aggregates of sessions; otherwise its rows are kept as they
/// are, because something between the window and the aggregate needs to know the session of a row
/// or must not touch which rows make one.
pub(super) fn suits_partial_sessions(
    aggregate: &Aggregate,
    grouping: &Grouping,
    window: &StageWindow,
) -> Result<bool> {
    if window.time.is_some() {
        return Ok(true);
    }
    Ok(grouping.sets.is_none()
        && window.only_in_keys(&aggregate.input, &aggregate.aggr_expr)
        && is_projected_only(&aggregate.input)
        && groups_by_sessions(aggregate, grouping, window)?)
}

/// Whether rows of different sessions are in different groups, or in one because the sessions are
/// equal in all that a stage of sessions groups by. Sessions of different keys may begin at
/// different times and end at the same.
fn groups_by_sessions(
    aggregate: &Aggregate,
    grouping: &Grouping,
    window: &StageWindow,
) -> Result<bool> {
    if window.keys.iter().any(|(_, value)| *value == WindowValue::Start) {
        return Ok(true);
    }
    let nodes = window_nodes(&aggregate.input)?;
    let partition = nodes.first().map(|node| node.partition.len()).unwrap_or_default();
    let mut found = BTreeSet::new();
    for expr in &grouping.exprs {
        found.extend(partition_key(&aggregate.input, window, expr, &[])?);
    }
    Ok(found.len() == partition)
}

/// Whether between the window and `plan` there is nothing but projections and aliases.
fn is_projected_only(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_projected_only(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_projected_only(&alias.input),
        LogicalPlan::Extension(extension) => extension.node.as_any().is::<WindowNode>(),
        _ => false,
    }
}

/// The stage of an aggregate by sessions.
///
/// # Errors
/// When `session()` stands in GROUPING SETS.
pub(super) fn session_stage(
    aggregate: &Aggregate,
    grouping: &Grouping,
    window: &StageWindow,
    stream: &Stream,
) -> Result<StageAndOutput> {
    if grouping.sets.is_some() {
        return plan_err!(
            "GROUP BY GROUPING SETS cannot hold session(), for the other keys decide what a session \
             is; write FROM SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), gap)"
        );
    }
    let own = |position: &usize| !window.keys.iter().any(|(key, _)| key == position);
    let others: Vec<(usize, &Expr)> =
        grouping.exprs.iter().enumerate().filter(|(position, _)| own(position)).collect();
    let (input, time, partition) = match &window.time {
        Some(time) => {
            let keys = others.iter().map(|(_, expr)| unaliased(expr).clone()).collect();
            (aggregate.input.as_ref().clone(), time.clone(), keys)
        }
        None => carried(&aggregate.input)?,
    };
    let mut keys = partition.clone();
    let mut grouped = Vec::with_capacity(others.len());
    let mut outputs = Vec::with_capacity(grouping.exprs.len());
    for (position, expr) in grouping.exprs.iter().enumerate() {
        if let Some((_, value)) = window.keys.iter().find(|(key, _)| *key == position) {
            outputs.push(OutputKey::Window(*value));
            continue;
        }
        let at = match partition_key(&aggregate.input, window, expr, &keys)? {
            Some(at) => at,
            None => {
                keys.push(unaliased(expr).clone());
                keys.len() - 1
            }
        };
        grouped.push(at + 1);
        outputs.push(OutputKey::Key(at + 1));
    }
    let sessions = SessionKeys { partition: partition.len(), grouped };
    let parts = session_parts(window.windows, input, &time, keys, sessions);
    let aggregates = aggregate.aggr_expr.iter().cloned().chain(parts.aggregates).collect();
    let stage = Stage::new(stream, StageParts { aggregates, ..parts })?;
    Ok((stage, outputs, session_bounds()))
}

/// The position among `keys` of the one that `expr` is, where it is in the partition already.
fn partition_key(
    input: &LogicalPlan,
    window: &StageWindow,
    expr: &Expr,
    keys: &[Expr],
) -> Result<Option<usize>> {
    let expr = unaliased(expr);
    if window.time.is_some() {
        return Ok(keys.iter().position(|key| key == expr));
    }
    let Expr::Column(column) = expr else { return Ok(None) };
    let Some(below) = column_at_window(input, column) else { return Ok(None) };
    let nodes = window_nodes(input)?;
    let partition = nodes.first().map(|node| node.partition.as_slice()).unwrap_or_default();
    Ok(partition.iter().position(|known| *known == below))
}

/// What a stage of sessions by `keys` is made of, with no aggregates but the bounds, which come last.
pub(super) fn session_parts(
    windows: Windows,
    input: LogicalPlan,
    time: &Column,
    keys: Vec<Expr>,
    sessions: SessionKeys,
) -> StageParts {
    let time = Expr::Column(time.clone());
    let pane = match windows {
        Windows::Session(shape) => pane_start_expr(time.clone(), &shape.panes()),
        Windows::Aligned(shape) => pane_start_expr(time.clone(), &shape),
    };
    let exprs = std::iter::once(pane).chain(keys).collect();
    let aggregates = vec![min(time.clone()), max(time)];
    StageParts {
        windows,
        panes: false,
        sessions: Some(sessions),
        input,
        keys: Keys { exprs, sets: None },
        aggregates,
    }
}

/// `input` without its window, with the event time and the partition's columns carried up through
/// its projections under names of their own.
fn carried(input: &LogicalPlan) -> Result<(LogicalPlan, Column, Vec<Expr>)> {
    let nodes = window_nodes(input)?;
    let Some(node) = nodes.first() else { return plan_err!("the query has lost its window") };
    let partition: Vec<String> = (0..node.partition.len()).map(|at| format!("__by{at}")).collect();
    let names: Vec<&str> =
        std::iter::once(CARRIED_TIME).chain(partition.iter().map(String::as_str)).collect();
    let plan = carried_up(input, &names)?;
    let found = |name: &str| -> Result<Column> {
        let (qualifier, field) = plan.schema().qualified_field_with_unqualified_name(name)?;
        Ok(Column::new(qualifier.cloned(), field.name()))
    };
    let time = found(CARRIED_TIME)?;
    let keys = partition.iter().map(|name| Ok(Expr::Column(found(name)?)));
    let keys = keys.collect::<Result<Vec<Expr>>>()?;
    Ok((plan, time, keys))
}

/// `plan` with the columns `names` on top, down to the window, which is replaced.
fn carried_up(plan: &LogicalPlan, names: &[&str]) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = carried_up(&projection.input, names)?;
            let more = names.iter().map(|name| col(*name));
            let exprs: Vec<Expr> = projection.expr.iter().cloned().chain(more).collect();
            LogicalPlanBuilder::from(input).project(exprs)?.build()
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let input = carried_up(&alias.input, names)?;
            LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()
        }
        LogicalPlan::Extension(extension) => {
            match extension.node.as_any().downcast_ref::<WindowNode>() {
                Some(node) => without_window(node, names),
                None => plan_err!("the query has lost its window"),
            }
        }
        _ => plan_err!("the query has lost its window"),
    }
}

/// The window's input with the window's columns unknown, and what is carried up.
fn without_window(node: &WindowNode, names: &[&str]) -> Result<LogicalPlan> {
    let unknown = || cast(lit(ScalarValue::Null), time_type());
    let bounds = Bounds { start: unknown(), end: unknown() };
    let columns = node.input.schema().columns().into_iter().map(Expr::Column);
    let taken = std::iter::once(&node.time).chain(&node.partition);
    let carried = taken.zip(names).map(|(column, name)| Expr::Column(column.clone()).alias(*name));
    let exprs: Vec<Expr> = columns.chain(window_columns(&bounds)).chain(carried).collect();
    LogicalPlanBuilder::from(node.input.clone()).project(exprs)?.build()
}
