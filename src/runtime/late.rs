//! The table of late rows: each row that a windowed stage refused, with all columns of its source,
//! the window that it came too late for, and the watermark that refused it.
//!
//! Its files are prepared and published as a sink's, with the epoch that refused the rows. They go
//! into a folder for each stage, batch by batch, so that any number of rows can be late.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use tidegauge_commitlog::SinkFile;
use tidegauge_spec::LateSpec;

use super::assign::{CutRule, Guarded, Taken, TimePlace};
use crate::error::{Result, from_datafusion};
use crate::plan::utc_type;
use crate::sink::{SinkTarget, SinkWriter};
use crate::sql::Windows;

/// Where the rows go that one stage refuses.
#[derive(Debug, Clone)]
pub(crate) struct LateTarget {
    /// The folder of the stage in the table, and the columns of [`late_schema`].
    pub(crate) sink: SinkTarget,
    pub(crate) source: String,
    pub(crate) stage: String,
    /// How far behind the watermark the stage begins to refuse.
    pub(crate) lateness_us: i64,
}

/// The columns of the table for a source of these columns: those, and what is known of the refusal.
pub(crate) fn late_schema(source: &Schema) -> SchemaRef {
    let [of_source, stage, start, end, watermark] = LateSpec::COLUMNS;
    let declared = source.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(..) => Field::new(field.name(), utc_type(), true),
        _ => Field::clone(field),
    });
    let added = [
        Field::new(of_source, DataType::Utf8, false),
        Field::new(stage, DataType::Utf8, false),
        Field::new(start, utc_type(), true),
        Field::new(end, utc_type(), true),
        Field::new(watermark, utc_type(), true),
    ];
    Arc::new(Schema::new(declared.chain(added).collect::<Vec<_>>()))
}

/// Writes the late rows of one stage, in one partition of a pass.
pub(super) struct LateWriter {
    target: LateTarget,
    /// None until a row is late.
    writer: Option<SinkWriter>,
}

impl LateWriter {
    pub(super) fn new(target: LateTarget) -> Self {
        Self { target, writer: None }
    }

    /// Writes the rows of `guarded`, which has all columns of its source, that `rule` refused.
    pub(super) async fn write(
        &mut self,
        rule: &CutRule,
        guarded: &Guarded,
        taken: &Taken,
        time: &TimePlace,
    ) -> Result<()> {
        let (Some((windows, watermark_us)), Some(late)) = (&rule.window, taken.late_rows()) else {
            return Ok(());
        };
        let rows = filter_record_batch(&guarded.batch, &late)
            .map_err(DataFusionError::from)
            .and_then(|rows| self.with_refusal(&rows, windows, *watermark_us, time))
            .map_err(from_datafusion)?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(SinkWriter::new(self.target.sink.clone())?),
        };
        writer.write(&rows).await
    }

    /// Stores what is open and gives all files.
    pub(super) async fn finish(self) -> Result<Vec<SinkFile>> {
        match self.writer {
            Some(writer) => writer.finish().await,
            None => Ok(vec![]),
        }
    }

    fn with_refusal(
        &self,
        late: &RecordBatch,
        windows: &Windows,
        watermark_us: Option<i64>,
        time: &TimePlace,
    ) -> datafusion::common::Result<RecordBatch> {
        let rows = late.num_rows();
        let watermark_us = watermark_us.map(|us| us.saturating_add(self.target.lateness_us));
        let times = time.of(late)?;
        let window = |at: fn((i64, i64)) -> i64| -> TimestampMicrosecondArray {
            times.iter().map(|time| last_window(windows, time?).map(at)).collect()
        };
        let text = |text: &str| StringArray::from_iter_values(std::iter::repeat_n(text, rows));
        let added: [ArrayRef; 5] = [
            Arc::new(text(&self.target.source)),
            Arc::new(text(&self.target.stage)),
            Arc::new(window(|(start, _)| start)),
            Arc::new(window(|(_, end)| end)),
            Arc::new(TimestampMicrosecondArray::from(vec![watermark_us; rows])),
        ];
        let schema = &self.target.sink.schema;
        let columns = late.columns().iter().cloned().chain(added).zip(schema.fields());
        // Times are written as in a sink, as those of UTC.
        let columns = columns.map(|(column, field)| cast(&column, field.data_type()));
        let columns = columns.collect::<std::result::Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}

/// The last window that would have held a time: all others had closed before it. A session has no
/// bounds but by its rows.
fn last_window(windows: &Windows, time_us: i64) -> Option<(i64, i64)> {
    let shape = windows.aligned()?;
    let end_us = shape.last_end(time_us)?;
    Some((end_us.saturating_sub(shape.size_us()), end_us))
}

#[cfg(test)]
mod tests {
    use tidegauge_commitlog::LATE_SINK;

    use super::*;
    use crate::sql::WindowShape;

    #[test]
    fn the_window_of_a_late_row_is_the_last_that_would_have_held_it() {
        let hop = Windows::Aligned(WindowShape::new(5_000, 2_000, 0).unwrap());
        assert_eq!(last_window(&hop, 4_500), Some((4_000, 9_000)));
        let cumulate = Windows::Aligned(WindowShape::cumulate(6_000, 2_000, 0).unwrap());
        assert_eq!(last_window(&cumulate, 1_000), Some((0, 6_000)));
    }

    #[test]
    fn no_sink_has_the_name_of_the_table() {
        assert_eq!(LATE_SINK, LateSpec::SINK);
    }
}
