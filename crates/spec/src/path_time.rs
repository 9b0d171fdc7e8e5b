//! The time that stands in a file's path, found by a pattern such as `dt=%Y-%m-%d/hour=%H/`.
//!
//! It reads text and nothing else: which files there are, and what follows from their times, is
//! for the engine. A pattern stands anywhere in the path; what is not a letter after `%`, nor a
//! `*`, stands for itself. All times are UTC.

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::report::quoted;

/// What a job is told to write.
pub(crate) const EXAMPLE: &str = "dt=%Y-%m-%d/hour=%H/";
const LETTERS: &str = "%Y, %m, %d, %j, %H, %M, %S or %s";
const PATTERN_BYTES_MAX: usize = 256;
/// Digits outside of these years are no year: they are counters and account numbers.
const YEARS: std::ops::RangeInclusive<u32> = 1970..=2999;
const DAY_SECONDS: i64 = 86_400;

/// The forms that are looked for where a job gives none, the first that is found wins: what names
/// its parts before what has only digits, and the finer before the coarser.
const COMMON: [&str; 28] = [
    "year=%Y/month=%m/day=%d/hour=%H/minute=%M/",
    "year=%Y/month=%m/day=%d/hour=%H/",
    "year=%Y/month=%m/day=%d/",
    "=%Y-%m-%d/hour=%H/",
    "=%Y-%m-%d/hr=%H/",
    "=%Y-%m-%d/h=%H/",
    "=%Y-%m-%d-%H/",
    "=%Y-%m-%d/",
    "=%Y%m%d/hour=%H/",
    "=%Y%m%d/",
    "%Y%m%dT%H%M%S",
    "%Y%m%dT%H%M",
    "%Y-%m-%dT%H-%M-%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H-%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d-%H-%M-%S",
    "%Y%m%d-%H%M%S",
    "%Y%m%d_%H%M%S",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d-%H.",
    "%Y/%m/%d/%H/%M/",
    "%Y/%m/%d/%H%M/",
    "%Y/%m/%d/%H%M.",
    "%Y/%m/%d/%H/",
    "%Y/%m/%d/",
    "%Y-%m-%d",
    "%Y%m%d",
];

/// Where the time stands in the paths of a source's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathTime {
    /// The job's own pattern; the common forms are looked for if absent.
    pub pattern: Option<String>,
    #[serde(skip)]
    forms: Vec<Form>,
}

/// A pattern, cut at each `*`.
type Form = Vec<Vec<Part>>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    DayOfYear,
    Hour,
    Minute,
    Second,
    UnixSeconds,
}

use Field::{Day, DayOfYear, Hour, Minute, Month, Second, UnixSeconds, Year};

const FIELDS: [(char, Field); 8] = [
    ('Y', Year),
    ('m', Month),
    ('d', Day),
    ('j', DayOfYear),
    ('H', Hour),
    ('M', Minute),
    ('S', Second),
    ('s', UnixSeconds),
];

impl Default for PathTime {
    /// The common forms.
    fn default() -> Self {
        Self { pattern: None, forms: COMMON.iter().filter_map(|form| parse(form).ok()).collect() }
    }
}

impl PathTime {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it and what to write.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let wrong = |message: String| format!("{} {message}", quoted(pattern));
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            let max = PATTERN_BYTES_MAX;
            return Err(wrong(format!(
                "is not a pattern; write one such as {EXAMPLE}, at most {max} bytes"
            )));
        }
        let form = parse(pattern).map_err(&wrong)?;
        check(&form).map_err(&wrong)?;
        Ok(Self { pattern: Some(pattern.to_owned()), forms: vec![form] })
    }

    /// The start of the interval that `path` names, in microseconds since 1970; nothing where it
    /// names none.
    pub fn find(&self, path: &str) -> Option<i64> {
        self.forms.iter().find_map(|form| find(form, path.as_bytes()))
    }
}

fn parse(pattern: &str) -> Result<Form, String> {
    let mut form = vec![vec![]];
    let mut letters = pattern.chars();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        let part = match letter {
            '*' => None,
            '%' => match letters.next() {
                Some('%') => {
                    text.push('%');
                    continue;
                }
                letter => Some(field(letter)?),
            },
            letter => {
                text.push(letter);
                continue;
            }
        };
        end_text(&mut text, &mut form);
        match (part, form.last_mut()) {
            (Some(field), Some(parts)) => parts.push(Part::Field(field)),
            _ => form.push(vec![]),
        }
    }
    end_text(&mut text, &mut form);
    form.retain(|parts| !parts.is_empty());
    Ok(form)
}

fn field(letter: Option<char>) -> Result<Field, String> {
    let Some(letter) = letter else {
        return Err(format!("ends in %; write {LETTERS}, or %% for a %"));
    };
    match FIELDS.iter().find(|(known, _)| *known == letter) {
        Some((_, field)) => Ok(*field),
        None => Err(format!("has %{letter}, which is not known; write {LETTERS}")),
    }
}

fn end_text(text: &mut String, form: &mut Form) {
    if let (false, Some(parts)) = (text.is_empty(), form.last_mut()) {
        parts.push(Part::Text(std::mem::take(text)));
    }
}

/// A time needs each coarser part of it, once.
fn check(form: &Form) -> Result<(), String> {
    let fields: Vec<Field> = form
        .iter()
        .flatten()
        .filter_map(|part| match part {
            Part::Field(field) => Some(*field),
            Part::Text(_) => None,
        })
        .collect();
    let has = |field: Field| fields.contains(&field);
    for (letter, field) in FIELDS {
        if fields.iter().filter(|other| **other == field).count() > 1 {
            return Err(format!("has %{letter} twice; write it once, and * for what is between"));
        }
    }
    if has(UnixSeconds) {
        return match fields.len() {
            1 => Ok(()),
            _ => Err("has %s, which is a whole time, and other letters; write one of them".into()),
        };
    }
    let needs = [
        (true, has(Year), "no year; write %Y too"),
        (has(DayOfYear), !has(Month) && !has(Day), "%j beside %m or %d; write one of them"),
        (has(Day), has(Month), "%d without its month; write %m too"),
        (has(Hour), has(Day) || has(DayOfYear), "%H without its day; write %d too"),
        (has(Minute), has(Hour), "%M without its hour; write %H too"),
        (has(Second), has(Minute), "%S without its minute; write %M too"),
    ];
    match needs.iter().find(|(wanted, given, _)| *wanted && !given) {
        Some((.., what)) => Err(format!("has {what}, as in {EXAMPLE}")),
        None => Ok(()),
    }
}

/// The values of the fields that were found.
#[derive(Debug, Clone, Copy)]
struct Values {
    year: u32,
    month: u32,
    day: u32,
    day_of_year: Option<u32>,
    seconds: u32,
    unix_seconds: Option<i64>,
}

fn find(form: &Form, path: &[u8]) -> Option<i64> {
    let mut values =
        Values { year: 1970, month: 1, day: 1, day_of_year: None, seconds: 0, unix_seconds: None };
    let mut from = 0;
    for parts in form {
        // The first place will do: a `*` takes whatever is before the next part.
        from = (from..=path.len()).find_map(|at| match_at(parts, path, at, &mut values))?;
    }
    values.micros()
}

/// Where `parts` end if they begin at `at`.
fn match_at(parts: &[Part], path: &[u8], at: usize, values: &mut Values) -> Option<usize> {
    let is_field = |part: Option<&Part>| matches!(part, Some(Part::Field(_)));
    let is_digit = |at: usize| path.get(at).is_some_and(u8::is_ascii_digit);
    // Digits at either end are a part of no longer number.
    if is_field(parts.first()) && at > 0 && is_digit(at - 1) {
        return None;
    }
    let mut end = at;
    let mut found = *values;
    for (index, part) in parts.iter().enumerate() {
        end = match part {
            Part::Text(text) => {
                let rest = path.get(end..)?;
                rest.starts_with(text.as_bytes()).then_some(end + text.len())?
            }
            Part::Field(field) => {
                let before = index.checked_sub(1).and_then(|index| parts.get(index));
                let is_apart = !is_field(before) && !is_field(parts.get(index + 1));
                let digits = path.get(end..)?.iter().take_while(|byte| byte.is_ascii_digit());
                let length = field.length(digits.count(), is_apart)?;
                let text = std::str::from_utf8(path.get(end..end + length)?).ok()?;
                found.set(*field, text.parse().ok()?)?;
                end + length
            }
        };
    }
    if is_field(parts.last()) && is_digit(end) {
        return None;
    }
    *values = found;
    Some(end)
}

impl Field {
    /// How many of the next `digits` digits are this field; where no other field touches it, it
    /// may have lost its leading zero, as in `month=1/day=5/`.
    fn length(self, digits: usize, is_apart: bool) -> Option<usize> {
        match self {
            Year => (digits >= 4).then_some(4),
            DayOfYear => (digits >= 3).then_some(3),
            UnixSeconds => (9..=11).contains(&digits).then_some(digits),
            Month | Day | Hour | Minute | Second => match digits {
                0 => None,
                1 => is_apart.then_some(1),
                _ => Some(2),
            },
        }
    }
}

impl Values {
    /// Takes in a field; nothing where no such field has that value.
    fn set(&mut self, field: Field, value: i64) -> Option<()> {
        let number = u32::try_from(value);
        let within = |range: std::ops::RangeInclusive<u32>| {
            number.ok().filter(|number| range.contains(number))
        };
        match field {
            Year => self.year = within(YEARS)?,
            Month => self.month = within(1..=12)?,
            Day => self.day = within(1..=31)?,
            DayOfYear => self.day_of_year = Some(within(1..=366)?),
            Hour => self.seconds += within(0..=23)? * 3600,
            Minute => self.seconds += within(0..=59)? * 60,
            Second => self.seconds += within(0..=59)?,
            UnixSeconds => self.unix_seconds = Some(value),
        }
        Some(())
    }

    fn micros(&self) -> Option<i64> {
        let seconds = match (self.unix_seconds, self.day_of_year) {
            (Some(seconds), _) => seconds,
            (None, Some(day)) => {
                if day == 366 && !is_leap(self.year) {
                    return None;
                }
                (days(self.year, 1, 1) + i64::from(day) - 1) * DAY_SECONDS
            }
            (None, None) => {
                if self.day > month_days(self.year, self.month) {
                    return None;
                }
                days(self.year, self.month, self.day) * DAY_SECONDS
            }
        };
        Some((seconds + i64::from(self.seconds)) * 1_000_000)
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, for years from 1970 on.
fn days(year: u32, month: u32, day: u32) -> i64 {
    let years = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<i64>();
    let months = (1..month).map(|month| i64::from(month_days(year, month))).sum::<i64>();
    years + months + i64::from(day) - 1
}
