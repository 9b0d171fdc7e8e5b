//! The columns of a source, as its `schema` declares them.
//!
//! Reads the mapping and checks names; the text of a single type is read by `sql_type`, and of one
//! with others in it by `nested_type`.

mod nested_type;
mod sql_type;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::item::Item;
use crate::report::quoted;
use crate::yaml::Value;

/// Columns that windows add; a source cannot have them.
const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];
/// Prefix of the columns that the engine adds.
const RESERVED_PREFIX: &str = "__";
/// The deepest nesting of structs and arrays in one column.
const DEPTH_MAX: usize = 32;
const BRACKETS: [(char, char); 2] = [('(', ')'), ('<', '>')];

/// A column of a source, or a field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// The name, with its case, as the files have it.
    pub name: String,
    /// The type of its values; every column may be NULL.
    pub ty: ColumnType,
}

/// The type of a column, by its SQL name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ColumnType {
    /// `BOOLEAN`, `BOOL`.
    Boolean,
    /// `TINYINT`: 8 bits, signed.
    TinyInt,
    /// `SMALLINT`, `INT2`: 16 bits, signed.
    SmallInt,
    /// `INT`, `INTEGER`, `INT4`: 32 bits, signed.
    Int,
    /// `BIGINT`, `INT8`, `LONG`: 64 bits, signed.
    BigInt,
    /// `REAL`, `FLOAT`, `FLOAT4`: 32 bits, as DataFusion has it.
    Real,
    /// `DOUBLE`, `DOUBLE PRECISION`, `FLOAT8`: 64 bits.
    Double,
    /// `DECIMAL(precision, scale)`, `NUMERIC`, `DEC`.
    Decimal {
        /// Digits in all, 1 to 38; 38 if not written.
        precision: u8,
        /// Digits after the point, up to the precision; 10 if neither is written, else 0.
        scale: i8,
    },
    /// `VARCHAR`, `TEXT`, `STRING`, `CHAR`: UTF-8 text of any length.
    Varchar,
    /// `DATE`.
    Date,
    /// `TIMESTAMP`, `DATETIME`: microseconds, UTC.
    Timestamp,
    /// A nested mapping of fields, or `STRUCT<a INT, b VARCHAR>`.
    Struct(Vec<Column>),
    /// `[VARCHAR]` in YAML, or `VARCHAR[]`, `ARRAY<VARCHAR>`.
    Array(Box<ColumnType>),
}

/// Names with their types, `None` for a type that was not understood and is reported.
pub(crate) type Schema<'a> = Vec<(&'a str, Option<ColumnType>)>;

/// The columns under `schema`, with what is known of each.
pub(crate) fn schema<'a>(item: &Item<'a>) -> Option<Schema<'a>> {
    let columns = columns(item, 0)?;
    for (name, entry) in item.entries("columns")? {
        if WINDOW_COLUMNS.contains(&name) {
            let name = quoted(name);
            entry.problem(format!("{name} is the name of a column that windows add; rename it"));
        }
        if name.starts_with(RESERVED_PREFIX) {
            let name = quoted(name);
            entry.problem(format!("{name} begins with __, which is reserved; rename it"));
        }
    }
    Some(columns)
}

/// The columns if all of their types were understood.
pub(crate) fn complete(columns: Schema<'_>) -> Option<Vec<Column>> {
    let column =
        |(name, ty): (&str, Option<ColumnType>)| Some(Column { name: name.to_owned(), ty: ty? });
    columns.into_iter().map(column).collect()
}

/// The columns or fields in a mapping.
fn columns<'a>(item: &Item<'a>, depth: usize) -> Option<Schema<'a>> {
    let entries = item.entries("a mapping of columns such as {ts: TIMESTAMP, host: VARCHAR}")?;
    if entries.is_empty() {
        item.problem("has no columns; write at least one, such as ts: TIMESTAMP");
        return None;
    }
    let mut all = Vec::with_capacity(entries.len());
    let mut cut_by_comma = false;
    for (name, entry) in entries {
        // `{x: DECIMAL(10, 2)}` without quotes is two keys to YAML, `x` and `2)`.
        if cut_by_comma && entry.is_null() {
            cut_by_comma = !name.ends_with([')', '>']);
            continue;
        }
        cut_by_comma = is_cut(entry.value());
        if name.trim().is_empty() {
            entry.problem(format!("{} is not a column name; write one", quoted(name)));
            all.push((name, None));
            continue;
        }
        all.push((name, column_type(&entry, depth)));
    }
    Some(all)
}

fn column_type(item: &Item<'_>, depth: usize) -> Option<ColumnType> {
    if depth >= DEPTH_MAX {
        item.problem(format!("nested more than {DEPTH_MAX} levels deep; write a flatter schema"));
        return None;
    }
    match item.value() {
        Value::Map(_) => Some(ColumnType::Struct(complete(columns(item, depth + 1)?)?)),
        Value::List(_) => array(item, depth),
        Value::Scalar { .. } => item
            .parsed("a type such as VARCHAR", |text| sql_type::parse_type(text, DEPTH_MAX - depth)),
    }
}

fn array(item: &Item<'_>, depth: usize) -> Option<ColumnType> {
    let items = item.list("a type")?;
    match items.as_slice() {
        [element] => Some(ColumnType::Array(Box::new(column_type(element, depth + 1)?))),
        _ => {
            let count = items.len();
            item.problem(format!(
                "a list of {count} types; write the one of the elements, [VARCHAR]"
            ));
            None
        }
    }
}

/// Whether a type ends inside its brackets.
fn is_cut(value: &Value) -> bool {
    match value {
        Value::Scalar { text, .. } => BRACKETS
            .iter()
            .any(|(open, close)| text.matches(*open).count() > text.matches(*close).count()),
        Value::List(_) | Value::Map(_) => false,
    }
}
