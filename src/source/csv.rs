//! CSV with a header.
//!
//! Columns are found by name: what the schema has and the header has not is NULL, what is
//! more is skipped. An empty field is NULL and a quoted empty one is empty text; a line
//! break inside quotes is part of the value, `""` is a quote, blank lines are skipped.
//! Values are converted as those of JSON are, by [`super::value`]. The library's `csv` does
//! not tell `""` from nothing, so the splitter is our own.

mod split;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewBuilder, new_null_array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;

use self::split::{Field, Record, Split, split};
use super::convert::{Misfit, Report, convert};
use super::decoded::{batch_of, one_per_row, without_misfits};
use super::format::{CsvOptions, EpochUnit};
use super::value::from_text;
use super::{Decoded, Decoder, Reject, SourceError, SourceResult};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Decodes CSV. See the module for what is accepted.
pub struct CsvDecoder {
    file: String,
    /// Every column that the job declares: a header with none of them is not of this source.
    declared: SchemaRef,
    schema: SchemaRef,
    options: CsvOptions,
    unit: Option<EpochUnit>,
    batch_rows: usize,
    header: Option<Header>,
    byte_offset: u64,
    line: u64,
    fields: Vec<Field>,
}

/// What the header says.
struct Header {
    fields: usize,
    /// For each projected column, the field it is in.
    places: Vec<Option<usize>>,
}

/// The rows of a batch while it grows.
struct Rows {
    columns: Vec<StringViewBuilder>,
    /// Where each row is in the block, and its line.
    records: Vec<(Record, u64)>,
    rejects: Vec<Reject>,
}

impl CsvDecoder {
    /// A decoder of the columns of `declared` that `projection` names; at most `batch_rows`
    /// rows a call. The error is for a column that no field of text can hold.
    pub fn new(
        file: &str,
        declared: SchemaRef,
        projection: &[usize],
        options: CsvOptions,
        unit: Option<EpochUnit>,
        batch_rows: usize,
    ) -> SourceResult<Self> {
        let schema =
            declared.project(projection).map_err(|error| SourceError::arrow(file, error))?;
        if let Some(field) = schema
            .fields()
            .iter()
            .find(|field| matches!(field.data_type(), DataType::Struct(_) | DataType::List(_)))
        {
            return Err(SourceError::BadJob {
                location: file.to_owned(),
                message: format!(
                    "column {} is a STRUCT or an ARRAY, which CSV cannot hold",
                    field.name()
                ),
            });
        }
        Ok(Self {
            file: file.to_owned(),
            declared,
            schema: Arc::new(schema),
            options,
            unit,
            batch_rows: batch_rows.max(1),
            header: None,
            byte_offset: 0,
            line: 1,
            fields: Vec::new(),
        })
    }

    /// Reads the header at the start of `block`; returns its bytes, 0 if it is not complete.
    fn read_header(&mut self, block: &[u8], end: bool) -> SourceResult<usize> {
        let mark = if block.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let (mut at, mut lines) = (mark, 0);
        while at < block.len() {
            match split(&block[at..], end, self.options.delimiter, &mut self.fields) {
                Split::Incomplete => return Ok(0),
                Split::Blank { length } => {
                    at += length;
                    lines += 1;
                }
                Split::Bad { message, .. } => {
                    self.line += lines;
                    return Err(self.bad_header(message));
                }
                Split::Record(record) => {
                    self.line += lines;
                    self.header = Some(self.header_of(&block[at..at + record.length])?);
                    self.line += record.line_breaks;
                    return Ok(at + record.length);
                }
            }
        }
        Ok(if end { block.len() } else { 0 })
    }

    fn header_of(&self, record: &[u8]) -> SourceResult<Header> {
        let mut names = Vec::with_capacity(self.fields.len());
        let mut scratch = Vec::new();
        for field in &self.fields {
            let name = std::str::from_utf8(field.unescape(record, &mut scratch))
                .map_err(|_| self.bad_header("the header is not valid UTF-8"))?
                .to_owned();
            if names.contains(&name) {
                return Err(self.bad_header(&format!("the header has two columns {name:?}")));
            }
            names.push(name);
        }
        if !self.declared.fields().iter().any(|field| names.contains(field.name())) {
            let shown: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
            return Err(self.bad_header(&format!(
                "the header has none of the declared columns; it has {}; check it and csv.delimiter",
                shown.join(", ")
            )));
        }
        let place = |name: &String| names.iter().position(|other| other == name);
        let places = self.schema.fields().iter().map(|field| place(field.name())).collect();
        Ok(Header { fields: names.len(), places })
    }

    fn bad_header(&self, message: &str) -> SourceError {
        SourceError::BadRecord {
            file: self.file.clone(),
            line: self.line,
            field: None,
            message: message.to_owned(),
        }
    }

    /// Splits records from `start` on into `rows`; returns where it stopped.
    fn read_records(
        &mut self,
        block: &[u8],
        start: usize,
        end: bool,
        header: &Header,
        rows: &mut Rows,
    ) -> usize {
        let mut at = start;
        while at < block.len() && rows.records.len() + rows.rejects.len() < self.batch_rows {
            let line = self.line;
            let (record, fault) =
                match split(&block[at..], end, self.options.delimiter, &mut self.fields) {
                    Split::Incomplete => break,
                    Split::Blank { length } => {
                        at += length;
                        self.line += 1;
                        continue;
                    }
                    Split::Bad { record, message } => (record, Some(message.to_owned())),
                    Split::Record(record) => {
                        (record, self.fault(&block[at..at + record.length], header))
                    }
                };
            let placed = Record { start: at, ..record };
            match fault {
                Some(message) => {
                    rows.rejects.push(self.reject(block, &placed, line, None, message))
                }
                None => {
                    self.append(&block[at..at + record.length], header, &mut rows.columns);
                    rows.records.push((placed, line));
                }
            }
            at += record.length;
            self.line += record.line_breaks;
        }
        at
    }

    /// What is wrong with the record as a whole.
    fn fault(&self, record: &[u8], header: &Header) -> Option<String> {
        if self.fields.len() != header.fields {
            return Some(format!(
                "{} fields where the header has {}",
                self.fields.len(),
                header.fields
            ));
        }
        std::str::from_utf8(record).is_err().then(|| "not valid UTF-8".to_owned())
    }

    fn append(&self, record: &[u8], header: &Header, columns: &mut [StringViewBuilder]) {
        let mut scratch = Vec::new();
        for (place, column) in header.places.iter().zip(columns) {
            let Some(place) = place else { continue };
            let field = self.fields[*place];
            // The record is valid text, and is cut at ASCII bytes only.
            let text =
                std::str::from_utf8(field.unescape(record, &mut scratch)).unwrap_or_default();
            let null =
                !field.quoted && (text.is_empty() || self.options.null.as_deref() == Some(text));
            column.append_option((!null).then_some(text));
        }
    }

    /// Gives the columns their types, and rejects the rows in which a value does not fit.
    fn typed(&self, block: &[u8], rows: &mut Rows) -> Result<RecordBatch, ArrowError> {
        let count = rows.records.len();
        let mut misfits = Vec::new();
        let mut columns = Vec::with_capacity(rows.columns.len());
        let places = self.header.iter().flat_map(|header| &header.places);
        for ((builder, field), place) in
            rows.columns.iter_mut().zip(self.schema.fields()).zip(places)
        {
            if place.is_none() {
                columns.push(new_null_array(field.data_type(), count));
                continue;
            }
            let text: ArrayRef = Arc::new(builder.finish());
            let leaf = |array: &ArrayRef, to: &DataType, report: Report<'_>| {
                from_text(array, to, self.unit, report)
            };
            columns.push(convert(&text, field, field.name(), &leaf, &mut misfits)?);
        }
        one_per_row(&mut misfits);
        let batch = without_misfits(batch_of(&self.schema, columns, count)?, &misfits)?;
        for Misfit { row, field, message } in misfits {
            let (record, line) = &rows.records[row];
            let reject = self.reject(block, record, *line, Some(field), message);
            rows.rejects.push(reject);
        }
        rows.rejects.sort_by_key(|reject| reject.byte_offset);
        Ok(batch)
    }

    fn reject(
        &self,
        block: &[u8],
        record: &Record,
        line: u64,
        field: Option<String>,
        message: String,
    ) -> Reject {
        let raw = &block[record.start..record.start + record.content];
        let byte_offset = self.byte_offset + record.start as u64;
        Reject { byte_offset, line, field, message, raw: Reject::bounded(raw) }
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, block: &[u8], end: bool) -> SourceResult<Decoded> {
        let mut start = 0;
        if self.header.is_none() {
            start = self.read_header(block, end)?;
        }
        let Some(header) = self.header.take() else {
            let batch = RecordBatch::new_empty(self.schema.clone());
            return Ok(Decoded { batch, rejects: Vec::new(), consumed: start });
        };
        let columns = header.places.iter().map(|_| StringViewBuilder::new()).collect();
        let mut rows = Rows { columns, records: Vec::new(), rejects: Vec::new() };
        let consumed = self.read_records(block, start, end, &header, &mut rows);
        self.header = Some(header);
        let batch =
            self.typed(block, &mut rows).map_err(|error| SourceError::arrow(&self.file, error))?;
        self.byte_offset += consumed as u64;
        Ok(Decoded { batch, rejects: rows.rejects, consumed })
    }
}

#[cfg(test)]
mod tests;
