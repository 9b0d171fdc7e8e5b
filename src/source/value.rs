//! Text to the declared types: the one place where it is decided what fits a column.
//!
//! Nothing is trimmed. An integer may be written `12.0` or `1e3`, not `12.5`; a decimal is
//! rounded to its scale as SQL does; a float out of range is refused, not infinite.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBuilder, PrimitiveArray,
    StringViewArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Fields, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;

use super::convert::Report;
use super::format::EpochUnit;
use super::number::{Rounding, parse_number, plain_integer};
use super::timestamp;

/// Values longer than this are cut in messages.
const SHOWN_CHARS_MAX: usize = 80;

/// Why a value does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is not written as such a value is.
    Malformed,
    /// It is one, but larger or smaller than the type holds.
    OutOfRange,
    /// It has a fraction, and the type has none.
    Fraction,
}

impl Unfit {
    /// A sentence for the operator: `"x" is not an INT`.
    pub(super) fn message(self, value: &str, to: &DataType) -> String {
        let (value, name) = (shown(value), sql_name(to));
        match self {
            Self::Malformed => format!("{value} is not {name}"),
            Self::OutOfRange if matches!(to, DataType::Timestamp(..) | DataType::Date32) => {
                format!("{value} is out of the range of {name}, the years 1 to 9999")
            }
            Self::OutOfRange => format!("{value} is out of the range of {name}"),
            Self::Fraction => format!("{value} has a fraction, which {name} cannot hold"),
        }
    }
}

/// A value in quotes, cut to what a message can bear.
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}...", &value[..end]),
    }
}

/// The type as the job file writes it.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "VARCHAR".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP".into(),
        DataType::Struct(_) => "STRUCT".into(),
        DataType::List(_) => "ARRAY".into(),
        other => other.to_string(),
    }
}

/// The type with every scalar in it as text.
pub(super) fn text_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(text_field).collect::<Fields>())
        }
        DataType::List(item) => DataType::List(text_field(item)),
        _ => DataType::Utf8View,
    }
}

/// The field with every scalar in it as text.
pub(super) fn text_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), text_type(field.data_type()), true))
}

/// Converts a column of text to the scalar type `to`; what does not fit is reported and
/// stands as a value of no meaning in the result.
pub(super) fn from_text(
    array: &ArrayRef,
    to: &DataType,
    unit: Option<EpochUnit>,
    report: Report<'_>,
) -> Result<ArrayRef, ArrowError> {
    let text = array.as_string_view();
    Ok(match to {
        DataType::Utf8View => array.clone(),
        DataType::Boolean => Arc::new(booleans(text, to, report)),
        DataType::Int8 => primitives::<Int8Type>(text, to, report, integer),
        DataType::Int16 => primitives::<Int16Type>(text, to, report, integer),
        DataType::Int32 => primitives::<Int32Type>(text, to, report, integer),
        DataType::Int64 => primitives::<Int64Type>(text, to, report, integer),
        DataType::Float32 => primitives::<Float32Type>(text, to, report, float32),
        DataType::Float64 => primitives::<Float64Type>(text, to, report, float64),
        DataType::Date32 => {
            primitives::<Date32Type>(text, to, report, |text| timestamp::date(text.as_bytes()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            primitives::<TimestampMicrosecondType>(text, to, report, |text| {
                timestamp::timestamp(text.as_bytes(), unit)
            })
        }
        DataType::Decimal128(precision, scale) => {
            primitives::<Decimal128Type>(text, to, report, |text| decimal(text, *precision, *scale))
        }
        other => {
            return Err(ArrowError::NotYetImplemented(format!("a source column of type {other}")));
        }
    })
}

fn primitives<T: ArrowPrimitiveType>(
    text: &StringViewArray,
    to: &DataType,
    report: Report<'_>,
    parse: impl Fn(&str) -> Result<T::Native, Unfit>,
) -> ArrayRef {
    let mut values = Vec::with_capacity(text.len());
    for row in 0..text.len() {
        values.push(if text.is_null(row) {
            T::Native::default()
        } else {
            let value = text.value(row);
            parse(value).unwrap_or_else(|unfit| {
                report(row, unfit, unfit.message(value, to));
                T::Native::default()
            })
        });
    }
    let array = PrimitiveArray::<T>::new(values.into(), text.nulls().cloned());
    Arc::new(array.with_data_type(to.clone()))
}

fn booleans(text: &StringViewArray, to: &DataType, report: Report<'_>) -> BooleanArray {
    let mut builder = BooleanBuilder::with_capacity(text.len());
    for (row, value) in text.iter().enumerate() {
        let parsed = match value {
            None => None,
            Some(value) if value.eq_ignore_ascii_case("true") => Some(true),
            Some(value) if value.eq_ignore_ascii_case("false") => Some(false),
            Some(value) => {
                report(row, Unfit::Malformed, Unfit::Malformed.message(value, to));
                None
            }
        };
        builder.append_option(parsed);
    }
    builder.finish()
}

#[inline]
fn integer<T: TryFrom<i64>>(text: &str) -> Result<T, Unfit> {
    let value = match plain_integer(text.as_bytes()) {
        Some(value) => value,
        None => {
            let number = parse_number(text.as_bytes()).ok_or(Unfit::Malformed)?;
            i64::try_from(number.scaled(0, Rounding::Exact)?).map_err(|_| Unfit::OutOfRange)?
        }
    };
    T::try_from(value).map_err(|_| Unfit::OutOfRange)
}

#[inline]
fn float64(text: &str) -> Result<f64, Unfit> {
    let value: f64 = text.parse().map_err(|_| Unfit::Malformed)?;
    if value.is_infinite() && has_digit(text) { Err(Unfit::OutOfRange) } else { Ok(value) }
}

fn float32(text: &str) -> Result<f32, Unfit> {
    let value: f32 = text.parse().map_err(|_| Unfit::Malformed)?;
    if value.is_infinite() && has_digit(text) { Err(Unfit::OutOfRange) } else { Ok(value) }
}

/// Tells a number that overflowed from an infinity that was written as such.
fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Unfit> {
    let number = parse_number(text.as_bytes()).ok_or(Unfit::Malformed)?;
    let value = number.scaled(i32::from(scale), Rounding::HalfAway)?;
    let limit = 10_u128.checked_pow(u32::from(precision)).ok_or(Unfit::OutOfRange)?;
    if value.unsigned_abs() < limit { Ok(value) } else { Err(Unfit::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_whole_numbers_however_written() {
        assert_eq!(integer::<i32>("12"), Ok(12));
        assert_eq!(integer::<i32>("12.0"), Ok(12));
        assert_eq!(integer::<i32>("1.2e1"), Ok(12));
        assert_eq!(integer::<i64>("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer::<i64>("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer::<i64>("9007199254740993.0"), Ok(9_007_199_254_740_993));
        assert_eq!(integer::<i32>("12.5"), Err(Unfit::Fraction));
        assert_eq!(integer::<i8>("128"), Err(Unfit::OutOfRange));
        assert_eq!(integer::<i64>("9223372036854775808"), Err(Unfit::OutOfRange));
        for text in ["", " 12", "12 ", "true", "0x1"] {
            assert_eq!(integer::<i32>(text), Err(Unfit::Malformed), "{text:?}");
        }
    }

    #[test]
    fn floats_are_refused_out_of_range_but_infinity_can_be_written() {
        assert_eq!(float64("1e3"), Ok(1000.0));
        assert_eq!(float64("1e999"), Err(Unfit::OutOfRange));
        assert_eq!(float32("1e39"), Err(Unfit::OutOfRange));
        assert_eq!(float64("-Infinity"), Ok(f64::NEG_INFINITY));
        assert_eq!(float64(" 1"), Err(Unfit::Malformed));
    }

    #[test]
    fn decimals_are_exact_and_round_half_away() {
        assert_eq!(decimal("12.345", 10, 2), Ok(1235));
        assert_eq!(decimal("-0.005", 10, 2), Ok(-1));
        assert_eq!(decimal("99999999.994", 10, 2), Ok(9_999_999_999));
        assert_eq!(decimal("99999999.995", 10, 2), Err(Unfit::OutOfRange));
        assert_eq!(decimal("1e2", 38, 2), Ok(10_000));
    }

    #[test]
    fn messages_name_value_and_type_and_are_short() {
        assert_eq!(Unfit::Malformed.message("x", &DataType::Int32), "\"x\" is not INT");
        assert!(shown(&"é".repeat(1000)).len() < 200);
    }
}
