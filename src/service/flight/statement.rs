//! Which statements are answered: queries, and what shows tables and plans. Everything that would
//! change, create, copy or set is refused by its name before anything is planned.

use std::ops::ControlFlow;

use datafusion::execution::context::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, SetExpr, Statement as SqlStatement, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::error::QueryError;
use crate::sql::{check_nesting, with_own_columns};

/// The longest statement.
const SQL_BYTES_MAX: usize = 1 << 20;
const ANSWERED: &str =
    "only queries are answered: SELECT, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW TABLES";

/// Reads one statement that may be answered; each `?` becomes `$1`, `$2` and so on.
pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Statement, QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(QueryError::invalid(format!(
            "the statement has {} bytes; write at most {SQL_BYTES_MAX}",
            sql.len()
        )));
    }
    check_nesting(sql).map_err(|error| QueryError::invalid(error.to_string()))?;
    let dialect = state.config_options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    if !is_answered(&statement) {
        let words: Vec<&str> = sql.split_whitespace().take(2).collect();
        return Err(QueryError::invalid(format!("{} is refused; {ANSWERED}", words.join(" "))));
    }
    number_placeholders(&mut statement);
    keep_own_columns(&mut statement);
    Ok(statement)
}

fn is_answered(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => is_query(statement),
        Statement::Explain(explain) => is_answered(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

fn is_query(statement: &SqlStatement) -> bool {
    match statement {
        SqlStatement::Query(_) => statement.visit(&mut ChangeFinder).is_continue(),
        SqlStatement::Explain { statement, .. } => is_query(statement),
        SqlStatement::ExplainTable { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ShowVariable { .. } => true,
        _ => false,
    }
}

/// Breaks off at a part of a query that is no query: `WITH x AS (...) DELETE`, `SELECT ... INTO`.
struct ChangeFinder;

impl Visitor for ChangeFinder {
    type Break = ();

    fn pre_visit_query(
        &mut self,
        query: &datafusion::sql::sqlparser::ast::Query,
    ) -> ControlFlow<()> {
        if is_reading(&query.body) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

fn is_reading(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => is_reading(&query.body),
        SetExpr::SetOperation { left, right, .. } => is_reading(left) && is_reading(right),
        SetExpr::Values(_) | SetExpr::Table(_) => true,
        _ => false,
    }
}

/// Gives each `?` its number, in the order of the text.
fn number_placeholders(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let mut spans = Vec::new();
            visit_placeholders(statement, &mut |text, span| {
                if text == "?" {
                    spans.push(span);
                }
            });
            spans.sort();
            visit_placeholders(statement, &mut |text, span| {
                if text == "?"
                    && let Ok(at) = spans.binary_search(&span)
                {
                    *text = format!("${}", at + 1);
                }
            });
        }
        Statement::Explain(explain) => number_placeholders(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {}
    }
}

fn keep_own_columns(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => with_own_columns(statement),
        Statement::Explain(explain) => keep_own_columns(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {}
    }
}

fn visit_placeholders(statement: &mut SqlStatement, act: &mut dyn FnMut(&mut String, Span)) {
    let mut visitor = Placeholders { act };
    // The visitor never breaks off.
    if statement.visit(&mut visitor).is_break() {
        tracing::debug!("placeholders were visited in part");
    }
}

struct Placeholders<'a> {
    act: &'a mut dyn FnMut(&mut String, Span),
}

impl VisitorMut for Placeholders<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(text) = &mut value.value
        {
            (self.act)(text, value.span);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::template;
    use super::*;

    fn refused(sql: &str) -> Option<String> {
        let state = template().unwrap();
        parse(&state, sql).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn queries_and_what_shows_things_are_answered() {
        for sql in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a UNION ALL SELECT 2",
            "VALUES (1), (2)",
            "(SELECT 1)",
            "SHOW TABLES",
            "SHOW COLUMNS FROM t",
            "DESCRIBE t",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE VERBOSE SELECT 1",
        ] {
            assert_eq!(refused(sql), None, "{sql}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_its_name() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
            "TRUNCATE TABLE t",
            "CREATE TABLE t AS SELECT 1",
            "CREATE VIEW v AS SELECT 1",
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
            "CREATE SCHEMA s",
            "CREATE FUNCTION f() RETURNS INT RETURN 1",
            "DROP TABLE t",
            "ALTER TABLE t ADD COLUMN a INT",
            "COPY (SELECT 1) TO '/tmp/x.parquet'",
            "COPY t TO '/tmp/x.csv'",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "PREPARE p AS SELECT 1",
            "EXECUTE p",
            "DEALLOCATE p",
            "BEGIN",
            "COMMIT",
            "USE results",
            "SELECT 1 INTO t",
            "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
            "EXPLAIN INSERT INTO t VALUES (1)",
            "EXPLAIN COPY t TO '/tmp/x.csv'",
        ] {
            let message = refused(sql).unwrap_or_else(|| panic!("{sql} is answered"));
            assert!(message.contains("is refused; only queries are answered"), "{sql}: {message}");
        }
        assert!(refused("SELECT 1; SELECT 2").is_some());
        assert!(refused(&format!("SELECT '{}'", "x".repeat(SQL_BYTES_MAX))).is_some());
    }

    #[test]
    fn question_marks_are_numbered_in_the_order_of_the_text() {
        let state = template().unwrap();
        let sql = "WITH a AS (SELECT ? AS x) SELECT '?' FROM a WHERE x > ? LIMIT ?";
        assert_eq!(
            parse(&state, sql).unwrap().to_string(),
            "WITH a AS (SELECT $1 AS x) SELECT '?' FROM a WHERE x > $2 LIMIT $3"
        );
    }
}
