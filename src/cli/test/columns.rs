//! The rows of a case against the columns that they are written for: the names, what a source can
//! read, and what a sink can hold. Whoever writes a row by hand means every column in it, so an
//! unknown one is a mistake here, though a source skips it in its files.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use tidegauge_spec::{SourceSpec, nearest};

use super::value::{Row, Value};
use crate::source::{Decoder as _, JsonDecoder, SourceResult};
use crate::source::{arrow_schema, parse_timestamp, sql_name};

const TIME: &str = "a time, such as \"2026-01-01T00:00:00Z\", or seconds since 1970";

/// What is wrong with rows that `source` is to read, each with its place in the case.
pub(super) fn in_source(source: &SourceSpec, rows: &[Row]) -> SourceResult<Vec<String>> {
    let schema = arrow_schema(&source.schema);
    let place = |at: usize| format!("input.{}[{at}]", source.name);
    let mut wrong = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let mut unknown = Vec::new();
        names(&place(at), &source.name, schema.fields(), row, &mut unknown);
        wrong.extend(unknown.into_iter().map(|message| (at, message)));
    }
    for field in schema.fields() {
        for (at, path, message) in unread(source, field, rows)? {
            wrong.push((at, format!("{}.{path}: {message}", place(at))));
        }
    }
    wrong.sort_by_key(|(at, _)| *at);
    Ok(wrong.into_iter().map(|(_, message)| message).collect())
}

/// The values of a column that its source does not read: (row, path in the row, message). They
/// are decoded as the source's own, by themselves, so that one does not hide another.
fn unread(
    source: &SourceSpec,
    field: &Arc<Field>,
    rows: &[Row],
) -> SourceResult<Vec<(usize, String, String)>> {
    let (mut lines, mut places) = (String::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        if let Some(value) = row.get(field.name()) {
            let column = Row::from([(field.name().clone(), value.clone())]);
            lines.push_str(&Value::Map(column).to_json());
            lines.push('\n');
            places.push(at);
        }
    }
    let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
    let unit = source.event_time.unit;
    let mut decoder = JsonDecoder::new(&source.name, schema, unit, places.len());
    let decoded = decoder.decode(lines.as_bytes(), true)?;
    let unread = decoded.rejects.into_iter().map(|reject| {
        let line = usize::try_from(reject.line).unwrap_or(usize::MAX);
        let at = places.get(line.saturating_sub(1)).copied().unwrap_or_default();
        (at, reject.field.unwrap_or_else(|| field.name().clone()), reject.message)
    });
    Ok(unread.collect())
}

/// What is wrong with rows that `sink` is to hold. Times that are written as numbers become text,
/// as those of the sink are.
pub(super) fn in_sink(sink: &str, schema: &Schema, rows: &mut [Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, row) in rows.iter_mut().enumerate() {
        let place = format!("expect.{sink}[{at}]");
        names(&place, sink, schema.fields(), row, &mut wrong);
        values(&place, schema.fields(), row, &mut wrong);
    }
    wrong
}

/// Keys of a row, or of a structure in one, that are no columns of `owner`.
fn names(place: &str, owner: &str, fields: &Fields, row: &Row, wrong: &mut Vec<String>) {
    for (name, value) in row {
        match fields.iter().find(|field| field.name() == name) {
            Some(field) => {
                let (place, owner) = (format!("{place}.{name}"), format!("{owner}.{name}"));
                names_inside(&place, &owner, field.data_type(), value, wrong);
            }
            None => {
                let known = || fields.iter().map(|field| field.name().as_str());
                let right = right_name(name, known());
                wrong.push(format!("{place}: {owner} has no column called {name:?}; {right}"));
            }
        }
    }
}

fn names_inside(
    place: &str,
    owner: &str,
    data_type: &DataType,
    value: &Value,
    wrong: &mut Vec<String>,
) {
    match (data_type, value) {
        (DataType::Struct(fields), Value::Map(row)) => names(place, owner, fields, row, wrong),
        (DataType::List(item) | DataType::LargeList(item), Value::List(items)) => {
            for (at, value) in items.iter().enumerate() {
                names_inside(&format!("{place}[{at}]"), owner, item.data_type(), value, wrong);
            }
        }
        _ => {}
    }
}

/// What to write where `name` is not known: the name that was meant, or one of all.
pub(super) fn right_name<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("write {near}"),
        None => format!("write one of {}", known.join(", ")),
    }
}

fn values(place: &str, fields: &Fields, row: &mut Row, wrong: &mut Vec<String>) {
    for field in fields {
        if let Some(value) = row.get_mut(field.name()) {
            expected(&format!("{place}.{}", field.name()), field.data_type(), value, wrong);
        }
    }
}

/// A value that a sink is to hold. NULL is one of every type.
fn expected(place: &str, data_type: &DataType, value: &mut Value, wrong: &mut Vec<String>) {
    match (data_type, &mut *value) {
        (_, Value::Null) => {}
        (DataType::Dictionary(_, data_type), _) => expected(place, data_type, value, wrong),
        (DataType::Struct(fields), Value::Map(row)) => values(place, fields, row, wrong),
        (DataType::List(item) | DataType::LargeList(item), Value::List(items)) => {
            for (at, value) in items.iter_mut().enumerate() {
                expected(&format!("{place}[{at}]"), item.data_type(), value, wrong);
            }
        }
        (DataType::Timestamp(_, _), _) => match time(value) {
            Some(text) => *value = text,
            None => wrong.push(misfit(place, data_type, value, TIME)),
        },
        (_, _) => {
            if let Some(right) = unfit(data_type, value) {
                wrong.push(misfit(place, data_type, value, &right));
            }
        }
    }
}

fn misfit(place: &str, data_type: &DataType, value: &Value, right: &str) -> String {
    let name = match data_type {
        DataType::Timestamp(_, _) => "TIMESTAMP".to_owned(),
        other => sql_name(other),
    };
    format!("{place}: {value} is not {name}; write {right}")
}

/// A time as text: as it is written, and in UTC where it is a number.
fn time(value: &Value) -> Option<Value> {
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Whole(_) | Value::Float(_) => value.to_string(),
        _ => return None,
    };
    let time_us = parse_timestamp(&text, None)?;
    if is_civil(&text) {
        return Some(Value::Text(text));
    }
    let time = DateTime::from_timestamp_micros(time_us)?;
    Some(Value::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
}

/// Whether a text that is a time begins with a date.
fn is_civil(text: &str) -> bool {
    text.as_bytes().get(4) == Some(&b'-')
}

/// What would be right where `value` cannot be of the type. Types that a job seldom has, such as
/// maps, are left to the comparison.
fn unfit(data_type: &DataType, value: &Value) -> Option<String> {
    let is_text = value.as_str().is_some();
    let (fits, right) = match data_type {
        number if number.is_numeric() => return no_number(number, value),
        DataType::Boolean => (value.as_bool().is_some(), "true or false".to_owned()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let right = match value {
                Value::Whole(_) | Value::Float(_) | Value::Bool(_) => format!("\"{value}\""),
                _ => "a text".to_owned(),
            };
            (is_text, right)
        }
        DataType::Date32 | DataType::Date64 => {
            (is_date(value), "a date, such as \"2026-01-01\"".to_owned())
        }
        DataType::Struct(_) => (false, "a mapping of its fields to values".to_owned()),
        DataType::List(_) | DataType::LargeList(_) => (false, "a list".to_owned()),
        other if other.is_temporal() => (is_text, "a text".to_owned()),
        _ => (true, String::new()),
    };
    (!fits).then_some(right)
}

/// What would be right where a column of numbers cannot hold `value`.
fn no_number(data_type: &DataType, value: &Value) -> Option<String> {
    let number = match data_type.is_integer() {
        true => "a whole number",
        false => "a number",
    };
    match value {
        Value::Whole(_) | Value::Float(_) => match data_type.is_integer() {
            true => no_whole(data_type, value),
            false => too_large(data_type, value),
        },
        Value::Text(text) => Some(match text.parse::<f64>() {
            Ok(value) if value.is_finite() => text.clone(),
            Ok(value) if data_type.is_floating() && value.is_nan() => ".nan".to_owned(),
            Ok(value) if data_type.is_floating() && value > 0.0 => ".inf".to_owned(),
            Ok(_) if data_type.is_floating() => "-.inf".to_owned(),
            _ => number.to_owned(),
        }),
        _ => Some(number.to_owned()),
    }
}

/// What would be right where a number, however it is written, is none of a column of whole ones.
fn no_whole(data_type: &DataType, value: &Value) -> Option<String> {
    let whole = match value {
        Value::Whole(whole) => *whole,
        // What is past the range of the cast is past that of every column too.
        Value::Float(number) if number.fract() == 0.0 => *number as i128,
        _ => return Some("a whole number".to_owned()),
    };
    let (least, most) = match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i128::from(i64::MAX)),
    };
    let fits = (least..=most).contains(&whole);
    (!fits).then(|| format!("a whole number from {least} to {most}"))
}

/// What would be right where a number is past the range of a column that has fractions.
fn too_large(data_type: &DataType, value: &Value) -> Option<String> {
    let size = value.as_f64().unwrap_or_default().abs();
    let (precision, scale) = match data_type {
        DataType::Float32 => {
            let fits = !size.is_finite() || size <= f64::from(f32::MAX);
            return (!fits).then(|| format!("a number up to {:e}", f32::MAX));
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (i32::from(*precision), i32::from(*scale)),
        _ => return None,
    };
    let digits = (precision - scale).max(0);
    let fits = match value {
        Value::Whole(whole) => {
            let end = u32::try_from(digits).ok().and_then(|digits| 10_u128.checked_pow(digits));
            end.is_none_or(|end| whole.unsigned_abs() < end)
        }
        _ if !size.is_finite() => return Some("a number".to_owned()),
        _ => size <= 10_f64.powi(digits),
    };
    (!fits).then(|| format!("a number with at most {digits} digits before the point"))
}

/// Whether it is a date, or the midnight that a date is.
fn is_date(value: &Value) -> bool {
    const DAY_US: i64 = 86_400_000_000;
    let text = value.as_str().filter(|text| is_civil(text));
    text.and_then(|text| parse_timestamp(text, None)).is_some_and(|time| time % DAY_US == 0)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Value {
        serde_json::from_value(value).unwrap()
    }

    /// What is wrong with a value of a column of the type, or the value as it is compared.
    fn said(data_type: DataType, value: Value) -> Result<Value, String> {
        let schema = Schema::new(vec![Field::new("a", data_type, true)]);
        let mut rows = [Row::from([("a".to_owned(), value)])];
        let wrong = in_sink("s", &schema, &mut rows);
        let [row] = rows;
        if wrong.is_empty() { Ok(row["a"].clone()) } else { Err(wrong.join("\n")) }
    }

    #[test]
    fn a_value_that_its_column_cannot_hold_is_told_with_what_can_be() {
        for (data_type, value, message) in [
            (DataType::Int64, json!("one"), r#""one" is not BIGINT; write a whole number"#),
            (DataType::Int64, json!("1"), r#""1" is not BIGINT; write 1"#),
            (DataType::Int64, json!(1.5), "1.5 is not BIGINT; write a whole number"),
            (DataType::Float64, json!("a"), r#""a" is not DOUBLE; write a number"#),
            (DataType::Decimal128(5, 2), json!("1.5"), r#""1.5" is not DECIMAL(5, 2); write 1.5"#),
            (DataType::Utf8, json!(10), r#"10 is not VARCHAR; write "10""#),
            (DataType::Boolean, json!("yes"), r#""yes" is not BOOLEAN; write true or false"#),
            (
                DataType::Date32,
                json!("2026-01-01T10:00:00Z"),
                r#""2026-01-01T10:00:00Z" is not DATE; write a date, such as "2026-01-01""#,
            ),
        ] {
            assert_eq!(said(data_type, read(value)), Err(format!("expect.s[0].a: {message}")));
        }
    }

    #[test]
    fn what_a_column_can_hold_stands_as_it_is_written() {
        for (data_type, value) in [
            (DataType::Int64, json!(2.0)),
            (DataType::UInt64, json!(u64::MAX)),
            (DataType::Float64, json!(1)),
            (DataType::Decimal128(5, 2), json!(1.5)),
            (DataType::Date32, json!("2026-01-01")),
            (DataType::Duration(TimeUnit::Second), json!("PT60S")),
            (DataType::Binary, json!("00ff")),
            (DataType::Utf8View, json!(null)),
            (DataType::Timestamp(TimeUnit::Microsecond, None), json!("2026-01-01 01:00+01:00")),
        ] {
            let value = read(value);
            assert_eq!(said(data_type, value.clone()), Ok(value));
        }
    }

    #[test]
    fn times_in_numbers_are_told_apart_by_their_size_and_stand_in_utc() {
        let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = DataType::List(Arc::new(Field::new_list_field(time(), true)));
        let said = |data_type, value| said(data_type, read(value));
        let text = json!("2026-01-01T00:01:00Z");
        assert_eq!(said(time(), json!(1_767_225_660)), Ok(read(text.clone())));
        assert_eq!(said(time(), json!(1_767_225_660_000_i64)), Ok(read(text.clone())));
        assert_eq!(said(time(), json!("1767225660")), Ok(read(text.clone())));
        let half = json!("2026-01-01T00:01:00.500Z");
        assert_eq!(said(time(), json!(1_767_225_660.5)), Ok(read(half)));
        assert_eq!(said(list, json!([1_767_225_660])), Ok(read(json!([text]))));
        let noon = said(time(), json!("noon")).unwrap_err();
        assert!(noon.starts_with("expect.s[0].a: \"noon\" is not TIMESTAMP; write a time"));
    }

    #[test]
    fn a_number_past_the_range_of_its_column_is_told_with_the_range() {
        let bigint = "a whole number from -9223372036854775808 to 9223372036854775807";
        for (data_type, written, right) in [
            (DataType::Int64, "9223372036854775808", bigint),
            (DataType::Int64, "1e30", bigint),
            (DataType::Int64, ".nan", "a whole number"),
            (DataType::Int64, "-.inf", "a whole number"),
            (DataType::Int8, "1000", "a whole number from -128 to 127"),
            (DataType::UInt64, "-1", "a whole number from 0 to 18446744073709551615"),
            (DataType::Float32, "1e39", "a number up to 3.4028235e38"),
            (DataType::Float64, "\"NaN\"", ".nan"),
            (DataType::Float64, "\"-Infinity\"", "-.inf"),
            (DataType::Decimal128(5, 2), ".inf", "a number"),
            (DataType::Decimal128(5, 2), "1000", "a number with at most 3 digits before the point"),
        ] {
            let value: Value = serde_yaml::from_str(written).unwrap();
            let type_name = sql_name(&data_type);
            let told = said(data_type, value.clone()).unwrap_err();
            assert_eq!(told, format!("expect.s[0].a: {value} is not {type_name}; write {right}"));
        }
        for (data_type, written) in [
            (DataType::Int64, "-9223372036854775808"),
            (DataType::Float64, "18446744073709551616"),
            (DataType::Float64, "-.inf"),
            (DataType::Float32, ".inf"),
            (DataType::Decimal128(20, 0), "99999999999999999999"),
            (DataType::Decimal128(5, 2), "-999.99"),
        ] {
            let value: Value = serde_yaml::from_str(written).unwrap();
            assert_eq!(said(data_type, value.clone()), Ok(value));
        }
    }

    #[test]
    fn names_are_looked_at_inside_of_structures() {
        let inner = Fields::from(vec![Field::new("method", DataType::Utf8, true)]);
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Struct(inner), true)));
        assert_eq!(
            said(list, read(json!([{"method": "GET"}, {"methd": "GET"}]))),
            Err(r#"expect.s[0].a[1]: s.a has no column called "methd"; write method"#.to_owned())
        );
    }
}
