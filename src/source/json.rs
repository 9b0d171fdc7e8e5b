//! JSON on arrow-json: one object a line, or the other forms that [`records`] finds.
//!
//! ```text
//! block --lines--> attempt(all lines) --ok--> batch of text --value--> typed batch
//!                      |                                      \-> rejects: a value does not fit
//!                      bad line known: the lines before it, then those after it
//!                      else: first half, then second half, down to one line -> reject
//! ```
//!
//! arrow-json reads each line into its tape, so that an object is known to end with its
//! line; every scalar is decoded as text, because arrow-json on its own would cut `12.5`
//! to 12 in an INT column, and is converted by [`super::value`]. Keys match exactly, a dot
//! in a key is part of it, the last of two equal keys counts, and unknown keys are skipped.
//! arrow-json is lenient about commas between members and about how numbers are written;
//! such lines are taken, on every path alike.

mod explain;
mod lines;
mod records;
mod texts;
mod value;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::{concat_batches, is_null};
use datafusion::arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::Decoder as TapeDecoder;
use datafusion::common::ScalarValue;

use self::explain::Fault;
use self::lines::{Line, Position, too_deep};
use self::records::{Place, Shape};
use super::convert::{Misfit, convert};
use super::decoded::{batch_of, one_per_row, without_misfits};
use super::format::EpochUnit;
use super::value::{Unfit, from_text, text_field};
use super::{Decoded, Decoder, Reject, SourceError, SourceResult};

/// Decodes JSON lines. See the module for what is accepted.
pub struct JsonDecoder {
    file: String,
    schema: SchemaRef,
    text_schema: SchemaRef,
    /// The columns that the source declares, of which `schema` are those to decode.
    declared: BTreeSet<String>,
    /// For each decoded column the value of rows without one, as the file's folders give it.
    constants: Vec<Option<ScalarValue>>,
    unit: Option<EpochUnit>,
    batch_rows: usize,
    position: Position,
    /// How rows stand in the file; none before its first value is there.
    shape: Option<Shape>,
    /// Whether a line had an object or an array where text is declared.
    quotes: bool,
    /// Kept between batches for its buffers; lost when a line was bad, for it cannot be reset.
    tape: Option<TapeDecoder>,
}

/// What is still to be done in a batch, the next last.
enum Work {
    Decode(Range<usize>),
    Reject(usize, Fault),
}

/// Why a range of lines could not be decoded in one go.
enum Failure {
    /// This line is at fault, and none before it has bad syntax.
    Line(usize, Fault),
    /// Some line is.
    Somewhere(ArrowError),
}

impl JsonDecoder {
    /// A decoder of the columns in `schema`, all nullable; at most `batch_rows` rows a call.
    pub fn new(file: &str, schema: SchemaRef, unit: Option<EpochUnit>, batch_rows: usize) -> Self {
        let fields: Fields = schema.fields().iter().map(text_field).collect();
        let declared = schema.fields().iter().map(|field| field.name().clone()).collect();
        Self {
            file: file.to_owned(),
            declared,
            constants: vec![None; schema.fields().len()],
            schema,
            text_schema: Arc::new(Schema::new(fields)),
            unit,
            batch_rows: batch_rows.max(1),
            position: Position::default(),
            shape: None,
            quotes: false,
            tape: None,
        }
    }

    /// The decoder for a source that declares all columns of `declared`, which tell a row from an
    /// object around rows.
    #[must_use]
    pub fn of_source(self, declared: &Schema) -> Self {
        let declared = declared.fields().iter().map(|field| field.name().clone()).collect();
        Self { declared, ..self }
    }

    /// The decoder for a file whose folders give `constants`, one for each decoded column.
    #[must_use]
    pub fn with_constants(self, constants: Vec<Option<ScalarValue>>) -> Self {
        Self { constants, ..self }
    }

    /// Decodes `lines`, going around the bad ones.
    fn decode_lines(
        &mut self,
        block: &[u8],
        lines: &[Line],
    ) -> Result<(RecordBatch, Vec<Reject>), ArrowError> {
        let mut batches = Vec::new();
        let mut rejects = Vec::new();
        let mut work = vec![Work::Decode(0..lines.len())];
        while let Some(next) = work.pop() {
            let range = match next {
                Work::Reject(line, fault) => {
                    rejects.push(self.reject(block, &lines[line], fault));
                    continue;
                }
                Work::Decode(range) if range.is_empty() => continue,
                Work::Decode(range) => range,
            };
            match self.attempt(block, &lines[range.clone()])? {
                Ok(text) => batches.push(self.typed(block, &text, &lines[range], &mut rejects)?),
                Err(Failure::Line(at, fault)) => {
                    let line = range.start + at;
                    work.push(Work::Decode(line + 1..range.end));
                    work.push(Work::Reject(line, fault));
                    work.push(Work::Decode(range.start..line));
                }
                Err(Failure::Somewhere(_))
                    if self.begins_to_quote(block, &lines[range.clone()]) =>
                {
                    work.push(Work::Decode(range));
                }
                Err(Failure::Somewhere(error)) if range.len() == 1 => {
                    let bytes = lines[range.start].bytes(block);
                    let fault = explain::structural(&error, bytes, &self.schema);
                    work.push(Work::Reject(range.start, fault));
                }
                Err(Failure::Somewhere(_)) => {
                    let middle = range.start + range.len() / 2;
                    work.push(Work::Decode(middle..range.end));
                    work.push(Work::Decode(range.start..middle));
                }
            }
        }
        let batch = match batches.len() {
            0 => RecordBatch::new_empty(self.schema.clone()),
            1 => batches.remove(0),
            _ => concat_batches(&self.schema, &batches)?,
        };
        Ok((batch, rejects))
    }

    /// Whether one of `lines` has a nested value where text is declared, which was not known before.
    fn begins_to_quote(&mut self, block: &[u8], lines: &[Line]) -> bool {
        if self.quotes || !texts::has_text(self.schema.fields()) {
            return false;
        }
        let fields = self.schema.fields();
        let is_changed =
            |line: &Line| matches!(texts::quoted(line.bytes(block), fields), Cow::Owned(_));
        self.quotes = lines.iter().any(is_changed);
        self.quotes
    }

    /// Decodes `lines` as text; the outer error is not about the input.
    fn attempt(
        &mut self,
        block: &[u8],
        lines: &[Line],
    ) -> Result<Result<RecordBatch, Failure>, ArrowError> {
        let mut tape = match self.tape.take() {
            Some(tape) => tape,
            None => ReaderBuilder::new(self.text_schema.clone())
                .with_batch_size(self.batch_rows)
                .with_coerce_primitive(true)
                .build_decoder()?,
        };
        for (at, line) in lines.iter().enumerate() {
            let bytes = match self.quotes {
                true => texts::quoted(line.bytes(block), self.schema.fields()),
                false => Cow::Borrowed(line.bytes(block)),
            };
            if let Some(fault) = feed(&mut tape, &bytes, at + 1) {
                return Ok(Err(Failure::Line(at, fault)));
            }
        }
        match tape.flush() {
            Ok(batch) => {
                self.tape = Some(tape);
                Ok(Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(self.text_schema.clone()))))
            }
            Err(error) => Ok(Err(Failure::Somewhere(error))),
        }
    }

    /// Gives the columns their types, and rejects the rows in which a value does not fit.
    fn typed(
        &self,
        block: &[u8],
        text: &RecordBatch,
        lines: &[Line],
        rejects: &mut Vec<Reject>,
    ) -> Result<RecordBatch, ArrowError> {
        let mut misfits = Vec::new();
        let unit = self.unit;
        let mut columns = Vec::with_capacity(text.num_columns());
        let fields = self.schema.fields().iter().zip(&self.constants);
        for (column, (field, constant)) in text.columns().iter().zip(fields) {
            let field: &Field = field;
            let column = convert(
                column,
                field,
                field.name(),
                &|array, to, _, report| from_text(array, to, unit, report),
                &mut misfits,
            )?;
            columns.push(match constant {
                Some(value) if column.null_count() > 0 => filled(&column, value)?,
                _ => column,
            });
        }
        one_per_row(&mut misfits);
        let batch = batch_of(&self.schema, columns, text.num_rows())?;
        let batch = without_misfits(batch, &misfits)?;
        rejects.extend(misfits.into_iter().map(|Misfit { row, field, unfit, message }| Reject {
            out_of_range: unfit == Unfit::OutOfRange,
            ..self.reject(block, &lines[row], Fault { field: Some(field), message })
        }));
        Ok(batch)
    }

    fn reject(&self, block: &[u8], line: &Line, fault: Fault) -> Reject {
        Reject {
            byte_offset: self.position.byte_offset + line.start as u64,
            line: self.position.line + line.number,
            field: fault.field,
            message: fault.message,
            out_of_range: false,
            raw: Reject::bounded(line.content(block)),
        }
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, block: &[u8], end: bool) -> SourceResult<Decoded> {
        let first = self.position.byte_offset == 0;
        if self.shape.is_none() {
            self.shape = records::shape_of(block, end, &self.declared);
        }
        let scan = match &mut self.shape {
            None => records::Scan::default(),
            Some(Shape::Lines) => lines::scan(block, end, first, self.batch_rows).into(),
            Some(Shape::Values(place)) => {
                records::scan(block, end, first, self.batch_rows, place, &self.declared)
            }
        };
        let (batch, mut rejects) = self
            .decode_lines(block, &scan.rows)
            .map_err(|error| SourceError::arrow(&self.file, error))?;
        for (line, fault) in scan.faults {
            rejects.push(self.reject(block, &line, fault));
        }
        self.position.advance(scan.consumed, scan.line_breaks);
        Ok(Decoded { batch, rejects, consumed: scan.consumed })
    }

    fn end(&mut self) -> Option<Reject> {
        let place = match &self.shape {
            Some(Shape::Values(Place::Rows(_))) => "array of its rows",
            Some(Shape::Values(Place::After(_))) => "object around its rows",
            _ => return None,
        };
        let nothing = Line { start: 0, end: 0, number: 0 };
        let fault = Fault::line(format!("the file ends inside the {place}: it is not all there"));
        Some(self.reject(&[], &nothing, fault))
    }

    fn go_on(&mut self, _first: &[u8]) -> SourceResult<()> {
        Ok(())
    }
}

/// `column` with `value` where it is NULL.
fn filled(column: &ArrayRef, value: &ScalarValue) -> Result<ArrayRef, ArrowError> {
    let scalar = value.to_scalar().map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    zip(&is_null(column)?, &scalar, column)
}

/// Feeds one line to the tape, which must then hold `objects` whole values.
fn feed(tape: &mut TapeDecoder, line: &[u8], objects: usize) -> Option<Fault> {
    if too_deep(line) {
        return Some(Fault::line(explain::TOO_DEEP));
    }
    match tape.decode(line) {
        Err(error) => return Some(explain::syntax(&error, line)),
        Ok(consumed) if consumed < line.len() => return Some(Fault::line(explain::SEVERAL)),
        Ok(_) => {}
    }
    // A number at the end of the file is not known to have ended before the next byte.
    if tape.has_partial_record() && !line.ends_with(b"\n") && tape.decode(b"\n").is_err() {
        return Some(Fault::line(explain::CUT_OFF));
    }
    if tape.has_partial_record() {
        return Some(explain::cut_off(line));
    }
    (tape.len() != objects).then(|| Fault::line(explain::SEVERAL))
}

#[cfg(test)]
mod tests;
