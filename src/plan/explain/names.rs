//! Keys and aggregates as the query writes them: without the names of relations, and without those
//! that the cut made.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::super::feed::Feed;
use super::super::lineage::{Origin, origin, unaliased};
use super::super::spoken::spoken;
use super::super::stage::Stage;
use crate::sql::{WINDOW_END, WINDOW_START, WINDOW_TIME, WindowValue};

/// The first and the last time of a piece of a session stand behind its aggregates.
const SESSION_BOUNDS: usize = 2;

/// All keys of the state but the window, in its order; empty names stand for the window's columns.
pub(super) fn keys(stage: &Stage) -> Vec<String> {
    let partial = &stage.partial;
    let Some((mark, keys)) = partial.keys.exprs.split_first() else { return vec![] };
    let of_window = |key: &Expr| {
        partial.keys.sets.is_some() && key.exists(|part| Ok(part == mark)).unwrap_or(false)
    };
    let name = |key: &Expr| match of_window(key) {
        true => String::new(),
        false => plain(key, &partial.input),
    };
    keys.iter().map(name).collect()
}

/// Those of `keys` that the aggregate groups by; none where rows are kept as they are.
pub(super) fn grouped(stage: &Stage, keys: Vec<String>) -> Vec<String> {
    if stage.keeps_rows {
        return vec![];
    }
    let grouped: Vec<String> = match &stage.sessions {
        Some(sessions) => {
            sessions.grouped.iter().filter_map(|at| keys.get(at.checked_sub(1)?).cloned()).collect()
        }
        None => keys,
    };
    grouped.into_iter().filter(|name| !name.is_empty()).collect()
}

/// The aggregates of a stage.
pub(super) fn aggregates(stage: &Stage) -> Vec<String> {
    if stage.keeps_rows {
        return vec![];
    }
    let partial = &stage.partial;
    let bounds = if stage.sessions.is_some() { SESSION_BOUNDS } else { 0 };
    let own = partial.aggregates.len().saturating_sub(bounds);
    partial.aggregates.iter().take(own).map(|expr| plain(expr, &partial.input)).collect()
}

/// The column that is a feed's event time, or which of the window's it would be.
pub(super) fn feed_time(feed: &Feed) -> &str {
    match feed.told.value {
        _ if !feed.event_time.starts_with("__") => &feed.event_time,
        WindowValue::Start => WINDOW_START,
        WindowValue::End | WindowValue::Struct => WINDOW_END,
        WindowValue::Time => WINDOW_TIME,
    }
}

/// `expr` over `input` in the words of the query.
fn plain(expr: &Expr, input: &LogicalPlan) -> String {
    let renamed = unaliased(expr).clone().transform(|part| match part {
        Expr::Column(column) => {
            let name = match origin(input, &column) {
                Origin::Source { path, .. } => path.join("."),
                Origin::Window { column: name } => name,
                Origin::Computed => column.name.clone(),
            };
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        }
        part => Ok(Transformed::no(part)),
    });
    match renamed {
        Ok(renamed) => spoken(&renamed.data),
        Err(_) => spoken(expr),
    }
}
