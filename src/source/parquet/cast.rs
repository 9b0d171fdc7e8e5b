//! Which types of a file can be which declared types, and the casts between them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, PrimitiveArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;

use crate::source::convert::Report;
use crate::source::format::EpochUnit;
use crate::source::timestamp::{from_float, from_integer};
use crate::source::value::{Unfit, from_text};

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
    use DataType::{FixedSizeList, LargeList, List, Struct};
    let fits = match (from, to) {
        (Struct(found), Struct(fields)) => {
            for field in fields {
                if let Some((_, found)) = found.find(field.name()) {
                    check(
                        found.data_type(),
                        field.data_type(),
                        &format!("{path}.{}", field.name()),
                    )?;
                }
            }
            true
        }
        (List(found) | LargeList(found) | FixedSizeList(found, _), List(item)) => {
            return check(found.data_type(), item.data_type(), path);
        }
        _ => scalar_fits(from, to),
    };
    if fits {
        Ok(())
    } else {
        Err(WrongType { field: path.to_owned(), from: from.clone(), to: to.clone() })
    }
}

fn scalar_fits(from: &DataType, to: &DataType) -> bool {
    use DataType::{Boolean, Date32, Date64, Decimal128, Dictionary, Null, Timestamp, Utf8View};
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, value), _) => scalar_fits(value, to),
        (_, Boolean) => *from == Boolean,
        (_, Utf8View) => is_text(from) || is_bytes(from),
        (_, Date32) => matches!(from, Date32 | Date64) || is_text(from),
        (_, Timestamp(..)) => {
            matches!(from, Timestamp(..) | Date32 | Date64 | DataType::Float32 | DataType::Float64)
                || is_text(from)
                || from.is_integer()
        }
        (_, Decimal128(..)) => from.is_integer() || from.is_decimal(),
        _ if to.is_integer() => from.is_integer(),
        _ if to.is_floating() => from.is_numeric(),
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

/// Casts a column that [`check`] has let through.
pub(super) fn leaf(
    array: &ArrayRef,
    to: &DataType,
    unit: Option<EpochUnit>,
    report: Report<'_>,
) -> Result<ArrayRef, ArrowError> {
    match (array.data_type(), to) {
        (DataType::Null, _) => Ok(new_null_array(to, array.len())),
        (DataType::Dictionary(_, value), _) => leaf(&cast(array, value)?, to, unit, report),
        (from, DataType::Timestamp(..) | DataType::Date32) if is_text(from) => {
            from_text(&cast(array, &DataType::Utf8View)?, to, unit, report)
        }
        (DataType::Timestamp(from, _), DataType::Timestamp(..)) => {
            Ok(Arc::new(microseconds(array, *from, report)))
        }
        (from, DataType::Timestamp(..)) if from.is_integer() => {
            let numbers = reported(array, &DataType::Int64, report)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            Ok(Arc::new(times(numbers, |value| from_integer(value, unit), report)))
        }
        (from, DataType::Timestamp(..)) if from.is_floating() => {
            let numbers = cast(array, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            Ok(Arc::new(times(numbers, |value| from_float(value, unit), report)))
        }
        // Lists of another layout are cast as a whole; what does not fit fails the file.
        (_, DataType::List(_)) => {
            cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
        }
        _ => reported(array, to, report),
    }
}

/// Casts, and reports what the cast made NULL.
fn reported(array: &ArrayRef, to: &DataType, report: Report<'_>) -> Result<ArrayRef, ArrowError> {
    let result = cast(array, to)?;
    if result.null_count() > array.null_count() {
        for row in (0..array.len()).filter(|row| array.is_valid(*row) && result.is_null(*row)) {
            report(row, Unfit::OutOfRange.message(&array_value_to_string(array, row)?, to));
        }
    }
    Ok(result)
}

fn microseconds(array: &ArrayRef, from: TimeUnit, report: Report<'_>) -> TimestampMicrosecondArray {
    let times_of =
        |factor: i64| move |value: i64| value.checked_mul(factor).ok_or(Unfit::OutOfRange);
    match from {
        TimeUnit::Second => {
            times(array.as_primitive::<TimestampSecondType>(), times_of(1_000_000), report)
        }
        TimeUnit::Millisecond => {
            times(array.as_primitive::<TimestampMillisecondType>(), times_of(1_000), report)
        }
        TimeUnit::Microsecond => array
            .as_primitive::<TimestampMicrosecondType>()
            .clone()
            .with_timezone_opt(None::<Arc<str>>),
        TimeUnit::Nanosecond => {
            array.as_primitive::<TimestampNanosecondType>().unary(|value| value.div_euclid(1_000))
        }
    }
}

fn times<T: datafusion::arrow::datatypes::ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    time_us: impl Fn(T::Native) -> Result<i64, Unfit>,
    report: Report<'_>,
) -> TimestampMicrosecondArray {
    let to = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut values = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        values.push(if array.is_null(row) {
            0
        } else {
            time_us(array.value(row)).unwrap_or_else(|unfit| {
                report(row, unfit.message(&format!("{:?}", array.value(row)), &to));
                0
            })
        });
    }
    TimestampMicrosecondArray::new(values.into(), array.nulls().cloned())
}
