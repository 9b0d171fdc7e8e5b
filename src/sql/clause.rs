//! Where a clause stands in the text. A query is refused for what its plan holds, and plans know
//! few places; the statement as it was parsed knows them all.
//!
//! ```text
//!   plan --> Refusal { clause, near, word }
//!                         | of the statement's clauses of this kind
//!                         | the innermost around `near`, else the first that holds `word`
//!   parsed statement --> line
//! ```

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, GroupByExpr, ObjectName, Query, Select, SetExpr, Spanned,
    TableFactor, Visit, Visitor, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// A part of a query that can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// GROUP BY, or aggregates without it.
    GroupBy,
    /// SELECT DISTINCT.
    Distinct,
    /// LIMIT, OFFSET or FETCH.
    Limit,
    /// A function's OVER.
    Over,
    /// JOIN, or a comma in FROM.
    Join,
    /// UNION, EXCEPT or INTERSECT.
    SetOperation,
    /// A query in an expression.
    Subquery,
    /// TUMBLE and the like in FROM.
    Window,
    /// The call of a function.
    Call,
}

/// Why a query is refused, and which of its clauses is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    clause: Clause,
    /// Line and column of something inside the clause.
    near: Option<(u64, u64)>,
    /// Something that the clause says.
    word: Option<String>,
    message: String,
}

impl Refusal {
    /// The refusal in `error`, if it is one.
    pub fn of(error: &DataFusionError) -> Option<&Self> {
        error.iter().find_map(|error| match error {
            DataFusionError::External(inner) => inner.downcast_ref(),
            _ => None,
        })
    }

    /// `error` as a refusal of `clause`, unless it is one already or no refusal at all. `exprs` are
    /// those that the clause holds; `word` helps where none of them has a place.
    pub fn blame(
        error: DataFusionError,
        clause: Clause,
        exprs: &[&Expr],
        word: Option<&str>,
    ) -> DataFusionError {
        let DataFusionError::Plan(message) = error else { return error };
        let near = exprs.iter().find_map(|expr| place_in(expr));
        let word = word.map(str::to_lowercase);
        DataFusionError::External(Box::new(Self { clause, near, word, message }))
    }

    /// The line where the clause begins in `queries`, of which each stands after those that it reads.
    pub fn line_in(&self, queries: &[&Query]) -> Option<u64> {
        let mut found = Clauses { wanted: self.clause, clauses: vec![] };
        for query in queries {
            // The visitor never breaks off.
            if query.visit(&mut found).is_break() {
                return None;
            }
        }
        let clauses = found.clauses;
        let around = self.near.and_then(|near| {
            let around = clauses.iter().filter(|clause| contains(&clause.scope, near));
            // An inner clause was found before the ones around it.
            around.map(|clause| clause.line).next().or(Some(near.0))
        });
        let says = |clause: &&Found| {
            self.word.as_ref().is_some_and(|word| clause.text.contains(word.as_str()))
        };
        let said = || clauses.iter().find(says).or(clauses.first()).map(|clause| clause.line);
        around.or_else(said)
    }
}

/// Line and column of the first column of `expr` that knows its own.
fn place_in(expr: &Expr) -> Option<(u64, u64)> {
    let mut place = None;
    let walked = expr.apply(|part| {
        if let Expr::Column(column) = part
            && let Some(span) = column.spans.first()
        {
            place = Some((span.start.line, span.start.column));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok().and(place)
}

fn contains(scope: &Span, (line, column): (u64, u64)) -> bool {
    let place = Location { line, column };
    scope.start <= place && place <= scope.end
}

/// A clause of the wanted kind.
struct Found {
    line: u64,
    /// All that it holds.
    scope: Span,
    /// In lower case.
    text: String,
}

struct Clauses {
    wanted: Clause,
    clauses: Vec<Found>,
}

impl Clauses {
    fn add(&mut self, begins: Span, scope: Span, text: impl ToString) {
        let begins = if begins == Span::empty() { scope } else { begins };
        if begins != Span::empty() {
            let text = text.to_string().to_lowercase();
            self.clauses.push(Found { line: begins.start.line, scope, text });
        }
    }

    fn of_select(&mut self, select: &Select) {
        match self.wanted {
            Clause::GroupBy => {
                let begins = match &select.group_by {
                    GroupByExpr::Expressions(keys, _) if !keys.is_empty() => keys[0].span(),
                    _ => select.projection.first().map_or(Span::empty(), Spanned::span),
                };
                self.add(begins, select.span(), select);
            }
            Clause::Distinct if select.distinct.is_some() => {
                self.add(select.select_token.0.span, select.span(), select);
            }
            Clause::Join => {
                let joined = select.from.iter().flat_map(|from| &from.joins);
                let joined = joined.map(|join| &join.relation);
                let listed = select.from.iter().skip(1).map(|from| &from.relation);
                if let Some(relation) = joined.chain(listed).next() {
                    self.add(relation.span(), select.span(), relation);
                }
            }
            _ => {}
        }
    }

    fn of_set_operations(&mut self, body: &SetExpr) {
        if let SetExpr::SetOperation { left, right, .. } = body {
            self.of_set_operations(left);
            self.of_set_operations(right);
            self.add(right.span(), body.span(), body);
        }
    }

    fn of_call(&mut self, call: &Function) {
        match (self.wanted, &call.over) {
            (Clause::Call, _) => self.add(call.span(), call.span(), &call.name),
            (Clause::Over, Some(over)) => {
                let mut scope = call.span();
                if let WindowType::WindowSpec(spec) = over {
                    let keys = spec.partition_by.iter().map(Spanned::span);
                    let order = spec.order_by.iter().map(Spanned::span);
                    scope = keys.chain(order).fold(scope, |all, one| all.union(&one));
                }
                self.add(call.span(), scope, call);
            }
            _ => {}
        }
    }

    fn of_relation(&mut self, name: &ObjectName, relation: &TableFactor) {
        let window = ["tumble", "hop", "cumulate", "session"];
        if window.contains(&name.to_string().to_lowercase().as_str()) {
            self.add(name.span(), name.span(), relation);
        }
    }
}

impl Visitor for Clauses {
    type Break = ();

    fn post_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.of_select(select);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        match self.wanted {
            Clause::Limit => {
                let limit = query.limit_clause.as_ref().map(Spanned::span);
                let fetch = query.fetch.as_ref().map(Spanned::span);
                if let Some(place) = limit.or(fetch) {
                    self.add(place, query.span(), query);
                }
            }
            Clause::SetOperation => self.of_set_operations(&query.body),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, relation: &TableFactor) -> ControlFlow<()> {
        if self.wanted == Clause::Window {
            match relation {
                TableFactor::Table { name, args: Some(_), .. }
                | TableFactor::Function { name, .. } => self.of_relation(name, relation),
                TableFactor::TableFunction { expr: SqlExpr::Function(call), .. } => {
                    self.of_relation(&call.name, relation);
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        match (self.wanted, expr) {
            (_, SqlExpr::Function(call)) => self.of_call(call),
            (
                Clause::Subquery,
                SqlExpr::Subquery(query)
                | SqlExpr::InSubquery { subquery: query, .. }
                | SqlExpr::Exists { subquery: query, .. },
            ) => {
                let begins = match query.body.as_ref() {
                    SetExpr::Select(select) => select.select_token.0.span,
                    _ => query.span(),
                };
                // A table that is an argument was made a query of, which stands nowhere.
                if begins.start != (Location { line: 1, column: 1 }) {
                    self.add(begins, query.span(), query);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_script;

    /// The line where `clause` is found in the only statement of `sql`.
    fn line(
        sql: &str,
        clause: Clause,
        near: Option<(u64, u64)>,
        word: Option<&str>,
    ) -> Option<u64> {
        let statements = parse_script(sql).unwrap();
        let queries: Vec<&Query> = statements.iter().map(|one| one.query.as_ref()).collect();
        let (word, message) = (word.map(str::to_owned), String::new());
        Refusal { clause, near, word, message }.line_in(&queries)
    }

    #[test]
    fn a_clause_is_found_by_its_kind() {
        let sql = "INSERT INTO o\nSELECT DISTINCT a,\n sum(b) OVER ()\nFROM t\nJOIN u ON t.a = u.a\n\
                   WHERE a IN (\n SELECT a FROM v)\nUNION ALL\nSELECT a, random() FROM HOP(t, ts)\n\
                   GROUP BY\n a\nLIMIT 5";
        for (clause, expected) in [
            (Clause::Distinct, 2),
            (Clause::Over, 3),
            (Clause::Join, 5),
            (Clause::Subquery, 7),
            (Clause::SetOperation, 9),
            (Clause::Window, 9),
            (Clause::Limit, 12),
        ] {
            assert_eq!(line(sql, clause, None, None), Some(expected), "{clause:?}");
        }
        assert_eq!(line(sql, Clause::Call, None, Some("random")), Some(9));
        assert_eq!(line("INSERT INTO o SELECT 1", Clause::Limit, None, None), None);
    }

    #[test]
    fn of_several_the_innermost_around_a_place_is_meant() {
        let sql = "INSERT INTO o\nSELECT w, n FROM (\n SELECT w, count(*) AS n FROM t\n GROUP BY w\n) \
                   AS i\nGROUP BY n, w";
        assert_eq!(line(sql, Clause::GroupBy, Some((3, 9)), None), Some(4));
        assert_eq!(line(sql, Clause::GroupBy, Some((6, 10)), None), Some(6));
        assert_eq!(line(sql, Clause::GroupBy, Some((6, 13)), None), Some(6));
    }
}
