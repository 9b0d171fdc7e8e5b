//! What was expected against what came: rows as multisets, with a tolerance for numbers, and
//! counts.

use std::collections::BTreeSet;
use std::fmt;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::json::ArrayWriter;
use serde_json::Value;

use super::case::Row;
use crate::cli::failure::Failure;
use crate::source::parse_timestamp;

/// What differs in one sink.
#[derive(Debug)]
pub(super) struct Mismatch {
    sink: String,
    columns: BTreeSet<String>,
    missing: Vec<Row>,
    unexpected: Vec<Row>,
}

/// The rows of `batches` as JSON.
pub(super) fn rows_of(batches: &[RecordBatch]) -> Result<Vec<Row>, Failure> {
    let failed = |error: String| Failure::running(format!("error: rows cannot be read: {error}"));
    let mut writer = ArrayWriter::new(Vec::new());
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    writer.write_batches(&batches).map_err(|error| failed(error.to_string()))?;
    writer.finish().map_err(|error| failed(error.to_string()))?;
    let bytes = writer.into_inner();
    if bytes.is_empty() {
        return Ok(vec![]);
    }
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}

/// Matches rows one to one, in the columns that any expected row names.
pub(super) fn compare(
    sink: &str,
    expected: &[Row],
    actual: &[Row],
    tolerance: f64,
) -> Option<Mismatch> {
    let columns: BTreeSet<String> = expected.iter().flat_map(|row| row.keys().cloned()).collect();
    let mut left: Vec<&Row> = actual.iter().collect();
    let mut missing = Vec::new();
    for row in expected {
        match left.iter().position(|other| same(row, other, &columns, tolerance)) {
            Some(at) => {
                left.swap_remove(at);
            }
            None => missing.push(row.clone()),
        }
    }
    if missing.is_empty() && left.is_empty() {
        return None;
    }
    let unexpected = left.into_iter().cloned().collect();
    Some(Mismatch { sink: sink.to_owned(), columns, missing, unexpected })
}

/// Counts that differ, each of the run or of a source: (source, expected, counted).
pub(super) fn compare_counts(fate: &str, counts: &[(Option<&str>, u64, u64)]) -> Vec<String> {
    let differing = counts.iter().filter(|(_, expected, counted)| expected != counted);
    let shown = differing.map(|(source, expected, counted)| {
        let of = source.map(|source| format!(" of {source}")).unwrap_or_default();
        format!("  rows {fate}{of}: expected {expected}, counted {counted}")
    });
    shown.collect()
}

fn same(expected: &Row, actual: &Row, columns: &BTreeSet<String>, tolerance: f64) -> bool {
    columns.iter().all(|column| {
        let a = expected.get(column).unwrap_or(&Value::Null);
        let b = actual.get(column).unwrap_or(&Value::Null);
        same_value(a, b, tolerance)
    })
}

fn same_value(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0),
            _ => a == b,
        },
        (Value::String(a), Value::String(b)) => {
            a == b || matches!((time(a), time(b)), (Some(a), Some(b)) if a == b)
        }
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<String> = a.keys().chain(b.keys()).cloned().collect();
            same(a, b, &names, tolerance)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b, tolerance))
        }
        (a, b) => a == b,
    }
}

/// A text that is a time, in whatever spelling.
fn time(text: &str) -> Option<i64> {
    let looks_like_one = text.len() >= 10 && text.as_bytes()[4] == b'-';
    looks_like_one.then(|| parse_timestamp(text, None)).flatten()
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  sink {}:", self.sink)?;
        let shown = |row: &Row| {
            let kept: Row = row
                .iter()
                .filter(|(name, _)| self.columns.is_empty() || self.columns.contains(*name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            Value::Object(kept).to_string()
        };
        for row in &self.missing {
            write!(f, "\n    - missing:    {}", shown(row))?;
        }
        for row in &self.unexpected {
            write!(f, "\n    + unexpected: {}", shown(row))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn order_and_tiny_differences_do_not_matter() {
        let expected = rows(r#"[{"a": 1, "t": "2026-01-01T00:00:00Z"}, {"a": 2.0}]"#);
        let actual = rows(r#"[{"a": 2.0000000001}, {"a": 1, "t": "2026-01-01 00:00:00"}]"#);
        assert!(compare("s", &expected, &actual, 1e-9).is_none());
    }

    #[test]
    fn only_counts_that_differ_are_told() {
        let counts = [(None, 1, 1), (Some("flows"), 2, 0)];
        assert_eq!(
            compare_counts("late", &counts),
            ["  rows late of flows: expected 2, counted 0"]
        );
    }

    #[test]
    fn a_row_that_comes_twice_is_unexpected_once() {
        let expected = rows(r#"[{"a": 1}]"#);
        let actual = rows(r#"[{"a": 1, "b": 1}, {"a": 1, "b": 2}]"#);
        let mismatch = compare("s", &expected, &actual, 1e-9).unwrap();
        assert_eq!((mismatch.missing.len(), mismatch.unexpected.len()), (0, 1));
    }
}
