//! Where a column comes from: followed down through projections, aliases and filters to a
//! source's scan or to a window.

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::sql::{WindowNode, field_path};

/// What a column of a plan turns out to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// A column of a source.
    Source {
        /// The source's name.
        source: String,
        /// The column's name there, and the fields of structs below it.
        path: Vec<String>,
    },
    /// One of the columns that a window adds.
    Window {
        /// Its name: `window_start`, `window_end` or `window_time`.
        column: String,
    },
    /// Something computed.
    Computed,
}

/// Follows `column` of `plan`'s output down to where its values are made.
pub(super) fn origin(plan: &LogicalPlan, column: &Column) -> Origin {
    match plan {
        LogicalPlan::TableScan(scan) => Origin::Source {
            source: scan.table_name.table().to_owned(),
            path: vec![column.name.clone()],
        },
        LogicalPlan::Projection(projection) => {
            let Some(at) = projection.schema.maybe_index_of_column(column) else {
                return Origin::Computed;
            };
            origin_of(&projection.input, &projection.expr[at])
        }
        LogicalPlan::SubqueryAlias(alias) => match alias.schema.maybe_index_of_column(column) {
            Some(at) => {
                origin(&alias.input, &Column::from(alias.input.schema().qualified_field(at)))
            }
            None => Origin::Computed,
        },
        LogicalPlan::Filter(filter) => origin(&filter.input, column),
        LogicalPlan::Sort(sort) => origin(&sort.input, column),
        LogicalPlan::Unnest(unnest) => {
            let index = unnest.schema.maybe_index_of_column(column);
            let from = index.and_then(|at| unnest.dependency_indices.get(at));
            let kept = unnest.input.schema().maybe_index_of_column(column);
            match (from, kept) {
                (Some(from), Some(kept)) if *from == kept => origin(&unnest.input, column),
                _ => Origin::Computed,
            }
        }
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref() {
            Some(window) => window_origin(window, column),
            None => Origin::Computed,
        },
        _ => Origin::Computed,
    }
}

/// Follows an expression over `plan`'s output, a column or a field of a struct, down to where its
/// values are made.
pub(super) fn origin_of(plan: &LogicalPlan, expr: &Expr) -> Origin {
    let expr = unaliased(expr);
    if let Expr::Column(column) = expr {
        return origin(plan, column);
    }
    let Some((column, below)) = field_path(expr) else { return Origin::Computed };
    match origin(plan, column) {
        Origin::Source { source, mut path } => {
            path.extend(below);
            Origin::Source { source, path }
        }
        Origin::Window { .. } | Origin::Computed => Origin::Computed,
    }
}

/// The column of the window's input that `column` of `plan` is, through projections and aliases.
pub(super) fn column_at_window(plan: &LogicalPlan, column: &Column) -> Option<Column> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.maybe_index_of_column(column)?;
            match unaliased(&projection.expr[at]) {
                Expr::Column(inner) => column_at_window(&projection.input, inner),
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.maybe_index_of_column(column)?;
            let inner = Column::from(alias.input.schema().qualified_field(at));
            column_at_window(&alias.input, &inner)
        }
        LogicalPlan::Extension(extension) => {
            let window: &WindowNode = extension.node.as_any().downcast_ref()?;
            let at = window.input.schema().maybe_index_of_column(column)?;
            Some(Column::from(window.input.schema().qualified_field(at)))
        }
        _ => None,
    }
}

fn window_origin(window: &WindowNode, column: &Column) -> Origin {
    match window.input.schema().maybe_index_of_column(column) {
        Some(_) => origin(&window.input, column),
        None => Origin::Window { column: column.name.clone() },
    }
}

/// The expression under its aliases.
pub(super) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
