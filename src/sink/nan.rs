//! Bounds of columns that hold NaN, taken out of a file's footer.
//!
//! Parquet's writers leave NaN out of a chunk's least and greatest value, for readers do not agree on
//! its order. A reader to whom NaN is greater than every number, as here and in DuckDB, then skips
//! rows that `x > 5` holds for. Without bounds no reader skips anything.
//!
//! ```text
//!   | data pages | column indexes | offset indexes | footer |
//!   '----------- kept as it is -------------------'  written anew, naming neither bounds nor column
//!                                                    indexes of such columns
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use datafusion::common::{Result, internal_err};
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};

use crate::sql::holds_float;

/// What follows the footer: its length and the magic bytes.
const TRAILER_BYTES: usize = 8;

/// Adds the columns of `batch` that hold a NaN to `found`.
pub(super) fn find_nan(batch: &RecordBatch, found: &mut BTreeSet<String>) {
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        if holds_float(field.data_type()) && !found.contains(field.name()) && has_nan(column) {
            found.insert(field.name().clone());
        }
    }
}

fn has_nan(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Float64 => {
            any(array.as_primitive::<Float64Type>().values(), |value| value.is_nan())
        }
        DataType::Float32 => {
            any(array.as_primitive::<Float32Type>().values(), |value| value.is_nan())
        }
        DataType::Float16 => {
            any(array.as_primitive::<Float16Type>().values(), |value| value.is_nan())
        }
        DataType::Struct(_) => array.as_struct().columns().iter().any(has_nan),
        DataType::List(_) => has_nan(array.as_list::<i32>().values()),
        DataType::LargeList(_) => has_nan(array.as_list::<i64>().values()),
        DataType::FixedSizeList(_, _) => has_nan(array.as_fixed_size_list().values()),
        DataType::Map(_, _) => array.as_map().entries().columns().iter().any(has_nan),
        DataType::Dictionary(_, _) => has_nan(array.as_any_dictionary().values()),
        _ => false,
    }
}

/// Without a way out of the loop, which the compiler makes wide.
fn any<T: Copy>(values: &[T], is_nan: impl Fn(T) -> bool) -> bool {
    values.iter().fold(false, |found, value| found | is_nan(*value))
}

/// `file` without bounds of the `columns`.
///
/// # Errors
/// When it is no Parquet file, which is a defect.
pub(super) fn without_bounds(mut file: Vec<u8>, columns: &BTreeSet<String>) -> Result<Vec<u8>> {
    if columns.is_empty() {
        return Ok(file);
    }
    let Some(trailer) = file.len().checked_sub(TRAILER_BYTES).and_then(|at| file.get(at..)) else {
        return internal_err!("a file of {} bytes has no footer", file.len());
    };
    let length = trailer.iter().take(4).rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(file.clone()))?;
    let metadata = unbound(metadata, columns)?;
    file.truncate(file.len().saturating_sub(length + TRAILER_BYTES));
    let mut footer = Vec::new();
    ParquetMetaDataWriter::new(&mut footer, &metadata).finish()?;
    file.extend(footer);
    Ok(file)
}

fn unbound(metadata: ParquetMetaData, columns: &BTreeSet<String>) -> Result<ParquetMetaData> {
    let mut metadata = metadata.into_builder();
    let groups = metadata.take_row_groups().into_iter().map(|group| {
        let chunks = group.columns().iter().cloned().map(|chunk| unbound_chunk(chunk, columns));
        let chunks = chunks.collect::<Result<Vec<ColumnChunkMetaData>>>()?;
        Ok(group.into_builder().set_column_metadata(chunks).build()?)
    });
    let groups = groups.collect::<Result<Vec<RowGroupMetaData>>>()?;
    Ok(metadata.set_row_groups(groups).build())
}

fn unbound_chunk(
    chunk: ColumnChunkMetaData,
    columns: &BTreeSet<String>,
) -> Result<ColumnChunkMetaData> {
    let root = chunk.column_path().parts().first();
    if !root.is_some_and(|root| columns.contains(root)) {
        return Ok(chunk);
    }
    let chunk = chunk.into_builder().clear_statistics();
    Ok(chunk.set_column_index_offset(None).set_column_index_length(None).build()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int64Array};
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use datafusion::parquet::file::metadata::PageIndexPolicy;

    use super::*;

    #[test]
    fn a_column_with_nan_has_no_bounds_and_the_file_reads_as_before() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![1, 2]))),
            ("x", Arc::new(Float64Array::from(vec![1.0, f64::NAN]))),
            ("y", Arc::new(Float64Array::from(vec![1.0, 2.0]))),
        ];
        let fields =
            columns.iter().map(|(name, of)| Field::new(*name, of.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let mut found = BTreeSet::new();
        find_nan(&batch, &mut found);
        assert_eq!(Vec::from_iter(&found), ["x"]);
        let file = Bytes::from(without_bounds(writer.into_inner().unwrap(), &found).unwrap());

        let policy = PageIndexPolicy::Optional;
        let read = ParquetMetaDataReader::new().with_page_index_policy(policy);
        let metadata = read.parse_and_finish(&file).unwrap();
        let bounds: Vec<bool> = metadata
            .row_group(0)
            .columns()
            .iter()
            .map(|chunk| {
                let bounds = chunk.statistics().is_some_and(|of| of.min_bytes_opt().is_some());
                assert_eq!(bounds, chunk.column_index_offset().is_some());
                bounds
            })
            .collect();
        assert_eq!(bounds, [true, false, true]);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let rows: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        assert_eq!(format!("{rows:?}"), format!("{:?}", [batch]));
    }
}
