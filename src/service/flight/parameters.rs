//! A row of parameters out of Arrow's stream format, from strangers: flat values only, each length
//! held against what there is before anything is made of it.
//!
//! ```text
//!  message   length of the header, header (a flatbuffer, verified), body
//!  1         schema: columns of flat types, no dictionaries
//!  2 ...     batches without compression: for each column a length, a count of NULLs, and buffers,
//!            which are ranges of the body
//! ```

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::ipc::{
    DateUnit, Endianness, Field as WireField, IntervalUnit as WireInterval, MessageHeader,
    Precision, RecordBatch as WireBatch, Schema as WireSchema, TimeUnit as WireTime, Type,
    root_as_message,
};
use datafusion::common::ScalarValue;

use super::error::QueryError;

/// Columns of a row of parameters.
const PARAMETERS_MAX: usize = 1_000;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// A message in two parts, as Flight sends them.
pub(super) type Message<'a> = (&'a [u8], &'a [u8]);

type Decoded<T> = Result<T, QueryError>;

/// The one row that `messages` hold.
pub(super) fn one_row(messages: &[Message<'_>]) -> Decoded<RecordBatch> {
    let (mut schema, mut row, mut rows): (Option<SchemaRef>, _, i64) = (None, None, 0);
    for (header, body) in messages {
        if header.is_empty() {
            continue;
        }
        let message = root_as_message(header).map_err(|_| damaged("a header"))?;
        match (message.header_type(), &schema) {
            (MessageHeader::Schema, None) => {
                let wire = message.header_as_schema().ok_or_else(|| damaged("the schema"))?;
                schema = Some(read_schema(wire)?);
            }
            (MessageHeader::RecordBatch, Some(schema)) => {
                let batch = message.header_as_record_batch().ok_or_else(|| damaged("a batch"))?;
                rows = rows.saturating_add(batch.length());
                if batch.length() == 1 {
                    row = Some(read_row(batch, schema, body)?);
                }
            }
            (MessageHeader::DictionaryBatch, _) => return Err(not_flat("dictionaries")),
            _ => return Err(damaged("the order of messages")),
        }
    }
    match row.filter(|_| rows == 1) {
        Some(row) => Ok(row),
        None => Err(QueryError::invalid(format!(
            "{rows} rows of parameters are bound; bind one row for one execution"
        ))),
    }
}

/// The messages of a stream, cut where it says, as far as there is something.
pub(super) fn split(mut stream: &[u8]) -> Decoded<Vec<Message<'_>>> {
    let mut messages = Vec::new();
    while !stream.is_empty() {
        if stream.starts_with(&CONTINUATION) {
            stream = &stream[CONTINUATION.len()..];
        }
        let length = i32::from_le_bytes(fixed(stream, "a length")?);
        stream = &stream[4..];
        if length == 0 {
            break;
        }
        let header = take(&mut stream, i64::from(length), "a header")?;
        let message = root_as_message(header).map_err(|_| damaged("a header"))?;
        let body = take(&mut stream, message.bodyLength(), "a body")?;
        messages.push((header, body));
    }
    Ok(messages)
}

fn take<'a>(stream: &mut &'a [u8], length: i64, what: &str) -> Decoded<&'a [u8]> {
    let length = usize::try_from(length).map_err(|_| damaged(what))?;
    let (taken, rest) = stream.split_at_checked(length).ok_or_else(|| damaged(what))?;
    *stream = rest;
    Ok(taken)
}

fn read_schema(wire: WireSchema<'_>) -> Decoded<SchemaRef> {
    if wire.endianness() != Endianness::Little {
        return Err(not_flat("big-endian numbers"));
    }
    let fields = wire.fields().ok_or_else(|| damaged("the schema"))?;
    if fields.len() > PARAMETERS_MAX {
        return Err(QueryError::invalid(format!(
            "{} parameters are bound; bind at most {PARAMETERS_MAX}",
            fields.len()
        )));
    }
    let fields = fields.iter().map(|field| {
        if field.dictionary().is_some() {
            return Err(not_flat("dictionaries"));
        }
        Ok(Field::new(field.name().unwrap_or_default(), read_type(&field)?, true))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Decoded<Vec<_>>>()?)))
}

fn read_type(field: &WireField<'_>) -> Decoded<DataType> {
    let missing = || damaged("a type");
    Ok(match field.type_type() {
        Type::Null => DataType::Null,
        Type::Bool => DataType::Boolean,
        Type::Utf8 => DataType::Utf8,
        Type::LargeUtf8 => DataType::LargeUtf8,
        Type::Utf8View => DataType::Utf8View,
        Type::Binary => DataType::Binary,
        Type::LargeBinary => DataType::LargeBinary,
        Type::BinaryView => DataType::BinaryView,
        Type::Int => {
            let int = field.type_as_int().ok_or_else(missing)?;
            match (int.is_signed(), int.bitWidth()) {
                (true, 8) => DataType::Int8,
                (true, 16) => DataType::Int16,
                (true, 32) => DataType::Int32,
                (true, 64) => DataType::Int64,
                (false, 8) => DataType::UInt8,
                (false, 16) => DataType::UInt16,
                (false, 32) => DataType::UInt32,
                (false, 64) => DataType::UInt64,
                _ => return Err(missing()),
            }
        }
        Type::FloatingPoint => {
            match field.type_as_floating_point().ok_or_else(missing)?.precision() {
                Precision::SINGLE => DataType::Float32,
                Precision::DOUBLE => DataType::Float64,
                _ => return Err(not_flat("half floats")),
            }
        }
        Type::Decimal => {
            let decimal = field.type_as_decimal().ok_or_else(missing)?;
            let (precision, scale) = (
                u8::try_from(decimal.precision()).map_err(|_| missing())?,
                i8::try_from(decimal.scale()).map_err(|_| missing())?,
            );
            let in_bounds = (1..=38).contains(&precision) && scale.unsigned_abs() <= precision;
            match decimal.bitWidth() {
                128 if in_bounds => DataType::Decimal128(precision, scale),
                _ => return Err(not_flat("decimals of other than 128 bits")),
            }
        }
        _ => return read_time_type(field),
    })
}

fn read_time_type(field: &WireField<'_>) -> Decoded<DataType> {
    let missing = || damaged("a type");
    Ok(match field.type_type() {
        Type::Date => match field.type_as_date().ok_or_else(missing)?.unit() {
            DateUnit::DAY => DataType::Date32,
            DateUnit::MILLISECOND => DataType::Date64,
            _ => return Err(missing()),
        },
        Type::Time => {
            let time = field.type_as_time().ok_or_else(missing)?;
            match (time.bitWidth(), unit(time.unit())?) {
                (32, unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
                (64, unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => {
                    DataType::Time64(unit)
                }
                _ => return Err(missing()),
            }
        }
        Type::Timestamp => {
            let timestamp = field.type_as_timestamp().ok_or_else(missing)?;
            DataType::Timestamp(unit(timestamp.unit())?, timestamp.timezone().map(Into::into))
        }
        Type::Duration => {
            DataType::Duration(unit(field.type_as_duration().ok_or_else(missing)?.unit())?)
        }
        Type::Interval => match field.type_as_interval().ok_or_else(missing)?.unit() {
            WireInterval::YEAR_MONTH => DataType::Interval(IntervalUnit::YearMonth),
            _ => return Err(not_flat("intervals of days")),
        },
        other => return Err(not_flat(other.variant_name().unwrap_or("an unknown type"))),
    })
}

fn unit(unit: WireTime) -> Decoded<TimeUnit> {
    match unit {
        WireTime::SECOND => Ok(TimeUnit::Second),
        WireTime::MILLISECOND => Ok(TimeUnit::Millisecond),
        WireTime::MICROSECOND => Ok(TimeUnit::Microsecond),
        WireTime::NANOSECOND => Ok(TimeUnit::Nanosecond),
        _ => Err(damaged("a unit of time")),
    }
}

/// The buffers of a batch, taken in their order.
struct Buffers<'a> {
    batch: WireBatch<'a>,
    body: &'a [u8],
    next: usize,
    next_variadic: usize,
}

impl<'a> Buffers<'a> {
    fn next(&mut self) -> Decoded<&'a [u8]> {
        let buffers = self.batch.buffers().ok_or_else(|| damaged("the buffers"))?;
        if self.next >= buffers.len() {
            return Err(damaged("the number of buffers"));
        }
        let buffer = buffers.get(self.next);
        self.next += 1;
        let range = |from: i64, length: i64| {
            let from = usize::try_from(from).ok()?;
            let to = from.checked_add(usize::try_from(length).ok()?)?;
            self.body.get(from..to)
        };
        range(buffer.offset(), buffer.length()).ok_or_else(|| damaged("the place of a buffer"))
    }

    /// The buffers that hold the long values of a view.
    fn next_variadic(&mut self) -> Decoded<Vec<&'a [u8]>> {
        let counts = self.batch.variadicBufferCounts().ok_or_else(|| damaged("a view"))?;
        if self.next_variadic >= counts.len() {
            return Err(damaged("a view"));
        }
        let count =
            usize::try_from(counts.get(self.next_variadic)).map_err(|_| damaged("a view"))?;
        self.next_variadic += 1;
        let there = self.batch.buffers().map_or(0, |buffers| buffers.len());
        if count > there {
            return Err(damaged("a view"));
        }
        (0..count).map(|_| self.next()).collect()
    }
}

fn read_row(batch: WireBatch<'_>, schema: &SchemaRef, body: &[u8]) -> Decoded<RecordBatch> {
    if batch.compression().is_some() {
        return Err(not_flat("compression"));
    }
    let nodes = batch.nodes().ok_or_else(|| damaged("the columns"))?;
    if nodes.len() != schema.fields().len() {
        return Err(damaged("the number of columns"));
    }
    let mut buffers = Buffers { batch, body, next: 0, next_variadic: 0 };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(nodes.len());
    for (node, field) in nodes.iter().zip(schema.fields()) {
        if node.length() != 1 {
            return Err(damaged("the length of a column"));
        }
        let value = read_value(field.data_type(), &mut buffers)?;
        let value = match node.null_count() {
            0 => value?,
            1 => ScalarValue::try_from(field.data_type())?,
            _ => return Err(damaged("a count of NULLs")),
        };
        columns.push(value.to_array()?);
    }
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| QueryError::invalid(format!("the parameters cannot be read: {error}")))
}

/// The value of a column; an error inside where the buffers are there and hold none, as a NULL's
/// may.
fn read_value(data_type: &DataType, buffers: &mut Buffers<'_>) -> Decoded<Decoded<ScalarValue>> {
    if *data_type == DataType::Null {
        return Ok(Ok(ScalarValue::Null));
    }
    let _validity = buffers.next()?;
    let first = buffers.next()?;
    Ok(match data_type {
        DataType::Utf8 | DataType::Binary => {
            let data = buffers.next()?;
            let ends = || {
                let from = i32::from_le_bytes(fixed(first, "an offset")?);
                let to =
                    i32::from_le_bytes(fixed(first.get(4..).unwrap_or_default(), "an offset")?);
                range(data, i64::from(from), i64::from(to))
            };
            ends().and_then(|bytes| text_or_bytes(data_type, bytes))
        }
        DataType::LargeUtf8 | DataType::LargeBinary => {
            let data = buffers.next()?;
            let ends = || {
                let from = i64::from_le_bytes(fixed(first, "an offset")?);
                let to =
                    i64::from_le_bytes(fixed(first.get(8..).unwrap_or_default(), "an offset")?);
                range(data, from, to)
            };
            ends().and_then(|bytes| text_or_bytes(data_type, bytes))
        }
        DataType::Utf8View | DataType::BinaryView => {
            let long = buffers.next_variadic()?;
            viewed(first, &long).and_then(|bytes| text_or_bytes(data_type, bytes))
        }
        fixed_width => read_fixed(fixed_width, first),
    })
}

fn range(data: &[u8], from: i64, to: i64) -> Decoded<&[u8]> {
    let (from, to) = (usize::try_from(from).ok(), usize::try_from(to).ok());
    let found = from.zip(to).and_then(|(from, to)| data.get(from..to));
    found.ok_or_else(|| damaged("the place of a text"))
}

/// A view: a length, and the bytes themselves, or where they are when they are more than twelve.
fn viewed<'a>(view: &'a [u8], long: &[&'a [u8]]) -> Decoded<&'a [u8]> {
    let part = |at: usize| -> Decoded<i32> {
        Ok(i32::from_le_bytes(fixed(view.get(at..).unwrap_or_default(), "a view")?))
    };
    let length = part(0)?;
    if (0..=12).contains(&length) {
        return range(view.get(4..16).ok_or_else(|| damaged("a view"))?, 0, i64::from(length));
    }
    let (buffer, from) = (usize::try_from(part(8)?).ok(), i64::from(part(12)?));
    let data = buffer.and_then(|at| long.get(at)).ok_or_else(|| damaged("a view"))?;
    range(data, from, from + i64::from(length))
}

fn text_or_bytes(data_type: &DataType, bytes: &[u8]) -> Decoded<ScalarValue> {
    let text = || {
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("a text, which is not UTF-8"));
        text.map(str::to_owned)
    };
    Ok(match data_type {
        DataType::Utf8 => ScalarValue::Utf8(Some(text()?)),
        DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(text()?)),
        DataType::Utf8View => ScalarValue::Utf8View(Some(text()?)),
        DataType::Binary => ScalarValue::Binary(Some(bytes.to_vec())),
        DataType::LargeBinary => ScalarValue::LargeBinary(Some(bytes.to_vec())),
        _ => ScalarValue::BinaryView(Some(bytes.to_vec())),
    })
}

fn read_fixed(data_type: &DataType, bytes: &[u8]) -> Decoded<ScalarValue> {
    macro_rules! number {
        ($native:ty) => {
            Some(<$native>::from_le_bytes(fixed(bytes, "a number")?))
        };
    }
    use ScalarValue as V;
    Ok(match data_type {
        DataType::Boolean => V::Boolean(number!(u8).map(|bits| bits & 1 == 1)),
        DataType::Int8 => V::Int8(number!(i8)),
        DataType::Int16 => V::Int16(number!(i16)),
        DataType::Int32 => V::Int32(number!(i32)),
        DataType::Int64 => V::Int64(number!(i64)),
        DataType::UInt8 => V::UInt8(number!(u8)),
        DataType::UInt16 => V::UInt16(number!(u16)),
        DataType::UInt32 => V::UInt32(number!(u32)),
        DataType::UInt64 => V::UInt64(number!(u64)),
        DataType::Float32 => V::Float32(number!(f32)),
        DataType::Float64 => V::Float64(number!(f64)),
        DataType::Decimal128(precision, scale) => V::Decimal128(number!(i128), *precision, *scale),
        DataType::Date32 => V::Date32(number!(i32)),
        DataType::Date64 => V::Date64(number!(i64)),
        DataType::Time32(TimeUnit::Second) => V::Time32Second(number!(i32)),
        DataType::Time32(_) => V::Time32Millisecond(number!(i32)),
        DataType::Time64(TimeUnit::Microsecond) => V::Time64Microsecond(number!(i64)),
        DataType::Time64(_) => V::Time64Nanosecond(number!(i64)),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.clone();
            match unit {
                TimeUnit::Second => V::TimestampSecond(number!(i64), zone),
                TimeUnit::Millisecond => V::TimestampMillisecond(number!(i64), zone),
                TimeUnit::Microsecond => V::TimestampMicrosecond(number!(i64), zone),
                TimeUnit::Nanosecond => V::TimestampNanosecond(number!(i64), zone),
            }
        }
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => V::DurationSecond(number!(i64)),
            TimeUnit::Millisecond => V::DurationMillisecond(number!(i64)),
            TimeUnit::Microsecond => V::DurationMicrosecond(number!(i64)),
            TimeUnit::Nanosecond => V::DurationNanosecond(number!(i64)),
        },
        DataType::Interval(IntervalUnit::YearMonth) => V::IntervalYearMonth(number!(i32)),
        other => return Err(not_flat(&other.to_string())),
    })
}

fn fixed<const N: usize>(bytes: &[u8], what: &str) -> Decoded<[u8; N]> {
    bytes.first_chunk().copied().ok_or_else(|| damaged(what))
}

fn damaged(what: &str) -> QueryError {
    QueryError::invalid(format!(
        "the parameters cannot be read: {what} is damaged; bind them again"
    ))
}

fn not_flat(what: &str) -> QueryError {
    QueryError::invalid(format!(
        "the parameters hold {what}; bind plain numbers, texts, times and booleans"
    ))
}

#[cfg(test)]
mod tests;
