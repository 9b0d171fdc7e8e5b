//! A job's SQL text to its statements: views and inserts, each with the place where it stands.

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, Spanned, Statement, TableObject,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::error::{SqlError, parser_error, tokenizer_error};
use super::nesting::check_tokens;
use super::not_done::check_done;
use super::partition_by::partition_as_argument;
use super::rewrite::{drop_table_keyword, rewrite_query};

const RECURSION_MAX: usize = 200;

/// One statement of a job's SQL.
#[derive(Debug, Clone)]
pub struct JobStatement {
    /// Where the statement begins, from 1.
    pub line: u64,
    /// What it defines.
    pub kind: StatementKind,
    /// The query that gives the rows.
    pub query: Box<Query>,
}

/// What a statement defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementKind {
    /// `CREATE VIEW name [(columns)] AS query`.
    View {
        /// The view's name.
        name: String,
        /// Names for its columns; empty where the query's own stand.
        columns: Vec<String>,
    },
    /// `INSERT INTO sink query`.
    Insert {
        /// The sink's name.
        sink: String,
    },
}

/// Parses the text of a job.
///
/// # Errors
/// The first syntax error or foreign statement, with its line and column.
pub fn parse_script(sql: &str) -> Result<Vec<JobStatement>, SqlError> {
    let dialect = GenericDialect {};
    let tokens: Vec<TokenWithSpan> = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| tokenizer_error(&error))?;
    check_tokens(&tokens)?;
    let tokens = partition_as_argument(drop_table_keyword(tokens))?;
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(RECURSION_MAX)
        .with_tokens_with_locations(tokens.clone());
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        let first = parser.peek_token();
        if first.token == Token::EOF {
            return Ok(statements);
        }
        let line = first.span.start.line;
        let statement = parser.parse_statement().map_err(|error| {
            let error = parser_error(&error, sql);
            reserved_name(&tokens, &error).unwrap_or(error)
        })?;
        check_done(&statement, line, &tokens)?;
        let mut statement = job_statement(line, statement)?;
        rewrite_query(&mut statement.query);
        statements.push(statement);
        let next = parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            let error = SqlError::at(
                next.span.start.line,
                next.span.start.column,
                format!("\"{}\" does not belong here; end a statement with ;", next.token),
            );
            return Err(reserved_name(&tokens, &error).unwrap_or(error));
        }
    }
}

/// A word of SQL that was meant as a column's name, at the place of `error` or shortly before: the
/// parser ends the columns at the comma before it, and stumbles over what comes then.
fn reserved_name(tokens: &[TokenWithSpan], error: &SqlError) -> Option<SqlError> {
    const BEFORE_MAX: usize = 3;
    let place = Location { line: error.line?, column: error.column? };
    let is_significant = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
    let mut after = tokens.iter().filter(is_significant).skip_while(|one| one.span.start < place);
    let before = tokens.iter().filter(is_significant).rev();
    let mut before = before.skip_while(|one| one.span.start > place).take(BEFORE_MAX + 1);
    let mut next = after.nth(1).map_or(&Token::EOF, |next| &next.token);
    let mut word = before.next()?;
    for previous in before {
        if let Token::Word(name) = &word.token
            && name.quote_style.is_none()
            && name.keyword != Keyword::FROM
            && RESERVED_FOR_COLUMN_ALIAS.contains(&name.keyword)
            && begins_column(&previous.token)
            && ends_column(next)
        {
            let Location { line, column } = word.span.start;
            let quoted = name.value.to_lowercase();
            let message = format!("{name} is a word of SQL; as a column, write \"{quoted}\"");
            return Some(SqlError::at(line, column, message));
        }
        (next, word) = (&word.token, previous);
    }
    None
}

fn begins_column(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword == Keyword::SELECT,
        token => *token == Token::Comma,
    }
}

fn ends_column(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(word.keyword, Keyword::FROM | Keyword::AS),
        token => matches!(token, Token::Comma | Token::RParen | Token::SemiColon | Token::EOF),
    }
}

fn job_statement(line: u64, statement: Statement) -> Result<JobStatement, SqlError> {
    let start = statement.span().start;
    let refuse = |message: String| SqlError::at(line.max(start.line), start.column.max(1), message);
    match statement {
        Statement::CreateView(view) if !view.materialized => {
            let columns = view.columns.iter().map(|column| normalized(&column.name)).collect();
            let name = single_name(&view.name).ok_or_else(|| {
                refuse(format!("\"{}\": a view has a name without dots", view.name))
            })?;
            Ok(JobStatement {
                line,
                kind: StatementKind::View { name, columns },
                query: view.query,
            })
        }
        Statement::Insert(insert) => {
            let TableObject::TableName(table) = &insert.table else {
                return Err(refuse("INSERT INTO names a sink".to_owned()));
            };
            let sink = single_name(table)
                .ok_or_else(|| refuse(format!("\"{table}\": a sink has a name without dots")))?;
            if !insert.columns.is_empty() {
                let what = "INSERT INTO sink takes no list of columns; name them in the SELECT";
                return Err(refuse(what.to_owned()));
            }
            match insert.source {
                Some(query) => {
                    Ok(JobStatement { line, kind: StatementKind::Insert { sink }, query })
                }
                None => Err(refuse("INSERT INTO needs a SELECT".to_owned())),
            }
        }
        other => {
            let text: String = other.to_string().chars().take(60).collect();
            Err(refuse(format!(
                "\"{text}\" is not a statement of a job; write CREATE VIEW ... AS SELECT or \
                 INSERT INTO sink SELECT"
            )))
        }
    }
}

fn single_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(normalized(ident)),
        _ => None,
    }
}

/// Unquoted identifiers fold to lower case, as in PostgreSQL.
pub(super) fn normalized(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_gives_its_views_and_inserts_in_order() {
        let sql = "-- flows\nCREATE VIEW v AS SELECT 1;\n\nINSERT INTO Out SELECT * FROM v;\n";
        let statements = parse_script(sql).unwrap();
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[1].line, 4);
        assert_eq!(statements[1].kind, StatementKind::Insert { sink: "out".to_owned() });
    }

    #[test]
    fn a_syntax_error_names_line_and_column() {
        let error = parse_script("INSERT INTO a\nSELECT x FROM )").unwrap_err();
        assert_eq!((error.line, error.column), (Some(2), Some(15)), "{error}");
    }

    #[test]
    fn sql_that_ends_too_early_names_its_last_line() {
        let error = parse_script("INSERT INTO a\nSELECT x\nFROM b WHERE\n\n").unwrap_err();
        let expected = "line 3: Expected: an expression, found: the end of the SQL";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn clauses_that_nothing_carries_out_are_refused_at_their_place() {
        for (sql, expected) in [
            (
                "INSERT OVERWRITE a\nSELECT 1",
                "line 1, column 8: INSERT OVERWRITE is not supported, \
              for a job adds to its sink; write INSERT INTO a",
            ),
            ("INSERT INTO a SELECT 1\nFROM t\n SAMPLE 0.1", "line 3, column 2: SAMPLE is not"),
            (
                "INSERT INTO a SELECT 1;\nINSERT INTO a SELECT 1 FROM t FORMAT JSON",
                "line 2, column 31: FORMAT is",
            ),
            ("INSERT INTO a SELECT 1 FROM t |> WHERE b", "line 1, column 31: |> is not supported"),
            ("INSERT INTO a SELECT 1 FROM t PREWHERE b", "line 1, column 31: PREWHERE is not"),
            ("INSERT INTO a SELECT __pane_start(b) FROM t", "line 1, column 22: functions whose"),
            ("INSERT INTO a SELECT 1 FROM t FOR UPDATE", "line 1, column 31: FOR UPDATE is not"),
        ] {
            let said = parse_script(sql).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn a_reserved_word_among_the_columns_is_shown_quoted() {
        for (sql, column) in [
            ("SELECT ts, top FROM v", 12),
            ("SELECT top, ts FROM v", 8),
            ("SELECT a, offset, b FROM v", 11),
            ("SELECT a, LIMIT FROM v", 11),
            ("SELECT a, end AS b FROM v", 11),
        ] {
            let error = parse_script(&format!("INSERT INTO o\n{sql}")).unwrap_err();
            assert_eq!((error.line, error.column), (Some(2), Some(column)), "{error}");
            assert!(error.message.contains(" is a word of SQL; as a column, write \""), "{error}");
        }
        for sql in
            ["SELECT a, FROM v WHERE", "SELECT a FROM t SELECT b", "SELECT a, \"top\" FROM )"]
        {
            let error = parse_script(&format!("INSERT INTO o\n{sql}")).unwrap_err();
            assert!(!error.message.contains("word of SQL"), "{error}");
        }
    }

    #[test]
    fn table_before_an_argument_is_dropped_and_positions_stay() {
        let sql = "INSERT INTO a SELECT * FROM TABLE(TUMBLE(TABLE flows, DESCRIPTOR(ts), \
                   INTERVAL '1' MINUTE)) WHERE )";
        let error = parse_script(sql).unwrap_err();
        assert_eq!(error.column, Some(sql.len() as u64), "{error}");
    }

    #[test]
    fn other_statements_are_refused_with_what_a_job_holds() {
        let error = parse_script("DROP TABLE x").unwrap_err();
        assert!(error.to_string().contains("INSERT INTO sink SELECT"), "{error}");
    }
}
