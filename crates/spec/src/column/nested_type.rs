//! The SQL text of a type with others in it: `ARRAY<INT>`, `INT[]`, `STRUCT<a INT, b VARCHAR>` and
//! `STRUCT(a INT, b VARCHAR)`, nested in each other. What is between them is read by `sql_type`.
//!
//! ```text
//! type   := ( ARRAY '<' type '>' | STRUCT '<' field, ... '>' | scalar ) '[]'*
//! field  := ( name | "name" | `name` ) [':'] type
//! ```

use super::sql_type::scalar;
use super::{Column, ColumnType};
use crate::report::quoted;

const ARRAYS: [&str; 2] = ["ARRAY", "LIST"];
const STRUCTS: [&str; 2] = ["STRUCT", "ROW"];
/// The brackets that a nested type may stand in.
const BRACKETS: [(char, char); 2] = [('<', '>'), ('(', ')')];

/// Why a text is not a type: what would be right, if that is known, after the field it is about.
pub(super) type Wrong = Option<String>;

/// Reads a type, nested at most `depth_max` deep.
pub(super) fn nested_type(text: &str, depth_max: usize) -> Result<ColumnType, Wrong> {
    let mut reader = Reader { rest: text };
    let ty = reader.read(depth_max)?;
    match reader.rest.trim() {
        "" => Ok(ty),
        rest => Err(Some(format!("{} follows a type; remove it", quoted(rest)))),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn read(&mut self, depth_max: usize) -> Result<ColumnType, Wrong> {
        let word = self.take_until(&['<', '(', '[', '>', ')', ',']);
        let word = word.to_uppercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let bracket = BRACKETS.iter().find(|(open, _)| self.rest.starts_with(*open));
        let mut ty = match bracket {
            Some((open, close)) if ARRAYS.contains(&word.as_str()) => {
                deep_enough(depth_max, 1)?;
                self.eat(*open);
                let element = self.read(depth_max - 1)?;
                self.close(*close, "ARRAY<INT>")?;
                ColumnType::Array(Box::new(element))
            }
            Some((open, close)) if STRUCTS.contains(&word.as_str()) => {
                deep_enough(depth_max, 1)?;
                self.eat(*open);
                ColumnType::Struct(self.fields(*close, depth_max - 1)?)
            }
            Some(('(', _)) => {
                let parameters = self.take_until(&[')']);
                let closed = if self.eat(')') { ")" } else { "" };
                scalar(&format!("{word}{parameters}{closed}"))?
            }
            _ => scalar(&word)?,
        };
        let mut arrays = 0;
        while self.eat('[') {
            if !self.eat(']') {
                return Err(Some("write an array as INT[]".to_owned()));
            }
            arrays += 1;
            deep_enough(depth_max, arrays)?;
            ty = ColumnType::Array(Box::new(ty));
        }
        Ok(ty)
    }

    fn fields(&mut self, close: char, depth_max: usize) -> Result<Vec<Column>, Wrong> {
        let mut fields: Vec<Column> = Vec::new();
        loop {
            let name = self.name()?;
            if fields.iter().any(|field| field.name == name) {
                return Err(Some(format!("it has two fields {}; rename one", quoted(&name))));
            }
            let ty = self.read(depth_max).map_err(|wrong| {
                let right = wrong.unwrap_or_else(|| "its type is not known".to_owned());
                Some(format!("of its field {}, {right}", quoted(&name)))
            })?;
            fields.push(Column { name, ty });
            if !self.eat(',') {
                self.close(close, "STRUCT<a INT, b VARCHAR>")?;
                return Ok(fields);
            }
        }
    }

    /// The name of a field, bare or in quotes, with a colon after it or none.
    fn name(&mut self) -> Result<String, Wrong> {
        let missing = || Some("write each field as a name and a type, STRUCT<a INT>".to_owned());
        self.rest = self.rest.trim_start();
        let quote = self.rest.chars().next().filter(|first| matches!(first, '"' | '`'));
        let name = match quote {
            Some(quote) => {
                let inner = &self.rest[1..];
                let end = inner.find(quote).ok_or_else(missing)?;
                self.rest = &inner[end + 1..];
                inner[..end].to_owned()
            }
            None => {
                let is_end = |letter: char| {
                    letter.is_whitespace() || matches!(letter, ':' | ',' | '<' | '>' | '(' | ')')
                };
                let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                let name = self.rest[..end].to_owned();
                self.rest = &self.rest[end..];
                name
            }
        };
        self.eat(':');
        if name.trim().is_empty() { Err(missing()) } else { Ok(name) }
    }

    /// What stands before one of `ends`, or before the end of the text.
    fn take_until(&mut self, ends: &[char]) -> String {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    fn eat(&mut self, letter: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Ends a nested type, of which `example` is one.
    fn close(&mut self, close: char, example: &str) -> Result<(), Wrong> {
        if self.eat(close) {
            return Ok(());
        }
        Err(Some(match self.rest.is_empty() {
            true => format!(
                "it has no {close} at its end, for a comma between braces ends a YAML value; quote \
                 the type: \"{example}\""
            ),
            false => format!("{} stands where {close} would end it", quoted(self.rest)),
        }))
    }
}

fn deep_enough(depth_max: usize, levels: usize) -> Result<(), Wrong> {
    match levels < depth_max {
        true => Ok(()),
        false => Err(Some("write fewer nested arrays and structs".to_owned())),
    }
}
