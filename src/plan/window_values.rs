//! The values of a window as expressions: its start from its columns, its columns from its
//! start, and rows once for each window that holds them.

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, ScalarValue, UnnestOptions};
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use crate::sql::{
    WINDOW_END, WINDOW_START, WINDOW_TIME, WindowNode, WindowShape, WindowValue, Windows,
    pane_start_expr, window_starts_expr,
};

/// The column that [`expand_windows`] adds: the start of one window that holds the row.
pub(super) const EXPANDED: &str = "__window_start";

const MILLISECOND_US: i64 = 1_000;

/// What a window that begins at `start` gives for `value`.
pub(super) fn window_value(start: Expr, value: WindowValue, shape: &WindowShape) -> Expr {
    let end = |start: Expr| start + interval(shape.size_us());
    match value {
        WindowValue::Start => start,
        WindowValue::End => end(start),
        WindowValue::Time => start + interval(shape.size_us() - MILLISECOND_US),
        WindowValue::Struct => {
            named_struct(vec![lit("start"), start.clone(), lit("end"), end(start)])
        }
    }
}

/// The start of the window whose `value` stands in `column`.
pub(super) fn start_from(column: &Column, value: WindowValue, shape: &WindowShape) -> Expr {
    let column = Expr::Column(column.clone());
    match value {
        WindowValue::Start | WindowValue::Struct => column,
        WindowValue::End => column - interval(shape.size_us()),
        WindowValue::Time => column - interval(shape.size_us() - MILLISECOND_US),
    }
}

/// `expr` as a value of `data_type`.
pub(super) fn typed(expr: Expr, from: &DataType, data_type: &DataType) -> Expr {
    if from == data_type { expr } else { cast(expr, data_type.clone()) }
}

/// Replaces the window of FROM by projections that make its columns: of the pane that holds the
/// row, or, with `expand`, of each window that does.
pub(super) fn replace_window_node(plan: LogicalPlan, expand: bool) -> Result<LogicalPlan> {
    let replaced = plan.transform_up(|plan| {
        let LogicalPlan::Extension(extension) = &plan else { return Ok(Transformed::no(plan)) };
        let Some(node) = extension.node.as_any().downcast_ref::<WindowNode>() else {
            return Ok(Transformed::no(plan));
        };
        let Windows::Aligned(shape) = &node.windows else { return Ok(Transformed::no(plan)) };
        let columns = node.input.schema().columns();
        let (input, start) = if expand {
            (expand_windows(node.input.clone(), &node.time, shape)?, col(EXPANDED))
        } else {
            let time = Expr::Column(node.time.clone());
            (node.input.clone(), pane_start_expr(time, shape))
        };
        let named = [
            (WindowValue::Start, WINDOW_START),
            (WindowValue::End, WINDOW_END),
            (WindowValue::Time, WINDOW_TIME),
        ]
        .map(|(value, name)| window_value(start.clone(), value, shape).alias(name));
        let exprs = columns.into_iter().map(Expr::Column).chain(named);
        Ok(Transformed::yes(LogicalPlanBuilder::from(input).project(exprs)?.build()?))
    })?;
    Ok(replaced.data)
}

/// `input` once for each window that holds `time`, with the window's start as [`EXPANDED`].
pub(super) fn expand_windows(
    input: LogicalPlan,
    time: &Column,
    shape: &WindowShape,
) -> Result<LogicalPlan> {
    let starts = window_starts_expr(Expr::Column(time.clone()), shape).alias(EXPANDED);
    let exprs = input.schema().columns().into_iter().map(Expr::Column).chain([starts]);
    LogicalPlanBuilder::from(input)
        .project(exprs.collect::<Vec<_>>())?
        .unnest_column_with_options(EXPANDED, UnnestOptions::new().with_preserve_nulls(false))?
        .build()
}

fn interval(us: i64) -> Expr {
    let interval = IntervalMonthDayNano::new(0, 0, us.saturating_mul(1_000));
    lit(ScalarValue::IntervalMonthDayNano(Some(interval)))
}
