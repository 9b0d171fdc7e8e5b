//! One file as a stream of batches.
//!
//! ```text
//! fetch -> inflate -> buffer (about block_bytes, more only for a longer record) -> Decoder
//! ```
//!
//! Batches are handed on as they were decoded; only small ones are put together.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::compression::{Inflate, MAGIC_BYTES, by_name, detect};
use super::fetch::{Fetch, fetch_range};
use super::folders::folder_values;
use super::format::{Compression, EpochUnit, Format};
use super::parquet::read_parquet;
use super::{CsvDecoder, Decoded, Decoder, JsonDecoder, SourceError, SourceResult};

/// No record may be longer: it would have to be in memory as a whole.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// The header of a CSV file that grows lies within so much of its start.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// One file, or a part of one, to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is in its store.
    pub location: Path,
    /// Its size in bytes, as listed.
    pub size: u64,
    /// Its version, as listed; another one is refused.
    pub etag: Option<String>,
    /// What errors call it.
    pub display: String,
    /// Parquet: the row groups to read, all if `None`. Other formats are not split.
    pub row_groups: Option<Range<usize>>,
    /// Files that grow: the lines to read, all if `None`.
    pub part: Option<FilePart>,
}

/// Whole lines of a file that grows, by their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    /// The first byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

impl InputFile {
    /// The bytes to read.
    pub(super) fn range(&self) -> Range<u64> {
        self.part.map_or(0..self.size, |part| part.start..part.end)
    }
}

/// How the files of a source are to be read.
#[derive(Debug, Clone)]
pub struct OpenSettings {
    /// Every declared column, all nullable; strings are `Utf8View`.
    pub schema: SchemaRef,
    /// The columns to decode, by their place in `schema`.
    pub projection: Vec<usize>,
    /// The column that every file must have, the event time, by its place in `schema`.
    pub time_column: Option<usize>,
    /// The format of the files.
    pub format: Format,
    /// Their compression; Parquet has its own.
    pub compression: Compression,
    /// The unit of times in numbers; by their size if `None`.
    pub unit: Option<EpochUnit>,
    /// Rows in a batch, at most.
    pub batch_rows: usize,
    /// Decompressed bytes that are decoded in one go, about.
    pub block_bytes: usize,
}

impl OpenSettings {
    /// The schema of the batches: the projected columns.
    pub fn projected_schema(&self) -> SourceResult<SchemaRef> {
        match self.schema.project(&self.projection) {
            Ok(schema) => Ok(Arc::new(schema)),
            Err(error) => {
                Err(SourceError::BadJob { location: "schema".into(), message: error.to_string() })
            }
        }
    }

    /// For each projected column the value that the folders of `file` give it, if they do.
    pub(super) fn constants(&self, file: &InputFile) -> SourceResult<Vec<Option<ScalarValue>>> {
        let schema = self.projected_schema()?;
        folder_values(file, &schema, self.unit)
    }

    /// The column that the file itself must have: the event time, if its folders do not give it.
    pub(super) fn required(&self, file: &InputFile) -> SourceResult<Option<usize>> {
        let given = folder_values(file, &self.schema, self.unit)?;
        Ok(self.time_column.filter(|at| given.get(*at).is_none_or(Option::is_none)))
    }

    fn decoder(&self, file: &InputFile) -> SourceResult<Box<dyn Decoder>> {
        let (display, constants) = (&file.display, self.constants(file)?);
        Ok(match &self.format {
            Format::Csv(options) => {
                let decoder = CsvDecoder::new(
                    display,
                    self.schema.clone(),
                    &self.projection,
                    options.clone(),
                    self.unit,
                    self.batch_rows,
                )?;
                Box::new(decoder.with_constants(constants).requiring(self.required(file)?))
            }
            Format::Json => {
                let schema = self.projected_schema()?;
                let decoder = JsonDecoder::new(display, schema, self.unit, self.batch_rows);
                Box::new(decoder.of_source(&self.schema).with_constants(constants))
            }
            Format::Parquet => {
                return Err(SourceError::corrupt(
                    display,
                    "Parquet is not decoded from a stream of bytes",
                ));
            }
        })
    }
}

/// Reads `file`: its rows in file order, in batches of the projected columns, with the
/// records that are not among them. Ends after the first error. Runs on tokio.
pub fn read_file(
    store: Arc<dyn ObjectStore>,
    file: &InputFile,
    settings: Arc<OpenSettings>,
) -> BoxStream<'static, SourceResult<Decoded>> {
    let file = file.clone();
    if file.size == 0 {
        return stream::empty().boxed();
    }
    if settings.format == Format::Parquet {
        return read_parquet(store, file, settings);
    }
    stream::once(async move { TextReader::open(store, file, &settings).await })
        .map_ok(|reader| {
            stream::try_unfold(reader, |mut reader| async move {
                Ok(reader.next().await?.map(|decoded| (decoded, reader)))
            })
        })
        .try_flatten()
        .boxed()
}

/// A text file being decoded.
struct TextReader {
    display: String,
    fetch: Fetch,
    inflate: Inflate,
    decoder: Box<dyn Decoder>,
    /// Bytes as stored that have not been decompressed yet.
    stored: Bytes,
    /// All bytes as stored have come.
    fetched: bool,
    /// Decompressed bytes; those before `start` are decoded.
    buffer: Vec<u8>,
    start: usize,
    block_bytes: usize,
    batch_rows: usize,
    schema: SchemaRef,
    /// All bytes of the file are in `buffer` or decoded.
    at_end: bool,
    /// The decoder has been asked about the end.
    is_over: bool,
}

impl TextReader {
    async fn open(
        store: Arc<dyn ObjectStore>,
        file: InputFile,
        settings: &OpenSettings,
    ) -> SourceResult<Self> {
        let mut decoder = settings.decoder(&file)?;
        if let Some(part) = file.part.filter(|part| part.start > 0) {
            let first = fetch_range(&*store, &file, 0..part.start.min(HEADER_BYTES_MAX)).await;
            let first = first.map_err(|error| SourceError::store(&file.display, error))?;
            decoder.go_on(&first)?;
        }
        let mut fetch = Fetch::open(store, &file).await?;
        let mut stored = Bytes::new();
        let compression = match settings.compression {
            // A file that grows was found to be of plain lines when its part was chosen.
            _ if file.part.is_some() => Compression::None,
            Compression::Auto => match by_name(file.location.as_ref()) {
                Some(compression) => compression,
                None => {
                    stored = first_bytes(&mut fetch).await?;
                    detect(&stored)
                }
            },
            given => given,
        };
        let inflate = Inflate::new(compression).map_err(|error| damaged(&file.display, error))?;
        Ok(Self {
            decoder,
            display: file.display,
            fetch,
            inflate,
            stored,
            fetched: false,
            buffer: Vec::new(),
            start: 0,
            block_bytes: settings.block_bytes.clamp(1, RECORD_BYTES_MAX),
            batch_rows: settings.batch_rows.max(1),
            schema: settings.projected_schema()?,
            at_end: false,
            is_over: false,
        })
    }

    /// The next batch, put together from small ones, or one with rejects.
    async fn next(&mut self) -> SourceResult<Option<Decoded>> {
        let mut small: Vec<RecordBatch> = Vec::new();
        let mut rows = 0;
        let mut consumed = 0;
        while let Some(decoded) = self.decode().await? {
            consumed += decoded.consumed;
            rows += decoded.batch.num_rows();
            let enough = rows >= self.batch_rows.div_ceil(4) || !decoded.rejects.is_empty();
            if decoded.batch.num_rows() > 0 {
                small.push(decoded.batch);
            }
            if enough {
                let batch = self.together(small)?;
                return Ok(Some(Decoded { batch, rejects: decoded.rejects, consumed }));
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        Ok(Some(Decoded { batch: self.together(small)?, rejects: Vec::new(), consumed }))
    }

    fn together(&self, mut small: Vec<RecordBatch>) -> SourceResult<RecordBatch> {
        match small.len() {
            0 => Ok(RecordBatch::new_empty(self.schema.clone())),
            1 => Ok(small.remove(0)),
            _ => concat_batches(&self.schema, &small)
                .map_err(|error| SourceError::arrow(&self.display, error)),
        }
    }

    /// One call of the decoder that takes something, or `None` at the end.
    async fn decode(&mut self) -> SourceResult<Option<Decoded>> {
        let mut wanted = self.block_bytes;
        loop {
            self.fill(wanted).await?;
            let block = &self.buffer[self.start..];
            if block.is_empty() && self.at_end {
                if std::mem::replace(&mut self.is_over, true) {
                    return Ok(None);
                }
                let batch = RecordBatch::new_empty(self.schema.clone());
                let rejects = self.decoder.end().into_iter().collect::<Vec<_>>();
                let is_good = rejects.is_empty();
                return Ok((!is_good).then_some(Decoded { batch, rejects, consumed: 0 }));
            }
            let decoded = self.decoder.decode(block, self.at_end)?;
            if decoded.consumed > 0 {
                self.start += decoded.consumed;
                return Ok(Some(decoded));
            }
            if self.at_end {
                return Err(SourceError::corrupt(&self.display, "its end cannot be decoded"));
            }
            if block.len() >= RECORD_BYTES_MAX {
                let message =
                    "holds a record of more than 64 MiB; it is not of the format that is declared";
                return Err(SourceError::corrupt(&self.display, message));
            }
            wanted = (block.len() * 2).clamp(self.block_bytes, RECORD_BYTES_MAX);
        }
    }

    /// Brings at least `wanted` bytes into the buffer, or all that are left. Does nothing
    /// while more than half of that is there: a batch may be less than a block.
    async fn fill(&mut self, wanted: usize) -> SourceResult<()> {
        let held = self.buffer.len() - self.start;
        if self.at_end || held > wanted / 2 && wanted == self.block_bytes {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        while self.buffer.len() < wanted && !self.at_end {
            if self.stored.is_empty() && !self.fetched {
                match self.fetch.next().await? {
                    Some(bytes) => self.stored = bytes,
                    None => self.fetched = true,
                }
            }
            if self.fetched {
                let finished = self.inflate.finish(&mut self.buffer, wanted);
                self.at_end = finished.map_err(|error| damaged(&self.display, error))?;
                continue;
            }
            let taken = self.inflate.push(&self.stored, &mut self.buffer, wanted);
            self.stored.advance(taken.map_err(|error| damaged(&self.display, error))?);
        }
        Ok(())
    }
}

/// Enough of the file to tell its compression, or all of it.
async fn first_bytes(fetch: &mut Fetch) -> SourceResult<Bytes> {
    let mut first = fetch.next().await?.unwrap_or_default();
    while first.len() < MAGIC_BYTES {
        match fetch.next().await? {
            Some(more) => first = [first, more].concat().into(),
            None => break,
        }
    }
    Ok(first)
}

fn damaged(display: &str, error: std::io::Error) -> SourceError {
    let message = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            "is cut off: its compressed data has no end".to_owned()
        }
        _ => format!("cannot be decompressed: {error}"),
    };
    SourceError::Corrupt { file: display.to_owned(), message, source: Some(Box::new(error)) }
}

#[cfg(test)]
mod tests;
