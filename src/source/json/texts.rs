//! Objects and arrays where VARCHAR is declared: their text is the value, as it is written.
//!
//! arrow-json takes scalars for text and nothing else, so such a value is put into quotes before
//! it reads the line. That costs a walk over each line, and is done from the first line on that
//! needs it.

use std::borrow::Cow;

use datafusion::arrow::datatypes::{DataType, Fields};

use super::value::{Next, is_name, is_space, next_member, spaces, value_length};

/// Whether any column, or anything in it, is text.
pub(super) fn has_text(fields: &Fields) -> bool {
    fields.iter().any(|field| is_or_has_text(field.data_type()))
}

fn is_or_has_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View => true,
        DataType::Struct(fields) => has_text(fields),
        DataType::List(item) => is_or_has_text(item.data_type()),
        _ => false,
    }
}

/// The object in `line` with its nested values in quotes where `fields` declare text; the line as
/// it is where there is nothing to do, or where it is not JSON.
pub(super) fn quoted<'a>(line: &'a [u8], fields: &Fields) -> Cow<'a, [u8]> {
    if std::str::from_utf8(line).is_err() {
        return Cow::Borrowed(line);
    }
    let start = spaces(line);
    let mut quoting = Quoting { line, taken: 0, out: vec![] };
    match quoting.object(start, fields) {
        Some(_) if quoting.taken > 0 => {
            quoting.out.extend_from_slice(&line[quoting.taken..]);
            Cow::Owned(quoting.out)
        }
        _ => Cow::Borrowed(line),
    }
}

struct Quoting<'a> {
    line: &'a [u8],
    /// What of the line is in `out`.
    taken: usize,
    out: Vec<u8>,
}

impl Quoting<'_> {
    /// Walks the object at `at`; the byte after it.
    fn object(&mut self, at: usize, fields: &Fields) -> Option<usize> {
        if self.line.get(at) != Some(&b'{') {
            return Some(at + value_length(self.line.get(at..)?)?);
        }
        let mut at = at + 1;
        loop {
            let line = self.line;
            let member = match next_member(line, at) {
                Next::Member(member) => member,
                Next::End(end) => return Some(end + 1),
                Next::Incomplete | Next::Bad => return None,
            };
            let field = fields.iter().find(|field| is_name(member.key, field.name()));
            at = match field {
                Some(field) => self.value(member.value, field.data_type())?,
                None => member.value + value_length(&line[member.value..])?,
            };
        }
    }

    /// Walks the value at `at`; the byte after it.
    fn value(&mut self, at: usize, data_type: &DataType) -> Option<usize> {
        let is_nested = matches!(self.line.get(at)?, b'{' | b'[');
        match data_type {
            DataType::Struct(fields) => self.object(at, fields),
            DataType::List(item) if self.line.get(at) == Some(&b'[') => {
                self.array(at + 1, item.data_type())
            }
            DataType::Utf8View if is_nested => {
                let end = at + value_length(&self.line[at..])?;
                let text = std::str::from_utf8(&self.line[at..end]).ok()?;
                self.out.extend_from_slice(&self.line[self.taken..at]);
                serde_json::to_writer(&mut self.out, text).ok()?;
                self.taken = end;
                Some(end)
            }
            _ => Some(at + value_length(&self.line[at..])?),
        }
    }

    fn array(&mut self, mut at: usize, item: &DataType) -> Option<usize> {
        loop {
            at = match self.line.get(at)? {
                b']' => return Some(at + 1),
                byte if is_space(*byte) || *byte == b',' => at + 1,
                _ => self.value(at, item)?,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_nested_values_of_text_are_put_into_quotes() {
        let text = || Field::new("t", DataType::Utf8View, true);
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)));
        let fields = Fields::from(vec![
            text(),
            Field::new("n", DataType::Int64, true),
            Field::new("s", DataType::Struct(Fields::from(vec![text()])), true),
            Field::new("l", list, true),
        ]);
        let quoted =
            |line: &str| String::from_utf8(quoted(line.as_bytes(), &fields).into_owned()).unwrap();
        assert_eq!(quoted("{\"t\": {\"a\" :1} }\n"), "{\"t\": \"{\\\"a\\\" :1}\" }\n");
        assert_eq!(quoted(r#"{"t":["x\n"]}"#), r#"{"t":"[\"x\\n\"]"}"#);
        assert_eq!(
            quoted(r#"{"s":{"t":[1],"u":[2]},"l":[{"a":[]},"x",[3]]}"#),
            r#"{"s":{"t":"[1]","u":[2]},"l":["{\"a\":[]}","x","[3]"]}"#
        );
        for same in [r#"{"n":{"a":1}}"#, r#"{"u":{}}"#, r#"{"t":"{}"}"#, "[1]", "{\"t\":{", "{]"] {
            assert_eq!(quoted(same), same);
        }
    }
}
