//! Expressions as a person writes them, for refusals and `explain`: without relations, casts that the
//! planner added, and the types of literals.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr};

use crate::sql::{
    field_path, function_spoken, interval_spoken, is_bare_function, is_utc, with_intervals_spoken,
};

/// `expr` in SQL, more or less: what has no short form is shown as DataFusion does.
pub(super) fn spoken(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => spoken(&alias.expr),
        // A time to its day, to another zone or to whole seconds is the user's; what the planner
        // casts, it casts to more.
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Date32) => {
            format!("CAST({} AS DATE)", spoken(&cast.expr))
        }
        Expr::Cast(cast) => match cast.field.data_type() {
            DataType::Timestamp(_, Some(zone)) if !is_utc(zone) => {
                format!("{} AT TIME ZONE '{zone}'", spoken_with_utc(&cast.expr))
            }
            DataType::Timestamp(TimeUnit::Second, _) => {
                format!("CAST({} AS TIMESTAMP(0))", spoken(&cast.expr))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                format!("CAST({} AS TIMESTAMP(3))", spoken(&cast.expr))
            }
            _ => spoken(&cast.expr),
        },
        Expr::Literal(value, _) => match value.try_as_str().flatten() {
            Some(text) => format!("'{}'", text.replace('\'', "''")),
            None => interval_spoken(value).unwrap_or_else(|| value.to_string()),
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            format!("{} {op} {}", spoken(left), spoken(right))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if is_bare_function(func.name()) => {
            args.first().map(spoken).unwrap_or_default()
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            if let Some((column, path)) = field_path(expr) {
                return format!("{}.{}", column.name, path.join("."));
            }
            format!("{}({})", func.name(), list(args))
        }
        Expr::AggregateFunction(call) => aggregate(call),
        other => with_intervals_spoken(&other.human_display().to_string()),
    }
}

/// As [`spoken`], below a cast to another time zone, where one to UTC says what the time is of.
fn spoken_with_utc(expr: &Expr) -> String {
    match expr {
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(_, Some(zone)) if is_utc(zone)) =>
        {
            format!("{} AT TIME ZONE 'UTC'", spoken(&cast.expr))
        }
        other => spoken(other),
    }
}

/// Several expressions, each as [`spoken`].
pub(super) fn all_spoken(exprs: &[Expr]) -> Vec<String> {
    exprs.iter().map(spoken).collect()
}

fn aggregate(call: &AggregateFunction) -> String {
    let params = &call.params;
    let distinct = if params.distinct { "DISTINCT " } else { "" };
    let args = match (call.func.name(), params.args.as_slice()) {
        // Counting rows is counting a literal, to the planner.
        ("count", [Expr::Literal(..)]) => "*".to_owned(),
        (_, args) => list(args),
    };
    let order: Vec<String> = params
        .order_by
        .iter()
        .map(|sort| format!("{}{}", spoken(&sort.expr), if sort.asc { "" } else { " DESC" }))
        .collect();
    let order = match order.as_slice() {
        [] => String::new(),
        keys => format!(" ORDER BY {}", keys.join(", ")),
    };
    let filter = match &params.filter {
        Some(filter) => format!(" FILTER (WHERE {})", spoken(filter)),
        None => String::new(),
    };
    format!("{}({distinct}{args}{order}){filter}", function_spoken(call.func.name()))
}

fn list(exprs: &[Expr]) -> String {
    all_spoken(exprs).join(", ")
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::IntervalMonthDayNano;
    use datafusion::common::ScalarValue;
    use datafusion::functions_aggregate::expr_fn::{count, count_distinct};
    use datafusion::logical_expr::{cast, col, lit};

    use super::*;

    #[test]
    fn expressions_read_as_they_were_written() {
        let interval = |days: i32, minutes: i64| {
            let length = IntervalMonthDayNano::new(0, days, minutes * 60_000_000_000);
            ScalarValue::IntervalMonthDayNano(Some(length))
        };
        let (long, day) = (interval(0, 90), interval(1, 0));
        let number = datafusion::arrow::datatypes::DataType::Float64;
        for (expr, text) in [
            (col("flows.src"), "src"),
            (count(lit(1_i64)), "count(*)"),
            (count_distinct(col("t.a")), "count(DISTINCT a)"),
            (cast(col("t.a"), number).alias("b"), "a"),
            (col("t.a").gt(lit("x")), "a > 'x'"),
            (cast(col("t.a"), DataType::Date32), "CAST(a AS DATE)"),
            (col("t.a") + lit(long), "a + INTERVAL '90 minutes'"),
            ((col("t.a") - lit(day)).is_null(), "t.a - INTERVAL '1 day' IS NULL"),
            (datafusion::functions::expr_fn::upper(col("t.a")), "upper(a)"),
            (crate::sql::field_of(crate::sql::field_of(col("t.a"), "b"), "c"), "a.b.c"),
        ] {
            assert_eq!(spoken(&expr), text);
        }
    }
}
