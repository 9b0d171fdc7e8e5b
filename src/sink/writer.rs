//! Where the rows of a sink go: with partitions, to those of their partition; without, straight
//! into a file.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use tidegauge_commitlog::{Attempt, SinkFile, Storage};

use super::gather::Gather;
use super::parquet::{FilePlace, OpenFile};
use super::task_files::TaskFiles;
use crate::error::{Result, from_datafusion};

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
    /// The task that writes.
    pub files: TaskFiles,
}

impl SinkTarget {
    /// The place of files of the columns `schema`.
    pub(super) fn place(&self, schema: SchemaRef) -> FilePlace {
        FilePlace {
            sink: self.sink.clone(),
            storage: self.storage.clone(),
            folder: self.folder.clone(),
            attempt: self.attempt.clone(),
            schema,
        }
    }
}

/// Takes rows for a sink.
#[derive(Debug)]
pub struct SinkWriter {
    files: TaskFiles,
    output: Output,
}

#[derive(Debug)]
enum Output {
    Gathered(Arc<Gather>),
    File { place: Box<FilePlace>, open: Option<Box<OpenFile>>, done: Vec<SinkFile> },
}

impl SinkWriter {
    /// A writer without files; a sink without rows gets none.
    ///
    /// # Errors
    /// When the schema does not hold the partition's columns, which `check` would have found.
    pub fn new(target: SinkTarget) -> Result<Self> {
        let output = match target.partition_by.is_empty() {
            true => Output::File {
                place: Box::new(target.place(Arc::clone(&target.schema))),
                open: None,
                done: vec![],
            },
            false => Output::Gathered(target.files.gather(&target)?),
        };
        Ok(Self { files: target.files, output })
    }

    /// Takes the rows of `batch`.
    ///
    /// # Errors
    /// When rows cannot be encoded or a full file cannot be stored.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.output {
            Output::Gathered(gather) => gather.write(batch, &self.files).await,
            Output::File { place, open, done } => {
                let mut file = match open.take() {
                    Some(file) => file,
                    None => Box::new(OpenFile::new(&place.schema)),
                };
                file.append(batch).map_err(from_datafusion)?;
                match file.is_full() {
                    true => done.push(place.store("", *file, &self.files).await?),
                    false => *open = Some(file),
                }
                Ok(())
            }
        }
    }

    /// Stores the file that is open and gives all that were written. Those of a partitioned sink
    /// are given by [`TaskFiles::finish`].
    ///
    /// # Errors
    /// When a file cannot be encoded or stored.
    pub async fn finish(self) -> Result<Vec<SinkFile>> {
        let Output::File { place, open, mut done } = self.output else { return Ok(vec![]) };
        if let Some(file) = open {
            done.push(place.store("", *file, &self.files).await?);
        }
        Ok(done)
    }
}
