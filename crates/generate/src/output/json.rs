//! JSON, one object a line.
//!
//! Written by hand: names and texts need no escaping (`Fields` promises it), and a row is then a
//! few copies into a buffer that is written a megabyte at a time.

use std::fs::File;
use std::io::{self, Write};

use crate::telemetry::{Fields, Record, write_address};
use crate::time::Rfc3339;

const BUFFER_BYTES: usize = 1 << 20;
const ROW_BYTES_MAX: usize = 4096;

/// A file of JSON lines.
pub(super) struct JsonFile {
    file: File,
    line: JsonLine,
}

impl JsonFile {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            line: JsonLine {
                out: Vec::with_capacity(BUFFER_BYTES + ROW_BYTES_MAX),
                clock: Rfc3339::default(),
            },
        }
    }

    pub(super) fn write(&mut self, row: &impl Record) -> io::Result<()> {
        row.describe(&mut self.line);
        self.line.out.extend_from_slice(b"}\n");
        if self.line.out.len() >= BUFFER_BYTES {
            self.file.write_all(&self.line.out)?;
            self.line.out.clear();
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.write_all(&self.line.out)
    }
}

struct JsonLine {
    out: Vec<u8>,
    clock: Rfc3339,
}

impl JsonLine {
    fn name(&mut self, name: &str) {
        // After a `}` and its line break, or at the beginning, an object starts.
        let is_first = matches!(self.out.last(), None | Some(b'\n'));
        self.out.extend_from_slice(if is_first { b"{\"" } else { b",\"" });
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn quoted(&mut self, value: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(value);
        self.out.push(b'"');
    }
}

impl Fields for JsonLine {
    fn time(&mut self, name: &'static str, ms: i64) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(self.clock.text(ms));
        self.out.push(b'"');
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.quoted(value.as_bytes());
    }

    fn address(&mut self, name: &'static str, value: u32) {
        self.name(name);
        self.out.push(b'"');
        write_address(&mut self.out, value);
        self.out.push(b'"');
    }

    fn int(&mut self, name: &'static str, value: i32) {
        self.bigint(name, i64::from(value));
    }

    fn bigint(&mut self, name: &'static str, value: i64) {
        self.name(name);
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(value).as_bytes());
    }
}
