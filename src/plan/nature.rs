//! What the rows of a plan are to a stream: nothing of it, its rows as they come, or rows of
//! windows that have closed. It decides what may stand above.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, Projection, SubqueryAlias};

use super::lineage::unaliased;
use crate::sql::{WindowShape, WindowValue};

/// The rows of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Nature {
    /// Rows that no source feeds.
    Constant,
    /// Rows of one source as they arrive.
    Rows {
        /// The source.
        source: String,
    },
    /// Rows of closed windows.
    Closed(Closed),
}

/// Rows of closed windows, and the columns that tell the window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Closed {
    pub(super) sources: BTreeSet<String>,
    pub(super) windows: HashMap<Column, (WindowShape, WindowValue)>,
}

impl Closed {
    /// Whether one of `exprs` is a column that tells the window.
    pub(super) fn told_by(&self, exprs: &[Expr]) -> bool {
        exprs.iter().any(|expr| self.told(expr).is_some())
    }

    fn told(&self, expr: &Expr) -> Option<(WindowShape, WindowValue)> {
        match unaliased(expr) {
            Expr::Column(column) => self.windows.get(column).copied(),
            // A field of a window's struct: w.start or w.end.
            Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
                match call.args.first().map(unaliased) {
                    Some(Expr::Column(column)) => self.windows.get(column).copied(),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The same rows under the columns of a projection.
    pub(super) fn projected(&self, projection: &Projection) -> Self {
        let columns = projection.schema.columns();
        let windows = projection
            .expr
            .iter()
            .zip(columns)
            .filter_map(|(expr, column)| Some((column, self.told(expr)?)))
            .collect();
        Self { sources: self.sources.clone(), windows }
    }

    /// The same rows under an alias.
    pub(super) fn aliased(&self, alias: &SubqueryAlias) -> Self {
        let inner = alias.input.schema().columns();
        let windows = alias
            .schema
            .columns()
            .into_iter()
            .zip(inner)
            .filter_map(|(outer, inner)| Some((outer, *self.windows.get(&inner)?)))
            .collect();
        Self { sources: self.sources.clone(), windows }
    }

    /// The rows of an aggregate over these, whose keys are `exprs`, in the columns of `plan`.
    pub(super) fn grouped(&self, exprs: &[&Expr], plan: &LogicalPlan) -> Self {
        let windows = plan
            .schema()
            .columns()
            .into_iter()
            .zip(exprs)
            .filter_map(|(column, expr)| Some((column, self.told(expr)?)))
            .collect();
        Self { sources: self.sources.clone(), windows }
    }

    /// The columns that `plan`, which keeps its input's columns, still has.
    pub(super) fn kept(&self, plan: &LogicalPlan) -> Self {
        let columns: BTreeSet<Column> = plan.schema().columns().into_iter().collect();
        let windows = self
            .windows
            .iter()
            .filter(|(column, _)| columns.contains(column))
            .map(|(column, told)| (column.clone(), *told))
            .collect();
        Self { sources: self.sources.clone(), windows }
    }

    /// The rows of both sides of a union, whose columns are `columns`.
    pub(super) fn union(parts: &[(Self, Vec<Column>)], columns: &[Column]) -> Self {
        let mut windows: BTreeMap<usize, (WindowShape, WindowValue)> = BTreeMap::new();
        if let Some((first, names)) = parts.first() {
            for (position, name) in names.iter().enumerate() {
                if let Some(told) = first.windows.get(name) {
                    windows.insert(position, *told);
                }
            }
        }
        for (part, names) in parts {
            windows.retain(|position, told| {
                names.get(*position).and_then(|name| part.windows.get(name)) == Some(&*told)
            });
        }
        let windows = windows
            .into_iter()
            .filter_map(|(position, told)| Some((columns.get(position)?.clone(), told)))
            .collect();
        let sources = parts.iter().flat_map(|(part, _)| part.sources.iter().cloned()).collect();
        Self { sources, windows }
    }

    /// The rows of a join with `right` on pairs of expressions.
    ///
    /// # Errors
    /// When no pair is one window on both sides, so that the sides close at different times.
    pub(super) fn joined(&self, right: &Self, on: &[(Expr, Expr)], kind: JoinType) -> Result<Self> {
        let same_window = on.iter().any(|(a, b)| {
            let (a, b) = (self.told(a), right.told(b));
            a.is_some() && a == b
        });
        if !same_window || self.sources != right.sources {
            return plan_err!(
                "a join of windowed views needs the same window of the same source on both \
                 sides; write ON a.window_start = b.window_start AND ..."
            );
        }
        let mut windows = HashMap::new();
        if matches!(
            kind,
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti
        ) {
            windows.extend(self.windows.clone());
        }
        if matches!(
            kind,
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
        ) {
            windows.extend(right.windows.clone());
        }
        Ok(Self { sources: self.sources.clone(), windows })
    }
}
