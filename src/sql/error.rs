//! Errors of a job's SQL: line and column, and what would be right. The planner's own texts are
//! put into a user's words in `reword.rs`.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::TokenizerError;

use super::reword::reworded;
use super::{own_columns, second_meaning};

/// A statement that cannot be planned, with its place in the SQL text where it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place(*line, *column))]
pub struct SqlError {
    /// The line in the SQL text, from 1.
    pub line: Option<u64>,
    /// The column in that line, from 1.
    pub column: Option<u64>,
    /// What is wrong and what would be right.
    pub message: String,
}

fn place(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (Some(line), None) => format!("line {line}: "),
        _ => String::new(),
    }
}

impl SqlError {
    /// An error at a known place.
    pub fn at(line: u64, column: u64, message: impl Into<String>) -> Self {
        Self { line: Some(line), column: Some(column), message: message.into() }
    }

    /// An error in the statement that begins at `line`.
    pub fn in_statement(line: u64, message: impl Into<String>) -> Self {
        Self { line: Some(line), column: None, message: message.into() }
    }

    /// An error of the planner: its own place where it names one, else the statement's.
    pub fn from_planner(error: &DataFusionError, statement_line: u64) -> Self {
        let message = planner_message(error).replace("datafusion.public.", "");
        let span = error
            .iter()
            .find_map(|error| error.diagnostic())
            .and_then(|diagnostic| diagnostic.span);
        match span {
            Some(span) => Self::at(span.start.line, span.start.column, message),
            None => Self::in_statement(statement_line, message),
        }
    }
}

/// The planner's message without the wrappers and the names that say nothing to a user.
pub fn planner_message(error: &DataFusionError) -> String {
    let message = message_of(error);
    let message = without_relation(message, own_columns::NAME);
    without_relation(message, second_meaning::NAME)
}

/// `message` without the relations that are called `name` and a number.
fn without_relation(message: String, name: &str) -> String {
    let mut parts = message.split(name);
    let Some(first) = parts.next() else { return message };
    parts.fold(first.to_owned(), |said, part| {
        said + part
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .trim_start_matches('.')
    })
}

fn message_of(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            message_of(inner)
        }
        DataFusionError::Shared(inner) => message_of(inner),
        DataFusionError::Plan(message)
        | DataFusionError::NotImplemented(message)
        | DataFusionError::Execution(message) => reworded(message),
        // A refusal of our own.
        DataFusionError::External(inner) => inner.to_string(),
        DataFusionError::SchemaError(inner, _) => schema_message(inner),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ParseError(message) => reworded(message),
            other => reworded(&other.to_string()),
        },
        DataFusionError::Collection(errors) => errors.first().map(message_of).unwrap_or_default(),
        other => reworded(&other.strip_backtrace()),
    }
}

fn schema_message(error: &SchemaError) -> String {
    // A job has no settings of the planner.
    const SETTING: &str =
        " or disable the datafusion.sql_parser.enable_ident_normalization configuration";
    error.to_string().replace(SETTING, "").trim_end_matches('.').to_owned()
}

pub(super) fn parser_error(error: &ParserError, sql: &str) -> SqlError {
    match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
            match text.strip_suffix("found: EOF") {
                Some(expected) => SqlError::in_statement(
                    sql.trim_end().lines().count().max(1) as u64,
                    format!("{expected}found: the end of the SQL"),
                ),
                None => located(text),
            }
        }
        ParserError::RecursionLimitExceeded => SqlError {
            line: None,
            column: None,
            message: "the statement nests too deeply; split it into views".to_owned(),
        },
    }
}

pub(super) fn tokenizer_error(error: &TokenizerError) -> SqlError {
    SqlError::at(error.location.line, error.location.column, error.message.clone())
}

/// Takes the place off the end of the parser's text, where it puts it.
fn located(text: &str) -> SqlError {
    let parsed = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((message, line.trim().parse().ok()?, column.trim().parse().ok()?))
    });
    match parsed {
        Some((message, line, column)) => SqlError::at(line, column, message),
        None => SqlError { line: None, column: None, message: text.to_owned() },
    }
}
