//! The pieces of a stage's state that a plan reads: batches in memory, and runs.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::Run;

/// More rows than this are not counted.
const MANY_ROWS: usize = 1 << 40;
/// Up to so many rows of so many bytes are few.
const FEW_ROWS: usize = 8_192;
const FEW_BYTES: usize = 4 << 20;

/// A piece of a stage's state.
#[derive(Debug, Clone)]
pub enum StatePart {
    /// Partial aggregates in memory: of this epoch, or a run that was kept.
    Memory(Arc<Vec<RecordBatch>>),
    /// A run in the state's storage.
    File(Run),
    /// Some of the rows of another.
    Slice(Box<PartSlice>),
}

/// The rows of a part whose first column lies in one of several ranges: a row in two of them comes
/// twice.
#[derive(Debug, Clone)]
pub struct PartSlice {
    /// The whole.
    pub of: StatePart,
    /// The ranges, in any order. All are read in one pass over the whole.
    pub ranges: Arc<[KeyRange]>,
}

/// A range of values of the first column, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The least.
    pub first_us: i64,
    /// The greatest.
    pub last_us: i64,
    /// What takes the place of the first column, where anything does.
    pub key_us: Option<i64>,
}

impl StatePart {
    /// The run that it is, or is a slice of.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Memory(_) => None,
            Self::File(run) => Some(run),
            Self::Slice(slice) => slice.of.run(),
        }
    }

    /// The most rows that are read of it, where it is in memory.
    pub fn rows_in_memory(&self) -> Option<usize> {
        match self {
            Self::Memory(batches) => Some(batches.iter().map(RecordBatch::num_rows).sum()),
            Self::File(_) => None,
            Self::Slice(slice) => {
                let of = slice.of.rows_in_memory();
                of.map(|rows| rows.saturating_mul(slice.ranges.len()).min(MANY_ROWS))
            }
        }
    }

    /// Whether they are few rows of few bytes, all in memory.
    pub fn are_few<'a>(parts: impl IntoIterator<Item = &'a Self>) -> bool {
        let (mut rows, mut bytes) = (0, 0);
        parts.into_iter().all(|part| {
            rows += part.rows_in_memory().unwrap_or(MANY_ROWS);
            bytes += part.bytes_in_memory();
            rows <= FEW_ROWS && bytes <= FEW_BYTES
        })
    }

    /// The bytes that hold it, where it is in memory.
    fn bytes_in_memory(&self) -> usize {
        match self {
            Self::Memory(batches) => batches.iter().map(RecordBatch::get_array_memory_size).sum(),
            Self::File(_) => 0,
            Self::Slice(slice) => slice.of.bytes_in_memory(),
        }
    }

    /// Its rows in `ranges`.
    #[must_use]
    pub fn sliced(self, ranges: impl Into<Arc<[KeyRange]>>) -> Self {
        Self::Slice(Box::new(PartSlice { of: self, ranges: ranges.into() }))
    }
}
