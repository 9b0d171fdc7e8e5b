//! What may reach a terminal: text, and no control characters. Values come from logs that others
//! write into, and an escape sequence in one could rewrite the lines above it, or forge a row.
//!
//! Control characters of either range, and those that change the direction of what follows, are
//! shown as `\u{1b}`, in what is also read by programs as `\u001b`, so that JSON stays JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stdout, Write};

/// Whether a terminal would act on a character instead of showing it.
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// `text` on one line: line breaks, too, are shown and not made.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// `text` with its own line breaks.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| letter != '\n' && acts(letter))
}

fn escaped(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if acts(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// Standard output for rows in CSV or JSON: as they are for a program, and without control
/// characters for a terminal.
pub(super) struct RowsOut<W = Stdout> {
    inner: W,
    is_terminal: bool,
    /// The beginning of a character whose end is not written yet.
    open: Vec<u8>,
}

impl RowsOut {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        let inner = io::stdout();
        Self { is_terminal: inner.is_terminal(), inner, open: vec![] }
    }
}

impl<W: Write> Write for RowsOut<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.inner.write(bytes);
        }
        self.open.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.open) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.open.len(),
        };
        let text = String::from_utf8_lossy(&self.open[..whole]);
        let mut shown = String::with_capacity(text.len());
        for letter in text.chars() {
            if letter == '\n' || !acts(letter) {
                shown.push(letter);
            } else {
                write!(shown, "\\u{:04x}", u32::from(letter)).map_err(io::Error::other)?;
            }
        }
        self.inner.write_all(shown.as_bytes())?;
        self.open.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        assert_eq!(one_line("a\u{1b}[31m\r\nb\tü"), "a\\u{1b}[31m\\r\\nb\\tü");
        assert_eq!(one_line("\u{9b}2J\u{7f}\u{202e}x"), "\\u{9b}2J\\u{7f}\\u{202e}x");
        assert_eq!(lines("a\n  because: \u{7}"), "a\n  because: \\u{7}");
        assert!(matches!(one_line("plain ü 漢"), Cow::Borrowed(_)));
    }

    #[test]
    fn rows_for_a_terminal_stay_json_and_those_for_a_program_stay_themselves() {
        let written = |is_terminal: bool, pieces: &[&[u8]]| {
            let mut out = RowsOut { inner: Vec::new(), is_terminal, open: vec![] };
            for piece in pieces {
                out.write_all(piece).unwrap();
            }
            String::from_utf8(out.inner).unwrap()
        };
        let row = "{\"k\":\"\u{9b}ü\"}\n".as_bytes();
        for cut in 0..row.len() {
            let pieces = [&row[..cut], &row[cut..]];
            assert_eq!(written(true, &pieces), "{\"k\":\"\\u009bü\"}\n");
            assert_eq!(written(false, &pieces).as_bytes(), row);
        }
    }
}
