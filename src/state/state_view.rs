//! Which rows of a stage's state a plan sees, and as what: those of closing windows, those that
//! stay, or all.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};

use crate::sql::{SessionShape, WindowShape};

/// About how many rows panes are made into at once, each once for each of its windows.
const EXPANDED_ROWS_MAX: usize = 65_536;

/// What the first column of a stage's state is, and so which windows a row counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateShape {
    /// The mark of a window.
    Windows(WindowShape),
    /// The start of a pane, of which windows are put together.
    Panes(WindowShape),
    /// The start of a pane, or what `stacks` merges panes under.
    Stacks(WindowShape),
    /// The end of the session that a piece is of, as far as it is known: its last time and the gap.
    Sessions(SessionShape),
}

impl StateShape {
    /// The least watermark at which no open window holds a row whose first column is `first_us`.
    pub fn last_end(&self, first_us: i64) -> i64 {
        match self {
            Self::Windows(shape) => shape.end_of(first_us),
            Self::Panes(shape) | Self::Stacks(shape) => {
                shape.last_end(first_us).unwrap_or(first_us)
            }
            // A session is over when its end is before the watermark.
            Self::Sessions(_) => first_us.saturating_add(1),
        }
    }

    /// The ends of all windows that hold such a row.
    pub fn ends(&self, first_us: i64) -> Vec<i64> {
        match self {
            Self::Panes(shape) | Self::Stacks(shape) => {
                shape.starts(first_us).map(|mark| shape.end_of(mark)).collect()
            }
            _ => vec![self.last_end(first_us)],
        }
    }

    /// The least watermark at which any window that holds such a row closes.
    pub fn first_end(&self, first_us: i64) -> i64 {
        match self {
            Self::Panes(shape) | Self::Stacks(shape) => {
                let first = shape.starts(first_us).last().unwrap_or(first_us);
                shape.end_of(first)
            }
            _ => self.last_end(first_us),
        }
    }
}

/// The rows that a plan sees of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateView {
    /// The rows of each window whose end lies in `(after_us, through_us]`, the first key being
    /// the window's mark.
    Closing {
        /// The watermark up to which windows were closed before.
        after_us: i64,
        /// The watermark up to which they close now.
        through_us: i64,
    },
    /// The rows, as they are, that count in a window that ends after `through_us`.
    Open {
        /// The watermark up to which windows are closed.
        through_us: i64,
    },
    /// The rows, as they are, whose first column lies in a range, both ends included.
    Keys {
        /// The least.
        first_us: i64,
        /// The greatest.
        last_us: i64,
    },
}

impl StateView {
    /// All rows, as they are.
    pub const ALL: Self = Self::Keys { first_us: i64::MIN, last_us: i64::MAX };

    /// Whether any row whose first key lies in `[first_us, last_us]` can be seen.
    pub fn may_see(&self, state: &StateShape, first_us: i64, last_us: i64) -> bool {
        match self {
            Self::Closing { after_us, through_us } => {
                state.first_end(first_us) <= *through_us && state.last_end(last_us) > *after_us
            }
            Self::Open { through_us } => state.last_end(last_us) > *through_us,
            Self::Keys { first_us: least, last_us: greatest } => {
                first_us <= *greatest && last_us >= *least
            }
        }
    }

    /// What is seen of `batch`, as [`StateView::apply`] gives it, a bounded number of rows at a
    /// time where a row is seen once for each of many windows.
    pub fn applied(
        self,
        state: StateShape,
        batch: RecordBatch,
    ) -> impl Iterator<Item = Result<RecordBatch>> {
        let copies = match (self, state) {
            (Self::Closing { .. }, StateShape::Panes(shape)) => shape.windows_per_time(),
            _ => 1,
        };
        let rows = batch.num_rows();
        let at_once = match copies {
            ..2 => rows.max(1),
            copies => EXPANDED_ROWS_MAX.checked_div(copies).unwrap_or(1).max(1),
        };
        (0..rows)
            .step_by(at_once)
            .map(move |from| self.apply(&state, batch.slice(from, at_once.min(rows - from))))
    }

    /// The rows of `batch` that are seen, its first column being the first key.
    ///
    /// # Errors
    /// When the batch cannot be filtered, which is a defect.
    pub fn apply(&self, state: &StateShape, batch: RecordBatch) -> Result<RecordBatch> {
        let Some(starts) = starts_of(&batch) else { return Ok(batch) };
        match self {
            Self::Closing { after_us, through_us } => match state {
                StateShape::Panes(shape) => expand(&batch, starts, shape, *after_us, *through_us),
                _ => keep(&batch, starts, |start_us| {
                    let end_us = state.last_end(start_us);
                    end_us > *after_us && end_us <= *through_us
                }),
            },
            Self::Open { through_us } => {
                keep(&batch, starts, |start_us| state.last_end(start_us) > *through_us)
            }
            Self::Keys { first_us: i64::MIN, last_us: i64::MAX } => Ok(batch),
            Self::Keys { first_us, last_us } => {
                keep(&batch, starts, |start_us| start_us >= *first_us && start_us <= *last_us)
            }
        }
    }
}

/// The first key of every row.
pub fn starts_of(batch: &RecordBatch) -> Option<&TimestampMicrosecondArray> {
    batch.columns().first()?.as_primitive_opt::<TimestampMicrosecondType>()
}

fn keep(
    batch: &RecordBatch,
    starts: &TimestampMicrosecondArray,
    wanted: impl Fn(i64) -> bool,
) -> Result<RecordBatch> {
    let mask: BooleanArray = starts.values().iter().map(|&start| Some(wanted(start))).collect();
    if mask.true_count() == batch.num_rows() {
        return Ok(batch.clone());
    }
    Ok(filter_record_batch(batch, &mask)?)
}

/// Each pane's rows once for each closing window that holds the pane.
fn expand(
    batch: &RecordBatch,
    starts: &TimestampMicrosecondArray,
    shape: &WindowShape,
    after_us: i64,
    through_us: i64,
) -> Result<RecordBatch> {
    let mut rows: Vec<u32> = Vec::new();
    let mut windows: Vec<i64> = Vec::new();
    for (row, &pane_us) in starts.values().iter().enumerate() {
        let row = u32::try_from(row).map_err(|error| DataFusionError::External(Box::new(error)))?;
        for start_us in shape.starts(pane_us) {
            let end_us = shape.end_of(start_us);
            if end_us > after_us && end_us <= through_us {
                rows.push(row);
                windows.push(start_us);
            }
        }
    }
    let taken = take_record_batch(batch, &UInt32Array::from(rows))?;
    let mut columns: Vec<ArrayRef> = taken.columns().to_vec();
    columns[0] = Arc::new(TimestampMicrosecondArray::from(windows));
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    fn batch(starts: &[i64]) -> RecordBatch {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Arc::new(Schema::new(vec![Field::new("__pane", time, true)]));
        let column = Arc::new(TimestampMicrosecondArray::from(starts.to_vec()));
        RecordBatch::try_new(schema, vec![column]).unwrap()
    }

    #[test]
    fn a_pane_is_seen_once_for_each_window_that_closes() {
        let shape = WindowShape::new(5_000, 1_000, 0).unwrap();
        let state = StateShape::Panes(shape);
        let view = StateView::Closing { after_us: 5_000, through_us: 7_000 };
        let seen = view.apply(&state, batch(&[3_000])).unwrap();
        assert_eq!(starts_of(&seen).unwrap().values().to_vec(), [2_000, 1_000]);
    }

    #[test]
    fn many_windows_are_seen_a_bounded_number_of_rows_at_a_time() {
        let shape = WindowShape::new(10_000_000, 1_000, 0).unwrap();
        let view = StateView::Closing { after_us: 0, through_us: 40_000_000 };
        let starts: Vec<i64> = (0..20_000_000).step_by(1_000_000).collect();
        let seen = view.applied(StateShape::Panes(shape), batch(&starts));
        let rows: Vec<usize> = seen.map(|batch| batch.unwrap().num_rows()).collect();
        assert_eq!(rows.iter().sum::<usize>(), 20 * 10_000);
        assert!(rows.iter().all(|rows| *rows <= EXPANDED_ROWS_MAX), "{rows:?}");
    }

    #[test]
    fn closed_and_open_rows_share_nothing() {
        let shape = WindowShape::tumble(1_000, 0).unwrap();
        let state = StateShape::Windows(shape);
        let rows = batch(&[0, 1_000, 2_000]);
        let closing = StateView::Closing { after_us: 1_000, through_us: 2_000 };
        let open = StateView::Open { through_us: 2_000 };
        assert_eq!(closing.apply(&state, rows.clone()).unwrap().num_rows(), 1);
        assert_eq!(open.apply(&state, rows).unwrap().num_rows(), 1);
        assert!(!open.may_see(&state, 0, 1_000));
    }
}
