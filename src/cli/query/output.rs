//! Rows as `query` prints them, batch by batch.

use std::io::Write;

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv::{Writer as CsvWriter, WriterBuilder as CsvBuilder};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{LineDelimited, Writer as JsonWriter, WriterBuilder};

use super::QueryFormat;
use crate::cli::failure::Failure;
use crate::cli::show::{cells, header};
use crate::cli::terminal::RowsOut;

/// A table is laid out when all of its rows are known, so that it holds no more than these.
const TABLE_ROWS_MAX: usize = 1_000;

/// Where rows go.
pub(super) enum Output {
    Table { table: Box<Table>, rows: usize, is_cut: bool },
    Csv(Box<CsvWriter<RowsOut>>),
    Json(Box<JsonWriter<RowsOut, LineDelimited>>),
}

impl Output {
    /// Begins with the columns, so that an answer without rows shows them, too.
    pub(super) fn begin(format: QueryFormat, schema: Schema) -> Result<Self, Failure> {
        match format {
            QueryFormat::Table => {
                let mut table = Table::new();
                table.load_preset(UTF8_HORIZONTAL_ONLY);
                table.set_header(header(&schema));
                Ok(Self::Table { table: Box::new(table), rows: 0, is_cut: false })
            }
            QueryFormat::Csv => {
                let mut writer = CsvBuilder::new().with_header(true).build(RowsOut::stdout());
                writer.write(&RecordBatch::new_empty(schema.into())).map_err(unprintable)?;
                Ok(Self::Csv(Box::new(writer)))
            }
            QueryFormat::Json => {
                let writer = WriterBuilder::new().with_explicit_nulls(true);
                Ok(Self::Json(Box::new(writer.build(RowsOut::stdout()))))
            }
        }
    }

    /// Prints rows; no more are wanted where it gives false.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<bool, Failure> {
        match self {
            Self::Table { table, rows, is_cut } => {
                let shown = batch.slice(0, batch.num_rows().min(TABLE_ROWS_MAX - *rows));
                table.add_rows(cells(&shown)?);
                *rows += shown.num_rows();
                *is_cut = shown.num_rows() < batch.num_rows();
                Ok(!*is_cut)
            }
            Self::Csv(writer) => writer.write(batch).map(|()| true).map_err(unprintable),
            Self::Json(writer) => writer.write(batch).map(|()| true).map_err(unprintable),
        }
    }

    /// Prints what is left.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Table { table, rows, is_cut } => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{table}")?;
                match (rows, is_cut) {
                    (rows, true) => writeln!(
                        out,
                        "the first {rows} rows; --format csv or json prints all of them"
                    )?,
                    (1, false) => writeln!(out, "1 row")?,
                    (rows, false) => writeln!(out, "{rows} rows")?,
                }
                Ok(())
            }
            Self::Csv(writer) => Ok(writer.into_inner().flush()?),
            Self::Json(mut writer) => {
                writer.finish().map_err(unprintable)?;
                Ok(writer.into_inner().flush()?)
            }
        }
    }
}

fn unprintable(error: ArrowError) -> Failure {
    Failure::running(format!("error: a row cannot be printed: {error}"))
}
