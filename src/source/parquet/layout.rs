//! How a file's columns are laid out in memory, and what of their leaves Arrow's types do not say.
//!
//! Strings are read as views at once, and INT96 as microseconds: Arrow's own choice for it,
//! nanoseconds, ends in 2262 and wraps, so that 9999-12-31 would become a day of 1816. Microseconds
//! wrap beyond the year 294,247, which no writer of times holds in INT96.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::basic::{LogicalType, Type};
use datafusion::parquet::schema::types::ColumnDescPtr;

use crate::source::convert::dotted;
use crate::source::{SourceError, SourceResult};

/// The file with the layout that it is best read in, where the reader agrees to it.
///
/// # Errors
/// When the file has INT96 times that would be read as nanoseconds.
pub(super) fn readable(
    metadata: ArrowReaderMetadata,
    display: &str,
) -> SourceResult<ArrowReaderMetadata> {
    let has_int96 = metadata.parquet_schema().columns().iter().any(is_int96);
    for views in [true, false] {
        let leaves = metadata.parquet_schema().columns().iter();
        let mut layout = Layout { leaves, views };
        let fields: Fields = metadata.schema().fields().iter().map(|f| layout.field(f)).collect();
        if fields == *metadata.schema().fields() {
            return Ok(metadata);
        }
        let schema = Schema::new_with_metadata(fields, metadata.schema().metadata().clone());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        if let Ok(laid_out) = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options) {
            return Ok(laid_out);
        }
    }
    match has_int96 {
        true => Err(SourceError::corrupt(
            display,
            "holds INT96 times in a place where they cannot be read without loss; write it with \
             TIMESTAMP_MICROS",
        )),
        false => Ok(metadata),
    }
}

fn is_int96(column: &ColumnDescPtr) -> bool {
    column.physical_type() == Type::INT96
}

/// Walks the types of a file beside its leaves, which come in the same order.
struct Layout<'a> {
    leaves: std::slice::Iter<'a, ColumnDescPtr>,
    /// Whether strings become views, and dictionaries their values.
    views: bool,
}

impl Layout<'_> {
    fn field(&mut self, field: &FieldRef) -> FieldRef {
        let data_type = self.data_type(field.data_type());
        Arc::new(Field::clone(field).with_data_type(data_type))
    }

    fn data_type(&mut self, data_type: &DataType) -> DataType {
        use DataType::{
            FixedSizeList, LargeList, LargeListView, List, ListView, Map, Struct, Timestamp,
        };
        match data_type {
            Struct(fields) => Struct(fields.iter().map(|field| self.field(field)).collect()),
            List(item) => List(self.field(item)),
            LargeList(item) => LargeList(self.field(item)),
            FixedSizeList(item, length) => FixedSizeList(self.field(item), *length),
            ListView(item) => ListView(self.field(item)),
            LargeListView(item) => LargeListView(self.field(item)),
            Map(entries, sorted) => Map(self.field(entries), *sorted),
            leaf => match self.leaves.next() {
                Some(column) if is_int96(column) => Timestamp(TimeUnit::Microsecond, None),
                _ if self.views => view_type(leaf),
                _ => leaf.clone(),
            },
        }
    }
}

fn view_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Dictionary(_, value) => view_type(value),
        other => other.clone(),
    }
}

/// The columns whose bytes are UUIDs, dotted inside structs.
pub(super) fn uuids(metadata: &ArrowReaderMetadata) -> BTreeSet<String> {
    let is_uuid = |column: &&ColumnDescPtr| column.logical_type_ref() == Some(&LogicalType::Uuid);
    if !metadata.parquet_schema().columns().iter().any(|column| is_uuid(&column)) {
        return BTreeSet::new();
    }
    let mut found = BTreeSet::new();
    let mut leaves = metadata.parquet_schema().columns().iter();
    for field in metadata.schema().fields() {
        collect(field.data_type(), field.name().clone(), &mut leaves, &mut |path, column| {
            if is_uuid(&column) {
                found.insert(path);
            }
        });
    }
    found
}

fn collect<'a>(
    data_type: &DataType,
    path: String,
    leaves: &mut std::slice::Iter<'a, ColumnDescPtr>,
    see: &mut impl FnMut(String, &'a ColumnDescPtr),
) {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Map, Struct};
    match data_type {
        Struct(fields) => {
            for field in fields {
                collect(field.data_type(), dotted(&path, field.name()), leaves, see);
            }
        }
        // An element has the name of its list.
        List(item)
        | LargeList(item)
        | FixedSizeList(item, _)
        | ListView(item)
        | LargeListView(item) => collect(item.data_type(), path, leaves, see),
        Map(entries, _) => collect(entries.data_type(), path, leaves, see),
        _ => {
            if let Some(column) = leaves.next() {
                see(path, column);
            }
        }
    }
}
