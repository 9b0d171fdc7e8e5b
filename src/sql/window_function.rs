//! Windows as grouping expressions: Arroyo's `tumble(size)`, `hop(slide, size)` and `session(gap)`,
//! and the `date_trunc` and `date_bin` of the event time that everybody types.
//!
//! The first three are functions only in name: they take the event time that FROM carries. The
//! planner of `plan/` recognises them among the grouping keys and computes them from the window;
//! anywhere else they are refused.

use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::interval::{interval_us, with_intervals_spoken};
use super::window_call::{HOP, SESSION, TUMBLE};
use super::window_node::time_type;
use super::window_shape::WindowShape;
use super::windows::{SessionShape, Windows};

const MONDAY_US: i64 = 4 * 86_400_000_000;

/// The functions that give the window of a group, and stand in GROUP BY only.
pub const WINDOW_FUNCTIONS: [&str; 3] = [TUMBLE, HOP, SESSION];

/// They as the function registry knows them.
pub(super) fn window_functions() -> Vec<ScalarUDF> {
    WINDOW_FUNCTIONS.into_iter().map(|name| ScalarUDF::from(WindowFunction::new(name))).collect()
}

/// The struct that [`WINDOW_FUNCTIONS`] give: the window's `start` and `end`.
pub fn window_struct_fields() -> Fields {
    Fields::from(vec![Field::new("start", time_type(), true), Field::new("end", time_type(), true)])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    name: &'static str,
    signature: Signature,
}

impl WindowFunction {
    fn new(name: &'static str) -> Self {
        Self { name, signature: Signature::variadic_any(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(window_struct_fields()))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{}() is a window: it stands in GROUP BY only", self.name)
    }
}

/// What a grouping key gives of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowValue {
    /// The first instant.
    Start,
    /// The first instant after it.
    End,
    /// The last millisecond.
    Time,
    /// A struct of start and end.
    Struct,
}

/// A grouping key that is a window of some event time.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowKey {
    /// The windows.
    pub windows: Windows,
    /// The column that the expression names as time; none where it takes the event time.
    pub time: Option<Column>,
    /// What the key's value is.
    pub value: WindowValue,
}

/// Recognises a window among grouping expressions; other expressions give nothing.
///
/// # Errors
/// When it is a window but its lengths are wrong.
pub fn window_key(expr: &Expr) -> Result<Option<WindowKey>> {
    let (key, unit_us) = under_casts(expr);
    if !is_window_call(key)
        && let Some(window) = window_call_in(key)
    {
        return plan_err!(
            "a window is a key by itself, not a part of one; select {window} AS w in a view, with \
             GROUP BY w, and write w.start over that view"
        );
    }
    let Expr::ScalarFunction(call) = key else { return Ok(None) };
    let args: Vec<&Expr> = call.args.iter().map(strip).collect();
    match (call.func.name(), args.as_slice()) {
        (TUMBLE, [size]) => {
            of_event_time(WindowShape::tumble(interval_us(size)?, 0).map(Windows::Aligned))
        }
        (HOP, [slide, size]) => {
            let shape = WindowShape::new(interval_us(size)?, interval_us(slide)?, 0);
            of_event_time(shape.map(Windows::Aligned))
        }
        (SESSION, [gap]) => {
            of_event_time(SessionShape::new(interval_us(gap)?).map(Windows::Session))
        }
        (TUMBLE, _) => plan_err!("tumble takes one length: tumble(INTERVAL '1' MINUTE)"),
        (HOP, _) => plan_err!("hop takes a slide and a size, both intervals"),
        (SESSION, _) => plan_err!("session takes one gap: session(INTERVAL '5' MINUTE)"),
        ("date_trunc", [Expr::Literal(unit, _), Expr::Column(time)]) => {
            let shape = truncation(unit).filter(|shape| begins_at(shape, unit_us));
            Ok(shape.map(|shape| started(shape, time)))
        }
        ("date_bin", [stride, Expr::Column(time), rest @ ..]) => {
            let Ok(size_us) = interval_us(stride) else { return Ok(None) };
            let Some(origin_us) = origin_us(rest) else { return Ok(None) };
            let shape = WindowShape::tumble(size_us, origin_us.rem_euclid(size_us.max(1))).ok();
            let shape = shape.filter(|shape| begins_at(shape, unit_us));
            Ok(shape.map(|shape| started(shape, time)))
        }
        _ => Ok(None),
    }
}

/// Whether an expression calls one of [`WINDOW_FUNCTIONS`] somewhere.
pub fn calls_window_function(expr: &Expr) -> bool {
    expr.exists(|node| Ok(is_window_call(node))).unwrap_or(true)
}

fn is_window_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if WINDOW_FUNCTIONS.contains(&call.func.name()))
}

/// The first call of one of [`WINDOW_FUNCTIONS`] in `expr`, as it is written.
fn window_call_in(expr: &Expr) -> Option<String> {
    let mut found = None;
    let walked = expr.apply(|node| {
        if is_window_call(node) {
            found = Some(with_intervals_spoken(&node.to_string()));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok().and(found)
}

/// The expression under aliases and casts that change nothing of a time: not its instant, nor how its
/// day, hour and second read. A cast to another time zone or to whole seconds stays.
pub fn strip(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => strip(&alias.expr),
        Expr::Cast(cast) => match cast.field.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, zone)
                if zone.as_deref().is_none_or(is_utc) =>
            {
                strip(&cast.expr)
            }
            _ => expr,
        },
        other => other,
    }
}

/// Whether a time zone is UTC, by the names that a planner or a person gives it.
pub fn is_utc(zone: &str) -> bool {
    ["+00:00", "utc", "etc/utc", "z"].contains(&zone.to_lowercase().as_str())
}

/// The expression under the casts of a whole key, and the coarsest unit that they cast to.
fn under_casts(expr: &Expr) -> (&Expr, i64) {
    match expr {
        Expr::Alias(alias) => under_casts(&alias.expr),
        Expr::Cast(cast) => match cast.field.data_type() {
            DataType::Timestamp(unit, zone) if zone.as_deref().is_none_or(is_utc) => {
                let unit_us = match unit {
                    TimeUnit::Second => 1_000_000,
                    TimeUnit::Millisecond => 1_000,
                    TimeUnit::Microsecond | TimeUnit::Nanosecond => 1,
                };
                let (inner, below_us) = under_casts(&cast.expr);
                (inner, unit_us.max(below_us))
            }
            _ => (expr, 1),
        },
        other => (other, 1),
    }
}

/// Whether all windows of `shape` begin at whole units, so that a cast to the unit keeps them apart.
fn begins_at(shape: &WindowShape, unit_us: i64) -> bool {
    shape.size_us() % unit_us == 0 && shape.offset_us() % unit_us == 0
}

fn of_event_time(windows: std::result::Result<Windows, String>) -> Result<Option<WindowKey>> {
    match windows {
        Ok(windows) => Ok(Some(WindowKey { windows, time: None, value: WindowValue::Struct })),
        Err(why) => plan_err!("{why}"),
    }
}

fn started(shape: WindowShape, time: &Column) -> WindowKey {
    let windows = Windows::Aligned(shape);
    WindowKey { windows, time: Some(time.clone()), value: WindowValue::Start }
}

fn truncation(unit: &ScalarValue) -> Option<WindowShape> {
    let unit = unit.try_as_str().flatten()?.to_lowercase();
    let (size_us, offset_us) = match unit.as_str() {
        "millisecond" | "milliseconds" => (1_000, 0),
        "second" | "seconds" => (1_000_000, 0),
        "minute" | "minutes" => (60_000_000, 0),
        "hour" | "hours" => (3_600_000_000, 0),
        "day" | "days" => (86_400_000_000, 0),
        "week" | "weeks" => (7 * 86_400_000_000, MONDAY_US),
        _ => return None,
    };
    WindowShape::tumble(size_us, offset_us).ok()
}

fn origin_us(rest: &[&Expr]) -> Option<i64> {
    let [origin] = rest else { return rest.is_empty().then_some(0) };
    let Expr::Literal(value, _) = origin else { return None };
    let us = value.cast_to(&time_type()).ok()?;
    match us {
        ScalarValue::TimestampMicrosecond(us, _) => us,
        _ => None,
    }
}

#[cfg(test)]
mod tests;
