//! Subqueries over streams, before a plan is cut: they become joins inside a window, which is what
//! they mean, and those that cannot are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, Subquery};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::{Optimizer, OptimizerRule};

use super::refuse;
use crate::sql::with_three_values;

/// The sources, with their event times.
type Sources = BTreeMap<String, Vec<String>>;

/// `plan` with subqueries over `sources` and comma joins as joins.
///
/// # Errors
/// When a subquery means another than the join that it would become.
pub(super) fn flattened(
    state: &SessionState,
    plan: LogicalPlan,
    sources: &Sources,
) -> Result<LogicalPlan> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Vec::new();
    let mut plan = plan;
    if has_subquery(&plan, sources)? {
        plan = with_three_values(plan)?;
        rules.push(Arc::new(RewriteSetComparison::new()));
        rules.push(Arc::new(DecorrelatePredicateSubquery::new()));
        rules.push(Arc::new(ScalarSubqueryToJoin::new()));
    }
    rules.push(Arc::new(EliminateCrossJoin::new()));
    let plan = Optimizer::with_rules(rules).optimize(plan, state, |_, _| {})?;
    plan.transform_up(without_null_awareness).data()
}

/// Refuses subqueries over `sources` that are left in the expressions of `plan`.
pub(super) fn refuse_left(plan: &LogicalPlan, sources: &Sources) -> Result<()> {
    plan.apply_expressions(|expr| match subquery_over(expr, sources)? {
        None => Ok(TreeNodeRecursion::Continue),
        Some(_) if matches!(plan, LogicalPlan::Filter(_)) => refuse::no_join(),
        Some(Answer::Value) => refuse::subquery(),
        Some(Answer::Question) => refuse::question(),
    })?;
    Ok(())
}

fn has_subquery(plan: &LogicalPlan, sources: &Sources) -> Result<bool> {
    let mut found = false;
    plan.apply(|plan| {
        plan.apply_expressions(|expr| {
            found |= subquery_over(expr, sources)?.is_some();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// What a subquery gives: a value, or the answer to EXISTS, IN, ANY or ALL.
enum Answer {
    Value,
    Question,
}

/// What the first subquery over `sources` in `expr` gives.
fn subquery_over(expr: &Expr, sources: &Sources) -> Result<Option<Answer>> {
    let mut found = None;
    expr.apply(|expr| {
        let (subquery, answer) = match expr {
            Expr::ScalarSubquery(subquery) => (subquery, Answer::Value),
            Expr::InSubquery(inside) => (&inside.subquery, Answer::Question),
            Expr::Exists(exists) => (&exists.subquery, Answer::Question),
            Expr::SetComparison(set) => (&set.subquery, Answer::Question),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if !is_over(&subquery.subquery, sources)? {
            return Ok(TreeNodeRecursion::Continue);
        }
        if matches!(answer, Answer::Question) {
            refuse_lone_aggregate(subquery)?;
        }
        found = Some(answer);
        Ok(TreeNodeRecursion::Stop)
    })?;
    Ok(found)
}

fn is_over(plan: &LogicalPlan, sources: &Sources) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| match plan {
        LogicalPlan::TableScan(scan) if sources.contains_key(scan.table_name.table()) => {
            found = true;
            Ok(TreeNodeRecursion::Stop)
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(found)
}

/// Refuses an aggregate without GROUP BY in a correlated EXISTS, IN, ANY or ALL: it gives a row for
/// every row of the query around it, and the join that DataFusion makes of it does not.
fn refuse_lone_aggregate(subquery: &Subquery) -> Result<()> {
    let mut plan = subquery.subquery.as_ref();
    while let LogicalPlan::Projection(_)
    | LogicalPlan::SubqueryAlias(_)
    | LogicalPlan::Sort(_)
    | LogicalPlan::Filter(_)
    | LogicalPlan::Limit(_) = plan
    {
        let Some(input) = plan.inputs().first().copied() else { return Ok(()) };
        plan = input;
    }
    match plan {
        LogicalPlan::Aggregate(aggregate)
            if aggregate.group_expr.is_empty() && !subquery.outer_ref_columns.is_empty() =>
        {
            refuse::lone_aggregate()
        }
        _ => Ok(()),
    }
}

/// A correlated NOT IN, which DataFusion plans for one pair of columns only, as the anti join that it
/// means: no row of the same window is equal, or might be for all that is known of NULL.
fn without_null_awareness(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = plan else { return Ok(Transformed::no(plan)) };
    // The rule that made the join put the comparison of IN before what is correlated.
    match join.filter {
        Some(Expr::BinaryExpr(both)) if join.null_aware && both.op == Operator::And => {
            join.filter = Some(both.left.is_not_false().and(*both.right));
            join.null_aware = false;
            Ok(Transformed::yes(LogicalPlan::Join(join)))
        }
        filter => {
            join.filter = filter;
            Ok(Transformed::no(LogicalPlan::Join(join)))
        }
    }
}
