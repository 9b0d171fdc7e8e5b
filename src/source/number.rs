//! A decimal number as it is written, exactly: what integers, decimals and times in
//! numbers are made of when they are not plain digits.

use super::value::Unfit;

/// `(-1)^negative * digits * 10^exponent`, plus something smaller where `inexact`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    negative: bool,
    digits: u128,
    exponent: i32,
    inexact: bool,
}

/// What to do with digits that a type has no place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Refuse them.
    Exact,
    /// To the nearest, halves away from zero, as SQL does.
    HalfAway,
    /// Downwards.
    Floor,
}

const DIGITS_MAX: u128 = 10_u128.pow(37);
const EXPONENT_MAX: i32 = 100_000;

/// Reads `[+-] digits [. digits] [e [+-] digits]`, with a digit on one side of the point.
pub(super) fn parse_number(text: &[u8]) -> Option<Number> {
    let (negative, mut rest) = sign(text);
    let mut number = Number { negative, digits: 0, exponent: 0, inexact: false };
    let mut seen = 0;
    while let Some((digit, tail)) = digit(rest) {
        number.push(digit, false);
        (rest, seen) = (tail, seen + 1);
    }
    if let Some((b'.', tail)) = rest.split_first() {
        rest = tail;
        while let Some((digit, tail)) = digit(rest) {
            number.push(digit, true);
            (rest, seen) = (tail, seen + 1);
        }
    }
    if seen == 0 {
        return None;
    }
    if let Some((b'e' | b'E', tail)) = rest.split_first() {
        number.exponent += exponent(tail)?;
        rest = &[];
    }
    rest.is_empty().then_some(number)
}

impl Number {
    fn push(&mut self, digit: u8, fraction: bool) {
        if self.digits < DIGITS_MAX {
            self.digits = self.digits * 10 + u128::from(digit);
            self.exponent -= i32::from(fraction);
        } else {
            self.inexact |= digit != 0;
            self.exponent += i32::from(!fraction);
        }
    }

    /// The number without its sign.
    pub(super) fn magnitude(self) -> Self {
        Self { negative: false, ..self }
    }

    /// The number times `10^scale` as an integer.
    pub(super) fn scaled(self, scale: i32, rounding: Rounding) -> Result<i128, Unfit> {
        let shift = self.exponent + scale;
        let (mut whole, remainder, divisor) = if self.digits == 0 {
            (0, 0, 1)
        } else if shift >= 0 {
            let power = power_of_ten(shift).ok_or(Unfit::OutOfRange)?;
            (self.digits.checked_mul(power).ok_or(Unfit::OutOfRange)?, 0, 1)
        } else {
            // A divisor that is too large to write leaves nothing but a remainder below half.
            let divisor = power_of_ten(-shift).unwrap_or(u128::MAX);
            (self.digits / divisor, self.digits % divisor, divisor)
        };
        let lost = remainder != 0 || self.inexact;
        whole += match rounding {
            Rounding::Exact if lost => return Err(Unfit::Fraction),
            Rounding::HalfAway => u128::from(remainder != 0 && remainder >= divisor - remainder),
            Rounding::Floor => u128::from(self.negative && lost),
            Rounding::Exact => 0,
        };
        let whole = i128::try_from(whole).map_err(|_| Unfit::OutOfRange)?;
        Ok(if self.negative { -whole } else { whole })
    }
}

/// The integer that `text` is, if it is nothing but a sign and at most 18 digits.
#[inline]
pub(super) fn plain_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

fn digit(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = text.split_first()?;
    let digit = first.wrapping_sub(b'0');
    (digit <= 9).then_some((digit, rest))
}

fn exponent(text: &[u8]) -> Option<i32> {
    let (negative, mut rest) = sign(text);
    let mut value = 0_i32;
    if rest.is_empty() {
        return None;
    }
    while let Some((digit, tail)) = digit(rest) {
        value = (value * 10 + i32::from(digit)).min(EXPONENT_MAX);
        rest = tail;
    }
    rest.is_empty().then_some(if negative { -value } else { value })
}

fn power_of_ten(power: i32) -> Option<u128> {
    10_u128.checked_pow(u32::try_from(power).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(text: &str, scale: i32, rounding: Rounding) -> Result<i128, Unfit> {
        parse_number(text.as_bytes()).unwrap().scaled(scale, rounding)
    }

    #[test]
    fn a_number_keeps_every_digit() {
        assert_eq!(scaled("12.0", 0, Rounding::Exact), Ok(12));
        assert_eq!(scaled("-1.5e3", 0, Rounding::Exact), Ok(-1500));
        assert_eq!(scaled("1700000000.123456789", 6, Rounding::Floor), Ok(1_700_000_000_123_456));
        assert_eq!(
            scaled("12345678901234567890123456789012345678", 0, Rounding::Exact),
            Ok(12_345_678_901_234_567_890_123_456_789_012_345_678)
        );
    }

    #[test]
    fn digits_without_a_place_are_refused_rounded_or_floored() {
        assert_eq!(scaled("12.5", 0, Rounding::Exact), Err(Unfit::Fraction));
        assert_eq!(scaled("12.5", 0, Rounding::HalfAway), Ok(13));
        assert_eq!(scaled("-12.5", 0, Rounding::HalfAway), Ok(-13));
        assert_eq!(scaled("12.49", 0, Rounding::HalfAway), Ok(12));
        assert_eq!(scaled("-0.0000005", 6, Rounding::Floor), Ok(-1));
        assert_eq!(scaled("1e-90", 6, Rounding::Floor), Ok(0));
    }

    #[test]
    fn what_is_too_large_is_out_of_range() {
        assert_eq!(scaled("1e60", 0, Rounding::Exact), Err(Unfit::OutOfRange));
        assert_eq!(scaled("0e99999999999", 0, Rounding::Exact), Ok(0));
    }

    #[test]
    fn only_numbers_are_numbers() {
        for text in ["", "-", ".", "1e", "1e+", "1x", " 1", "1 ", "1.2.3", "0x10", "--1", "NaN"] {
            assert_eq!(parse_number(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(plain_integer(b"-42"), Some(-42));
        assert_eq!(plain_integer(b"4 2"), None);
        assert_eq!(plain_integer(b"9999999999999999999"), None);
    }
}
