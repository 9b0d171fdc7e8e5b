//! Stages that keep rows as they are: for what needs the rows of a whole window at once, such as
//! the largest ten of them, and for sessions of which something below the aggregate must know.
//!
//! The state is a multiset of rows: an aggregate that groups by all columns and counts. When the
//! window closes each row comes back as often as it was counted.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, UnnestOptions, plan_err};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::functions_nested::expr_fn::array_repeat;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use super::nature::{Closed, Told};
use super::nodes::Keys;
use super::refuse::blamed;
use super::session_stage::{session_bounds, session_parts};
use super::stage::{SessionKeys, Stage, StageParts};
use super::stream::Stream;
use super::template::{aggregate_name, key_name};
use super::window_choice::{check_time, two_windows, window_nodes, window_value_of};
use super::window_values::{mark_from, replace_window_node, window_columns};
use crate::sql::{Clause, WindowNode, WindowShape, WindowValue, Windows};

const COPIES: &str = "__copies";

/// A stage of rows, and the plan above it.
pub(super) struct CutRows {
    pub(super) stage: Stage,
    pub(super) above: LogicalPlan,
    pub(super) closed: Closed,
}

/// Cuts `plan`, rows of `stream` with a window among them, so that its windows are seen whole.
///
/// # Errors
/// When its columns do not tell the window.
pub(super) fn cut_rows(plan: &LogicalPlan, stream: &Stream) -> Result<CutRows> {
    let nodes = window_nodes(plan)?;
    let [node] = nodes.as_slice() else {
        return two_windows();
    };
    check_time(node, stream)?;
    match node.windows {
        Windows::Aligned(shape) => rows_of_aligned(plan, node, &shape, stream),
        Windows::Session(_) => rows_of_sessions(plan, node, stream),
    }
}

fn rows_of_aligned(
    plan: &LogicalPlan,
    node: &WindowNode,
    shape: &WindowShape,
    stream: &Stream,
) -> Result<CutRows> {
    let columns = plan.schema().columns();
    let told = columns.iter().filter_map(|column| {
        let value = window_value_of(plan, column)?;
        Some((column.clone(), Told { windows: node.windows, value }))
    });
    let windows: Vec<(Column, Told)> = told.collect();
    let enough = windows
        .iter()
        .find(|(_, told)| shape.is_told_by_start() || told.value != WindowValue::Start);
    let Some((column, told)) = enough else {
        let columns = if shape.is_told_by_start() { "window_start" } else { "window_end" };
        let untold = plan_err!(
            "the rows of a window are kept until it closes, but their columns do not tell it; \
             write SELECT {columns}, ... over the window"
        );
        return blamed(untold, Clause::Window, &[], Some(&node.time.name));
    };
    let mark = mark_from(column, told.value, shape);
    let input = replace_window_node(plan.clone(), !shape.is_tumble())?;
    let exprs = std::iter::once(mark).chain(columns.into_iter().map(Expr::Column)).collect();
    let parts = StageParts {
        windows: node.windows,
        panes: false,
        sessions: None,
        input,
        keys: Keys { exprs, sets: None },
        aggregates: vec![count(lit(1_i64))],
    };
    let stage = Stage::new(stream, parts)?.keeping_rows();
    let named = plan.schema().iter().enumerate().map(|(at, (qualifier, field))| {
        col(key_name(at + 1)).alias_qualified(qualifier.cloned(), field.name())
    });
    let above = copied(stage.leaf()?, named.collect())?;
    let stages = [stage.id.clone()].into();
    Ok(CutRows {
        stage,
        above,
        closed: Closed { stages, windows: windows.into_iter().collect(), ..Closed::default() },
    })
}

fn rows_of_sessions(plan: &LogicalPlan, node: &WindowNode, stream: &Stream) -> Result<CutRows> {
    let columns = node.input.schema().columns();
    let others = columns.iter().filter(|column| !node.partition.contains(column));
    let ordered: Vec<&Column> = node.partition.iter().chain(others).collect();
    let keys = ordered.iter().map(|column| Expr::Column((*column).clone())).collect();
    let sessions =
        SessionKeys { partition: node.partition.len(), grouped: (1..=ordered.len()).collect() };
    let input = node.input.clone();
    let parts = session_parts(node.windows, input, &node.time, keys, sessions);
    let counted = std::iter::once(count(lit(1_i64)));
    let aggregates = counted.chain(parts.aggregates).collect();
    let stage = Stage::new(stream, StageParts { aggregates, ..parts })?.keeping_rows();
    let mut named = Vec::with_capacity(columns.len() + 3);
    for column in &columns {
        let Some(at) = ordered.iter().position(|known| *known == column) else {
            return plan_err!("the column {column} of a session is lost");
        };
        let qualifier = column.relation.clone();
        named.push(col(key_name(at + 1)).alias_qualified(qualifier, &column.name));
    }
    named.extend(window_columns(&session_bounds()));
    let bottom = copied(stage.leaf()?, named)?;
    let replaced = plan.clone().transform_up(|plan| match &plan {
        LogicalPlan::Extension(extension) if extension.node.as_any().is::<WindowNode>() => {
            Ok(Transformed::yes(bottom.clone()))
        }
        _ => Ok(Transformed::no(plan)),
    })?;
    let windows = plan.schema().columns().into_iter().filter_map(|column| {
        let value = window_value_of(plan, &column)?;
        Some((column, Told { windows: node.windows, value }))
    });
    let stages = [stage.id.clone()].into();
    let closed = Closed { stages, windows: windows.collect(), ..Closed::default() };
    Ok(CutRows { stage, above: replaced.data, closed })
}

/// The rows of `leaf`, each as often as its first aggregate says, as `columns`.
fn copied(leaf: LogicalPlan, columns: Vec<Expr>) -> Result<LogicalPlan> {
    let times = cast(col(aggregate_name(0)), datafusion::arrow::datatypes::DataType::Int64);
    let copies = array_repeat(lit(true), times).alias(COPIES);
    let names: Vec<Column> = columns
        .iter()
        .map(|expr| {
            let (qualifier, name) = expr.qualified_name();
            Column::new(qualifier, name)
        })
        .collect();
    let exprs: Vec<Expr> = columns.into_iter().chain([copies]).collect();
    LogicalPlanBuilder::from(leaf)
        .project(exprs)?
        .unnest_column_with_options(COPIES, UnnestOptions::new().with_preserve_nulls(false))?
        .project(names.into_iter().map(Expr::Column).collect::<Vec<_>>())?
        .build()
}
