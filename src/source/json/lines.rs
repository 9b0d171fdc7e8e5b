//! Where the lines of a block begin and end.

use std::io::BufRead;

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Deeper nesting than this is not read: arrow-json's messages recurse over it.
const DEPTH_MAX: usize = 1024;

/// How far the decoder has come in its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// Bytes consumed.
    pub(super) byte_offset: u64,
    /// The line that begins there, from 1.
    pub(super) line: u64,
}

impl Default for Position {
    fn default() -> Self {
        Self { byte_offset: 0, line: 1 }
    }
}

impl Position {
    /// Moves past what a call has consumed.
    pub(super) fn advance(&mut self, bytes: usize, line_breaks: u64) {
        self.byte_offset += bytes as u64;
        self.line += line_breaks;
    }
}

/// A line that is not blank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Its first byte in the block.
    pub(super) start: usize,
    /// The byte after its line break.
    pub(super) end: usize,
    /// Lines of the block before it, blank ones too.
    pub(super) number: u64,
}

impl Line {
    /// The line with its line break.
    pub(super) fn bytes<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        &block[self.start..self.end]
    }

    /// The line without its line break.
    pub(super) fn content<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        let bytes = self.bytes(block);
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes.strip_suffix(b"\r").unwrap_or(bytes)
    }
}

/// The complete lines at the start of a block.
#[derive(Debug)]
pub(super) struct Scan {
    /// Those that are not blank.
    pub(super) lines: Vec<Line>,
    /// The bytes they take, with blank lines and a byte order mark.
    pub(super) consumed: usize,
    /// The line breaks among those bytes.
    pub(super) line_breaks: u64,
}

/// Finds at most `lines_max` lines that are not blank; `first` if the file begins here.
pub(super) fn scan(block: &[u8], end: bool, first: bool, lines_max: usize) -> Scan {
    let mut scan = Scan { lines: Vec::new(), consumed: 0, line_breaks: 0 };
    let mut start =
        if first && block.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    while start < block.len() && scan.lines.len() < lines_max {
        let mut rest = &block[start..];
        // On a slice this cannot fail, and it looks for the byte as memchr does.
        let length = rest.skip_until(b'\n').unwrap_or(0);
        let line = &block[start..start + length];
        let broken = line.ends_with(b"\n");
        if !broken && !end {
            break;
        }
        if !line.trim_ascii_start().is_empty() {
            scan.lines.push(Line { start, end: start + length, number: scan.line_breaks });
        }
        start += length;
        scan.line_breaks += u64::from(broken);
        scan.consumed = start;
    }
    if end && scan.lines.is_empty() {
        scan.consumed = block.len();
    }
    scan
}

/// Whether brackets are nested too deep. Shorter lines cannot be.
pub(super) fn too_deep(line: &[u8]) -> bool {
    if line.len() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}
