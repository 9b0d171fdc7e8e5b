//! A bound on what a statement becomes once its common tables are written out in every place where
//! they are named: `WITH a AS (...), b AS (SELECT * FROM a, a AS x), ...` doubles with each line.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, GroupingSet, LogicalPlan};

/// Nodes of one plan.
const NODES_MAX: usize = 4_000;
/// Joins of one plan.
const JOINS_MAX: usize = 200;
/// Columns of all its nodes together.
const COLUMNS_MAX: usize = 200_000;
/// Sets of one GROUP BY: CUBE of ten columns.
const GROUPING_SETS_MAX: usize = 1_024;

#[derive(Debug, Default)]
struct Size {
    nodes: usize,
    joins: usize,
    columns: usize,
}

/// Whether a plan is small enough to be optimised.
///
/// # Errors
/// What there is too much of, and what to do.
pub fn check_plan_size(plan: &LogicalPlan) -> Result<(), String> {
    count(plan, &mut Size::default())
}

/// A plan shares its parts, so it may be far larger than what is in memory: counting stops at the
/// bound.
fn count(plan: &LogicalPlan, size: &mut Size) -> Result<(), String> {
    let mut open = vec![plan];
    while let Some(plan) = open.pop() {
        size.nodes += 1;
        size.columns += plan.schema().fields().len();
        size.joins += usize::from(matches!(plan, LogicalPlan::Join(_)));
        let too_much = [
            (size.nodes, NODES_MAX, "steps"),
            (size.joins, JOINS_MAX, "joins"),
            (size.columns, COLUMNS_MAX, "columns in all its steps"),
            (grouping_sets(plan), GROUPING_SETS_MAX, "grouping sets"),
        ];
        if let Some((_, most, what)) = too_much.iter().find(|(count, most, _)| count > most) {
            return Err(format!(
                "the statement has more than {most} {what} when each view and common table is \
                 written out where it is named; write less of them at once"
            ));
        }
        for subquery in subqueries(plan) {
            count(&subquery, size)?;
        }
        open.extend(plan.inputs());
    }
    Ok(())
}

fn grouping_sets(plan: &LogicalPlan) -> usize {
    let LogicalPlan::Aggregate(aggregate) = plan else { return 0 };
    let sets = |expr: &Expr| match expr {
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.len(),
        Expr::GroupingSet(GroupingSet::Rollup(keys)) => keys.len() + 1,
        Expr::GroupingSet(GroupingSet::Cube(keys)) => u32::try_from(keys.len())
            .ok()
            .and_then(|n| 1_usize.checked_shl(n))
            .unwrap_or(usize::MAX),
        _ => 1,
    };
    aggregate.group_expr.iter().map(sets).fold(1, usize::saturating_mul)
}

/// The plans inside the expressions of one node.
fn subqueries(plan: &LogicalPlan) -> Vec<Arc<LogicalPlan>> {
    let mut found = Vec::new();
    let mut look = |expr: &Expr| {
        match expr {
            Expr::ScalarSubquery(subquery) => found.push(Arc::clone(&subquery.subquery)),
            Expr::InSubquery(inside) => found.push(Arc::clone(&inside.subquery.subquery)),
            Expr::Exists(exists) => found.push(Arc::clone(&exists.subquery.subquery)),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    };
    // The visitor never fails.
    if let Err(error) = plan.apply_expressions(|expr| expr.apply(&mut look)) {
        tracing::debug!(%error, "the subqueries of a plan were counted in part");
    }
    found
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn check(sql: &str) -> Result<(), String> {
        let state = SessionContext::new().state();
        check_plan_size(&state.create_logical_plan(sql).await.unwrap())
    }

    #[tokio::test]
    async fn what_doubles_with_each_line_is_refused() {
        let doubled = |lines: usize| {
            let mut sql = "WITH a0 AS (SELECT 1 AS x)".to_owned();
            for at in 1..=lines {
                let before = at - 1;
                sql += &format!(
                    ", a{at} AS (SELECT x FROM a{before} UNION ALL SELECT x FROM a{before})"
                );
            }
            format!("{sql} SELECT count(*) FROM a{lines}")
        };
        check(&doubled(5)).await.unwrap();
        let said = check(&doubled(14)).await.unwrap_err();
        assert!(said.contains("more than 4000 steps"), "{said}");
        let inside = doubled(14)
            .replace("SELECT count(*) FROM a14", "SELECT 1 WHERE 1 IN (SELECT x FROM a14)");
        assert!(check(&inside).await.is_err());
        let names: Vec<String> = (0..12).map(|at| format!("c{at}")).collect();
        let sql = format!(
            "SELECT count(*) FROM (VALUES ({})) AS t({names}) GROUP BY CUBE({names})",
            ["1"; 12].join(", "),
            names = names.join(", ")
        );
        let said = check(&sql).await.unwrap_err();
        assert!(said.contains("grouping sets"), "{said}");
    }
}
