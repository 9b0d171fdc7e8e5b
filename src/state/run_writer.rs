//! Writes a run as its rows come, so that no more of them are in memory than a row group, packed.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result as PlanResult;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;
use tidegauge_commitlog::{Run, Storage};

use super::run_file::{session_time_min, start_range};
use crate::error::{Result, from_datafusion};
use crate::packer::Packer;

const ROW_GROUP_ROWS_MAX: usize = 65_536;
/// Packed bytes of a row group from which on it ends.
const ROW_GROUP_BYTES_MAX: usize = 16 << 20;
/// Rows that are packed at once: the state of a key may have many KiB.
const ROWS_AT_ONCE: usize = 1_024;

/// A run that is being written. It is best given its rows in the order of the first column, so
/// that a reader finds those of its windows in few row groups.
pub struct RunWriter {
    storage: Storage,
    path: String,
    encoder: RunEncoder,
}

/// The bytes of a run that is being written.
pub(super) struct RunEncoder {
    packer: Packer,
    starts: Option<(i64, i64)>,
    time_min_us: Option<i64>,
    rows: u64,
}

impl RunWriter {
    /// A run of nothing yet at `path`, a name that was never used before.
    pub fn new(storage: &Storage, path: String, schema: SchemaRef) -> Self {
        Self { storage: storage.clone(), path, encoder: RunEncoder::new(schema) }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When they cannot be packed, which is a defect.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for from in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
            let rows = batch.slice(from, ROWS_AT_ONCE.min(batch.num_rows() - from));
            self.encoder.write(&rows).map_err(from_datafusion)?;
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    /// Bytes that are held of it.
    pub fn memory(&self) -> usize {
        self.encoder.packer.memory_size()
    }

    /// Stores the run, where there is a row.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn finish(self) -> Result<Option<Run>> {
        let Self { storage, path, encoder } = self;
        let Some(packed) = encoder.finish().map_err(from_datafusion)? else { return Ok(None) };
        packed.store(&storage, path).await.map(Some)
    }
}

/// A run that is packed, and not stored yet.
pub(super) struct PackedRun {
    bytes: Vec<u8>,
    rows: u64,
    starts: (i64, i64),
    time_min_us: Option<i64>,
}

impl PackedRun {
    pub(super) async fn store(self, storage: &Storage, path: String) -> Result<Run> {
        let Self { bytes, rows, starts: (pane_min_us, pane_max_us), time_min_us } = self;
        let size = bytes.len() as u64;
        storage.write(&path, bytes.into()).await?;
        Ok(Run { path, rows, bytes: size, pane_min_us, pane_max_us, time_min_us, role: None })
    }
}

impl RunEncoder {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let first_key = ColumnPath::from(schema.field(0).name().as_str());
        let properties = WriterProperties::builder()
            .set_statistics_enabled(EnabledStatistics::None)
            .set_column_statistics_enabled(first_key, EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX));
        let packer = Packer::new(schema, properties);
        Self { packer, starts: None, time_min_us: None, rows: 0 }
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> PlanResult<()> {
        let rows = std::slice::from_ref(rows);
        let Some((first, last)) = start_range(rows) else { return Ok(()) };
        let (least, greatest) = self.starts.unwrap_or((first, last));
        self.starts = Some((least.min(first), greatest.max(last)));
        self.time_min_us = self.time_min_us.into_iter().chain(session_time_min(rows)).min();
        self.rows += rows[0].num_rows() as u64;
        self.packer.write(&rows[0])?;
        if self.packer.in_progress_size() > ROW_GROUP_BYTES_MAX {
            self.packer.flush()?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> PlanResult<Option<PackedRun>> {
        let Self { packer, starts, time_min_us, rows } = self;
        let Some(starts) = starts else { return Ok(None) };
        Ok(Some(PackedRun { bytes: packer.finish()?, rows, starts, time_min_us }))
    }
}
