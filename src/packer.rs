//! Parquet files as they are encoded: many rows for size, few rows for speed.
//!
//! A job of many queries writes many files of a few rows in each epoch. To set up compression and
//! dictionaries for a column takes longer than to encode such rows as they are, which take no more
//! room: most of so small a file is its footer.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

/// Up to so many rows of up to so many bytes are few.
const FEW_ROWS: usize = 64;
const FEW_BYTES: usize = 64 << 10;
/// What holds them may be so large: a row may keep the memory of its whole batch.
const HELD_BYTES: usize = 4 << 20;
const VIEW_BYTES: usize = size_of::<u128>();

/// One file, in memory.
#[derive(Debug)]
pub(crate) struct Packer {
    schema: SchemaRef,
    properties: WriterPropertiesBuilder,
    /// Rows while they are few.
    few: Vec<RecordBatch>,
    /// Takes the rows from when on they are many.
    many: Option<ArrowWriter<Vec<u8>>>,
}

impl Packer {
    /// A file of no row yet; `properties` say all but how it is compressed.
    pub(crate) fn new(schema: SchemaRef, properties: WriterPropertiesBuilder) -> Self {
        Self { schema, properties, few: vec![], many: None }
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if let Some(writer) = &mut self.many {
            return Ok(writer.write(rows)?);
        }
        self.few.push(rows.clone());
        let count: usize = self.few.iter().map(RecordBatch::num_rows).sum();
        let columns = self.few.iter().flat_map(RecordBatch::columns);
        let bytes: usize = columns.map(bytes_of).sum();
        if count > FEW_ROWS || bytes > FEW_BYTES || self.memory_size() > HELD_BYTES {
            let zstd = Compression::ZSTD(ZstdLevel::default());
            let properties = self.properties.clone().set_compression(zstd).build();
            self.many = Some(self.begun(properties)?);
        }
        Ok(())
    }

    /// Ends the row group.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.many {
            Some(writer) => Ok(writer.flush()?),
            None => Ok(()),
        }
    }

    /// The file's bytes.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        let writer = match self.many.take() {
            Some(writer) => writer,
            None => {
                let properties = self.properties.clone().set_dictionary_enabled(false);
                self.begun(properties.build())?
            }
        };
        Ok(writer.into_inner()?)
    }

    /// About the bytes of the row group that has not ended.
    pub(crate) fn in_progress_size(&self) -> usize {
        self.many.as_ref().map_or(0, ArrowWriter::in_progress_size)
    }

    /// The bytes of row groups that have ended.
    pub(crate) fn bytes_written(&self) -> usize {
        self.many.as_ref().map_or(0, ArrowWriter::bytes_written)
    }

    /// The memory that it takes.
    pub(crate) fn memory_size(&self) -> usize {
        match &self.many {
            Some(writer) => writer.memory_size() + writer.inner().capacity(),
            None => self.few.iter().map(RecordBatch::get_array_memory_size).sum(),
        }
    }

    /// A writer that has taken the rows so far.
    fn begun(&mut self, properties: WriterProperties) -> Result<ArrowWriter<Vec<u8>>> {
        let schema = self.schema.clone();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
        for rows in std::mem::take(&mut self.few) {
            writer.write(&rows)?;
        }
        Ok(writer)
    }
}

/// About the bytes of its values; the memory that holds them may have room for many more.
fn bytes_of(column: &ArrayRef) -> usize {
    let rows = column.len();
    match column.data_type() {
        DataType::Utf8View => VIEW_BYTES * rows + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => {
            VIEW_BYTES * rows + column.as_binary_view().total_buffer_bytes_used()
        }
        other => match other.primitive_width() {
            Some(width) => width * rows,
            None => column.get_array_memory_size(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use datafusion::arrow::array::{Int64Array, StringViewArray};
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn packed(batches: usize, rows: i64) -> (Compression, usize) {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([("n", values)]).unwrap();
        let mut packer = Packer::new(batch.schema(), WriterProperties::builder());
        for _ in 0..batches {
            packer.write(&batch).unwrap();
        }
        let bytes = Bytes::from(packer.finish().unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let codec = match reader.metadata().num_row_groups() {
            0 => Compression::UNCOMPRESSED,
            _ => reader.metadata().row_group(0).column(0).compression(),
        };
        (codec, reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum())
    }

    #[test]
    fn only_many_rows_are_compressed_and_none_is_lost() {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        assert_eq!(packed(0, 1), (Compression::UNCOMPRESSED, 0));
        assert_eq!(packed(4, 16), (Compression::UNCOMPRESSED, 64));
        assert_eq!(packed(5, 16), (zstd, 80));
        assert_eq!(packed(2, 10_000), (zstd, 20_000));
    }
    #[test]
    fn few_rows_are_few_whatever_memory_holds_them() {
        let texts =
            StringViewArray::from_iter_values((0..8_192).map(|n| format!("a long text {n}")));
        let rows: ArrayRef = Arc::new(texts);
        assert_eq!(bytes_of(&rows.slice(100, 2)), 2 * (VIEW_BYTES + "a long text 100".len()));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..8_192));
        assert_eq!(bytes_of(&numbers.slice(0, 3)), 24);
    }
}
