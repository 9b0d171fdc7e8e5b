//! Lengths of time in SQL: an interval literal of fixed length to microseconds.

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

const DAY_US: i64 = 86_400_000_000;
const NANOSECONDS_US: i64 = 1_000;
/// Intervals and times of plans are in nanoseconds, of which 64 bits hold 292 years.
const DAYS_MAX: i64 = 100_000;

/// The length of an interval literal, or of a sum of such, in microseconds: up to 100,000 days.
///
/// # Errors
/// When the expression is no literal, its length is not fixed (months, years), or it is not a
/// whole number of microseconds.
pub fn interval_us(expr: &Expr) -> Result<i64> {
    match expr {
        Expr::Negative(inner) => Ok(-interval_us(inner)?),
        Expr::Alias(alias) => interval_us(&alias.expr),
        Expr::Cast(cast) => match (cast.expr.as_ref(), cast.field.data_type()) {
            (Expr::Literal(text, _), DataType::Interval(_)) if text.try_as_str().is_some() => {
                text_us(text, cast.field.data_type())
            }
            (inner, _) => interval_us(inner),
        },
        Expr::Literal(value, _) => literal_us(value),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
            bounded(0, interval_us(left)? + interval_us(right)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            bounded(0, interval_us(left)? - interval_us(right)?)
        }
        other => plan_err!(
            "\"{}\" is not an interval literal; write INTERVAL '1' MINUTE",
            with_intervals_spoken(&other.to_string())
        ),
    }
}

/// The length of a text that is cast to an interval.
fn text_us(text: &ScalarValue, to: &DataType) -> Result<i64> {
    match text.cast_to(to) {
        Ok(interval) => literal_us(&interval),
        Err(_) => plan_err!("'{text}' is not an interval; write INTERVAL '5 minutes'"),
    }
}

fn literal_us(value: &ScalarValue) -> Result<i64> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            if interval.months != 0 {
                return plan_err!(
                    "months and years have no fixed length; write the interval in days or less"
                );
            }
            if interval.nanoseconds % NANOSECONDS_US != 0 {
                return plan_err!("an interval is a whole number of microseconds");
            }
            bounded(interval.days.into(), interval.nanoseconds / NANOSECONDS_US)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            bounded(interval.days.into(), i64::from(interval.milliseconds) * 1_000)
        }
        ScalarValue::DurationMicrosecond(Some(us)) => bounded(0, *us),
        other => plan_err!("{other} is not an interval; write INTERVAL '1' MINUTE"),
    }
}

fn bounded(days: i64, us: i64) -> Result<i64> {
    let whole_days = days + us / DAY_US;
    match whole_days.abs() < DAYS_MAX {
        true => Ok(days * DAY_US + us),
        false => plan_err!("an interval is shorter than {DAYS_MAX} days"),
    }
}

/// `value` as it can be written, if it is an interval: `INTERVAL '90 minutes'`.
pub fn interval_spoken(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => Some(spoken(interval)),
        ScalarValue::IntervalDayTime(Some(interval)) => {
            let nanoseconds = i64::from(interval.milliseconds) * 1_000_000;
            Some(spoken(&IntervalMonthDayNano::new(0, interval.days, nanoseconds)))
        }
        _ => None,
    }
}

fn spoken(interval: &IntervalMonthDayNano) -> String {
    const UNITS: [(i64, &str); 6] = [
        (3_600_000_000_000, "hour"),
        (60_000_000_000, "minute"),
        (1_000_000_000, "second"),
        (1_000_000, "millisecond"),
        (1_000, "microsecond"),
        (1, "nanosecond"),
    ];
    let mut parts = vec![(i64::from(interval.months), "month"), (i64::from(interval.days), "day")];
    let nanoseconds = interval.nanoseconds;
    if let Some((unit, name)) = UNITS.iter().find(|(unit, _)| nanoseconds % unit == 0) {
        parts.push((nanoseconds / unit, name));
    }
    parts.retain(|(count, _)| *count != 0);
    if parts.is_empty() {
        parts.push((0, "second"));
    }
    let plural = |count: &i64| if *count == 1 { "" } else { "s" };
    let parts: Vec<String> =
        parts.iter().map(|(count, unit)| format!("{count} {unit}{}", plural(count))).collect();
    format!("INTERVAL '{}'", parts.join(" "))
}

/// `text` of DataFusion with each interval as it can be written: it shows them as Rust does, in
/// messages and in the names of columns.
pub fn with_intervals_spoken(text: &str) -> String {
    const SHOWN: &str = "IntervalMonthDayNano { ";
    const QUOTED: &str = "IntervalMonthDayNano(\"";
    let mut rest = text;
    let mut spoken_text = String::with_capacity(text.len());
    while let Some(at) = rest.find(SHOWN) {
        let shown = &rest[at + SHOWN.len()..];
        let Some((fields, after)) = shown.split_once(" }") else { break };
        let Some(interval) = shown_interval(fields) else { break };
        let before = &rest[..at];
        let (before, after) = match (before.strip_suffix(QUOTED), after.strip_prefix("\")")) {
            (Some(before), Some(after)) => (before, after),
            _ => (before, after),
        };
        spoken_text.push_str(before);
        spoken_text.push_str(&spoken(&interval));
        rest = after;
    }
    spoken_text + rest
}

/// The interval in `months: 0, days: 0, nanoseconds: 60000000000`.
fn shown_interval(fields: &str) -> Option<IntervalMonthDayNano> {
    let mut numbers = fields.split(", ").map(|field| field.split_once(": ").map(|(_, n)| n));
    let months = numbers.next()??.parse().ok()?;
    let days = numbers.next()??.parse().ok()?;
    let nanoseconds = numbers.next()??.parse().ok()?;
    Some(IntervalMonthDayNano::new(months, days, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::IntervalUnit;
    use datafusion::logical_expr::{cast, lit};

    const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

    fn us(months: i32, days: i32, nanoseconds: i64) -> Result<i64> {
        let interval = IntervalMonthDayNano::new(months, days, nanoseconds);
        interval_us(&lit(ScalarValue::IntervalMonthDayNano(Some(interval))))
    }

    #[test]
    fn days_and_parts_of_a_day_add_up() {
        assert_eq!(us(0, 1, 1_000_000).unwrap(), DAY_US + 1_000);
        assert_eq!(us(0, -1, 1_000).unwrap(), 1 - DAY_US);
        assert_eq!(interval_us(&cast(lit("90 minutes"), INTERVAL)).unwrap(), 5_400_000_000);
    }

    #[test]
    fn intervals_add_up_and_are_spoken_as_they_are_written() {
        let interval = |months, days, nanoseconds| {
            let interval = IntervalMonthDayNano::new(months, days, nanoseconds);
            lit(ScalarValue::IntervalMonthDayNano(Some(interval)))
        };
        let sum = interval(0, 1, 0) + interval(0, 0, 1_800_000_000_000) - interval(0, 0, 1_000);
        assert_eq!(interval_us(&sum).unwrap(), DAY_US + 1_800_000_000 - 1);
        for (expr, text) in [
            (interval(0, 0, 5_400_000_000_000), "INTERVAL '90 minutes'"),
            (interval(1, 2, 1_000_000), "INTERVAL '1 month 2 days 1 millisecond'"),
            (interval(0, 0, 0), "INTERVAL '0 seconds'"),
            (interval(0, -1, 0) + lit(1_i64), "INTERVAL '-1 days' + Int64(1)"),
        ] {
            assert_eq!(with_intervals_spoken(&expr.to_string()), text);
        }
        let shown = "f(IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 1 }, a)";
        assert_eq!(with_intervals_spoken(shown), "f(INTERVAL '1 nanosecond', a)");
        assert_eq!(with_intervals_spoken("IntervalMonthDayNano { "), "IntervalMonthDayNano { ");
    }

    #[test]
    fn what_has_no_fixed_length_or_does_not_fit_is_refused() {
        for (interval, expected) in [
            (us(1, 0, 0), "months and years have no fixed length"),
            (us(0, 0, 1_500), "a whole number of microseconds"),
            (us(0, 100_000, 0), "shorter than 100000 days"),
            (us(0, i32::MIN, i64::MIN / 1_000 * 1_000), "shorter than 100000 days"),
            (interval_us(&cast(lit("1 foo"), INTERVAL)), "'1 foo' is not an interval"),
            (interval_us(&lit(5_i64)), "5 is not an interval; write INTERVAL '1' MINUTE"),
        ] {
            let said = interval.unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
