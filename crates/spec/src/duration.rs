//! Lengths of time as job files write them: `500ms`, `10s`, `1h30m`.
//!
//! The strict form is read and printed here; looser ones (`10 sec`) are understood only as
//! far as to say how to write them.

use std::time::Duration;

use crate::report::quoted;

/// Units from the largest to the smallest, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const EXAMPLES: &str = "write a number with its unit, such as 500ms, 10s, 5m, 1d or 1h30m";

/// Reads a duration: whole numbers, each directly followed by its unit (`d h m s ms us ns`),
/// larger units first, as in `10s` or `1h30m`.
///
/// # Errors
///
/// Says why the text is not a duration and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Some(duration) = strict(text) {
        return Ok(duration);
    }
    let unitless = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if unitless {
        let shown = quoted(text);
        return Err(format!("{shown} has no unit; write {text}s, {text}ms or {text}m"));
    }
    let right = match loose(text) {
        Some(duration) => format!("write {}", format_duration(duration)),
        None => EXAMPLES.to_owned(),
    };
    Err(format!("{} is not a duration; {right}", quoted(text)))
}

/// Writes a duration in the form that [`parse_duration`] reads, exactly: `1h30m`, `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        let count = rest / nanos;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn strict(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u128 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        let place = UNITS.iter().position(|(name, _)| *name == unit)?;
        if place < next_unit {
            return None;
        }
        next_unit = place + 1;
        let count: u64 = digits.parse().ok()?;
        total = total.checked_add(u128::from(count).checked_mul(UNITS[place].1)?)?;
        rest = after;
    }
    if next_unit == 0 { None } else { from_nanos(total) }
}

/// What was probably meant by a text such as `10 sec`, `1.5 hours` or `5M`.
fn loose(text: &str) -> Option<Duration> {
    let folded: String = text.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    let mut rest = folded.as_str();
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
        let (digits, after) = split_where(rest, |c| !number(c));
        let (unit, after) = split_where(after, number);
        let nanos = loose_unit_nanos(unit.trim_end_matches([',', ';']))?;
        total = total.checked_add(scaled(&digits.replace('_', ""), nanos)?)?;
        rest = after;
    }
    if folded.is_empty() { None } else { from_nanos(total) }
}

fn loose_unit_nanos(unit: &str) -> Option<u128> {
    let name = match unit {
        "d" | "day" | "days" => "d",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "ms" | "msec" | "msecs" | "milli" | "millis" | "millisecond" | "milliseconds" => "ms",
        "us" | "µs" | "μs" | "usec" | "micros" | "microsecond" | "microseconds" => "us",
        "ns" | "nanos" | "nanosecond" | "nanoseconds" => "ns",
        "w" | "wk" | "week" | "weeks" => return Some(7 * UNITS[0].1),
        _ => return None,
    };
    UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, nanos)| *nanos)
}

/// A decimal number times a unit, exactly; `None` when it is no number, or too large.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let below_one = parts.checked_mul(unit)? / 10u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(below_one)
}

fn from_nanos(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let below = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, below))
}

fn split_where(text: &str, at: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(at).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{format_duration, parse_duration};

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("90m", 5_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_told_how_to_write_it() {
        for (text, message) in [
            ("10 sec", r#""10 sec" is not a duration; write 10s"#),
            ("1.5 hours", r#""1.5 hours" is not a duration; write 1h30m"#),
            ("5M", r#""5M" is not a duration; write 5m"#),
            ("2 weeks", r#""2 weeks" is not a duration; write 14d"#),
            ("30m1h", r#""30m1h" is not a duration; write 1h30m"#),
            ("10", r#""10" has no unit; write 10s, 10ms or 10m"#),
        ] {
            assert_eq!(parse_duration(text), Err(message.to_owned()));
        }
        for text in ["", "soon", "-5s", "s", "99999999999999999999d", "18446744073709551615d"] {
            let message = parse_duration(text).unwrap_err();
            assert!(message.ends_with("such as 500ms, 10s, 5m, 1d or 1h30m"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn durations_come_back_as_they_were_written(seconds: u64, nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text: String, close in "[0-9._ a-zµ]{0,12}") {
            prop_assert_eq!(parse_duration(&text).is_ok(), super::strict(&text).is_some());
            prop_assert_eq!(parse_duration(&close).is_ok(), super::strict(&close).is_some());
        }
    }
}
