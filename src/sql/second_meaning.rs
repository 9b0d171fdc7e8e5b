//! Names that a query gives a second meaning, kept apart from the first.
//!
//! `SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT n AS x FROM t))`: both upper projections read
//! `x + x AS x`, and DataFusion 55 takes two projections that read alike, one above the other, for one
//! (`optimize_projections`): 12 for 24. So does `SELECT a AS b, b AS a` over itself. An alias between the
//! two, as everybody may write one, keeps them apart, since no rule takes aliases away:
//!
//! ```text
//!   Projection: x + x AS x                 Projection: __second_1.x + __second_1.x AS x
//!     Projection: x + x AS x       ->        SubqueryAlias: __second_1
//!       Projection: t.n AS x                   Projection: x + x AS x
//! ```
//!
//! It is put below every projection that makes something new of a name which a projection below gives
//! already. No more is needed: two lists of expressions that read alike, but are not the same, make
//! something new of the same name, and between two such there is an alias then, however projections were
//! merged or moved before they came to stand side by side. Where no name is used again, which is nearly
//! everywhere, a plan stays as it is, and so do the identities of stages.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SubqueryAlias};

/// What the aliases begin with.
pub(super) const NAME: &str = "__second_";

/// `plan`, its subqueries too, with an alias below each projection that gives a name a second meaning.
///
/// # Errors
/// DataFusion's own.
pub fn with_meanings_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut made = 0;
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Projection(projection) if gives_second_meaning(&projection) => {
            made += 1;
            let alias = TableReference::bare(format!("{NAME}{made}"));
            over_alias(projection, &alias).map(Transformed::yes)
        }
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

fn gives_second_meaning(projection: &Projection) -> bool {
    let named = projection.expr.iter().zip(projection.schema.fields());
    let new: Vec<&str> = named
        .filter(|(expr, field)| !is_column(expr, field.name()))
        .map(|(_, field)| field.name().as_str())
        .collect();
    !new.is_empty()
        && is_named_below(&projection.input, &new)
        && !has_repeated_names(&projection.input)
        // What a correlated subquery becomes, a join, stands between the two anyway.
        && !projection.expr.iter().any(reads_outer_columns)
}

/// Whether `expr` is the column of this name, whatever relation it is of.
fn is_column(expr: &Expr, name: &str) -> bool {
    match expr {
        Expr::Alias(alias) => is_column(&alias.expr, name),
        Expr::Column(column) => column.name == name,
        _ => false,
    }
}

/// Whether a projection gives one of `names`, between here and the next relation that has a name.
fn is_named_below(plan: &LogicalPlan, names: &[&str]) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_) => false,
        LogicalPlan::Projection(projection)
            if projection
                .schema
                .fields()
                .iter()
                .any(|field| names.contains(&field.name().as_str())) =>
        {
            true
        }
        plan => plan.inputs().into_iter().any(|input| is_named_below(input, names)),
    }
}

/// Columns of one name are told apart by their relations, which one alias would take from them.
fn has_repeated_names(plan: &LogicalPlan) -> bool {
    let fields = plan.schema().fields();
    let mut names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

fn reads_outer_columns(expr: &Expr) -> bool {
    let mut found = false;
    // The closure gives no error.
    let walked = expr.apply(|expr| {
        found |= match expr {
            Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
            Expr::InSubquery(inside) => !inside.subquery.outer_ref_columns.is_empty(),
            Expr::Exists(exists) => !exists.subquery.outer_ref_columns.is_empty(),
            Expr::SetComparison(set) => !set.subquery.outer_ref_columns.is_empty(),
            Expr::OuterReferenceColumn(..) => true,
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    found || walked.is_err()
}

/// `projection` over `alias` of its input, with the same columns.
fn over_alias(projection: Projection, alias: &TableReference) -> Result<LogicalPlan> {
    let Projection { expr, input, schema, .. } = projection;
    let input = SubqueryAlias::try_new(input, alias.clone())?;
    let exprs = expr.into_iter().zip(schema.iter()).map(|(expr, (qualifier, field))| {
        let expr = expr.transform(|expr| match expr {
            Expr::Column(mut column) => {
                column.relation = Some(alias.clone());
                Ok(Transformed::yes(Expr::Column(column)))
            }
            other => Ok(Transformed::no(other)),
        });
        let expr = expr.data()?;
        if let Expr::Alias(named) = &expr
            && named.relation.as_ref() == qualifier
            && named.name == *field.name()
        {
            return Ok(expr);
        }
        Ok(expr.alias_qualified(qualifier.cloned(), field.name()))
    });
    let exprs = exprs.collect::<Result<Vec<Expr>>>()?;
    let input = Arc::new(LogicalPlan::SubqueryAlias(input));
    Projection::try_new(exprs, input).map(LogicalPlan::Projection)
}
