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
    Expr as SqlExpr, Function, FunctionArg, FunctionArguments, GroupByExpr, ObjectName, Query,
    Select, SetExpr, Spanned, TableFactor, Visit, Visitor, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::error::planner_message;
use super::reword::named_clause;
use super::window_call::is_window_function;

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
    /// WHERE, HAVING or QUALIFY.
    Filter,
    /// A window function among expressions, where the query has a window already.
    SecondWindow,
    /// INTERVAL and its text.
    Interval,
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
    /// The refusal in `error`: of the engine's own, or one of the planner's that names its clause.
    pub fn of(error: &DataFusionError) -> Option<Self> {
        let own = error.iter().find_map(|error| match error {
            DataFusionError::External(inner) => inner.downcast_ref::<Self>().cloned(),
            _ => None,
        });
        own.or_else(|| {
            let (clause, word) = named_clause(&error.strip_backtrace())?;
            let word = word.map(|word| word.to_lowercase());
            Some(Self { clause, near: None, word, message: planner_message(error) })
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
        let mut found = Clauses { wanted: self.clause, clauses: vec![], seconds: 0 };
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
        let word = self.word.as_deref().unwrap_or_default();
        let whole = |clause: &&Found| !word.is_empty() && has_word(&clause.text, word);
        let part = |clause: &&Found| !word.is_empty() && clause.text.contains(word);
        let said = || clauses.iter().find(whole).or_else(|| clauses.iter().find(part));
        // Of calls and intervals there are many, and the first is likely another.
        let is_any = !matches!(self.clause, Clause::Call | Clause::Interval);
        let any = || clauses.first().filter(|_| is_any);
        around.or_else(|| said().or_else(any).map(|clause| clause.line))
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

/// Whether `text` holds `word` and not as a part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let goes_on = word.ends_with(is_name) && after.is_some_and(is_name);
        !before.is_some_and(is_name) && !goes_on
    })
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
    /// How many of them are second windows for certain: they stand first.
    seconds: usize,
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
            Clause::Filter => {
                let filters = [&select.selection, &select.having, &select.qualify];
                for filter in filters.into_iter().flatten() {
                    self.add(filter.span(), filter.span(), filter);
                }
            }
            Clause::SecondWindow => self.of_second_window(select),
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

    /// The second of several window functions, or the only one; the latter may be in its place.
    fn of_second_window(&mut self, select: &Select) {
        let mut calls = WindowCalls::default();
        let found = select.projection.visit(&mut calls).is_break()
            || select.group_by.visit(&mut calls).is_break();
        if found || calls.found.is_empty() {
            return;
        }
        let has_window = select.from.iter().any(|from| is_window(&from.relation));
        let wanted = usize::from(!has_window);
        let (span, text) = calls.found.get(wanted).unwrap_or(&calls.found[0]).clone();
        let is_second = calls.found.len() > wanted;
        // The only one of the last query, which reads the others, is the likeliest of those.
        let at = if is_second { 0 } else { self.seconds };
        self.seconds += usize::from(is_second);
        self.clauses.insert(at, Found { line: span.start.line, scope: span, text });
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

    fn of_relation(&mut self, name: &ObjectName, args: &[FunctionArg], relation: &TableFactor) {
        // The table may be a query that was made of its name, which stands nowhere.
        let rest = args.iter().skip(1).map(Spanned::span).filter(|span| *span != Span::empty());
        let scope = rest.fold(name.span(), |all, one| all.union(&one));
        if is_window_function(&name.to_string().to_lowercase()) {
            self.add(name.span(), scope, relation);
        }
    }
}

fn is_window(relation: &TableFactor) -> bool {
    let name = match relation {
        TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => name,
        TableFactor::TableFunction { expr: SqlExpr::Function(call), .. } => &call.name,
        _ => return false,
    };
    is_window_function(&name.to_string().to_lowercase())
}

/// The window functions that stand among expressions, each once.
#[derive(Default)]
struct WindowCalls {
    found: Vec<(Span, String)>,
}

impl Visitor for WindowCalls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        if let SqlExpr::Function(call) = expr
            && is_window_function(&call.name.to_string().to_lowercase())
        {
            let text = call.to_string().to_lowercase();
            if self.found.iter().all(|(_, other)| *other != text) {
                self.found.push((call.span(), text));
            }
        }
        ControlFlow::Continue(())
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
                TableFactor::Table { name, args: Some(args), .. } => {
                    self.of_relation(name, &args.args, relation);
                }
                TableFactor::Function { name, args, .. } => self.of_relation(name, args, relation),
                TableFactor::TableFunction { expr: SqlExpr::Function(call), .. } => {
                    if let FunctionArguments::List(list) = &call.args {
                        self.of_relation(&call.name, &list.args, relation);
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        match (self.wanted, expr) {
            (_, SqlExpr::Function(call)) => self.of_call(call),
            (Clause::Interval, SqlExpr::Interval(_)) => self.add(expr.span(), expr.span(), expr),
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
