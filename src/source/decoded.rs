//! What decoding yields: a batch of good rows, and the records that are not in it.

use datafusion::arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;

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
    /// The record as it stands in the file, at most 64 KiB of it; empty in Parquet.
    pub raw: Vec<u8>,
}

impl Reject {
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
    columns: Vec<datafusion::arrow::array::ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}
