//! Refusals: one sentence that names the clause and shows the bounded form, and what of the query
//! is to blame, so that `check` can name its line.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, NullEquality, Result, plan_err};
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, GroupingSet, Join, JoinConstraint, JoinType,
    LogicalPlan, Volatility,
};

use super::lineage::unaliased;
use super::nature::{Closed, Nature, Told};
use super::spoken::{all_spoken, spoken};
use super::window_choice::second_window;
use crate::sql::{
    Clause, Refusal, WINDOW_END, WINDOW_FUNCTIONS, WINDOW_START, WINDOW_TIME, WindowValue,
    calls_window_function, function_spoken,
};

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
        Some(Expr::AggregateFunction(call)) => {
            Some(format!("{}(", function_spoken(call.func.name())))
        }
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
    let exprs = selected(plan);
    let columns = [vec![window.to_owned()], all_spoken(&exprs)].concat().join(", ");
    let advice = format!("write SELECT DISTINCT {columns}");
    forgetful(&exprs, what, &advice)
}

/// DISTINCT over rows of closed windows, of which `closed` is below what `plan` selects.
pub(super) fn endless_distinct<T>(plan: &LogicalPlan, closed: &Closed) -> Result<T> {
    let exprs = selected(plan);
    let advice = with_window(plan, closed, &exprs, |keys| format!("SELECT DISTINCT {keys}"));
    forgetful(&exprs, "rows of closed windows", &advice)
}

/// The expressions that `plan` selects.
fn selected(plan: &LogicalPlan) -> Vec<Expr> {
    match plan {
        LogicalPlan::Projection(projection) => projection.expr.clone(),
        plan => plan.schema().columns().into_iter().map(Expr::Column).collect(),
    }
}

fn forgetful<T>(exprs: &[Expr], what: &str, advice: &str) -> Result<T> {
    let refused =
        plan_err!("SELECT DISTINCT over {what} would remember every row for ever; {advice}");
    blamed(refused, Clause::Distinct, &exprs.iter().collect::<Vec<_>>(), None)
}

/// DISTINCT ON without the window of `closed`.
pub(super) fn endless_distinct_on<T>(on: &DistinctOn, closed: &Closed) -> Result<T> {
    let keys = |keys: &str| format!("DISTINCT ON ({keys})");
    let endless = plan_err!(
        "DISTINCT ON over a stream needs the window among its expressions, else it would wait for \
         all rows; {}",
        with_window(&on.input, closed, &on.on_expr, keys)
    );
    blamed(endless, Clause::Distinct, &on.on_expr.iter().collect::<Vec<_>>(), None)
}

/// OVER without the window of `closed`, the rows of `plan`.
pub(super) fn endless_over<T>(
    function: &str,
    plan: &LogicalPlan,
    keys: &[Expr],
    closed: &Closed,
) -> Result<T> {
    plan_err!(
        "{function}() OVER (...) over a stream needs the window in PARTITION BY, else it would \
         need all rows at once; {}",
        with_window(plan, closed, keys, |keys| format!("OVER (PARTITION BY {keys} ...)"))
    )
}

/// An aggregate over rows of closed windows without their window.
pub(super) fn endless_aggregate<T>(aggregate: &Aggregate, closed: &Closed) -> Result<T> {
    let has_sets = matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]);
    let keys: Vec<Expr> = match has_sets {
        true => vec![],
        false => aggregate.group_expr.clone(),
    };
    let what = match (has_sets, keys.as_slice()) {
        (true, _) => "every set of GROUP BY GROUPING SETS".to_owned(),
        (false, []) => "an aggregate".to_owned(),
        (false, keys) => format!("GROUP BY {}", all_spoken(keys).join(", ")),
    };
    let others = if has_sets { ", ..." } else { "" };
    plan_err!(
        "{what} over rows of closed windows needs their window, for without it its groups are \
         never complete; {}",
        with_window(&aggregate.input, closed, &keys, |keys| format!("GROUP BY {keys}{others}"))
    )
}

/// GROUPING SETS, ROLLUP or CUBE `groups`, one set of which leaves out the window `window`.
pub(super) fn set_without_window<T>(groups: &[Expr], window: &Expr) -> Result<T> {
    let others = |keys: &[Expr]| -> String {
        let others: Vec<Expr> = keys.iter().filter(|key| *key != window).cloned().collect();
        all_spoken(&others).join(", ")
    };
    let window_spoken = spoken(window);
    let written = match groups {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => {
            let mut written: Vec<String> = Vec::new();
            for set in sets {
                let set = match others(set) {
                    others if others.is_empty() => format!("({window_spoken})"),
                    others => format!("({window_spoken}, {others})"),
                };
                if !written.contains(&set) {
                    written.push(set);
                }
            }
            format!("GROUPING SETS ({})", written.join(", "))
        }
        [Expr::GroupingSet(GroupingSet::Rollup(keys))] => {
            format!("{window_spoken}, ROLLUP ({})", others(keys))
        }
        [Expr::GroupingSet(GroupingSet::Cube(keys))] => {
            format!("{window_spoken}, CUBE ({})", others(keys))
        }
        groups => format!("{window_spoken}, {}", others(groups)),
    };
    plan_err!(
        "GROUP BY GROUPING SETS needs the window in every set, else a set would never be complete; \
         write GROUP BY {written}"
    )
}

/// A window over the column `time` of `plan`, rows of the closed windows `closed`, which is no time
/// of theirs.
pub(super) fn no_time_of_windows<T>(
    plan: &LogicalPlan,
    closed: &Closed,
    time: &Column,
) -> Result<T> {
    let rank = |told: &Told| match told.value {
        WindowValue::Time => 0,
        WindowValue::End => 1,
        WindowValue::Start => 2,
        WindowValue::Struct => 3,
    };
    let best = closed.windows.iter().min_by_key(|(column, told)| (rank(told), &column.name));
    let advice = match (best, lost_in(plan)) {
        (Some((column, told)), _) if told.value == WindowValue::Struct => {
            format!("select {}.start AS t in a view over it, and write DESCRIPTOR(t)", column.name)
        }
        (Some((column, _)), _) => format!("write DESCRIPTOR({})", column.name),
        (None, Some(lost)) => lost.to_owned(),
        // Under its own name it would be there twice.
        (None, None) => {
            format!("select {WINDOW_TIME} AS t in the view, and write DESCRIPTOR(t)")
        }
    };
    plan_err!(
        "the window is over {}, which is not a time of the view's own windows; {advice}",
        time.name
    )
}

/// What to write so that the keys of a clause tell the window of `closed`, the rows of `plan`:
/// `written` puts the clause around all of them.
fn with_window(
    plan: &LogicalPlan,
    closed: &Closed,
    keys: &[Expr],
    written: impl Fn(&str) -> String,
) -> String {
    let keys = all_spoken(keys);
    let beside = |window: String, name: &str| {
        let others = keys.iter().filter(|key| *key != name).cloned();
        written(&std::iter::once(window).chain(others).collect::<Vec<_>>().join(", "))
    };
    match closed.telling() {
        Some((column, told)) => {
            let name = &column.name;
            // A key of the same name is of the other side of a join.
            let window = if keys.contains(name) { column.flat_name() } else { name.clone() };
            match told.is_enough() {
                true => format!("write {}", beside(window, name)),
                false => format!(
                    "select {WINDOW_END} in the view, and write {}",
                    beside(format!("{name}, {WINDOW_END}"), name)
                ),
            }
        }
        None if closed.stages.is_empty() => format!(
            "write FROM TUMBLE(TABLE t, DESCRIPTOR(ts), size) and {}",
            beside(WINDOW_START.to_owned(), WINDOW_START)
        ),
        None => match lost_in(plan) {
            Some(lost) => lost.to_owned(),
            None => format!(
                "select {WINDOW_START} in the view, and write {}",
                beside(WINDOW_START.to_owned(), WINDOW_START)
            ),
        },
    }
}

/// Where the rows of `plan` lost the columns of their windows, other than by leaving them out.
fn lost_in(plan: &LogicalPlan) -> Option<&'static str> {
    match plan {
        LogicalPlan::Union(_) => Some(
            "the parts of the UNION have different windows, or not in the same column; give all of \
             them windows of one size, and select these at the same place in each",
        ),
        LogicalPlan::Join(join) if join.join_type == JoinType::Full => Some(
            "FULL JOIN leaves the window of a side NULL where it has no row; select \
             coalesce(a.window_start, b.window_start) AS window_start in a view of it, and use that",
        ),
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => {
            plan.inputs().first().and_then(|input| lost_in(input))
        }
        _ => None,
    }
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

/// A subquery in WHERE that DataFusion makes no join of.
pub(super) fn no_join<T>() -> Result<T> {
    let refused = plan_err!(
        "a subquery over a stream becomes a join on its window, which LIMIT, UNION and columns of the \
         query around it outside of its WHERE do not allow; write it as a view, and JOIN that"
    );
    blamed(refused, Clause::Subquery, &[], None)
}

/// An aggregate without GROUP BY in EXISTS, IN, ANY or ALL, correlated.
pub(super) fn lone_aggregate<T>() -> Result<T> {
    let refused = plan_err!(
        "an aggregate without GROUP BY in EXISTS, IN, ANY or ALL has a row also where nothing is \
         counted, which would be lost; compare its value: WHERE 0 = (SELECT count(*) FROM v AS b \
         WHERE b.window_start = a.window_start AND ...)"
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
        "{kind} JOIN with USING or NATURAL would give NULL for the columns that it holds equal where \
         only the right side has a row; write {kind} JOIN ... ON a.window_start = b.window_start \
         AND ..., and select coalesce(a.window_start, b.window_start) AS window_start"
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
                return leftover_window(plan, expr);
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

/// A window function in `expr` of `plan`, where it gives no window.
fn leftover_window<T>(plan: &LogicalPlan, expr: &Expr) -> Result<T> {
    let left = plan_err!(
        "tumble(), hop() and session() stand in GROUP BY only, of an aggregate over a stream; \
         write GROUP BY tumble(INTERVAL '1' MINUTE)"
    );
    let word = function_in(expr, &|call, _| WINDOW_FUNCTIONS.contains(&call));
    match (plan, unaliased(expr)) {
        (LogicalPlan::Aggregate(_), Expr::ScalarFunction(_)) => second_window(),
        (LogicalPlan::Filter(_), _) => {
            let word = word.map(|name| format!("{name}("));
            blamed(left, Clause::Filter, &[expr], word.as_deref())
        }
        (_, Expr::AggregateFunction(call)) => {
            blamed(left, Clause::Call, &[], Some(call.func.name()))
        }
        _ => blamed(left, Clause::Call, &[], word.as_deref()),
    }
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
