//! Lengths of time in SQL: an interval literal of fixed length to microseconds.

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;

const DAY_US: i64 = 86_400_000_000;

/// The length of an interval literal, possibly negated, in microseconds.
///
/// # Errors
/// When the expression is not a literal, or its length is not fixed (months, years).
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
            Ok(i64::from(interval.days) * DAY_US + interval.nanoseconds / 1_000)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Ok(i64::from(interval.days) * DAY_US + i64::from(interval.milliseconds) * 1_000)
        }
        ScalarValue::DurationMicrosecond(Some(us)) => Ok(*us),
        other => plan_err!("{other} is not an interval; write INTERVAL '1' MINUTE"),
    }
}
