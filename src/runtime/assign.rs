//! What becomes of each row of a source: quarantined, filtered, late, or used, and by which cut.
//!
//! Every term is counted where it happens. A row of the source is used when any cut uses it, else
//! quarantined when any could not compute an expression of it, else late when any refused it as late,
//! else filtered.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::compute::{filter_record_batch, max, min, prep_null_mask_filter};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::{SourceRows, StageRows};

use crate::operator::{FailedRow, error_text, is_of_values};
use crate::sql::Windows;

/// Where the event time stands among columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimePlace {
    /// The position of the column that it is in.
    pub(crate) column: usize,
    /// The fields of structs from that column to it; none where it is the column.
    #[serde(default)]
    pub(crate) fields: Vec<String>,
}

/// The rows that no query may see.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// The event time among the decoded columns.
    pub(super) time: TimePlace,
    /// Later event times than this are taken for a broken clock.
    pub(super) future_max_us: i64,
}

/// Rows that no query sees, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// Rows without an event time.
    pub(super) timeless: u64,
    /// Rows later than the clock by more than `future_max`.
    pub(super) future: u64,
}

impl Refused {
    /// All of them.
    pub(super) fn rows(self) -> u64 {
        self.timeless + self.future
    }
}

/// The rows that one cut takes.
#[derive(Debug, Clone)]
pub(super) struct CutRule {
    /// The query's filter over the decoded columns.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    /// The positions of the columns that the cut reads among the decoded ones.
    pub(super) columns: Vec<usize>,
    /// For a windowed stage: its windows, and the watermark that refuses rows.
    pub(super) window: Option<(Windows, Option<i64>)>,
}

/// A decoded batch after the guard.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) batch: RecordBatch,
    pub(super) refused: Refused,
    /// The first and last event time.
    pub(super) time_us: Option<(i64, i64)>,
}

/// What one cut made of a batch.
#[derive(Debug)]
pub(super) struct Taken {
    /// The rows that it uses, with its columns; none where it uses no row.
    pub(super) chunk: Option<RecordBatch>,
    pub(super) rows: StageRows,
    used: Mask,
    late: Mask,
    /// Rows of which an expression cannot be computed, with its error.
    failed: Vec<FailedRow>,
}

/// A set of rows.
#[derive(Debug, Clone)]
enum Mask {
    None,
    All,
    Some(BooleanBuffer),
}

impl Guard {
    /// Takes out the rows without event time and those of the future.
    pub(super) fn apply(&self, batch: RecordBatch) -> Result<Guarded> {
        let times = self.time.of(&batch)?;
        let rows = batch.num_rows();
        let last = max(&times);
        let is_clean = times.null_count() == 0 && last.is_none_or(|us| us <= self.future_max_us);
        if is_clean {
            let time_us = min(&times).zip(last);
            return Ok(Guarded { batch, refused: Refused::default(), time_us });
        }
        let timeless = times.null_count() as u64;
        let keep: BooleanArray = times
            .iter()
            .map(|time| Some(time.is_some_and(|us| us <= self.future_max_us)))
            .collect();
        let batch = filter_record_batch(&batch, &keep)?;
        let times = self.time.of(&batch)?;
        let time_us = min(&times).zip(max(&times));
        let future = (rows - batch.num_rows()) as u64 - timeless;
        Ok(Guarded { batch, refused: Refused { timeless, future }, time_us })
    }
}

impl TimePlace {
    /// An event time that is a column.
    pub(crate) fn column(column: usize) -> Self {
        Self { column, fields: vec![] }
    }

    /// The event times of a batch: NULL where a struct around it is.
    ///
    /// # Errors
    /// When there is no time in this place.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<TimestampMicrosecondArray> {
        let mut array = batch.column(self.column);
        let mut nulls: Option<NullBuffer> = None;
        for name in &self.fields {
            let Some(inner) = array.as_struct_opt().and_then(|outer| outer.column_by_name(name))
            else {
                return internal_err!("there is no {name} in the event time's column");
            };
            nulls = NullBuffer::union(nulls.as_ref(), array.nulls());
            array = inner;
        }
        let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() else {
            return internal_err!("the event time is {}", array.data_type());
        };
        if self.fields.is_empty() {
            return Ok(times.clone());
        }
        let nulls = NullBuffer::union(nulls.as_ref(), times.nulls());
        Ok(TimestampMicrosecondArray::new(times.values().clone(), nulls))
    }
}

impl CutRule {
    /// The rows of `guarded` that the cut uses.
    pub(super) fn take(&self, guarded: &Guarded, time: &TimePlace) -> Result<Taken> {
        let batch = &guarded.batch;
        let rows = batch.num_rows();
        let mut failed = Vec::new();
        let wanted = self.wanted(batch, &mut failed)?;
        let wanted_count = wanted.count(rows);
        let times = time.of(batch)?;
        let (used, late) = match &self.window {
            Some((windows, watermark_us)) if !all_on_time(windows, *watermark_us, guarded) => {
                on_time(windows, *watermark_us, &times, &wanted)
            }
            _ => (wanted, Mask::None),
        };
        let (used_count, late_count) = (used.count(rows), late.count(rows));
        // A row that passes the filter but lies in no window is filtered by the window.
        let in_gap = wanted_count - used_count - late_count;
        let counts = StageRows {
            used: used_count as u64,
            filtered: (rows - failed.len() - wanted_count + in_gap) as u64,
            late: late_count as u64,
            failed: failed.len() as u64,
        };
        let chunk = match &used {
            Mask::None => None,
            Mask::All if rows == 0 => None,
            Mask::All => Some(batch.project(&self.columns)?),
            Mask::Some(_) if used_count == 0 => None,
            Mask::Some(keep) => {
                let mask = BooleanArray::new(keep.clone(), None);
                Some(filter_record_batch(&batch.project(&self.columns)?, &mask)?)
            }
        };
        Ok(Taken { chunk, rows: counts, used, late, failed })
    }

    /// The rows that the filter lets through; those of which it cannot be computed go into `failed`.
    fn wanted(&self, batch: &RecordBatch, failed: &mut Vec<FailedRow>) -> Result<Mask> {
        let Some(filter) = &self.filter else { return Ok(Mask::All) };
        let passed = match passed(filter, batch) {
            Err(error) if is_of_values(&error) => passed_in_parts(filter, batch, failed)?,
            passed => passed?,
        };
        let count = passed.count_set_bits();
        Ok(match count {
            0 => Mask::None,
            all if all == batch.num_rows() => Mask::All,
            _ => Mask::Some(passed),
        })
    }
}

fn passed(filter: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanBuffer> {
    let passed = filter.evaluate(batch)?.into_array(batch.num_rows())?;
    let passed = as_boolean_array(&passed)?;
    Ok(match passed.null_count() {
        0 => passed.values().clone(),
        _ => prep_null_mask_filter(passed).values().clone(),
    })
}

/// As [`passed`], in halves, down to the rows that fail.
fn passed_in_parts(
    filter: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    failed: &mut Vec<FailedRow>,
) -> Result<BooleanBuffer> {
    let mut all = BooleanBufferBuilder::new(batch.num_rows());
    let mut ranges = vec![(0, batch.num_rows())];
    while let Some((first, count)) = ranges.pop() {
        match passed(filter, &batch.slice(first, count)) {
            Ok(part) => all.append_buffer(&part),
            Err(error) if !is_of_values(&error) => return Err(error),
            Err(error) if count == 1 => {
                failed.push((first, error_text(&error)));
                all.append(false);
            }
            Err(_) => {
                let half = count / 2;
                ranges.push((first + half, count - half));
                ranges.push((first, half));
            }
        }
    }
    Ok(all.finish())
}

/// Whether no row of the batch can be late or lie between windows: what a time is late for never
/// ends before that of an earlier time.
fn all_on_time(windows: &Windows, watermark_us: Option<i64>, guarded: &Guarded) -> bool {
    let Some((first_us, _)) = guarded.time_us else { return true };
    if windows.aligned().is_some_and(|shape| shape.slide_us() > shape.size_us()) {
        return false;
    }
    is_late(windows, watermark_us, first_us) == Some(false)
}

/// Whether a row of this time is late; nothing where it is in no window. Windows are half-open, so
/// one that ends at the watermark has closed; a session may begin at the watermark.
fn is_late(windows: &Windows, watermark_us: Option<i64>, time_us: i64) -> Option<bool> {
    let end_us = match windows {
        Windows::Aligned(shape) => shape.last_end(time_us)?,
        Windows::Session(_) => time_us.saturating_add(1),
    };
    Some(watermark_us.is_some_and(|watermark_us| end_us <= watermark_us))
}

fn on_time(
    windows: &Windows,
    watermark_us: Option<i64>,
    times: &TimestampMicrosecondArray,
    wanted: &Mask,
) -> (Mask, Mask) {
    let judged = |late: bool| {
        BooleanBuffer::collect_bool(times.len(), |row| {
            wanted.holds(row)
                && is_late(windows, watermark_us, times.value(row)).is_some_and(|is| is == late)
        })
    };
    (Mask::Some(judged(false)), Mask::Some(judged(true)))
}

impl Taken {
    /// The rows that failed, by their place in the batch, each with its error.
    pub(super) fn failed(&self) -> &[FailedRow] {
        &self.failed
    }

    /// Takes back rows of the chunk of which the plan could not compute an expression.
    pub(super) fn take_back(&mut self, refused: Vec<FailedRow>, rows: usize) {
        if refused.is_empty() {
            return;
        }
        let places: Vec<usize> = (0..rows).filter(|&row| self.used.holds(row)).collect();
        let mut used = vec![false; rows];
        places.iter().for_each(|&row| used[row] = true);
        for (at, error) in refused {
            if let Some(&row) = places.get(at) {
                used[row] = false;
                self.failed.push((row, error));
                self.rows.used -= 1;
                self.rows.failed += 1;
            }
        }
        self.used = Mask::Some(BooleanBuffer::from(used));
    }

    /// Which rows were late, if any was.
    pub(super) fn late_rows(&self) -> Option<BooleanArray> {
        match &self.late {
            Mask::Some(rows) if self.rows.late > 0 => Some(BooleanArray::new(rows.clone(), None)),
            _ => None,
        }
    }
}

impl Mask {
    fn holds(&self, row: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(rows) => rows.value(row),
        }
    }

    fn count(&self, rows: usize) -> usize {
        match self {
            Self::None => 0,
            Self::All => rows,
            Self::Some(mask) => mask.count_set_bits(),
        }
    }

    fn or(self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, other) => other.clone(),
            (mask, Self::None) => mask,
            (Self::Some(a), Self::Some(b)) => Self::Some(&a | b),
        }
    }

    fn without(&self, other: &Self, rows: usize) -> usize {
        (0..rows).filter(|&row| self.holds(row) && !other.holds(row)).count()
    }
}

/// The accounting of the source for one batch, from what its cuts took.
pub(super) fn source_rows(guarded: &Guarded, taken: &[Taken]) -> SourceRows {
    let rows = guarded.batch.num_rows();
    let (mut used, mut late) = (Mask::None, Mask::None);
    for cut in taken {
        used = used.or(&cut.used);
        late = late.or(&cut.late);
    }
    let failed: BTreeSet<usize> =
        taken.iter().flat_map(|cut| &cut.failed).map(|(row, _)| *row).collect();
    let failed_count = failed.iter().filter(|&&row| !used.holds(row)).count();
    let used_count = used.count(rows);
    let late_count = match &late {
        Mask::None => 0,
        late => late.without(&used, rows),
    };
    let late_too = failed.iter().filter(|&&row| !used.holds(row) && late.holds(row)).count();
    let late_count = late_count - late_too;
    SourceRows {
        rows_in: rows as u64 + guarded.refused.rows(),
        used: used_count as u64,
        filtered: (rows - used_count - late_count - failed_count) as u64,
        late: late_count as u64,
        quarantined: guarded.refused.rows() + failed_count as u64,
        failed: failed_count as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};

    use crate::sql::{SessionShape, WindowShape};

    fn batch(times: Vec<Option<i64>>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("ts", crate::sql::time_type(), true)]);
        let column = Arc::new(TimestampMicrosecondArray::from(times));
        RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap()
    }

    fn minute_rule(watermark_us: i64) -> CutRule {
        let windows = Windows::Aligned(WindowShape::tumble(60_000_000, 0).unwrap());
        CutRule { filter: None, columns: vec![0], window: Some((windows, Some(watermark_us))) }
    }

    #[test]
    fn rows_without_time_and_of_the_future_are_quarantined() {
        let guard = Guard { time: TimePlace::column(0), future_max_us: 100 };
        let guarded = guard.apply(batch(vec![Some(100), None, Some(101)])).unwrap();
        assert_eq!(guarded.refused, Refused { timeless: 1, future: 1 });
        assert_eq!(guarded.time_us, Some((100, 100)));
    }

    #[test]
    fn a_row_is_late_when_its_window_ended_at_the_watermark() {
        let guard = Guard { time: TimePlace::column(0), future_max_us: i64::MAX };
        let rows = batch(vec![Some(59_999_999), Some(60_000_000)]);
        let guarded = guard.apply(rows).unwrap();
        let taken = minute_rule(60_000_000).take(&guarded, &TimePlace::column(0)).unwrap();
        assert_eq!((taken.rows.used, taken.rows.late), (1, 1));
    }

    #[test]
    fn a_row_of_a_session_is_late_below_the_watermark() {
        let guard = Guard { time: TimePlace::column(0), future_max_us: i64::MAX };
        let guarded = guard.apply(batch(vec![Some(99), Some(100), Some(98)])).unwrap();
        let windows = Windows::Session(SessionShape::new(60_000_000).unwrap());
        let rule = |watermark_us| CutRule {
            filter: None,
            columns: vec![0],
            window: Some((windows, watermark_us)),
        };
        let taken = rule(Some(100)).take(&guarded, &TimePlace::column(0)).unwrap();
        assert_eq!((taken.rows.used, taken.rows.late), (1, 2));
        let late: Vec<bool> = taken.late_rows().unwrap().values().iter().collect();
        assert_eq!(late, [true, false, true]);
        for watermark_us in [None, Some(98)] {
            let taken = rule(watermark_us).take(&guarded, &TimePlace::column(0)).unwrap();
            assert_eq!((taken.rows.used, taken.late_rows()), (3, None));
        }
    }

    #[test]
    fn a_row_that_any_cut_uses_is_used_and_the_terms_add_up() {
        let guard = Guard { time: TimePlace::column(0), future_max_us: i64::MAX };
        let guarded = guard.apply(batch(vec![Some(1), Some(61_000_000), None])).unwrap();
        let rules = [minute_rule(60_000_000), minute_rule(180_000_000)];
        let taken: Vec<Taken> =
            rules.iter().map(|rule| rule.take(&guarded, &TimePlace::column(0)).unwrap()).collect();
        let rows = source_rows(&guarded, &taken);
        assert_eq!((rows.used, rows.late, rows.quarantined), (1, 1, 1));
        assert_eq!(rows.rows_in, rows.used + rows.late + rows.filtered + rows.quarantined);
    }
}
