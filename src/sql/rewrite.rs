//! Small rewrites around the parser, for tables as arguments of window functions.
//!
//! The parser does not take `TABLE t` or `TABLE (SELECT ...)` as an argument: the word is dropped
//! from the tokens, so that every other token keeps its line and column. And DataFusion looks for
//! a statement's tables before it plans, but not among arguments: there `t` becomes
//! `(SELECT * FROM t)`. Flink asks for the number of an interval's digits, `SECOND(4)`, which
//! changes nothing here: it is dropped, for DataFusion refuses it. So is ORDER BY in an aggregate
//! that no order changes, because DataFusion hands it to some as a further argument. `own_columns.rs`
//! names relations whose columns could be taken for something else.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    ObjectName, ObjectNamePart, Query, Select, SetExpr, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::own_columns::name_relations;
use super::window_call::is_window_function;

/// Drops `TABLE` before a name or a query where an argument begins.
pub(super) fn drop_table_keyword(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let keep: Vec<bool> = (0..tokens.len()).map(|at| !is_table_argument(&tokens, at)).collect();
    tokens.into_iter().zip(keep).filter_map(|(token, keep)| keep.then_some(token)).collect()
}

fn is_table_argument(tokens: &[TokenWithSpan], at: usize) -> bool {
    is_table(&tokens[at].token)
        && matches!(
            significant(tokens[..at].iter().rev()).next(),
            Some(Token::LParen | Token::Comma | Token::RArrow)
        )
        && is_table_or_query(&tokens[at + 1..])
}

fn is_table_or_query(tokens: &[TokenWithSpan]) -> bool {
    let mut tokens = significant(tokens.iter());
    match tokens.next() {
        Some(Token::Word(_)) => true,
        Some(Token::LParen) => matches!(
            tokens.next(),
            Some(Token::Word(Word { keyword: Keyword::SELECT | Keyword::WITH, .. }))
        ),
        _ => false,
    }
}

fn is_table(token: &Token) -> bool {
    matches!(token, Token::Word(Word { keyword: Keyword::TABLE, quote_style: None, .. }))
}

fn significant<'a>(
    tokens: impl Iterator<Item = &'a TokenWithSpan>,
) -> impl Iterator<Item = &'a Token> {
    tokens.map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)))
}

/// Makes a query of each table that is an argument of a window function, and drops what says how
/// many digits an interval has.
pub(super) fn rewrite_query(query: &mut Query) {
    // The visitor never breaks off.
    if query.visit(&mut Rewrites).is_break() {
        tracing::debug!("a query was rewritten in part");
    }
}

/// Aggregates that give the same for their rows in any order.
const UNORDERED: [&str; 18] = [
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "count",
    "max",
    "mean",
    "median",
    "min",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_population",
    "var_samp",
    "var_sample",
    "variance",
];

/// Drops ORDER BY from the arguments of an aggregate that no order changes.
fn drop_order(call: &mut Function) {
    let name = call.name.to_string().to_lowercase();
    if let FunctionArguments::List(list) = &mut call.args
        && UNORDERED.contains(&name.as_str())
    {
        list.clauses.retain(|clause| !matches!(clause, FunctionArgumentClause::OrderBy(_)));
    }
}

struct Rewrites;

impl VisitorMut for Rewrites {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_relations(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Interval(interval) = expr {
            interval.leading_precision = None;
            interval.fractional_seconds_precision = None;
        }
        if let Expr::Function(call) = expr {
            drop_order(call);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        match relation {
            TableFactor::Table { name, args: Some(args), .. } if is_window(name) => {
                query_first_argument(&mut args.args);
            }
            TableFactor::Function { name, args, .. } if is_window(name) => {
                query_first_argument(args);
            }
            TableFactor::TableFunction { expr: Expr::Function(call), .. }
                if is_window(&call.name) =>
            {
                if let FunctionArguments::List(list) = &mut call.args {
                    query_first_argument(&mut list.args);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_window(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(ident)]
        if is_window_function(&ident.value.to_lowercase()))
}

/// The table is the argument `DATA`, or the first.
fn query_first_argument(args: &mut [FunctionArg]) {
    let is_data = |arg: &FunctionArg| matches!(arg, FunctionArg::Named { name, .. } if name.value.eq_ignore_ascii_case("data"));
    let at = args.iter().position(is_data).unwrap_or(0);
    if args.is_empty() {
        return;
    }
    let (FunctionArg::Unnamed(FunctionArgExpr::Expr(data))
    | FunctionArg::Named { arg: FunctionArgExpr::Expr(data), .. }) = &mut args[at]
    else {
        return;
    };
    let table = match data {
        Expr::Identifier(ident) => ObjectName::from(vec![ident.clone()]),
        Expr::CompoundIdentifier(idents) => ObjectName::from(idents.clone()),
        _ => return,
    };
    if let Some(query) = all_of(table) {
        *data = Expr::Subquery(Box::new(query));
    }
}

fn all_of(table: ObjectName) -> Option<Query> {
    let mut query = Parser::new(&GenericDialect {})
        .try_with_sql("SELECT * FROM t")
        .and_then(|mut parser| parser.parse_query())
        .ok()?;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let TableFactor::Table { name, .. } = &mut select.from.first_mut()?.relation else {
        return None;
    };
    *name = table;
    Some(*query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_order_that_changes_nothing_is_dropped() {
        let sql = "SELECT count(DISTINCT n ORDER BY n), array_agg(n ORDER BY n) FROM t";
        let mut query = Parser::new(&GenericDialect {})
            .try_with_sql(sql)
            .and_then(|mut parser| parser.parse_query())
            .unwrap();
        rewrite_query(&mut query);
        assert_eq!(query.to_string(), "SELECT count(DISTINCT n), array_agg(n ORDER BY n) FROM t");
    }
}
