//! Times: text and numbers to microseconds since 1970-01-01 UTC.
//!
//! Text is a date, `T`, `t` or a space, a time and an offset; a date alone is its
//! midnight, no offset is UTC, and second 60 is the first of the next minute. A number has
//! the unit that is given, or that its size tells. Finer than microseconds is cut off
//! downwards, in text and in numbers alike, so that one instant has one value. Years are
//! 0001 to 9999, in every format: further out, adding a window to a time could overflow, and no
//! calendar function of SQL has an answer.

use super::format::EpochUnit;
use super::number::{Number, Rounding, parse_number, plain_integer};
use super::value::Unfit;

const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;
const DAY_US: i64 = DAY_S * SECOND_US;
/// 0001-01-01T00:00:00 and 9999-12-31T23:59:59.999999.
const RANGE_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
/// 0001-01-01 and 9999-12-31.
const RANGE_DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;

/// Microseconds since 1970-01-01 UTC of a time in text, or of a number in text in `unit`
/// (by its size where that is `None`). `None` if it is neither, or out of range.
pub fn parse_timestamp(text: &str, unit: Option<EpochUnit>) -> Option<i64> {
    timestamp(text.as_bytes(), unit).ok()
}

/// Microseconds since 1970-01-01 UTC of a whole number in `unit`, or in the unit its size
/// tells: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds.
/// `None` if it is out of range.
pub fn timestamp_from_number(value: i64, unit: Option<EpochUnit>) -> Option<i64> {
    from_integer(value, unit).ok()
}

/// [`parse_timestamp`], with the reason.
#[inline]
pub(super) fn timestamp(text: &[u8], unit: Option<EpochUnit>) -> Result<i64, Unfit> {
    if text.len() >= 10 && text[4] == b'-' && text[7] == b'-' {
        civil(text).ok_or(Unfit::Malformed).and_then(in_range)
    } else if let Some(value) = plain_integer(text) {
        from_integer(value, unit)
    } else {
        from_number(parse_number(text).ok_or_else(|| unfit(text))?, unit)
    }
}

/// Why text that is neither a time of four digits of year nor a number is no time: one that other
/// systems write for infinite times, years of more digits and years before Christ is out of range.
fn unfit(text: &[u8]) -> Unfit {
    let rest = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits_min = if rest.len() < text.len() { 4 } else { 5 };
    let is_far = digits >= digits_min && rest.get(digits) == Some(&b'-');
    match is_far || rest.eq_ignore_ascii_case(b"infinity") || rest.eq_ignore_ascii_case(b"inf") {
        true => Unfit::OutOfRange,
        false => Unfit::Malformed,
    }
}

/// Days since 1970-01-01 of a date, or of the day in UTC of a time.
pub(super) fn date(text: &[u8]) -> Result<i32, Unfit> {
    if text.len() < 10 || text[4] != b'-' || text[7] != b'-' {
        return Err(unfit(text));
    }
    civil(text).ok_or(Unfit::Malformed).and_then(in_range).map(day_of)
}

/// The day in UTC of a time that is in range.
pub(super) fn day_of(time_us: i64) -> i32 {
    let day = time_us.div_euclid(DAY_US);
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}

/// The midnight of a day, counted from 1970-01-01.
pub(super) fn from_days(day: i64) -> Result<i64, Unfit> {
    day.checked_mul(DAY_US).ok_or(Unfit::OutOfRange).and_then(in_range)
}

/// Whether a time is one of the years 1 to 9999.
pub(super) fn is_time(time_us: i64) -> bool {
    RANGE_US.contains(&time_us)
}

/// Whether a day is one of the years 1 to 9999.
pub(super) fn is_day(day: i32) -> bool {
    RANGE_DAYS.contains(&day)
}

/// Microseconds of seconds that are not text, to the nearest.
pub(super) fn from_float(value: f64, unit: Option<EpochUnit>) -> Result<i64, Unfit> {
    let per_unit = match unit.unwrap_or_else(|| unit_of(value.abs())) {
        EpochUnit::Seconds => 1e6,
        EpochUnit::Milliseconds => 1e3,
        EpochUnit::Microseconds => 1.0,
        EpochUnit::Nanoseconds => 1e-3,
    };
    let time_us = (value * per_unit).round();
    if time_us.abs() < 1e18 { in_range(time_us as i64) } else { Err(Unfit::OutOfRange) }
}

pub(super) fn from_integer(value: i64, unit: Option<EpochUnit>) -> Result<i64, Unfit> {
    let unit = unit.unwrap_or_else(|| unit_of(value.unsigned_abs() as f64));
    let time_us = match unit {
        EpochUnit::Seconds => value.checked_mul(SECOND_US),
        EpochUnit::Milliseconds => value.checked_mul(1_000),
        EpochUnit::Microseconds => Some(value),
        EpochUnit::Nanoseconds => Some(value.div_euclid(1_000)),
    };
    time_us.ok_or(Unfit::OutOfRange).and_then(in_range)
}

fn from_number(number: Number, unit: Option<EpochUnit>) -> Result<i64, Unfit> {
    let unit = match unit {
        Some(unit) => unit,
        None => unit_of(number.magnitude().scaled(0, Rounding::Floor)? as f64),
    };
    let scale = match unit {
        EpochUnit::Seconds => 6,
        EpochUnit::Milliseconds => 3,
        EpochUnit::Microseconds => 0,
        EpochUnit::Nanoseconds => -3,
    };
    let time_us = number.scaled(scale, Rounding::Floor)?;
    i64::try_from(time_us).map_err(|_| Unfit::OutOfRange).and_then(in_range)
}

/// The bounds are whole, and below 2^53, so a float tells on which side a whole number is.
fn unit_of(magnitude: f64) -> EpochUnit {
    match magnitude {
        m if m < 1e11 => EpochUnit::Seconds,
        m if m < 1e14 => EpochUnit::Milliseconds,
        m if m < 1e17 => EpochUnit::Microseconds,
        _ => EpochUnit::Nanoseconds,
    }
}

/// The time, if it is one of the years 1 to 9999.
pub(super) fn in_range(time_us: i64) -> Result<i64, Unfit> {
    if is_time(time_us) { Ok(time_us) } else { Err(Unfit::OutOfRange) }
}

/// `YYYY-MM-DD`, then nothing or a time; the caller has seen ten bytes and both dashes.
#[inline]
fn civil(text: &[u8]) -> Option<i64> {
    let year = i64::from(two(text, 0)?) * 100 + i64::from(two(text, 2)?);
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let midnight_s = days_from_civil(year, month, day) * DAY_S;
    match text.get(10) {
        None => Some(midnight_s * SECOND_US),
        Some(b'T' | b't' | b' ') => Some(midnight_s * SECOND_US + clock(&text[11..])?),
        Some(_) => None,
    }
}

/// `hh:mm[:ss[.fraction]][offset]`, as microseconds since midnight UTC.
#[inline]
fn clock(text: &[u8]) -> Option<i64> {
    let (hour, minute) = (two(text, 0)?, two(text, 3)?);
    if hour > 23 || minute > 59 || text[2] != b':' {
        return None;
    }
    let mut time_s = i64::from(hour) * 3600 + i64::from(minute) * 60;
    let mut fraction_us = 0;
    let mut rest = &text[5..];
    if rest.first() == Some(&b':') {
        let second = two(rest, 1)?;
        if second > 60 {
            return None;
        }
        time_s += i64::from(second);
        rest = &rest[3..];
        if rest.first() == Some(&b'.') {
            (fraction_us, rest) = fraction(&rest[1..])?;
        }
    }
    let offset_s = if rest == b"Z" { 0 } else { offset(rest)? };
    Some((time_s - offset_s) * SECOND_US + fraction_us)
}

/// The digits at the start of `text` as microseconds, and what follows them.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_i64;
    let mut count = 0;
    while let Some(byte) = text.get(count) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        if count < 6 {
            value = value * 10 + i64::from(digit);
        }
        count += 1;
    }
    for _ in count..6 {
        value *= 10;
    }
    (count > 0).then_some((value, &text[count..]))
}

/// The offset from UTC in seconds: nothing, `Z`, `UTC`, or `+hh`, `+hhmm`, `+hh:mm`,
/// all after a space too.
fn offset(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").filter(|rest| !rest.is_empty()).unwrap_or(text);
    let (sign, digits) = match text.split_first() {
        None => return Some(0),
        Some((b'Z' | b'z', [])) => return Some(0),
        Some((b'U', b"TC")) => return Some(0),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        Some(_) => return None,
    };
    let hour = two(digits, 0)?;
    let minute = match digits.len() {
        2 => 0,
        4 => two(digits, 2)?,
        5 if digits[2] == b':' => two(digits, 3)?,
        _ => return None,
    };
    (hour <= 23 && minute <= 59).then(|| sign * (i64::from(hour) * 3600 + i64::from(minute) * 60))
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let pair = text.get(at..at + 2)?;
    let (tens, ones) = (pair[0].wrapping_sub(b'0'), pair[1].wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens * 10 + ones))
}

fn days_in(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", 2013): years begin in March, so that the leap day is last.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((i64::from(month) + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests;
