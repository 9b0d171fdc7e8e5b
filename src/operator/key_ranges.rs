//! The rows of a batch of state that lie in ranges of its first column, in one pass for all ranges.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use datafusion::arrow::compute::{sort_to_indices, take_record_batch};
use datafusion::common::{Result, exec_datafusion_err};

use crate::state::{KeyRange, starts_of};

/// Rows of one range from which on they are a slice of the batch instead of a copy.
const SLICED_ROWS_MIN: usize = 1_024;
/// Copied rows of several ranges in one batch.
const COPIED_ROWS_MAX: usize = 8_192;

/// The rows of one batch in each of the ranges, under the range's key where it has one.
pub(super) struct InRanges {
    batch: RecordBatch,
    starts: TimestampMicrosecondArray,
    ranges: Arc<[KeyRange]>,
    /// The next range.
    at: usize,
    rows: Vec<u32>,
    keys: Vec<i64>,
}

impl InRanges {
    /// # Errors
    /// When the batch cannot be sorted, which is a defect.
    pub(super) fn new(batch: RecordBatch, ranges: Arc<[KeyRange]>) -> Result<Self> {
        let starts = |batch: &RecordBatch| {
            let starts = starts_of(batch).cloned();
            starts.ok_or_else(|| exec_datafusion_err!("the state has no first column of times"))
        };
        let (mut batch, mut of) = (batch.clone(), starts(&batch)?);
        if !of.values().is_sorted() {
            let order = sort_to_indices(batch.column(0), None, None)?;
            batch = take_record_batch(&batch, &order)?;
            of = starts(&batch)?;
        }
        let at = if of.is_empty() { ranges.len() } else { 0 };
        Ok(Self { batch, starts: of, ranges, at, rows: vec![], keys: vec![] })
    }

    /// Where the rows of a range lie.
    fn place(&self, range: &KeyRange) -> (usize, usize) {
        let starts = self.starts.values();
        if starts[0] > range.last_us || starts[starts.len() - 1] < range.first_us {
            return (0, 0);
        }
        let from = starts.partition_point(|start| *start < range.first_us);
        let rest = &starts[from..];
        (from, from + rest.partition_point(|start| *start <= range.last_us))
    }

    fn copied(&mut self) -> Result<RecordBatch> {
        let rows = UInt32Array::from(std::mem::take(&mut self.rows));
        let keys = TimestampMicrosecondArray::from(std::mem::take(&mut self.keys));
        let taken = take_record_batch(&self.batch, &rows)?;
        under_keys(&taken, Arc::new(keys))
    }
}

impl Iterator for InRanges {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(range) = self.ranges.get(self.at).copied() {
            let (from, until) = self.place(&range);
            let count = until - from;
            let is_sliced = count >= SLICED_ROWS_MIN;
            if !self.rows.is_empty() && (is_sliced || self.rows.len() + count > COPIED_ROWS_MAX) {
                return Some(self.copied());
            }
            self.at += 1;
            if is_sliced {
                let rows = self.batch.slice(from, count);
                return Some(match range.key_us {
                    None => Ok(rows),
                    Some(key_us) => {
                        let key = TimestampMicrosecondArray::from_value(key_us, count);
                        under_keys(&rows, Arc::new(key))
                    }
                });
            }
            for row in from..until {
                let start_us = self.starts.value(row);
                match u32::try_from(row) {
                    Ok(row) => self.rows.push(row),
                    Err(_) => return Some(Err(exec_datafusion_err!("a batch of {row} rows"))),
                }
                self.keys.push(range.key_us.unwrap_or(start_us));
            }
        }
        (!self.rows.is_empty()).then(|| self.copied())
    }
}

/// The rows of `batch` with `keys` as first column.
fn under_keys(batch: &RecordBatch, keys: ArrayRef) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    columns[0] = keys;
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::{
        DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
    };

    fn batch(starts: Vec<i64>) -> RecordBatch {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = vec![Field::new("t", time, true), Field::new("n", DataType::Int64, true)];
        let numbers = Int64Array::from_iter_values(0..starts.len() as i64);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(TimestampMicrosecondArray::from(starts)), Arc::new(numbers)];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn read(batch: RecordBatch, ranges: Vec<KeyRange>) -> Vec<(i64, i64)> {
        let batches = InRanges::new(batch, ranges.into()).unwrap();
        let rows = batches.flat_map(|batch| {
            let batch = batch.unwrap();
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().clone();
            let numbers = batch.column(1).as_primitive::<Int64Type>().clone();
            (0..batch.num_rows()).map(move |at| (times.value(at), numbers.value(at)))
        });
        rows.collect()
    }

    fn range(first_us: i64, last_us: i64, key_us: Option<i64>) -> KeyRange {
        KeyRange { first_us, last_us, key_us }
    }

    #[test]
    fn a_row_comes_once_for_each_range_and_under_its_key() {
        let ranges = vec![range(2, 3, Some(90)), range(3, 9, None), range(5, 6, Some(91))];
        let rows = read(batch(vec![4, 1, 3, 2]), ranges);
        assert_eq!(rows, [(90, 3), (90, 2), (3, 2), (4, 0)]);
    }

    #[test]
    fn long_ranges_are_slices_and_short_ones_copies() {
        let starts: Vec<i64> = (0..20_000).collect();
        let ranges = vec![range(5, 6, Some(-1)), range(0, 9_999, Some(-2)), range(7, 7, None)];
        let rows = read(batch(starts), ranges);
        assert_eq!(rows.len(), 10_003);
        assert_eq!(rows[..3], [(-1, 5), (-1, 6), (-2, 0)]);
        assert_eq!(rows[10_002], (7, 7));
    }

    #[test]
    fn no_rows_no_batches() {
        assert_eq!(read(batch(vec![]), vec![range(0, 9, None)]), []);
        assert_eq!(read(batch(vec![1]), vec![range(2, 9, None)]), []);
        assert_eq!(read(batch(vec![1]), vec![]), []);
    }
}
