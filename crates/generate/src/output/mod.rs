//! Files of rows, one module a format.
//!
//! A file is written under a name that sources skip (`.<name>.part`) and gets its own name when
//! it is complete, so that whoever watches the folder never reads half a file.

mod json;
mod parquet;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use self::json::JsonFile;
use self::parquet::ParquetFile;
use crate::error::Error;
use crate::settings::OutputFormat;
use crate::telemetry::Record;

/// A file that is being written.
pub(crate) struct OutputFile {
    part: PathBuf,
    path: PathBuf,
    format: FormatFile,
}

enum FormatFile {
    Json(JsonFile),
    Parquet(Box<ParquetFile>),
}

impl OutputFile {
    /// Begins the file at `path`.
    pub(crate) fn create(path: &Path, format: OutputFormat) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.part"));
        let file = File::create(&part).map_err(Error::at(&part))?;
        let format = match format {
            OutputFormat::Json => FormatFile::Json(JsonFile::new(file)),
            OutputFormat::Parquet => FormatFile::Parquet(Box::new(ParquetFile::new(file))),
        };
        Ok(Self { part, path: path.to_owned(), format })
    }

    pub(crate) fn write(&mut self, row: &impl Record) -> Result<(), Error> {
        match &mut self.format {
            FormatFile::Json(file) => file.write(row).map_err(Error::at(&self.part)),
            FormatFile::Parquet(file) => file.write(row).map_err(Error::at(&self.part)),
        }
    }

    /// Completes the file and gives it its name; its size in bytes.
    pub(crate) fn finish(self) -> Result<u64, Error> {
        match self.format {
            FormatFile::Json(file) => file.finish().map_err(Error::at(&self.part))?,
            FormatFile::Parquet(file) => file.finish().map_err(Error::at(&self.part))?,
        }
        fs::rename(&self.part, &self.path).map_err(Error::at(&self.path))?;
        let metadata = fs::metadata(&self.path).map_err(Error::at(&self.path))?;
        Ok(metadata.len())
    }
}
