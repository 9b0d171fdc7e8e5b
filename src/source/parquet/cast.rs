//! Which types of a file can be which declared types, and the casts between them.
//!
//! A value is taken if the declared type holds it: whole numbers of any width and writing as
//! integers, numbers as decimals and floats, times of any unit and zone in microseconds. One that
//! it does not hold is reported; nothing wraps, nothing becomes infinite, and nothing is filled
//! in.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Date32Array, FixedSizeBinaryArray, Float32Array,
    Int64Array, PrimitiveArray, StringViewBuilder, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Field, Fields, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{EncoderOptions, make_encoder};
use datafusion::arrow::util::display::array_value_to_string;

use crate::source::convert::{Report, dotted, entry_names};
use crate::source::format::EpochUnit;
use crate::source::timestamp::{
    day_of, from_days, from_float, from_integer, in_range, is_day, is_time,
};
use crate::source::value::{Unfit, from_text};

/// What of a file the casts have to know beside the types.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaves {
    /// The unit of times in numbers; by their size if `None`.
    pub(super) unit: Option<EpochUnit>,
    /// The columns, dotted inside structs, whose bytes are UUIDs.
    pub(super) uuids: BTreeSet<String>,
}

/// A column of the file that cannot be what the job declares.
#[derive(Debug)]
pub(super) struct WrongType {
    /// The column, dotted inside structs.
    pub(super) field: String,
    /// Its type in the file.
    pub(super) from: DataType,
    /// Its declared type.
    pub(super) to: DataType,
}

/// Whether a column of type `from` can be read as `to`.
pub(super) fn check(from: &DataType, to: &DataType, path: &str) -> Result<(), WrongType> {
    use DataType::{
        Dictionary, FixedSizeList, LargeList, LargeListView, List, ListView, Map, RunEndEncoded,
        Struct,
    };
    let wrong = || WrongType { field: path.to_owned(), from: from.clone(), to: to.clone() };
    match (from, to) {
        (Dictionary(_, value), _) => check(value, to, path),
        (RunEndEncoded(_, value), _) => check(value.data_type(), to, path),
        (Struct(found), Struct(fields)) => check_fields(found, fields, path),
        (
            List(found)
            | LargeList(found)
            | FixedSizeList(found, _)
            | ListView(found)
            | LargeListView(found),
            List(item),
        ) => check(found.data_type(), item.data_type(), path),
        (Map(entries, _), _) => {
            let Struct(found) = entries.data_type() else { return Err(wrong()) };
            let [key, value] = found.iter().as_slice() else { return Err(wrong()) };
            match to {
                DataType::Utf8View => Ok(()),
                List(item) => {
                    let names = entry_names(found, item.data_type());
                    let fields = found.iter().zip(names);
                    let found = fields.map(|(field, name)| field.as_ref().clone().with_name(name));
                    check(&Struct(found.collect()), item.data_type(), path)
                }
                Struct(fields) if is_text(under_encoding(key.data_type())) => {
                    let same = |name: &str| dotted(path, name);
                    fields.iter().try_for_each(|field| {
                        check(value.data_type(), field.data_type(), &same(field.name()))
                    })
                }
                _ => Err(wrong()),
            }
        }
        _ if scalar_fits(from, to) => Ok(()),
        _ => Err(wrong()),
    }
}

fn check_fields(found: &Fields, fields: &Fields, path: &str) -> Result<(), WrongType> {
    for field in fields {
        if let Some((_, found)) = found.find(field.name()) {
            check(found.data_type(), field.data_type(), &dotted(path, field.name()))?;
        }
    }
    Ok(())
}

fn under_encoding(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => under_encoding(value),
        DataType::RunEndEncoded(_, value) => under_encoding(value.data_type()),
        other => other,
    }
}

fn scalar_fits(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Date32, Date64, Decimal128, FixedSizeBinary, Null, Time32, Time64, Timestamp,
        Utf8View,
    };
    let is_date = matches!(from, Date32 | Date64);
    let is_instant = is_date || matches!(from, Timestamp(..));
    match (from, to) {
        (Null, _) => true,
        (_, Boolean) => *from == Boolean,
        (_, Utf8View) => {
            let is_clock = matches!(from, Time32(_) | Time64(_));
            is_text(from)
                || from.is_nested()
                || is_bytes(from)
                || is_instant
                || is_clock
                || from.is_numeric()
                || matches!(from, Boolean | FixedSizeBinary(_))
        }
        (_, Date32) => is_instant || is_text(from),
        (_, Timestamp(..)) => is_instant || is_text(from) || from.is_numeric(),
        (_, Decimal128(..)) => from.is_integer() || from.is_decimal(),
        _ if to.is_integer() || to.is_floating() => from.is_numeric(),
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Old writers leave text without its annotation.
fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Casts a column without nesting that [`check`] has let through.
pub(super) fn leaf(
    array: &ArrayRef,
    to: &DataType,
    path: &str,
    leaves: &Leaves,
    report: Report<'_>,
) -> Result<ArrayRef, ArrowError> {
    let from = array.data_type();
    match to {
        _ if *from == DataType::Null => Ok(new_null_array(to, array.len())),
        DataType::Utf8View => text(array, leaves.uuids.contains(path), report),
        DataType::Timestamp(..) | DataType::Date32 if is_text(from) || from.is_decimal() => {
            as_text(array, to, leaves.unit, report)
        }
        DataType::Timestamp(..) => time(array, leaves.unit, report),
        DataType::Date32 => date(array, report),
        _ if to.is_integer() && from.is_decimal() => as_text(array, to, leaves.unit, report),
        _ if to.is_integer() && from.is_floating() => {
            let whole: ArrayRef = Arc::new(whole_numbers(array, to, report)?);
            reported(&whole, to, report)
        }
        DataType::Float32 => narrow(array, to, report),
        _ => reported(array, to, report),
    }
}

/// Casts, and reports what the cast made NULL.
fn reported(array: &ArrayRef, to: &DataType, report: Report<'_>) -> Result<ArrayRef, ArrowError> {
    let result = cast(array, to)?;
    if result.null_count() > array.null_count() {
        for row in (0..array.len()).filter(|row| array.is_valid(*row) && result.is_null(*row)) {
            let unfit = Unfit::OutOfRange;
            report(row, unfit, unfit.message(&array_value_to_string(array, row)?, to));
        }
    }
    Ok(result)
}

/// Converts by what the value is as text, as the text formats do.
fn as_text(
    array: &ArrayRef,
    to: &DataType,
    unit: Option<EpochUnit>,
    report: Report<'_>,
) -> Result<ArrayRef, ArrowError> {
    from_text(&cast(array, &DataType::Utf8View)?, to, unit, report)
}

fn text(array: &ArrayRef, is_uuid: bool, report: Report<'_>) -> Result<ArrayRef, ArrowError> {
    let to = DataType::Utf8View;
    match array.data_type() {
        DataType::FixedSizeBinary(16) if is_uuid => Ok(uuids(array.as_fixed_size_binary())),
        DataType::FixedSizeBinary(_) => bytes(&cast(array, &DataType::Binary)?, report),
        from if is_bytes(from) => bytes(array, report),
        from if from.is_nested() => json(array),
        // As microseconds of UTC: a zone's name is unknown to the cast.
        DataType::Timestamp(..) => cast(&time(array, None, report)?, &to),
        _ => cast(array, &to),
    }
}

/// Structs, lists and maps as their JSON.
fn json(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(Field::new("", array.data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array, &options)?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = Vec::new();
    for row in 0..array.len() {
        text.clear();
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        encoder.encode(row, &mut text);
        builder.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(builder.finish()))
}

/// Bytes as the text that they are.
fn bytes(array: &ArrayRef, report: Report<'_>) -> Result<ArrayRef, ArrowError> {
    let result = cast(array, &DataType::Utf8View)?;
    if result.null_count() > array.null_count() {
        for row in (0..array.len()).filter(|row| array.is_valid(*row) && result.is_null(*row)) {
            report(row, Unfit::Malformed, "bytes that are not valid UTF-8".to_owned());
        }
    }
    Ok(result)
}

/// UUIDs as they are written (RFC 9562).
fn uuids(array: &FixedSizeBinaryArray) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = String::with_capacity(36);
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        for (at, byte) in array.value(row).iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            // Writing to a string does not fail.
            write!(text, "{dash}{byte:02x}").unwrap_or_default();
        }
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

/// Floats as the whole numbers that they are.
fn whole_numbers(
    array: &ArrayRef,
    to: &DataType,
    report: Report<'_>,
) -> Result<Int64Array, ArrowError> {
    /// 2^63, the first float that is too large.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let numbers = cast(array, &DataType::Float64)?;
    Ok(each::<Float64Type, Int64Type>(numbers.as_primitive(), to, report, |value| match value {
        value if !(-LIMIT..LIMIT).contains(&value) => Err(Unfit::OutOfRange),
        value if value.fract() != 0.0 => Err(Unfit::Fraction),
        value => Ok(value as i64),
    }))
}

/// Numbers as floats of 32 bits; infinite is only what was.
fn narrow(array: &ArrayRef, to: &DataType, report: Report<'_>) -> Result<ArrayRef, ArrowError> {
    let result = cast(array, to)?;
    let floats: &Float32Array = result.as_primitive();
    if !floats.values().iter().any(|value| value.is_infinite()) {
        return Ok(result);
    }
    let wide = cast(array, &DataType::Float64)?;
    let wide: &PrimitiveArray<Float64Type> = wide.as_primitive();
    for row in (0..floats.len()).filter(|row| floats.is_valid(*row)) {
        if floats.value(row).is_infinite() && wide.value(row).is_finite() {
            let unfit = Unfit::OutOfRange;
            report(row, unfit, unfit.message(&array_value_to_string(array, row)?, to));
        }
    }
    Ok(result)
}

fn time(
    array: &ArrayRef,
    unit: Option<EpochUnit>,
    report: Report<'_>,
) -> Result<ArrayRef, ArrowError> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let to = DataType::Timestamp(Microsecond, None);
    let scaled = |factor: i64| {
        move |value: i64| value.checked_mul(factor).ok_or(Unfit::OutOfRange).and_then(in_range)
    };
    let times: TimestampMicrosecondArray = match array.data_type() {
        DataType::Timestamp(Microsecond, _) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            if times.values().iter().all(|time_us| is_time(*time_us)) {
                return Ok(Arc::new(times.clone().with_timezone_opt(None::<Arc<str>>)));
            }
            each(times, &to, report, in_range)
        }
        DataType::Timestamp(Second, _) => {
            each::<TimestampSecondType, _>(array.as_primitive(), &to, report, scaled(1_000_000))
        }
        DataType::Timestamp(Millisecond, _) => {
            each::<TimestampMillisecondType, _>(array.as_primitive(), &to, report, scaled(1_000))
        }
        DataType::Timestamp(Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .unary(|value: i64| value.div_euclid(1_000)),
        DataType::Date32 => {
            each::<Date32Type, _>(array.as_primitive(), &to, report, |day| from_days(day.into()))
        }
        DataType::Date64 => each::<Date64Type, _>(array.as_primitive(), &to, report, scaled(1_000)),
        from if from.is_floating() => {
            let numbers = cast(array, &DataType::Float64)?;
            each::<Float64Type, _>(numbers.as_primitive(), &to, report, |v| from_float(v, unit))
        }
        _ => {
            let numbers = reported(array, &DataType::Int64, report)?;
            each::<Int64Type, _>(numbers.as_primitive(), &to, report, |v| from_integer(v, unit))
        }
    };
    Ok(Arc::new(times))
}

fn date(array: &ArrayRef, report: Report<'_>) -> Result<ArrayRef, ArrowError> {
    let days: Date32Array = match array.data_type() {
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            if days.values().iter().all(|day| is_day(*day)) {
                return Ok(array.clone());
            }
            each(days, &DataType::Date32, report, |day| {
                if is_day(day) { Ok(day) } else { Err(Unfit::OutOfRange) }
            })
        }
        _ => {
            let mut beyond = |row, unfit: Unfit, _: String| {
                let value = array_value_to_string(array, row).unwrap_or_else(|_| "a time".into());
                report(row, unfit, unfit.message(&value, &DataType::Date32));
            };
            let times = time(array, None, &mut beyond)?;
            times.as_primitive::<TimestampMicrosecondType>().unary(day_of)
        }
    };
    Ok(Arc::new(days))
}

/// Converts each value; what does not fit is reported, and stands as a value of no meaning.
fn each<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
    array: &PrimitiveArray<F>,
    to: &DataType,
    report: Report<'_>,
    value_of: impl Fn(F::Native) -> Result<T::Native, Unfit>,
) -> PrimitiveArray<T> {
    let mut values = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        values.push(if array.is_null(row) {
            T::Native::default()
        } else {
            let value = array.value(row);
            value_of(value).unwrap_or_else(|unfit| {
                report(row, unfit, unfit.message(&spoken::<F>(value), to));
                T::Native::default()
            })
        });
    }
    PrimitiveArray::<T>::new(values.into(), array.nulls().cloned())
}

/// A number as a message shows it; the ends of the range are what other systems call infinity.
fn spoken<F: ArrowPrimitiveType>(value: F::Native) -> String {
    let number = format!("{value:?}");
    let is_time = matches!(F::DATA_TYPE, DataType::Timestamp(..) | DataType::Date32);
    match number.as_str() {
        "9223372036854775807" | "2147483647" if is_time => "infinity".to_owned(),
        "-9223372036854775807" | "-9223372036854775808" | "-2147483647" if is_time => {
            "-infinity".to_owned()
        }
        _ => number,
    }
}
