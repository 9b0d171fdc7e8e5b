//! CSV with a header.
//!
//! Columns are found by name: what the schema has and the header has not is NULL, what is
//! more is skipped. An empty field is NULL and a quoted empty one is empty text; a line
//! break inside quotes is part of the value, `""` is a quote, blank lines are skipped.
//! Values are converted as those of JSON are, by [`super::value`]. The library's `csv` does
//! not tell `""` from nothing, so the splitter is our own.
//!
//! What writers add to that is taken where it can mean one thing only: lines that begin with `#`
//! before the header, unless a declared column stands in them; line ends of `\r` alone, if the
//! header's is one; delimiters at the end of a line; `\"` for a quote, in a record that does not
//! fit the header otherwise. A name that is twice in the header is an error if it is read.

mod split;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewBuilder};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;

use self::split::{Dialect, Field, Record, Split, split};
use super::convert::{Misfit, Report, convert};
use super::decoded::{absent, batch_of, one_per_row, without_misfits};
use super::format::{CsvOptions, EpochUnit};
use super::missing::{missing_time, some_of};
use super::value::{Unfit, from_text};
use super::{Decoded, Decoder, Reject, SourceError, SourceResult};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Decodes CSV. See the module for what is accepted.
pub struct CsvDecoder {
    file: String,
    /// Every column that the job declares: a header with none of them is not of this source.
    declared: SchemaRef,
    schema: SchemaRef,
    /// For each projected column the value that the file's folders give it, if they do.
    constants: Vec<Option<ScalarValue>>,
    options: CsvOptions,
    unit: Option<EpochUnit>,
    batch_rows: usize,
    header: Option<Header>,
    /// The declared column that every header must have.
    required: Option<usize>,
    byte_offset: u64,
    line: u64,
    fields: Vec<Field>,
    spare: Vec<Field>,
}

/// What the header says.
struct Header {
    fields: usize,
    /// The fields before those at the end that have no name.
    named: usize,
    line_end: u8,
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
            constants: vec![None; projection.len()],
            declared,
            schema: Arc::new(schema),
            options,
            unit,
            batch_rows: batch_rows.max(1),
            header: None,
            required: None,
            byte_offset: 0,
            line: 1,
            fields: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// The decoder for a file whose folders give `constants`, one for each projected column.
    #[must_use]
    pub fn with_constants(self, constants: Vec<Option<ScalarValue>>) -> Self {
        Self { constants, ..self }
    }

    /// The decoder, which refuses files whose header has not the declared column at `required`.
    #[must_use]
    pub fn requiring(self, required: Option<usize>) -> Self {
        Self { required, ..self }
    }

    /// Reads the header at the start of `block`; returns its bytes, 0 if it is not complete.
    fn read_header(&mut self, block: &[u8], end: bool) -> SourceResult<usize> {
        let mark = if block.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let (mut at, mut lines) = (mark, 0);
        while at < block.len() {
            let rest = &block[at..];
            if rest[0] == b'#' {
                match self.comment(rest, end) {
                    Comment::Incomplete => return Ok(0),
                    Comment::Line(length) => {
                        at += length;
                        lines += 1;
                        continue;
                    }
                    Comment::Header => {}
                }
            }
            let Some(line_end) = line_end(rest, end) else { return Ok(0) };
            match split(rest, end, self.dialect(line_end), &mut self.fields) {
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
                    self.header = Some(self.header_of(&rest[..record.length], line_end)?);
                    self.line += record.line_breaks;
                    return Ok(at + record.length);
                }
            }
        }
        Ok(if end { block.len() } else { 0 })
    }

    fn dialect(&self, line_end: u8) -> Dialect {
        Dialect { delimiter: self.options.delimiter, line_end, backslash: false }
    }

    /// What a line before the header is that begins with `#`: a comment, unless a declared column
    /// is one of its fields.
    fn comment(&mut self, rest: &[u8], end: bool) -> Comment {
        let at = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (content, length) = match at.map(|at| (at, &rest[at..])) {
            Some((_, [b'\r'])) if !end => return Comment::Incomplete,
            Some((at, [b'\r', b'\n', ..])) => (at, at + 2),
            Some((at, _)) => (at, at + 1),
            None if end => (rest.len(), rest.len()),
            None => return Comment::Incomplete,
        };
        let line = &rest[..content];
        let mut scratch = Vec::new();
        let dialect = self.dialect(b'\n');
        let is_record = matches!(split(line, true, dialect, &mut self.fields), Split::Record(_));
        let is_header = is_record
            && self.fields.iter().any(|field| {
                let name = field.unescape(line, &mut scratch);
                self.declared.fields().iter().any(|field| field.name().as_bytes() == name)
            });
        if is_header { Comment::Header } else { Comment::Line(length) }
    }

    fn header_of(&self, record: &[u8], line_end: u8) -> SourceResult<Header> {
        let mut names = Vec::with_capacity(self.fields.len());
        let mut scratch = Vec::new();
        for field in &self.fields {
            let name = std::str::from_utf8(field.unescape(record, &mut scratch))
                .map_err(|_| self.bad_header("the header is not valid UTF-8"))?
                .to_owned();
            names.push(name);
        }
        // The first field of each name, and the second where there is one.
        let mut places: HashMap<&str, (usize, Option<usize>)> = HashMap::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            places
                .entry(name)
                .and_modify(|(_, second)| *second = second.or(Some(at)))
                .or_insert((at, None));
        }
        let is_there = |name: &String| places.contains_key(name.as_str());
        if !self.declared.fields().iter().any(|field| is_there(field.name())) {
            return Err(self.bad_header(&format!(
                "the header has none of the declared columns; it has {}; check it and csv.delimiter",
                some_of(names.iter().map(String::as_str))
            )));
        }
        self.check_required(&names)?;
        let mut found = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let name = field.name();
            match places.get(name.as_str()) {
                Some((first, Some(second))) => {
                    return Err(self.bad_header(&format!(
                        "the header has two columns {name:?}, fields {} and {}, and the job reads \
                         it; rename one of them",
                        first + 1,
                        second + 1
                    )));
                }
                place => found.push(place.map(|(first, _)| *first)),
            }
        }
        let named = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        Ok(Header { fields: names.len(), named, line_end, places: found })
    }

    /// Without its event time no row of the file could be used.
    fn check_required(&self, names: &[String]) -> SourceResult<()> {
        let Some(field) = self.required.and_then(|at| self.declared.fields().get(at)) else {
            return Ok(());
        };
        let wanted = field.name();
        if names.contains(wanted) {
            return Ok(());
        }
        Err(self.bad_header(&missing_time(wanted, names.iter().map(String::as_str))))
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
            let (record, fault) = match self.split(&block[at..], end, header) {
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

    /// Splits the record at the start of `bytes`. One that is none with `""` for a quote, or has too
    /// few or too many fields, may be one with `\"`.
    fn split(&mut self, bytes: &[u8], end: bool, header: &Header) -> Split {
        let dialect = self.dialect(header.line_end);
        let first = split(bytes, end, dialect, &mut self.fields);
        let length = match &first {
            Split::Record(_) if header.fits(&self.fields) => return first,
            Split::Record(record) | Split::Bad { record, .. } => record.length,
            Split::Incomplete | Split::Blank { .. } => return first,
        };
        if !bytes[..length].windows(2).any(|pair| pair == b"\\\"") {
            return first;
        }
        let dialect = Dialect { backslash: true, ..dialect };
        match split(bytes, end, dialect, &mut self.spare) {
            Split::Record(record) if header.fits(&self.spare) => {
                std::mem::swap(&mut self.fields, &mut self.spare);
                Split::Record(record)
            }
            Split::Incomplete => Split::Incomplete,
            _ => first,
        }
    }

    /// What is wrong with the record as a whole.
    fn fault(&self, record: &[u8], header: &Header) -> Option<String> {
        if !header.fits(&self.fields) {
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
        let places = self.header.iter().flat_map(|header| &header.places).zip(&self.constants);
        for ((builder, field), (place, constant)) in
            rows.columns.iter_mut().zip(self.schema.fields()).zip(places)
        {
            if place.is_none() {
                columns.push(absent(field.data_type(), constant.as_ref(), count)?);
                continue;
            }
            let text: ArrayRef = Arc::new(builder.finish());
            let leaf = |array: &ArrayRef, to: &DataType, _: &str, report: Report<'_>| {
                from_text(array, to, self.unit, report)
            };
            columns.push(convert(&text, field, field.name(), &leaf, &mut misfits)?);
        }
        one_per_row(&mut misfits);
        let batch = without_misfits(batch_of(&self.schema, columns, count)?, &misfits)?;
        for Misfit { row, field, unfit, message } in misfits {
            let (record, line) = &rows.records[row];
            let reject = self.reject(block, record, *line, Some(field), message);
            rows.rejects.push(Reject { out_of_range: unfit == Unfit::OutOfRange, ..reject });
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
        let raw = Reject::bounded(raw);
        Reject { byte_offset, line, field, message, out_of_range: false, raw }
    }
}

impl Header {
    /// Whether a record of these fields is one of this header: as many, but for empty ones at the
    /// end that have no name.
    fn fits(&self, fields: &[Field]) -> bool {
        fields.len() == self.fields
            || fields.len() >= self.named
                && fields[self.fields.min(fields.len())..].iter().all(Field::is_nothing)
    }
}

/// What a line that begins with `#` is.
enum Comment {
    /// A line to skip, with its line break.
    Line(usize),
    /// The header.
    Header,
    /// Not all of it is there.
    Incomplete,
}

/// The byte that ends the lines of a file, by the first line break outside of quotes; none where
/// that is still to come.
fn line_end(bytes: &[u8], end: bool) -> Option<u8> {
    let mut in_quotes = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' if !in_quotes => return Some(b'\n'),
            b'\r' if !in_quotes => match bytes.get(at + 1) {
                Some(b'\n') => return Some(b'\n'),
                Some(_) => return Some(b'\r'),
                None => break,
            },
            _ => {}
        }
    }
    end.then_some(b'\n')
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

    fn go_on(&mut self, first: &[u8]) -> SourceResult<()> {
        self.read_header(first, false)?;
        match &self.header {
            Some(_) => Ok(()),
            None => Err(self.bad_header("the header is not within the first 1 MiB")),
        }
    }
}

#[cfg(test)]
mod tests;
