//! A query's own columns, told from the names that it gives.
//!
//! `SELECT k, max(x) AS x FROM (SELECT ...) GROUP BY k HAVING max(x) > 3`: the second `x` is a column of
//! FROM, as in the first. DataFusion takes it for the name that SELECT gives, `max(max(x))`, where the
//! columns of FROM belong to no relation with a name, so that the answer is wrong or refused. And in `x IN
//! (SELECT x FROM ...)` such an `x` is ambiguous to the join that it becomes. Where a name is used like
//! that, and only there, a relation of FROM without a name is given one.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Select, SelectItem, SetExpr,
    Statement, TableAlias, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::window_call::is_window_function;

/// What the names begin with.
pub(super) const NAME: &str = "__from_";
/// The columns that a window function of FROM adds.
const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

type Names = BTreeSet<String>;

/// Names relations in every SELECT of a statement.
pub fn with_own_columns(statement: &mut Statement) {
    struct Relations;
    impl VisitorMut for Relations {
        type Break = ();

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            name_relations(select);
            ControlFlow::Continue(())
        }
    }
    // The visitor never breaks off.
    if statement.visit(&mut Relations).is_break() {
        tracing::debug!("a statement was rewritten in part");
    }
}

/// Names the relations of FROM where it matters, in `select` and not in what is inside it.
pub(super) fn name_relations(select: &mut Select) {
    let names = confused(select);
    if names.is_empty() {
        return;
    }
    let mut made = 0;
    for table in &mut select.from {
        let joined = table.joins.iter_mut().map(|join| &mut join.relation);
        for relation in std::iter::once(&mut table.relation).chain(joined) {
            if let Some(alias) = missing_alias(relation, &names) {
                made += 1;
                *alias = Some(TableAlias {
                    explicit: true,
                    name: Ident::new(format!("{NAME}{made}")),
                    columns: vec![],
                    at: None,
                });
            }
        }
    }
    if made > 0 {
        select.projection.iter_mut().for_each(keep_name);
    }
}

/// The columns of FROM that could be taken for something else.
fn confused(select: &Select) -> Names {
    let mut names = Names::new();
    let given: Names = select.projection.iter().filter_map(given_name).collect();
    for condition in select.having.iter().chain(&select.qualify) {
        names.extend(columns_of(condition).intersection(&given).cloned());
    }
    let mut finder = SubqueryFinder { names: &mut names };
    for condition in select.selection.iter().chain(&select.having) {
        // The finder never breaks off.
        if condition.visit(&mut finder).is_break() {
            break;
        }
    }
    names
}

/// The name that a SELECT gives to something new.
fn given_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { expr: Expr::Identifier(ident), alias }
            if folded(ident) == folded(alias) =>
        {
            None
        }
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(_)
        | SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

/// The names that `expr` uses without a relation.
fn columns_of(expr: &Expr) -> Names {
    struct Columns(Names);
    impl Visitor for Columns {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Identifier(ident) = expr {
                self.0.insert(folded(ident));
            }
            ControlFlow::Continue(())
        }
    }
    let mut columns = Columns(Names::new());
    match expr.visit(&mut columns) {
        ControlFlow::Continue(()) | ControlFlow::Break(()) => columns.0,
    }
}

/// Finds columns that are asked for in a subquery that gives one of the same name.
struct SubqueryFinder<'a> {
    names: &'a mut Names,
}

impl Visitor for SubqueryFinder<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::InSubquery { expr, subquery, .. } = expr
            && let SetExpr::Select(select) = subquery.body.as_ref()
            && let [item] = select.projection.as_slice()
        {
            let given = match item {
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(folded(ident)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => {
                    idents.last().map(folded)
                }
                SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                _ => None,
            };
            let columns = columns_of(expr);
            self.names.extend(given.filter(|name| columns.contains(name)));
        }
        ControlFlow::Continue(())
    }
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The place of the alias that `relation` has not, where its columns belong to nothing with a name.
fn missing_alias<'a>(
    relation: &'a mut TableFactor,
    names: &Names,
) -> Option<&'a mut Option<TableAlias>> {
    match relation {
        TableFactor::Derived { alias: alias @ None, .. } => Some(alias),
        TableFactor::Table { name, args: Some(args), alias: alias @ None, .. }
            if is_window(&name.to_string()) && is_nameless(&args.args, names) =>
        {
            Some(alias)
        }
        TableFactor::Function { name, args, alias: alias @ None, .. }
            if is_window(&name.to_string()) && is_nameless(args, names) =>
        {
            Some(alias)
        }
        TableFactor::TableFunction { expr: Expr::Function(call), alias: alias @ None }
            if is_window(&call.name.to_string())
                && matches!(&call.args, FunctionArguments::List(list) if is_nameless(&list.args, names)) =>
        {
            Some(alias)
        }
        _ => None,
    }
}

fn is_window(name: &str) -> bool {
    is_window_function(&name.to_lowercase())
}

/// Whether a window function has one of `names` of no relation: of a query that is its argument, or
/// of its own.
fn is_nameless(args: &[FunctionArg], names: &Names) -> bool {
    let is_query = |arg: &FunctionArg| {
        let (FunctionArg::Unnamed(FunctionArgExpr::Expr(data))
        | FunctionArg::Named { arg: FunctionArgExpr::Expr(data), .. }) = arg
        else {
            return false;
        };
        matches!(data, Expr::Subquery(_))
    };
    args.iter().any(is_query) || WINDOW_COLUMNS.iter().any(|name| names.contains(*name))
}

/// What has no name keeps that which it would have had.
fn keep_name(item: &mut SelectItem) {
    if let SelectItem::UnnamedExpr(expr) = item
        && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
    {
        let alias = Ident::with_quote('"', expr.to_string());
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}
