//! NOT IN with the three values of SQL: where it is not known whether a value is among those of a
//! subquery, for NULL, there is no row.
//!
//! DataFusion knows that of `x NOT IN (...)` by itself in WHERE, if one of the columns it reads may be
//! NULL. Of an expression that makes NULL of others, as CASE and nullif do, and below OR, NOT and the
//! like, it knows true and false only. There IN becomes `= ANY` and NOT IN `<> ALL`, which it knows.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, LogicalPlan, Operator};

/// `plan`, its subqueries too, with IN and NOT IN as comparisons where NULL would be forgotten.
///
/// # Errors
/// DataFusion's own.
pub fn with_three_values(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(three_valued).data()
}

fn three_valued(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
    if !filter.predicate.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))))? {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = filter.input.schema();
    let parts = split_conjunction_owned(filter.predicate).into_iter().map(|part| match &part {
        Expr::InSubquery(inside) if !makes_null(inside, schema)? => Ok(part),
        _ => part.transform_up(as_comparison).data(),
    });
    let parts = parts.collect::<Result<Vec<Expr>>>()?;
    let Some(predicate) = conjunction(parts) else {
        return Ok(Transformed::no(filter.input.as_ref().clone()));
    };
    let filter = Filter::try_new(predicate, filter.input)?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}

/// Whether NOT IN is asked of a value that may be NULL though the columns that it reads are not.
fn makes_null(inside: &InSubquery, schema: &DFSchema) -> Result<bool> {
    if !inside.negated || !inside.expr.nullable(schema)? {
        return Ok(false);
    }
    for column in inside.expr.column_refs() {
        if Expr::Column(column.clone()).nullable(schema)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn as_comparison(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(InSubquery { expr, subquery, negated }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let (op, quantifier) = match negated {
        true => (Operator::NotEq, SetQuantifier::All),
        false => (Operator::Eq, SetQuantifier::Any),
    };
    let comparison = SetComparison::new(expr, subquery, op, quantifier);
    Ok(Transformed::yes(Expr::SetComparison(comparison)))
}
