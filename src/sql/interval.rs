//! Lengths of time in SQL: an interval literal of fixed length to microseconds.

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;

const DAY_US: i64 = 86_400_000_000;
const NANOSECONDS_US: i64 = 1_000;
/// Intervals and times of plans are in nanoseconds, of which 64 bits hold 292 years.
const DAYS_MAX: i64 = 100_000;

/// The length of an interval literal, possibly negated, in microseconds: up to 100,000 days.
///
/// # Errors
/// When the expression is not a literal, its length is not fixed (months, years), or it is not a
/// whole number of microseconds.
pub fn interval_us(expr: &Expr) -> Result<i64> {
    match expr {
        Expr::Negative(inner) => Ok(-interval_us(inner)?),
        Expr::Alias(alias) => interval_us(&alias.expr),
        Expr::Cast(cast) => interval_us(&cast.expr),
        Expr::Literal(value, _) => literal_us(value),
        other => plan_err!("\"{other}\" is not an interval literal; write INTERVAL '1' MINUTE"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::IntervalMonthDayNano;
    use datafusion::logical_expr::lit;

    fn us(months: i32, days: i32, nanoseconds: i64) -> Result<i64> {
        let interval = IntervalMonthDayNano::new(months, days, nanoseconds);
        interval_us(&lit(ScalarValue::IntervalMonthDayNano(Some(interval))))
    }

    #[test]
    fn days_and_parts_of_a_day_add_up() {
        assert_eq!(us(0, 1, 1_000_000).unwrap(), DAY_US + 1_000);
        assert_eq!(us(0, -1, 1_000).unwrap(), 1 - DAY_US);
    }

    #[test]
    fn what_has_no_fixed_length_or_does_not_fit_is_refused() {
        for (interval, expected) in [
            (us(1, 0, 0), "months and years have no fixed length"),
            (us(0, 0, 1_500), "a whole number of microseconds"),
            (us(0, 100_000, 0), "shorter than 100000 days"),
            (us(0, i32::MIN, i64::MIN / 1_000 * 1_000), "shorter than 100000 days"),
            (interval_us(&lit(5_i64)), "5 is not an interval; write INTERVAL '1' MINUTE"),
        ] {
            let said = interval.unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
