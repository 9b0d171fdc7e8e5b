//! Readers of bounded settings: numbers, durations, sizes, and one of a few words.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::bytes::parse_bytes;
use crate::duration::{format_duration, parse_duration};
use crate::item::Item;
use crate::report::quoted;
use crate::suggest::nearest;

/// The longest duration of any setting, a hundred years: sums of a few stay far from overflow.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// A duration from `min` up to a hundred years.
pub(crate) fn duration(item: &Item<'_>, min: Duration) -> Option<Duration> {
    item.parsed("a duration such as 10s", |text| {
        let value = parse_duration(text)?;
        let limit = match value {
            value if value < min => format!("too short; write {} or more", format_duration(min)),
            value if value > DURATION_MAX => "too long; write 36500d or less".to_owned(),
            _ => return Ok(value),
        };
        Err(format!("{} is {limit}", quoted(text)))
    })
}

/// A size from `min` bytes up.
pub(crate) fn bytes(item: &Item<'_>, min: u64) -> Option<u64> {
    item.parsed("a size such as 512MiB", |text| match parse_bytes(text)? {
        value if value < min => {
            Err(format!("{} is too small; write {min} bytes or more", quoted(text)))
        }
        value => Ok(value),
    })
}

/// A whole number within bounds.
pub(crate) fn count<T>(item: &Item<'_>, range: RangeInclusive<T>) -> Option<T>
where
    T: FromStr + PartialOrd + Display,
{
    let right = format!("a whole number from {} to {}", range.start(), range.end());
    item.parsed(&right, |text| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<T>() {
            Ok(value) if digits && range.contains(&value) => Ok(value),
            _ if digits => Err(format!("{} is out of range; write {right}", quoted(text))),
            _ => Err(format!("{} is not a whole number; write {right}", quoted(text))),
        }
    })
}

/// One of a few words, `what` being their kind (`a format`).
pub(crate) fn choice<T: Clone>(item: &Item<'_>, what: &str, words: &[(&str, T)]) -> Option<T> {
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let all = one_of(&all);
    item.parsed(&all, |text| {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(value.clone());
        }
        let right = nearest(text, words.iter().map(|(word, _)| *word));
        let right = right.unwrap_or(&all);
        Err(format!("{} is not {what}; write {right}", quoted(text)))
    })
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
