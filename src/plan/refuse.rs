//! Refusals: one sentence that names the clause and shows the bounded form, and what of the query
//! is to blame, so that `check` can name its line.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, NullEquality, Result, plan_err};
use datafusion::logical_expr::{
    Aggregate, Expr, Join, JoinConstraint, JoinType, LogicalPlan, Volatility,
};

use super::lineage::unaliased;
use super::nature::Nature;
use super::spoken::all_spoken;
use crate::sql::{Clause, Refusal, calls_window_function};

/// `result`, a refusal of which is one of `clause`; see [`Refusal::blame`].
pub(super) fn blamed<T>(
    result: Result<T>,
    clause: Clause,
    exprs: &[&Expr],
    word: Option<&str>,
) -> Result<T> {
    result.map_err(|error| Refusal::blame(error, clause, exprs, word))
}

/// `result` as one of what `aggregate` groups by.
pub(super) fn blamed_on<T>(result: Result<T>, aggregate: &Aggregate) -> Result<T> {
    let exprs: Vec<&Expr> = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).collect();
    let first = aggregate.aggr_expr.first().map(unaliased);
    let word = match first {
        Some(Expr::AggregateFunction(call)) => Some(format!("{}(", call.func.name())),
        _ => None,
    };
    blamed(result, Clause::GroupBy, &exprs, word.as_deref())
}

pub(super) fn limit<T>() -> Result<T> {
    let refused = plan_err!(
        "LIMIT over a stream never knows its rows; number them inside the window: \
         SELECT ... FROM (SELECT ..., ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY x \
         DESC) AS n FROM ...) WHERE n <= 10"
    );
    blamed(refused, Clause::Limit, &[], None)
}

/// DISTINCT over the rows of `what`, whose window `window` tells.
pub(super) fn distinct<T>(plan: &LogicalPlan, what: &str, window: &str) -> Result<T> {
    let exprs = match plan {
        LogicalPlan::Projection(projection) => projection.expr.clone(),
        plan => plan.schema().columns().into_iter().map(Expr::Column).collect(),
    };
    let mut columns = all_spoken(&exprs);
    columns.insert(0, window.to_owned());
    let refused = plan_err!(
        "SELECT DISTINCT over {what} would remember every row for ever; write SELECT DISTINCT {}",
        columns.join(", ")
    );
    blamed(refused, Clause::Distinct, &exprs.iter().collect::<Vec<_>>(), None)
}

/// What a join was in the text, which says how to write it.
pub(super) fn blamed_on_join<T>(result: Result<T>, join: &Join) -> Result<T> {
    if is_of_subquery(&join.right) || is_of_subquery(&join.left) {
        return result.or_else(|error| match error {
            DataFusionError::Plan(_) => subquery(),
            other => Err(other),
        });
    }
    let keys = join.on.iter().flat_map(|(left, right)| [left, right]);
    let exprs: Vec<&Expr> = keys.chain(&join.filter).collect();
    blamed(result, Clause::Join, &exprs, None)
}

pub(super) fn subquery<T>() -> Result<T> {
    let refused = plan_err!(
        "a subquery over a stream needs the window of the query around it, for others close at \
         other times; write WHERE sub.window_start = v.window_start"
    );
    blamed(refused, Clause::Subquery, &[], None)
}

/// EXISTS, IN, ANY or ALL outside of WHERE, where DataFusion makes no join of it.
pub(super) fn question<T>() -> Result<T> {
    let refused = plan_err!(
        "EXISTS, IN, ANY and ALL over a stream stand in WHERE only, not among the columns; count \
         instead: SELECT (SELECT count(*) FROM v AS b WHERE b.window_start = a.window_start AND ...) \
         > 0 AS is_there"
    );
    blamed(refused, Clause::Subquery, &[], None)
}

/// RIGHT and FULL JOIN ... USING: DataFusion takes the columns in brackets from the left side, where
/// rows of the right side alone have NULL.
pub(super) fn one_sided_using(join: &Join) -> Result<()> {
    let kind = match join.join_type {
        JoinType::Right => "RIGHT",
        JoinType::Full => "FULL",
        _ => return Ok(()),
    };
    if join.join_constraint != JoinConstraint::Using {
        return Ok(());
    }
    plan_err!(
        "{kind} JOIN ... USING would give NULL for the columns of USING where only the right side has \
         a row; write {kind} JOIN ... ON a.window_start = b.window_start AND ..., and select \
         coalesce(a.window_start, b.window_start) AS window_start"
    )
}

/// Whether the planner made `plan` of a subquery: it names those so.
fn is_of_subquery(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let name = alias.alias.table();
            name.starts_with("__correlated_sq") || name.starts_with("__scalar_sq")
        }
        _ => false,
    }
}

/// The operator that `join` was in the text, if it was one of sets.
pub(super) fn set_operator(join: &Join) -> Option<&'static str> {
    match (join.null_equality, join.join_type) {
        (NullEquality::NullEqualsNull, JoinType::LeftAnti) => Some("EXCEPT"),
        (NullEquality::NullEqualsNull, JoinType::LeftSemi) => Some("INTERSECT"),
        _ => None,
    }
}

pub(super) fn set_operation<T>(operator: &str) -> Result<T> {
    let refused = plan_err!(
        "{operator} of a stream's rows is not supported yet; write one INSERT INTO for each part, \
         or aggregate each part by the window first"
    );
    blamed(refused, Clause::SetOperation, &[], None)
}

/// `tumble()`, `hop()` and `session()` give a window in GROUP BY; anything else that is left of
/// them has none. What gives other rows each time must not stand above a window.
pub(super) fn leftover_windows(plan: &LogicalPlan, nature: &Nature) -> Result<()> {
    let is_closed = matches!(nature, Nature::Closed(_));
    plan.apply(|plan| {
        plan.apply_expressions(|expr| {
            if calls_window_function(expr) {
                let left = plan_err!(
                    "tumble(), hop() and session() stand in GROUP BY only, of an aggregate over a \
                     stream; write GROUP BY tumble(INTERVAL '1' MINUTE)"
                );
                let is_window = |name: &str| matches!(name, "tumble" | "hop" | "session");
                let word = function_in(expr, &|call, _| is_window(call));
                return blamed(left, Clause::Call, &[], word.as_deref());
            }
            if is_closed && expr.is_volatile() {
                let word = function_in(expr, &|_, volatility| volatility == Volatility::Volatile);
                let volatile = plan_err!(
                    "{}() above a window would give other rows when an epoch is tried again; \
                     compute it below the aggregate or leave it out",
                    word.as_deref().unwrap_or("random")
                );
                return blamed(volatile, Clause::Call, &[], word.as_deref());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// The name of the first scalar function in `expr` that is `wanted`.
fn function_in(expr: &Expr, wanted: &dyn Fn(&str, Volatility) -> bool) -> Option<String> {
    let mut found = None;
    let walked = expr.apply(|part| match part {
        Expr::ScalarFunction(call)
            if wanted(call.func.name(), call.func.signature().volatility) =>
        {
            found = Some(call.func.name().to_owned());
            Ok(TreeNodeRecursion::Stop)
        }
        _ => Ok(TreeNodeRecursion::Continue),
    });
    walked.ok().and(found)
}
