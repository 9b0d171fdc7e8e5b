//! Parquet files of a sink: one open file for each partition value, prepared under a name that
//! nobody lists, and named for publication.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{max, min};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion::common::Result as PlanResult;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use tidegauge_commitlog::{Attempt, SinkFile, Storage};

use super::partition::Partitioner;
use crate::error::{Result, from_datafusion};

/// A file that has grown to this is finished and the next one begun.
const FILE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// More open files than this hold too much memory: the largest is finished.
const OPEN_FILES_MAX: usize = 256;

/// Where a writer's files go, and how they are named.
#[derive(Debug, Clone)]
pub struct SinkTarget {
    /// The sink's name.
    pub sink: String,
    /// Its storage.
    pub storage: Storage,
    /// The folder in it that the files go to, without `/` at its ends; may be empty.
    pub folder: String,
    /// The columns that make its folders.
    pub partition_by: Vec<String>,
    /// The columns of its rows, those of the partition among them.
    pub schema: SchemaRef,
    /// The attempt that writes.
    pub attempt: Attempt,
    /// Numbers the attempt's files, shared by all of its writers.
    pub numbers: Arc<AtomicU32>,
}

/// Writes rows into prepared files.
#[derive(Debug)]
pub struct SinkWriter {
    target: SinkTarget,
    partitioner: Partitioner,
    file_schema: SchemaRef,
    time_column: Option<usize>,
    open: HashMap<Arc<str>, OpenFile>,
    done: Vec<SinkFile>,
}

#[derive(Debug)]
struct OpenFile {
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
    time: Option<(i64, i64)>,
}

impl SinkWriter {
    /// A writer without files; a sink without rows gets none.
    ///
    /// # Errors
    /// When the schema does not hold the partition's columns, which `check` would have found.
    pub fn new(target: SinkTarget) -> Result<Self> {
        let partitioner =
            Partitioner::new(&target.schema, &target.partition_by).map_err(from_datafusion)?;
        let file_schema = partitioner.file_schema(&target.schema).map_err(from_datafusion)?;
        let time_column = file_schema
            .fields()
            .iter()
            .position(|field| matches!(field.data_type(), DataType::Timestamp(_, _)));
        Ok(Self {
            target,
            partitioner,
            file_schema,
            time_column,
            open: HashMap::new(),
            done: vec![],
        })
    }

    /// Appends the rows of `batch` to the files of their partitions.
    ///
    /// # Errors
    /// When rows cannot be encoded or a full file cannot be stored.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let parts = self.partitioner.split(batch).map_err(from_datafusion)?;
        for (folder, rows) in parts {
            if !self.open.contains_key(&folder) && self.open.len() >= OPEN_FILES_MAX {
                self.finish_largest().await?;
            }
            let bytes = self.append(&folder, &rows).map_err(from_datafusion)?;
            if bytes >= FILE_BYTES_MAX {
                self.finish_file(&folder).await?;
            }
        }
        Ok(())
    }

    /// Stores the files that are open and gives all that were written.
    ///
    /// # Errors
    /// When a file cannot be encoded or stored.
    pub async fn finish(mut self) -> Result<Vec<SinkFile>> {
        let mut folders: Vec<Arc<str>> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            self.finish_file(&folder).await?;
        }
        Ok(self.done)
    }

    fn append(&mut self, folder: &Arc<str>, rows: &RecordBatch) -> PlanResult<usize> {
        let file = match self.open.get_mut(folder) {
            Some(file) => file,
            None => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let schema = Arc::clone(&self.file_schema);
                let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
                let file = OpenFile { writer, rows: 0, time: None };
                self.open.entry(Arc::clone(folder)).or_insert(file)
            }
        };
        file.writer.write(rows)?;
        file.rows += rows.num_rows() as u64;
        if let Some(column) = self.time_column {
            let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
            let range = times.and_then(|times| Some((min(times)?, max(times)?)));
            file.time = widened(file.time, range);
        }
        Ok(file.writer.bytes_written() + file.writer.in_progress_size())
    }

    async fn finish_largest(&mut self) -> Result<()> {
        let largest = self
            .open
            .iter()
            .max_by_key(|(_, file)| file.writer.in_progress_size())
            .map(|(folder, _)| Arc::clone(folder));
        match largest {
            Some(folder) => self.finish_file(&folder).await,
            None => Ok(()),
        }
    }

    async fn finish_file(&mut self, folder: &Arc<str>) -> Result<()> {
        let Some(file) = self.open.remove(folder) else { return Ok(()) };
        let bytes = file.writer.into_inner().map_err(|error| from_datafusion(error.into()))?;
        let number = self.target.numbers.fetch_add(1, Ordering::Relaxed);
        let folders = [self.target.folder.as_str(), folder];
        let folder = folders.iter().filter(|folder| !folder.is_empty()).copied();
        let folder = folder.collect::<Vec<_>>().join("/");
        let done = SinkFile {
            sink: self.target.sink.clone(),
            prepared: self.target.attempt.prepared_path(number),
            published: self.target.attempt.published_path(&folder, number, "parquet"),
            rows: file.rows,
            bytes: bytes.len() as u64,
            time_min_us: file.time.map(|(min, _)| min),
            time_max_us: file.time.map(|(_, max)| max),
            time_column: self.time_column.map(|at| self.file_schema.field(at).name().clone()),
        };
        self.target.storage.write(&done.prepared, bytes.into()).await?;
        self.done.push(done);
        Ok(())
    }
}

fn widened(known: Option<(i64, i64)>, more: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (known, more) {
        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
        (known, more) => known.or(more),
    }
}
