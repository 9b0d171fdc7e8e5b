//! The earliest time in a file, from the statistics in its footer: no row is read.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use datafusion::arrow::compute::min;
use datafusion::arrow::datatypes::{DataType, Field, TimestampMicrosecondType};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::basic::Type;
use datafusion::parquet::errors::ParquetError;
use object_store::ObjectStore;

use super::{Leaves, ObjectReader, cast, load};
use crate::source::convert::convert;
use crate::source::format::EpochUnit;
use crate::source::reader::InputFile;
use crate::source::{SourceError, SourceResult};

/// The least value of the time column `field` in `file`, in microseconds since 1970; nothing where
/// the footer does not tell: no statistics, or times as text or as numbers of no declared unit.
pub async fn parquet_time_min(
    store: Arc<dyn ObjectStore>,
    file: &InputFile,
    field: &Field,
    unit: Option<EpochUnit>,
) -> SourceResult<Option<i64>> {
    if file.size == 0 {
        return Ok(None);
    }
    let mut object = ObjectReader::new(store, file.clone());
    let metadata = load(&mut object, &file.display).await?;
    let Some(least) = least_of_groups(&metadata, field, unit)
        .map_err(|error| SourceError::parquet(&file.display, error))?
    else {
        return Ok(None);
    };
    let mut misfits = Vec::new();
    let leaves = Leaves { unit, ..Leaves::default() };
    let times = convert(
        &least,
        field,
        field.name(),
        &|array, to, path, report| cast::leaf(array, to, path, &leaves, report),
        &mut misfits,
    )
    .map_err(|error| SourceError::arrow(&file.display, error))?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>();
    Ok(times.filter(|_| misfits.is_empty()).and_then(min))
}

/// The least value of each row group that has any, if all of them tell.
fn least_of_groups(
    metadata: &ArrowReaderMetadata,
    field: &Field,
    unit: Option<EpochUnit>,
) -> Result<Option<ArrayRef>, ParquetError> {
    let Some((_, found)) = metadata.schema().fields().find(field.name()) else {
        return Ok(None);
    };
    // The order of text is not that of times, nor the order of numbers of several units.
    let is_time = match found.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => true,
        other => other.is_integer() && unit.is_some(),
    };
    let columns = metadata.parquet_schema();
    let converter = StatisticsConverter::try_new(field.name(), metadata.schema(), columns)?;
    // What is the least of these was never defined, and writers differ.
    let is_ordered = converter
        .parquet_column_index()
        .is_some_and(|at| columns.column(at).physical_type() != Type::INT96);
    if !is_time || !is_ordered {
        return Ok(None);
    }
    let groups = metadata.metadata().row_groups();
    let least = converter.row_group_mins(groups)?;
    let nulls: UInt64Array = converter.row_group_null_counts(groups)?;
    let tells = groups.iter().enumerate().all(|(at, group)| {
        let rows = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
        let is_empty = rows == 0 || (nulls.is_valid(at) && nulls.value(at) == rows);
        is_empty || least.is_valid(at)
    });
    Ok(tells.then_some(least))
}
