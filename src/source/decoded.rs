//! What decoding yields: a batch of good rows, and the records that are not in it.

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;

use super::convert::Misfit;

/// More of a rejected record than this is not kept.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// The rows of one call, and how much of the input they took.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The projected columns of the rows that are good, in file order.
    pub batch: RecordBatch,
    /// The records that are not in `batch`, in file order.
    pub rejects: Vec<Reject>,
    /// Bytes of the block that were taken; 0 from formats that are not streams of text.
    pub consumed: usize,
}

/// A record that could not become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Where the record begins, in bytes of the decompressed file; 0 in Parquet.
    pub byte_offset: u64,
    /// The line the record begins on, from 1; in Parquet the row's number in the file.
    pub line: u64,
    /// The column at fault, dotted inside structs, where one is.
    pub field: Option<String>,
    /// What is wrong, with the value.
    pub message: String,
    /// Whether it is a record but for one value that is outside of what its type holds: of a time,
    /// outside of the years 1 to 9999.
    pub out_of_range: bool,
    /// The record as it stands in the file, at most 64 KiB of it; empty in Parquet.
    pub raw: Vec<u8>,
}

impl Reject {
    /// The reject with its place in `file`, as an operator looks for it.
    pub fn spoken(&self, file: &str) -> String {
        let Self { byte_offset, line, field, message, raw, .. } = self;
        match (raw.is_empty(), field.as_deref()) {
            // Rows of Parquet have no bytes of their own.
            (true, Some(field)) => format!("{file}: row {line}, column {field}: {message}"),
            (true, None) => format!("{file}: row {line}: {message}"),
            (false, Some(field)) => {
                format!("{file}:{line}: field {field}: {message} (byte {byte_offset})")
            }
            (false, None) => format!("{file}:{line}: {message} (byte {byte_offset})"),
        }
    }

    /// Cuts `raw` to what is kept.
    pub(super) fn bounded(raw: &[u8]) -> Vec<u8> {
        raw[..raw.len().min(RAW_BYTES_MAX)].to_vec()
    }
}

/// Keeps one misfit a row, the one of the leftmost column, and sorts them by row.
pub(super) fn one_per_row(misfits: &mut Vec<Misfit>) {
    misfits.sort_by_key(|misfit| misfit.row);
    misfits.dedup_by_key(|misfit| misfit.row);
}

/// Takes the rows of `misfits` (sorted) out of `batch`.
pub(super) fn without_misfits(
    batch: RecordBatch,
    misfits: &[Misfit],
) -> Result<RecordBatch, ArrowError> {
    if misfits.is_empty() {
        return Ok(batch);
    }
    let mut keep = vec![true; batch.num_rows()];
    for misfit in misfits {
        keep[misfit.row] = false;
    }
    filter_record_batch(&batch, &BooleanArray::from(keep))
}

/// A batch of `rows` rows, also when it has no column.
pub(super) fn batch_of(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// A column that the file does not have: the value of its folders, or NULL.
pub(super) fn absent(
    data_type: &DataType,
    constant: Option<&ScalarValue>,
    rows: usize,
) -> Result<ArrayRef, ArrowError> {
    match constant {
        Some(value) => {
            value.to_array_of_size(rows).map_err(|error| ArrowError::ExternalError(Box::new(error)))
        }
        None => Ok(new_null_array(data_type, rows)),
    }
}
