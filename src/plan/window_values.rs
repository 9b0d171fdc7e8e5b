//! The values of a window as expressions: its bounds from its columns, its columns from its
//! bounds, and rows once for each window that holds them.

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, ScalarValue, UnnestOptions};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use super::nature::Told;
use crate::sql::{
    WINDOW_END, WINDOW_START, WINDOW_TIME, WindowNode, WindowShape, WindowValue, Windows,
    pane_start_expr, start_of_mark_expr, window_starts_expr, window_struct,
};

/// The column that [`expand_windows`] adds: the mark of one window that holds the row.
pub(super) const EXPANDED: &str = "__window_start";

const MILLISECOND_US: i64 = 1_000;

/// The first instant of a window and the first after it.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) start: Expr,
    pub(super) end: Expr,
}

impl Bounds {
    /// Those of the window of `shape` with this mark.
    pub(super) fn of_mark(mark: Expr, shape: &WindowShape) -> Self {
        let end = mark.clone() + interval(shape.end_of(0));
        Self { start: start_of_mark_expr(mark, shape), end }
    }

    /// Those of the window that `column` tells, where its value is enough for it. Of a window that
    /// is told by its end the start is not known, and is the end here.
    pub(super) fn told(column: Expr, told: &Told) -> Self {
        let size = told.windows.aligned().filter(|shape| shape.is_told_by_start());
        let size = size.map(|shape| interval(shape.size_us()));
        let end = match told.value {
            WindowValue::Struct => get_field(column.clone(), "end"),
            WindowValue::End => column.clone(),
            WindowValue::Time => column.clone() + interval(MILLISECOND_US),
            WindowValue::Start => match &size {
                Some(size) => column.clone() + size.clone(),
                None => column.clone(),
            },
        };
        let start = match (told.value, size) {
            (WindowValue::Start, _) => column,
            (WindowValue::Struct, _) => get_field(column, "start"),
            (_, Some(size)) => end.clone() - size,
            (_, None) => end.clone(),
        };
        Self { start, end }
    }
}

/// What a window with these bounds gives for `value`.
pub(super) fn window_value(bounds: &Bounds, value: WindowValue) -> Expr {
    let (start, end) = (bounds.start.clone(), bounds.end.clone());
    match value {
        WindowValue::Start => start,
        WindowValue::End => end,
        WindowValue::Time => end - interval(MILLISECOND_US),
        WindowValue::Struct => window_struct(start, end),
    }
}

/// The mark of the window whose `value` stands in `column`; the start is enough for it only where
/// windows are told by it.
pub(super) fn mark_from(column: &Column, value: WindowValue, shape: &WindowShape) -> Expr {
    let column = Expr::Column(column.clone());
    match value {
        WindowValue::Start | WindowValue::Struct => column,
        WindowValue::End => column - interval(shape.end_of(0)),
        WindowValue::Time => column - interval(shape.end_of(0) - MILLISECOND_US),
    }
}

/// `expr` as a value of `data_type`.
pub(super) fn typed(expr: Expr, from: &DataType, data_type: &DataType) -> Expr {
    if from == data_type { expr } else { cast(expr, data_type.clone()) }
}

/// Replaces the window of FROM by projections that make its columns: of the pane that holds the
/// row, or, with `expand`, of each window that does. Sessions stay as they are.
pub(super) fn replace_window_node(plan: LogicalPlan, expand: bool) -> Result<LogicalPlan> {
    let replaced = plan.transform_up(|plan| {
        let LogicalPlan::Extension(extension) = &plan else { return Ok(Transformed::no(plan)) };
        let Some(node) = extension.node.as_any().downcast_ref::<WindowNode>() else {
            return Ok(Transformed::no(plan));
        };
        let Windows::Aligned(shape) = &node.windows else { return Ok(Transformed::no(plan)) };
        let columns = node.input.schema().columns();
        let (input, mark) = if expand {
            (expand_windows(node.input.clone(), &node.time, shape)?, col(EXPANDED))
        } else {
            let time = Expr::Column(node.time.clone());
            (node.input.clone(), pane_start_expr(time, shape))
        };
        let named = window_columns(&Bounds::of_mark(mark, shape));
        let exprs: Vec<Expr> = columns.into_iter().map(Expr::Column).chain(named).collect();
        Ok(Transformed::yes(LogicalPlanBuilder::from(input).project(exprs)?.build()?))
    })?;
    Ok(replaced.data)
}

/// The three columns that a window of FROM adds.
pub(super) fn window_columns(bounds: &Bounds) -> [Expr; 3] {
    [
        (WindowValue::Start, WINDOW_START),
        (WindowValue::End, WINDOW_END),
        (WindowValue::Time, WINDOW_TIME),
    ]
    .map(|(value, name)| window_value(bounds, value).alias(name))
}

/// `input` once for each window that holds `time`, with the window's mark as [`EXPANDED`].
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

pub(super) fn interval(us: i64) -> Expr {
    let interval = IntervalMonthDayNano::new(0, 0, us.saturating_mul(1_000));
    lit(ScalarValue::IntervalMonthDayNano(Some(interval)))
}
