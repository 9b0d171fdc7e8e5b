//! An event time that is a field of a struct, `event.timestamp`: a window needs a column, so it
//! gets one of its own, below the aggregate that it groups and nowhere else.
//!
//! ```text
//! Aggregate: date_trunc('minute', event.timestamp)      Aggregate: date_trunc('minute', "event.timestamp")
//!   TableScan: s (event)                          -->     Projection: event, event.timestamp AS "event.timestamp"
//!                                                           TableScan: s (event)
//! ```
//!
//! `TUMBLE(TABLE s, DESCRIPTOR(event.timestamp), ...)` makes the same projection when it is
//! planned (`src/sql/window_relation.rs`); lineage tells that the column is the field.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr};
use std::sync::Arc;

use super::lineage::{Origin, origin, origin_of};
use super::stream::Stream;
use super::window_choice::window_nodes;
use crate::sql::{calls_window_function, field_of, with_column};

/// The aggregate over a column of the event time of `stream`, where that is a field of a struct and
/// a grouping expression takes it; none where there is nothing to do.
pub(super) fn over_time_column(
    aggregate: &Aggregate,
    stream: &Stream,
) -> Result<Option<Aggregate>> {
    if stream.event_time.len() < 2 || !window_nodes(&aggregate.input)?.is_empty() {
        return Ok(None);
    }
    let Some(time) = time_of(aggregate, stream)? else { return Ok(None) };
    let (input, column) = with_column(aggregate.input.as_ref().clone(), time.clone())?;
    let groups = aggregate.group_expr.iter();
    let groups = groups.map(|group| replaced(group, &time, &column)).collect::<Result<_>>()?;
    Ok(Some(Aggregate::try_new(Arc::new(input), groups, aggregate.aggr_expr.clone())?))
}

/// The expression over the aggregate's input that is the event time: as a grouping expression has
/// it, or where one calls `tumble()`, as the columns allow.
fn time_of(aggregate: &Aggregate, stream: &Stream) -> Result<Option<Expr>> {
    let is_time = |expr: &Expr| {
        matches!(expr, Expr::ScalarFunction(_))
            && matches!(
                origin_of(&aggregate.input, expr),
                Origin::Source { path, .. } if path == stream.event_time
            )
    };
    let mut found = None;
    for group in &aggregate.group_expr {
        group.apply(|part| {
            if is_time(part) {
                found = Some(part.clone());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    if found.is_some() || !aggregate.group_expr.iter().any(calls_window_function) {
        return Ok(found);
    }
    let columns = aggregate.input.schema().columns();
    let paths: Vec<(Column, Vec<String>)> = columns
        .into_iter()
        .filter_map(|column| match origin(&aggregate.input, &column) {
            Origin::Source { path, .. } => Some((column, path)),
            Origin::Window { .. } | Origin::Computed => None,
        })
        .collect();
    if paths.iter().any(|(_, path)| *path == stream.event_time) {
        return Ok(None);
    }
    Ok(paths.into_iter().find_map(|(column, path)| {
        let below = stream.event_time.strip_prefix(path.as_slice())?;
        Some(below.iter().fold(Expr::Column(column), |inner, name| field_of(inner, name)))
    }))
}

/// The grouping expression with `column` for `time`, under the name that it had.
fn replaced(group: &Expr, time: &Expr, column: &Column) -> Result<Expr> {
    if let Expr::GroupingSet(_) = group {
        return group
            .clone()
            .map_children(|member| Ok(Transformed::yes(replaced(&member, time, column)?)))
            .map(|group| group.data);
    }
    let name = group.schema_name().to_string();
    let replaced = group.clone().transform(|part| match part {
        part if part == *time => Ok(Transformed::yes(Expr::Column(column.clone()))),
        part => Ok(Transformed::no(part)),
    })?;
    Ok(match replaced.transformed {
        true => replaced.data.alias(name),
        false => group.clone(),
    })
}
