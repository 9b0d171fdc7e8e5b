//! Parquet files of a sink: encoded, stored under a name that nobody lists, and named for
//! publication.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{max, min};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion::common::Result as PlanResult;
use datafusion::parquet::file::properties::WriterProperties;
use tidegauge_commitlog::{Attempt, SinkFile, Storage};

use super::nan::{find_nan, without_bounds};
use super::task_files::TaskFiles;
use crate::error::{Result, from_datafusion};
use crate::packer::Packer;

/// A file that has grown to this is finished and the next one begun.
pub(super) const FILE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Where files of one sink go.
#[derive(Debug, Clone)]
pub(super) struct FilePlace {
    pub(super) sink: String,
    pub(super) storage: Storage,
    /// The folder in it that the files go to; may be empty.
    pub(super) folder: String,
    pub(super) attempt: Attempt,
    /// The columns of the files.
    pub(super) schema: SchemaRef,
}

/// A file that is being encoded, in memory.
#[derive(Debug)]
pub(super) struct OpenFile {
    packer: Packer,
    time_column: Option<usize>,
    rows: u64,
    time: Option<(i64, i64)>,
    /// Its columns that hold a NaN.
    with_nan: BTreeSet<String>,
}

impl OpenFile {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let packer = Packer::new(Arc::clone(schema), WriterProperties::builder());
        let (time_column, with_nan) = (time_column(schema), BTreeSet::new());
        Self { packer, time_column, rows: 0, time: None, with_nan }
    }

    pub(super) fn append(&mut self, rows: &RecordBatch) -> PlanResult<()> {
        self.packer.write(rows)?;
        find_nan(rows, &mut self.with_nan);
        self.rows += rows.num_rows() as u64;
        if let Some(column) = self.time_column {
            let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
            let range = times.and_then(|times| Some((min(times)?, max(times)?)));
            self.time = widened(self.time, range);
        }
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.packer.bytes_written() + self.packer.in_progress_size() >= FILE_BYTES_MAX
    }
}

impl FilePlace {
    /// Stores `file` as the next of `files`, in the folder `partition` of the sink.
    ///
    /// # Errors
    /// When it cannot be encoded or stored.
    pub(super) async fn store(
        &self,
        partition: &str,
        file: OpenFile,
        files: &TaskFiles,
    ) -> Result<SinkFile> {
        let OpenFile { packer, time_column, rows, time, with_nan } = file;
        let bytes = packer.finish().map_err(from_datafusion)?;
        let bytes = without_bounds(bytes, &with_nan).map_err(from_datafusion)?;
        let folders = [self.folder.as_str(), partition].into_iter();
        let folder = folders.filter(|folder| !folder.is_empty()).collect::<Vec<_>>().join("/");
        let (task, n) = files.next();
        let done = SinkFile {
            sink: self.sink.clone(),
            prepared: self.attempt.prepared_path(task, n),
            published: self.attempt.published_path(&folder, task, n, "parquet"),
            rows,
            bytes: bytes.len() as u64,
            time_min_us: time.map(|(min, _)| min),
            time_max_us: time.map(|(_, max)| max),
            time_column: time_column.map(|at| self.schema.field(at).name().clone()),
        };
        self.storage.write(&done.prepared, bytes.into()).await?;
        Ok(done)
    }

    /// Appends `rows` to a file of one partition, `open` if there is one, and stores each that is
    /// full. Gives those, and the one that is open now.
    ///
    /// # Errors
    /// As [`FilePlace::store`].
    pub(super) async fn append_all(
        &self,
        partition: &str,
        mut open: Option<OpenFile>,
        rows: Vec<RecordBatch>,
        files: &TaskFiles,
    ) -> Result<(Vec<SinkFile>, Option<OpenFile>)> {
        let mut done = Vec::new();
        for batch in rows {
            let mut file = match open.take() {
                Some(file) => file,
                None => OpenFile::new(&self.schema),
            };
            file.append(&batch).map_err(from_datafusion)?;
            match file.is_full() {
                true => done.push(self.store(partition, file, files).await?),
                false => open = Some(file),
            }
        }
        Ok((done, open))
    }

    /// Appends `rows` likewise and stores the last file, too.
    ///
    /// # Errors
    /// As [`FilePlace::store`].
    pub(super) async fn store_all(
        &self,
        partition: &str,
        open: Option<OpenFile>,
        rows: Vec<RecordBatch>,
        files: &TaskFiles,
    ) -> Result<Vec<SinkFile>> {
        let (mut done, open) = self.append_all(partition, open, rows, files).await?;
        if let Some(file) = open {
            done.push(self.store(partition, file, files).await?);
        }
        Ok(done)
    }
}

/// The column whose range is kept of each file.
fn time_column(schema: &SchemaRef) -> Option<usize> {
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, _));
    schema.fields().iter().position(|field| is_time(field.data_type()))
}

fn widened(known: Option<(i64, i64)>, more: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (known, more) {
        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
        (known, more) => known.or(more),
    }
}
