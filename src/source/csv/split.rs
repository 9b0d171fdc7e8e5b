//! One record of CSV into its fields, with what was quoted and what was not.

/// A record's place in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Its first byte.
    pub(super) start: usize,
    /// Its bytes with the line break.
    pub(super) length: usize,
    /// Its bytes without the line break.
    pub(super) content: usize,
    /// The line breaks in it, its own included.
    pub(super) line_breaks: u64,
}

/// A field's place in its record, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    start: usize,
    end: usize,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
    escaped: bool,
}

impl Field {
    /// The value of the field; `scratch` is used if it holds `""`.
    pub(super) fn unescape<'a>(&self, record: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let raw = &record[self.start..self.end];
        if !self.escaped {
            return raw;
        }
        scratch.clear();
        let mut quote_before = false;
        for byte in raw {
            quote_before = *byte == b'"' && !quote_before;
            if !quote_before {
                scratch.push(*byte);
            }
        }
        scratch
    }
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// Not all of a record.
    Incomplete,
    /// A line without anything.
    Blank {
        /// Its bytes.
        length: usize,
    },
    /// A record whose quotes make no sense; it ends with its line or with the file.
    Bad {
        /// Where it is.
        record: Record,
        /// What is wrong.
        message: &'static str,
    },
    /// A record.
    Record(Record),
}

/// Splits the record at the start of `bytes`; its fields are left in `fields`.
pub(super) fn split(bytes: &[u8], end: bool, delimiter: u8, fields: &mut Vec<Field>) -> Split {
    fields.clear();
    if let Some(length) = blank(bytes, end) {
        return Split::Blank { length };
    }
    let mut at = 0;
    let mut line_breaks = 0;
    loop {
        let field = if bytes.get(at) == Some(&b'"') {
            match quoted(bytes, at, &mut line_breaks) {
                Some(field) => field,
                None if end => {
                    let record =
                        Record { start: 0, length: bytes.len(), content: bytes.len(), line_breaks };
                    return Split::Bad { record, message: "a quote is never closed" };
                }
                None => return Split::Incomplete,
            }
        } else {
            unquoted(bytes, at, delimiter)
        };
        at = field.end + usize::from(field.quoted);
        fields.push(field);
        let line_end = match &bytes[at..] {
            [] if end => at,
            [] | [b'\r'] if !end => return Split::Incomplete,
            [b'\n', ..] => at + 1,
            [b'\r', b'\n', ..] => at + 2,
            [b'\r'] => at + 1,
            [next, ..] if *next == delimiter => {
                at += 1;
                continue;
            }
            _ => return after_quote(bytes, at, end, line_breaks),
        };
        line_breaks += u64::from(bytes[..line_end].ends_with(b"\n"));
        return Split::Record(Record { start: 0, length: line_end, content: at, line_breaks });
    }
}

fn blank(bytes: &[u8], end: bool) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        [b'\r'] if end => Some(1),
        _ => None,
    }
}

/// The field whose opening quote is at `open`, if it is closed.
fn quoted(bytes: &[u8], open: usize, line_breaks: &mut u64) -> Option<Field> {
    let (mut at, mut escaped) = (open + 1, false);
    loop {
        match bytes.get(at)? {
            b'"' if bytes.get(at + 1) == Some(&b'"') => {
                escaped = true;
                at += 2;
            }
            b'"' => {
                return Some(Field { start: open + 1, end: at, quoted: true, escaped });
            }
            byte => {
                *line_breaks += u64::from(*byte == b'\n');
                at += 1;
            }
        }
    }
}

/// The field that begins at `start` and ends before a delimiter or a line break.
fn unquoted(bytes: &[u8], start: usize, delimiter: u8) -> Field {
    let rest = &bytes[start..];
    let mut length = 0;
    while let Some(byte) = rest.get(length) {
        let line_end = *byte == b'\n'
            || (*byte == b'\r' && matches!(rest.get(length + 1), None | Some(b'\n')));
        if *byte == delimiter || line_end {
            break;
        }
        length += 1;
    }
    Field { start, end: start + length, quoted: false, escaped: false }
}

/// A quote was closed at `at`, and something else than a delimiter follows: the line is bad.
fn after_quote(bytes: &[u8], at: usize, end: bool, line_breaks: u64) -> Split {
    let (length, broken) = match bytes[at..].iter().position(|byte| *byte == b'\n') {
        Some(length) => (at + length + 1, true),
        None if end => (bytes.len(), false),
        None => return Split::Incomplete,
    };
    let line_breaks = line_breaks + u64::from(broken);
    let record = Record { start: 0, length, content: length - usize::from(broken), line_breaks };
    Split::Bad { record, message: "text follows a closing quote" }
}
