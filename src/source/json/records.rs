//! Files whose rows are not lines: an array of objects, an object around one, or objects over
//! several lines.
//!
//! ```text
//! [{...}, {...}]                           every element is a row
//! {"Records": [{...}, {...}], "n": 2}      so is every element of Records
//! {                                        a row over several lines, and those after it
//!   "ts": 1
//! }
//! {...}{...}                               rows with nothing between them
//! ```
//!
//! The first value of the file decides. It is an object around rows when no key of it is a column
//! that the source declares and exactly one has an array of objects, as CloudTrail writes its files;
//! nothing has to be set. Otherwise an object that begins and ends on its line, alone, is a row, and
//! so is each line after it. Rows are found as the bytes come, so that the file may be of any size.

use std::collections::BTreeSet;

use super::explain::Fault;
use super::lines::{self, BYTE_ORDER_MARK, Line};
use super::value::{Next, is_name, is_space, next_member, value_length};

/// An object is looked at whole up to this size, to tell whether it is a row or has rows in it.
const WHOLE_BYTES: usize = 8 << 20;

/// How the rows of a file stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// One a line.
    Lines,
    /// As values, wherever they are.
    Values(Place),
}

/// Where among the values of a file the next byte is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Before a value of the file.
    Top,
    /// In an array of rows; in an object under this key, where there is one.
    Rows(Option<String>),
    /// After the array of rows in the object around it.
    After(String),
}

/// The rows of a block.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) rows: Vec<Line>,
    /// What is wrong around rows, with its place.
    pub(super) faults: Vec<(Line, Fault)>,
    pub(super) consumed: usize,
    pub(super) line_breaks: u64,
}

impl From<lines::Scan> for Scan {
    fn from(scan: lines::Scan) -> Self {
        let lines::Scan { lines, consumed, line_breaks } = scan;
        Self { rows: lines, faults: vec![], consumed, line_breaks }
    }
}

/// What the object at the start of some bytes is.
#[derive(Debug, PartialEq, Eq)]
enum Object {
    /// A row.
    Row,
    /// An object around rows: the byte after the bracket of their array, and its key.
    Around(usize, String),
    /// Not all of it is there.
    Incomplete,
}

/// The shape of the file that begins with `block`; none where more of it has to be seen.
pub(super) fn shape_of(block: &[u8], end: bool, declared: &BTreeSet<String>) -> Option<Shape> {
    if !end && BYTE_ORDER_MARK.starts_with(block) {
        return None;
    }
    let mark = if block.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let Some(start) = block[mark..].iter().position(|byte| !is_space(*byte)) else {
        return end.then_some(Shape::Lines);
    };
    let bytes = &block[mark + start..];
    match bytes.first() {
        Some(b'[') => Some(Shape::Values(Place::Top)),
        Some(b'{') => match object(bytes, end, declared) {
            Object::Around(..) => Some(Shape::Values(Place::Top)),
            Object::Incomplete if !end => None,
            // A line that is cut off is told as such; the next ones are rows.
            Object::Row | Object::Incomplete => match is_brace_alone(bytes) {
                true => Some(Shape::Values(Place::Top)),
                false => match is_followed(bytes) {
                    Some(true) => Some(Shape::Values(Place::Top)),
                    Some(false) => Some(Shape::Lines),
                    None => end.then_some(Shape::Lines),
                },
            },
        },
        _ => Some(Shape::Lines),
    }
}

/// Whether the line that `bytes` begin with is a brace alone, as objects over several lines begin.
fn is_brace_alone(bytes: &[u8]) -> bool {
    let rest = &bytes[1..];
    rest.iter().find(|byte| **byte == b'\n' || !is_space(**byte)) == Some(&b'\n')
}

/// Whether another object follows the first one on its line, as Firehose puts them together; none
/// where that is still to come.
fn is_followed(bytes: &[u8]) -> Option<bool> {
    let line_end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..line_end.unwrap_or(bytes.len())];
    let known = line_end.is_some() || line.len() >= WHOLE_BYTES;
    let rest = value_length(line).map(|length| &line[length..]);
    match rest.and_then(|rest| rest.iter().find(|byte| !is_space(**byte))) {
        Some(next) => Some(*next == b'{'),
        None => known.then_some(false),
    }
}

/// Tells an object around rows from a row. Of one that is longer than [`WHOLE_BYTES`], or that the
/// file ends in, the keys that are there have to tell.
fn object(bytes: &[u8], end: bool, declared: &BTreeSet<String>) -> Object {
    let (mut at, mut keys) = (1, 0);
    let (mut rows, mut empty) = (None, None);
    let is_complete = loop {
        let member = match next_member(bytes, at) {
            Next::Member(member) => member,
            Next::End(_) => break true,
            Next::Bad => return Object::Row,
            Next::Incomplete => break false,
        };
        if declared.iter().any(|name| is_name(member.key, name)) {
            return Object::Row;
        }
        let value = &bytes[member.value..];
        let array = (member.value + 1, String::from_utf8_lossy(member.key));
        match first_element(value) {
            Some(b'{') if rows.is_some() => return Object::Row,
            Some(b'{') => rows = Some(array),
            Some(b']') if keys == 0 => empty = Some(array),
            _ => {}
        }
        let Some(length) = value_length(value) else { break false };
        at = member.value + length;
        keys += 1;
    };
    // An array without elements is one of rows where there is nothing else.
    let found = rows.or(empty.filter(|_| is_complete && keys == 1));
    let is_enough = is_complete || bytes.len() >= WHOLE_BYTES;
    match found {
        Some((start, key)) if is_enough || end => Object::Around(start, key.into_owned()),
        None if is_enough => Object::Row,
        _ => Object::Incomplete,
    }
}

/// The first byte in an array that is no whitespace.
fn first_element(value: &[u8]) -> Option<u8> {
    let elements = value.strip_prefix(b"[")?;
    elements.iter().copied().find(|byte| !is_space(*byte))
}

/// Walks the values of a block.
struct Walk<'a> {
    block: &'a [u8],
    end: bool,
    at: usize,
    scan: Scan,
    /// The file ends inside a row, which is told of that row.
    is_cut: bool,
}

/// Finds at most `rows_max` rows in `block`, which begins at `place`; `place` is then where the
/// bytes that it has not taken begin.
pub(super) fn scan(
    block: &[u8],
    end: bool,
    first: bool,
    rows_max: usize,
    place: &mut Place,
    declared: &BTreeSet<String>,
) -> Scan {
    let mut walk = Walk { block, end, at: 0, scan: Scan::default(), is_cut: false };
    if first && block.starts_with(BYTE_ORDER_MARK) {
        walk.to(BYTE_ORDER_MARK.len());
    }
    while walk.scan.rows.len() + walk.scan.faults.len() < rows_max && walk.step(place, declared) {}
    walk.scan
}

impl Walk<'_> {
    /// Takes what stands next; false where it is not all there.
    fn step(&mut self, place: &mut Place, declared: &BTreeSet<String>) -> bool {
        let rest = &self.block[self.at..];
        let Some(space) = rest.iter().position(|byte| !is_space(*byte)) else {
            self.to(self.block.len());
            return false;
        };
        self.to(self.at + space);
        let byte = self.block[self.at];
        let next = match (&*place, byte) {
            (Place::Top, b'[') => Place::Rows(None),
            (Place::Top, b'{') => match object(&self.block[self.at..], self.end, declared) {
                Object::Around(length, key) => {
                    self.to(self.at + length);
                    *place = Place::Rows(Some(key));
                    return true;
                }
                Object::Incomplete if !self.end => return false,
                Object::Row | Object::Incomplete => return self.row(),
            },
            (Place::Top, b',') | (Place::Rows(_), b',') => place.clone(),
            (Place::Top, _) => return self.garbage(),
            (Place::Rows(None), b']') => Place::Top,
            (Place::Rows(Some(key)), b']') => Place::After(key.clone()),
            (Place::Rows(_), _) => {
                let is_taken = self.row();
                if self.is_cut {
                    *place = Place::Top;
                }
                return is_taken;
            }
            (Place::After(key), _) => {
                let key = key.clone();
                return self.after(&key, place, declared);
            }
        };
        self.to(self.at + 1);
        *place = next;
        true
    }

    /// The value that begins here is a row.
    fn row(&mut self) -> bool {
        let length = match value_length(&self.block[self.at..]) {
            Some(length) => length,
            // The decoder tells that it is cut off.
            None if self.end => {
                self.is_cut = true;
                self.block.len() - self.at
            }
            None => return false,
        };
        let line = self.line(length);
        self.scan.rows.push(line);
        self.to(line.end);
        true
    }

    /// A line that begins with no value: the decoder tells what is wrong with it.
    fn garbage(&mut self) -> bool {
        let rest = &self.block[self.at..];
        let length = match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => length,
            None if self.end => rest.len(),
            None => return false,
        };
        let line = self.line(length);
        self.scan.rows.push(line);
        self.to(line.end);
        true
    }

    /// What follows the array of rows in its object: nothing that could be rows or a row.
    fn after(&mut self, key: &str, place: &mut Place, declared: &BTreeSet<String>) -> bool {
        let bytes = &self.block[self.at..];
        let fault = match next_member(bytes, 0) {
            Next::End(at) => {
                self.to(self.at + at + 1);
                *place = Place::Top;
                return true;
            }
            Next::Incomplete if !self.end => return false,
            Next::Incomplete => Fault::line("the file ends inside the object around its rows"),
            Next::Bad => Fault::line("what follows the array of rows in its object is not JSON"),
            Next::Member(member) => {
                let value = &bytes[member.value..];
                let name = String::from_utf8_lossy(member.key).into_owned();
                let is_rows = first_element(value) == Some(b'{');
                match value_length(value) {
                    None if !self.end => return false,
                    Some(length) if !is_rows && !declared.contains(&name) => {
                        self.to(self.at + member.value + length);
                        return true;
                    }
                    None => Fault::line("the file ends inside the object around its rows"),
                    Some(_) if is_rows => Fault::line(format!(
                        "the object has two arrays of objects, {key:?} and {name:?}, so it is not \
                         known which has the rows; write one of them as lines"
                    )),
                    Some(_) => Fault::line(format!(
                        "the object has rows in {key:?} and the column {name:?} beside them, so \
                         it is not known which is the row; write one object a line"
                    )),
                }
            }
        };
        // Nothing in the rest of the file can be trusted.
        let line = self.line(self.block.len() - self.at);
        self.scan.faults.push((line, fault));
        self.to(line.end);
        *place = Place::Top;
        true
    }

    fn line(&self, length: usize) -> Line {
        Line { start: self.at, end: self.at + length, number: self.scan.line_breaks }
    }

    /// Moves on to `at`, which takes all before it.
    fn to(&mut self, at: usize) {
        let passed = &self.block[self.at..at];
        self.scan.line_breaks += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = at;
        self.scan.consumed = at;
    }
}

#[cfg(test)]
mod tests;
