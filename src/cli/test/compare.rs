//! What was expected against what came: rows as multisets, with a tolerance for numbers, and
//! counts.

use std::collections::BTreeSet;
use std::fmt;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use datafusion::arrow::json::ArrayWriter;

use super::value::{Row, Value};
use crate::cli::failure::Failure;
use crate::source::parse_timestamp;

/// How far a number that is not whole may be off, relative to its size, unless its case says.
const TOLERANCE: f64 = 1e-9;

/// What differs in one sink.
#[derive(Debug)]
pub(super) struct Mismatch {
    sink: String,
    columns: BTreeSet<String>,
    missing: Vec<Row>,
    unexpected: Vec<Row>,
}

/// The rows of `batches`.
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
    let mut rows: Vec<Row> =
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    let places = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |at| (batch, at)));
    for (row, (batch, at)) in rows.iter_mut().zip(places) {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            restore_in(row, field.name(), column, at);
        }
    }
    Ok(rows)
}

/// Puts NaN and the infinities, for which JSON has nothing but null, back into a row.
fn restore_in(row: &mut Row, name: &str, column: &dyn Array, at: usize) {
    if let Some(value) = row.get_mut(name) {
        restore(value, column, at);
    }
}

fn restore(value: &mut Value, array: &dyn Array, at: usize) {
    if array.is_null(at) {
        return;
    }
    let number = match array.data_type() {
        DataType::Float16 => f64::from(array.as_primitive::<Float16Type>().value(at)),
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(at)),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(at),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            return restore(value, dictionary.values(), dictionary.normalized_keys()[at]);
        }
        _ => return restore_inside(value, array, at),
    };
    if !number.is_finite() {
        *value = Value::Float(number);
    }
}

fn restore_inside(value: &mut Value, array: &dyn Array, at: usize) {
    let items = match (array.data_type(), &mut *value) {
        (DataType::Struct(fields), Value::Map(row)) => {
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                restore_in(row, field.name(), column, at);
            }
            return;
        }
        (DataType::Map(_, _), Value::Map(row)) => {
            let entries = array.as_map().value(at);
            let names = entries.column(0).as_string_opt::<i32>();
            for (nth, name) in names.into_iter().flatten().enumerate() {
                restore_in(row, name.unwrap_or_default(), entries.column(1), nth);
            }
            return;
        }
        (DataType::List(_), _) => array.as_list::<i32>().value(at),
        (DataType::LargeList(_), _) => array.as_list::<i64>().value(at),
        (DataType::FixedSizeList(_, _), _) => array.as_fixed_size_list().value(at),
        _ => return,
    };
    if let Value::List(values) = value {
        for (nth, value) in values.iter_mut().enumerate() {
            restore(value, &items, nth);
        }
    }
}

/// Matches rows one to one, in the columns that any expected row names.
pub(super) fn compare(
    sink: &str,
    expected: &[Row],
    actual: &[Row],
    tolerance: Option<f64>,
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

fn same(expected: &Row, actual: &Row, columns: &BTreeSet<String>, tolerance: Option<f64>) -> bool {
    columns.iter().all(|column| {
        let a = expected.get(column).unwrap_or(&Value::Null);
        let b = actual.get(column).unwrap_or(&Value::Null);
        same_value(a, b, tolerance)
    })
}

fn same_value(a: &Value, b: &Value, tolerance: Option<f64>) -> bool {
    match (a, b) {
        (Value::Whole(a), Value::Whole(b)) => {
            // An address or an identity beside the right one is another one.
            a == b || tolerance.is_some_and(|tolerance| near(*a as f64, *b as f64, tolerance))
        }
        (Value::Whole(_) | Value::Float(_), Value::Whole(_) | Value::Float(_)) => {
            let tolerance = tolerance.unwrap_or(TOLERANCE);
            matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if near(a, b, tolerance))
        }
        (Value::Text(a), Value::Text(b)) => {
            a == b || matches!((time(a), time(b)), (Some(a), Some(b)) if a == b)
        }
        (Value::Map(a), Value::Map(b)) => {
            let names: BTreeSet<String> = a.keys().chain(b.keys()).cloned().collect();
            same(a, b, &names, tolerance)
        }
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b, tolerance))
        }
        (a, b) => a == b,
    }
}

/// NaN is near to NaN and an infinity to itself, and to no other number.
fn near(a: f64, b: f64, tolerance: f64) -> bool {
    if a.is_finite() && b.is_finite() {
        return (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0);
    }
    a == b || (a.is_nan() && b.is_nan())
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
            Value::Map(kept).to_string()
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
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, DictionaryArray, Float32Array, Float64Array, Int8Array, Int64Array, ListArray,
        StructArray,
    };

    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn order_and_tiny_differences_do_not_matter() {
        let expected = rows(r#"[{"a": 1, "t": "2026-01-01T00:00:00Z"}, {"a": 2.0}]"#);
        let actual = rows(r#"[{"a": 2.0000000001}, {"a": 1, "t": "2026-01-01 00:00:00"}]"#);
        assert!(compare("s", &expected, &actual, None).is_none());
    }

    #[test]
    fn nan_the_infinities_and_null_are_four_values() {
        let values = ["null", ".nan", ".inf", "-.inf", "1.0"];
        let row = |value: &str| -> Vec<Row> {
            serde_yaml::from_str(&format!("[{{a: {value}, b: [{{c: {value}}}]}}]")).unwrap()
        };
        for expected in values {
            for actual in values {
                for tolerance in [None, Some(0.0), Some(1.0)] {
                    let found = compare("s", &row(expected), &row(actual), tolerance);
                    assert_eq!(found.is_none(), expected == actual, "{expected} {actual}");
                }
            }
        }
        let shown = compare("s", &row("-.inf"), &row(".nan"), None).unwrap().to_string();
        assert!(shown.contains(r#"missing:    {"a":-inf,"b":[{"c":-inf}]}"#), "{shown}");
        assert!(shown.contains(r#"unexpected: {"a":nan,"b":[{"c":nan}]}"#), "{shown}");
    }

    #[test]
    fn what_json_has_no_number_for_is_read_from_every_kind_of_column() {
        let doubles = [Some(f64::NAN), None, Some(f64::NEG_INFINITY), Some(1.5)];
        let doubles: ArrayRef = Arc::new(Float64Array::from(doubles.to_vec()));
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![1.0, f32::INFINITY, 2.0, 3.0]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
            Some(vec![Some(1.0), Some(f64::INFINITY), None]),
            None,
            Some(vec![]),
            Some(vec![Some(f64::NAN)]),
        ]));
        let fields = [("d", Arc::clone(&doubles)), ("l", lists)];
        let fields = fields.map(|(name, column)| {
            let data_type = column.data_type().clone();
            (Arc::new(datafusion::arrow::datatypes::Field::new(name, data_type, true)), column)
        });
        let keys = Int8Array::from(vec![Some(2), Some(0), None, Some(3)]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("f", floats, true),
            ("s", Arc::new(StructArray::from(fields.to_vec())) as ArrayRef, true),
            ("y", Arc::new(DictionaryArray::new(keys, doubles)) as ArrayRef, true),
            ("w", Arc::new(Int64Array::from(vec![1, 2, 3, i64::MAX])) as ArrayRef, true),
        ]);
        let batch = batch.unwrap();
        let rows = rows_of(&[batch.slice(0, 1), batch.slice(1, 0), batch.slice(1, 3)]).unwrap();
        let shown: Vec<String> = rows.into_iter().map(|row| Value::Map(row).to_string()).collect();
        assert_eq!(
            shown,
            [
                r#"{"f":1.0,"s":{"d":nan,"l":[1.0,inf,null]},"w":1,"y":-inf}"#,
                r#"{"f":inf,"s":{},"w":2,"y":nan}"#,
                r#"{"f":2.0,"s":{"d":-inf,"l":[]},"w":3}"#,
                r#"{"f":3.0,"s":{"d":1.5,"l":[nan]},"w":9223372036854775807,"y":1.5}"#,
            ]
        );
    }

    #[test]
    fn a_whole_number_may_be_off_only_where_the_case_says_so() {
        let (one, other) = (rows(r#"[{"a": 3232235777}]"#), rows(r#"[{"a": 3232235778}]"#));
        assert!(compare("s", &one, &one, None).is_none());
        assert!(compare("s", &one, &other, None).is_some());
        assert!(compare("s", &one, &other, Some(1e-9)).is_none());
        assert!(compare("s", &rows(r#"[{"a": 3232235777.5}]"#), &other, None).is_none());
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
        let mismatch = compare("s", &expected, &actual, None).unwrap();
        assert_eq!((mismatch.missing.len(), mismatch.unexpected.len()), (0, 1));
    }
}
