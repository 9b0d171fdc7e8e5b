//! What to tell the operator about a line that is not a row.

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::error::ArrowError;
use serde::de::IgnoredAny;

use crate::source::value::{shown, sql_name};

/// A line holds more than one value.
pub(super) const SEVERAL: &str = "more than one JSON value on the line; write one object a line";
/// A line ends inside a value.
pub(super) const CUT_OFF: &str = "the line ends inside a JSON object; write one object a line";
/// A line is nested too deep.
pub(super) const TOO_DEEP: &str = "nested deeper than 1024 levels";

/// What is wrong with a line, and in which column.
#[derive(Debug)]
pub(super) struct Fault {
    /// The column, dotted inside structs.
    pub(super) field: Option<String>,
    /// What is wrong.
    pub(super) message: String,
}

impl Fault {
    /// A fault of the whole line.
    pub(super) fn line(message: impl Into<String>) -> Self {
        Self { field: None, message: message.into() }
    }
}

/// A line that arrow-json's tokenizer refused.
pub(super) fn syntax(error: &ArrowError, line: &[u8]) -> Fault {
    Fault::line(match strict_error(line) {
        Some(message) => format!("not JSON: {message}"),
        None => format!("not JSON: {}", bare(error)),
    })
}

/// A line that ends too early.
pub(super) fn cut_off(line: &[u8]) -> Fault {
    match serde_json::from_slice::<IgnoredAny>(line.trim_ascii_end()) {
        Err(error) if !error.is_eof() => Fault::line(format!("not JSON: {}", placed(&error))),
        _ => Fault::line(CUT_OFF),
    }
}

/// A line that is JSON to the tokenizer, but not of the shape that the schema has.
pub(super) fn structural(error: &ArrowError, line: &[u8], schema: &Schema) -> Fault {
    if std::str::from_utf8(line).is_err() {
        return Fault::line("not valid UTF-8");
    }
    let text = bare(error);
    let (path, rest) = field_path(&text);
    let value = rest.split_once(" got ").map(|(_, value)| value);
    match (path.is_empty(), value) {
        (true, Some(value)) if rest.starts_with("expected {") => {
            Fault::line(format!("not a JSON object: {}", shown(value)))
        }
        (false, Some(value)) => {
            let name =
                declared(schema, &path).map_or_else(|| "of its column's type".into(), sql_name);
            Fault {
                field: Some(path.join(".")),
                message: format!("{} is not {name}", shown(value)),
            }
        }
        (_, _) => {
            let field = (!path.is_empty()).then(|| path.join("."));
            Fault { field, message: strict_error(line).unwrap_or_else(|| rest.to_owned()) }
        }
    }
}

/// What a strict parser says of the line, if anything.
fn strict_error(line: &[u8]) -> Option<String> {
    let error = serde_json::from_slice::<IgnoredAny>(line).err()?;
    Some(placed(&error))
}

/// The message with its column, and without its line, which is always 1.
fn placed(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    format!("{message} at byte {} of the line", error.column())
}

fn bare(error: &ArrowError) -> String {
    match error {
        ArrowError::JsonError(message) => message.clone(),
        other => other.to_string(),
    }
}

/// Takes the names off `whilst decoding field 'a': whilst decoding field 'b': message`.
fn field_path(mut text: &str) -> (Vec<&str>, &str) {
    let mut path = Vec::new();
    while let Some((name, rest)) =
        text.strip_prefix("whilst decoding field '").and_then(|rest| rest.split_once("': "))
    {
        path.push(name);
        text = rest;
    }
    (path, text)
}

/// The type that the schema has for a path, through lists.
fn declared<'a>(schema: &'a Schema, path: &[&str]) -> Option<&'a DataType> {
    let (first, rest) = path.split_first()?;
    let mut current = schema.field_with_name(first).ok()?.data_type();
    for name in rest {
        let DataType::Struct(fields) = through_lists(current) else {
            return None;
        };
        current = fields.find(name)?.1.data_type();
    }
    Some(current)
}

fn through_lists(mut data_type: &DataType) -> &DataType {
    while let DataType::List(item) = data_type {
        data_type = item.data_type();
    }
    data_type
}
