//! Parquet with zstd; `ts` as a timestamp in microseconds, UTC.
//!
//! The schema is what the first row describes. Rows are gathered into column builders and handed
//! to the writer a few thousand at a time, which holds one row group in memory.

use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{
    Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;

use crate::telemetry::{Fields, Record, write_address};

const BATCH_ROWS: usize = 8192;
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// A Parquet file. One without a row has no columns.
pub(super) struct ParquetFile {
    file: Option<File>,
    writer: Option<ArrowWriter<File>>,
    columns: Columns,
    rows: usize,
}

impl ParquetFile {
    pub(super) fn new(file: File) -> Self {
        Self { file: Some(file), writer: None, columns: Columns::default(), rows: 0 }
    }

    pub(super) fn write(&mut self, row: &impl Record) -> Result<()> {
        self.columns.next = 0;
        row.describe(&mut self.columns);
        self.rows += 1;
        if self.rows == BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        match self.writer {
            Some(writer) => writer.close().map(|_| ()),
            None => Err(ParquetError::General("no writer was begun".to_owned())),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.rows = 0;
        let schema = Arc::new(Schema::new(self.columns.fields()));
        if let Some(file) = self.file.take() {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                .build();
            self.writer = Some(ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?);
        }
        let arrays = self.columns.finish();
        if let (Some(writer), false) = (&mut self.writer, arrays.is_empty()) {
            writer.write(&RecordBatch::try_new(schema, arrays)?)?;
        }
        Ok(())
    }
}

/// The columns of a batch, in the order in which rows describe them.
#[derive(Default)]
struct Columns {
    columns: Vec<(&'static str, Builder)>,
    /// The column that the next field belongs to.
    next: usize,
    text: Vec<u8>,
}

enum Builder {
    Time(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Int(Int32Builder),
    Bigint(Int64Builder),
}

impl Columns {
    /// The builder of the next column, begun by `begin` with the first row.
    fn builder(&mut self, name: &'static str, begin: fn() -> Builder) -> &mut Builder {
        let index = self.next;
        self.next += 1;
        if index == self.columns.len() {
            self.columns.push((name, begin()));
        }
        &mut self.columns[index].1
    }

    fn fields(&self) -> Vec<Field> {
        let field = |(name, builder): &(&'static str, Builder)| {
            Field::new(*name, builder.data_type(), true)
        };
        self.columns.iter().map(field).collect()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let builders = self.columns.iter_mut();
        builders.map(|(_, builder)| builder.finish()).collect()
    }
}

impl Builder {
    fn data_type(&self) -> DataType {
        match self {
            Self::Time(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Text(_) => DataType::Utf8,
            Self::Int(_) => DataType::Int32,
            Self::Bigint(_) => DataType::Int64,
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Time(builder) => Arc::new(builder.finish().with_timezone("UTC")),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Bigint(builder) => Arc::new(builder.finish()),
        }
    }
}

impl Fields for Columns {
    fn time(&mut self, name: &'static str, ms: i64) {
        let begin = || Builder::Time(TimestampMicrosecondBuilder::with_capacity(BATCH_ROWS));
        if let Builder::Time(builder) = self.builder(name, begin) {
            builder.append_value(ms * 1000);
        }
    }

    fn text(&mut self, name: &'static str, value: &str) {
        let begin = || Builder::Text(StringBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * 16));
        if let Builder::Text(builder) = self.builder(name, begin) {
            builder.append_value(value);
        }
    }

    fn address(&mut self, name: &'static str, value: u32) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        write_address(&mut text, value);
        self.text(name, std::str::from_utf8(&text).unwrap_or_default());
        self.text = text;
    }

    fn int(&mut self, name: &'static str, value: i32) {
        let begin = || Builder::Int(Int32Builder::with_capacity(BATCH_ROWS));
        if let Builder::Int(builder) = self.builder(name, begin) {
            builder.append_value(value);
        }
    }

    fn bigint(&mut self, name: &'static str, value: i64) {
        let begin = || Builder::Bigint(Int64Builder::with_capacity(BATCH_ROWS));
        if let Builder::Bigint(builder) = self.builder(name, begin) {
            builder.append_value(value);
        }
    }
}
