//! What the rows of a plan are to a stream: nothing of it, its rows as they come, or rows of
//! windows that have closed. It decides what may stand above.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, Projection, SubqueryAlias};

use super::input::Input;
use super::lineage::unaliased;
use crate::sql::{WindowValue, Windows};

/// The rows of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Nature {
    /// Rows that no stream feeds.
    Constant,
    /// Rows of one stream as they arrive.
    Rows(Input),
    /// Rows of closed windows.
    Closed(Closed),
}

impl Nature {
    /// The stream whose rows pass as they arrive.
    pub(super) fn passes(&self) -> Option<&Input> {
        match self {
            Self::Rows(input) => Some(input),
            Self::Constant | Self::Closed(_) => None,
        }
    }
}

/// Rows of closed windows, and the columns that tell the window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Closed {
    /// The stages that emit them.
    pub(super) stages: BTreeSet<String>,
    pub(super) windows: HashMap<Column, Told>,
    /// After a FULL JOIN, the expressions of which one or the other tells the window.
    pub(super) either: Vec<(Expr, Expr, Told)>,
}

/// What a column says of the window of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) windows: Windows,
    pub(crate) value: WindowValue,
}

impl Told {
    /// Whether the value alone tells which window it is, and so when it closes.
    pub(super) fn is_enough(&self) -> bool {
        self.windows.is_told_by_start() || self.value != WindowValue::Start
    }
}

impl Closed {
    /// Whether `exprs` tell the window: one of them is its end, or its start where that is enough.
    pub(super) fn told_by(&self, exprs: &[Expr]) -> bool {
        exprs.iter().filter_map(|expr| self.told(expr)).any(|told| told.is_enough())
    }

    /// The column that tells the window, for a refusal: one that is enough, if there is any.
    pub(super) fn telling(&self) -> Option<(&Column, Told)> {
        let rank = |told: &Told| {
            let is_start = told.value == WindowValue::Start;
            (!told.is_enough(), !is_start, told.value != WindowValue::End)
        };
        let best = self.windows.iter().min_by_key(|(column, told)| (rank(told), &column.name));
        best.map(|(column, told)| (column, *told))
    }

    /// What `expr` says of the window.
    pub(super) fn told(&self, expr: &Expr) -> Option<Told> {
        match unaliased(expr) {
            Expr::Column(column) => self.windows.get(column).copied(),
            // A field of a window's struct: w.start or w.end.
            Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
                let told = match call.args.first().map(unaliased) {
                    Some(Expr::Column(column)) => *self.windows.get(column)?,
                    _ => return None,
                };
                let value = match call.args.get(1).map(unaliased) {
                    Some(Expr::Literal(name, _)) => match name.try_as_str().flatten()? {
                        "start" => WindowValue::Start,
                        _ => WindowValue::End,
                    },
                    _ => return None,
                };
                Some(Told { value, ..told })
            }
            Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
                let [one, other] = call.args.as_slice() else { return None };
                let pairs = [(one, other), (other, one)];
                let mut known = self.either.iter();
                known.find(|(a, b, _)| pairs.contains(&(a, b))).map(|(_, _, told)| *told)
            }
            _ => None,
        }
    }

    /// The same rows under the columns of a projection.
    pub(super) fn projected(&self, projection: &Projection) -> Self {
        let columns = projection.schema.columns();
        let exprs = projection.expr.iter();
        self.with(columns.into_iter().zip(exprs.map(|expr| self.told(expr))))
    }

    /// The same rows under an alias.
    pub(super) fn aliased(&self, alias: &SubqueryAlias) -> Self {
        let inner = alias.input.schema().columns().into_iter();
        let told = inner.map(|inner| self.windows.get(&inner).copied());
        self.with(alias.schema.columns().into_iter().zip(told))
    }

    /// The rows of an aggregate over these, whose keys are `exprs`, in the columns of `plan`.
    pub(super) fn grouped(&self, exprs: &[&Expr], plan: &LogicalPlan) -> Self {
        let told = exprs.iter().map(|expr| self.told(expr));
        self.with(plan.schema().columns().into_iter().zip(told))
    }

    /// The columns that `plan`, which keeps its input's columns, still has.
    pub(super) fn kept(&self, plan: &LogicalPlan) -> Self {
        let columns = plan.schema().columns().into_iter();
        let kept = self.with(columns.map(|column| {
            let told = self.windows.get(&column).copied();
            (column, told)
        }));
        Self { either: self.either.clone(), ..kept }
    }

    fn with(&self, columns: impl Iterator<Item = (Column, Option<Told>)>) -> Self {
        let windows = columns.filter_map(|(column, told)| Some((column, told?))).collect();
        Self { stages: self.stages.clone(), windows, either: Vec::new() }
    }

    /// The rows of all parts of a union, whose columns are `columns`.
    pub(super) fn union(parts: &[(Self, Vec<Column>)], columns: &[Column]) -> Self {
        let mut windows: BTreeMap<usize, Told> = BTreeMap::new();
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
        let stages = parts.iter().flat_map(|(part, _)| part.stages.iter().cloned()).collect();
        Self { stages, windows, either: Vec::new() }
    }

    /// The rows of a join with `right` on pairs of expressions.
    ///
    /// # Errors
    /// When no pair is one window on both sides, so that the sides close at different times.
    pub(super) fn joined(&self, right: &Self, on: &[(Expr, Expr)], kind: JoinType) -> Result<Self> {
        let pairs = || on.iter().filter_map(|(a, b)| Some((self.told(a)?, right.told(b)?)));
        if !pairs().any(|(a, b)| a == b && a.is_enough()) {
            if pairs().any(|(a, b)| a == b) {
                return plan_err!(
                    "JOIN of such windows needs their end, too, for several begin at the same time; \
                     write ON a.window_start = b.window_start AND a.window_end = b.window_end"
                );
            }
            return plan_err!(
                "JOIN of windowed views needs the same window on both sides, for others close at \
                 other times; write ON a.window_start = b.window_start AND ..."
            );
        }
        use JoinType::{
            Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightSemi,
        };
        let mut windows = HashMap::new();
        if matches!(kind, Inner | Left | LeftSemi | LeftAnti | LeftMark) {
            windows.extend(self.windows.clone());
        }
        if matches!(kind, Inner | Right | RightSemi | RightAnti) {
            windows.extend(right.windows.clone());
        }
        let either = on.iter().filter(|_| kind == Full).filter_map(|(a, b)| {
            let told = self.told(a).filter(|told| right.told(b) == Some(*told))?;
            Some((a.clone(), b.clone(), told))
        });
        let either = either.collect();
        let stages = self.stages.union(&right.stages).cloned().collect();
        Ok(Self { stages, windows, either })
    }
}
