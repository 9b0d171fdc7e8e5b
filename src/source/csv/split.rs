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

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// The byte between fields.
    pub(super) delimiter: u8,
    /// The byte that ends a line: `\n`, before which there may be a `\r`, or `\r` alone.
    pub(super) line_end: u8,
    /// Whether a backslash inside quotes takes the meaning off a quote or a backslash after it.
    pub(super) backslash: bool,
}

/// A field's place in its record, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    start: usize,
    end: usize,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
    escaped: bool,
    backslash: bool,
}

impl Field {
    fn plain(start: usize, end: usize) -> Self {
        Self { start, end, quoted: false, escaped: false, backslash: false }
    }

    /// Whether nothing stands between its delimiters.
    pub(super) fn is_nothing(&self) -> bool {
        !self.quoted && self.start == self.end
    }

    /// The value of the field; `scratch` is used if it holds an escaped byte.
    pub(super) fn unescape<'a>(&self, record: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let raw = &record[self.start..self.end];
        if !self.escaped {
            return raw;
        }
        scratch.clear();
        let mut at = 0;
        while let Some(byte) = raw.get(at) {
            let next = raw.get(at + 1);
            let is_escape = match byte {
                b'"' => next == Some(&b'"'),
                b'\\' => self.backslash && matches!(next, Some(b'"' | b'\\')),
                _ => false,
            };
            at += usize::from(is_escape);
            scratch.push(if is_escape { *next.unwrap_or(byte) } else { *byte });
            at += 1;
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
pub(super) fn split(bytes: &[u8], end: bool, dialect: Dialect, fields: &mut Vec<Field>) -> Split {
    fields.clear();
    if let Some(length) = line_break(bytes, end, dialect) {
        return Split::Blank { length };
    }
    let mut at = 0;
    let mut line_breaks = 0;
    loop {
        let field = if bytes.get(at) == Some(&b'"') {
            let field = match dialect.backslash {
                true => quoted::<true>(bytes, at, dialect.line_end, &mut line_breaks),
                false => quoted::<false>(bytes, at, dialect.line_end, &mut line_breaks),
            };
            match field {
                Some(field) => field,
                None if end => {
                    let record =
                        Record { start: 0, length: bytes.len(), content: bytes.len(), line_breaks };
                    return Split::Bad { record, message: "a quote is never closed" };
                }
                None => return Split::Incomplete,
            }
        } else {
            unquoted(bytes, at, dialect)
        };
        at = field.end + usize::from(field.quoted);
        fields.push(field);
        let rest = &bytes[at..];
        let length = match rest {
            [] if end => 0,
            [] | [b'\r'] if !end => return Split::Incomplete,
            [next, ..] if *next == dialect.delimiter => {
                at += 1;
                continue;
            }
            _ => match line_break(rest, end, dialect) {
                Some(length) => length,
                None => return after_quote(bytes, at, end, dialect, line_breaks),
            },
        };
        let record_end = at + length;
        line_breaks += u64::from(bytes[at..record_end].contains(&dialect.line_end));
        return Split::Record(Record { start: 0, length: record_end, content: at, line_breaks });
    }
}

/// The length of the line break at the start of `bytes`, where there is one.
fn line_break(bytes: &[u8], end: bool, dialect: Dialect) -> Option<usize> {
    match bytes {
        [b'\r', b'\n', ..] => Some(2),
        // What follows it may still come.
        [b'\r'] => end.then_some(1),
        [byte, ..] => (*byte == dialect.line_end).then_some(1),
        [] => None,
    }
}

/// The field whose opening quote is at `open`, if it is closed. Of each byte nothing more is asked
/// than the dialect needs.
fn quoted<const BACKSLASH: bool>(
    bytes: &[u8],
    open: usize,
    line_end: u8,
    line_breaks: &mut u64,
) -> Option<Field> {
    let (mut at, mut escaped) = (open + 1, false);
    loop {
        match bytes.get(at)? {
            b'"' if bytes.get(at + 1) == Some(&b'"') => {
                escaped = true;
                at += 2;
            }
            b'"' => {
                let start = open + 1;
                return Some(Field { start, end: at, quoted: true, escaped, backslash: BACKSLASH });
            }
            b'\\' if BACKSLASH && matches!(bytes.get(at + 1)?, b'"' | b'\\') => {
                escaped = true;
                at += 2;
            }
            byte => {
                *line_breaks += u64::from(*byte == line_end);
                at += 1;
            }
        }
    }
}

/// The field that begins at `start` and ends before a delimiter or a line break.
fn unquoted(bytes: &[u8], start: usize, dialect: Dialect) -> Field {
    let rest = &bytes[start..];
    let Dialect { delimiter, line_end, .. } = dialect;
    // Constants in the loop over every byte; what they mean is asked where one is found.
    let is_special = |byte: &u8| *byte == delimiter || matches!(byte, b'\n' | b'\r');
    let mut length = 0;
    while let Some(plain) = rest[length..].iter().position(is_special) {
        length += plain;
        let byte = rest[length];
        let is_return = byte == b'\r' && matches!(rest.get(length + 1), None | Some(b'\n'));
        if byte == delimiter || byte == line_end || is_return {
            return Field::plain(start, start + length);
        }
        length += 1;
    }
    Field::plain(start, bytes.len())
}

/// A quote was closed at `at`, and something else than a delimiter follows: the line is bad.
fn after_quote(bytes: &[u8], at: usize, end: bool, dialect: Dialect, line_breaks: u64) -> Split {
    let (length, broken) = match bytes[at..].iter().position(|byte| *byte == dialect.line_end) {
        Some(length) => (at + length + 1, true),
        None if end => (bytes.len(), false),
        None => return Split::Incomplete,
    };
    let line_breaks = line_breaks + u64::from(broken);
    let record = Record { start: 0, length, content: length - usize::from(broken), line_breaks };
    Split::Bad { record, message: "text follows a closing quote" }
}
