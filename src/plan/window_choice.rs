//! Which of an aggregate's keys is its window.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::lineage::{Origin, origin, unaliased};
use super::refuse::blamed;
use super::spoken::{all_spoken, spoken};
use super::stream::Stream;
use crate::sql::{
    Clause, WINDOW_END, WINDOW_START, WindowKey, WindowNode, WindowValue, Windows, interval_us,
    is_utc, planner_message, strip, window_key,
};

/// The units of date_trunc that are windows, in the spelling of messages.
const TRUNCATIONS: [&str; 6] = ["millisecond", "second", "minute", "hour", "day", "week"];

/// The window of a stage.
#[derive(Debug, Clone)]
pub(super) struct StageWindow {
    pub(super) windows: Windows,
    /// The positions of the grouping expressions that are this window, and what each gives of it.
    pub(super) keys: Vec<(usize, WindowValue)>,
    /// The time that a grouping expression takes; none for a window of FROM.
    pub(super) time: Option<Column>,
    /// For a window of FROM: the column of the aggregate's input, among the keys, that tells it.
    pub(super) first_column: (Column, WindowValue),
}

/// Finds the window among the grouping expressions `exprs` over `input`.
///
/// # Errors
/// When there is none, or it is not one of the stream's event time.
pub(super) fn choose_window(
    input: &LogicalPlan,
    exprs: &[Expr],
    stream: &Stream,
) -> Result<StageWindow> {
    match window_nodes(input)?.as_slice() {
        [] => from_expressions(input, exprs, stream),
        [node] => from_node(input, exprs, node, stream),
        _ => two_windows(),
    }
}

pub(super) fn two_windows<T>() -> Result<T> {
    let two = plan_err!(
        "a query takes one window of FROM; aggregate by the first in a view that selects \
         window_time AS t, and write TUMBLE(TABLE v, DESCRIPTOR(t), ...) over that"
    );
    blamed(two, Clause::Window, &[], None)
}

/// A window function among the keys, beside the window of the query.
pub(super) fn second_window<T>() -> Result<T> {
    let second = plan_err!(
        "a query takes one window, and this is a second; aggregate by the first in a view, and \
         group by the second in a query over that view"
    );
    blamed(second, Clause::SecondWindow, &[], None)
}

impl StageWindow {
    /// Whether nothing below the aggregate or in its arguments reads the window's columns.
    pub(super) fn only_in_keys(&self, input: &LogicalPlan, aggregates: &[Expr]) -> bool {
        let reads_window = |plan: &LogicalPlan, expr: &Expr| {
            expr.column_refs()
                .into_iter()
                .any(|column| matches!(origin(plan, column), Origin::Window { .. }))
        };
        if aggregates.iter().any(|expr| reads_window(input, expr)) {
            return false;
        }
        let mut clean = true;
        let walked = input.apply(|plan| {
            for below in plan.inputs() {
                clean &= plan.expressions().iter().all(|expr| {
                    matches!(unaliased(expr), Expr::Column(_)) || !reads_window(below, expr)
                });
            }
            Ok(TreeNodeRecursion::Continue)
        });
        clean && walked.is_ok()
    }
}

pub(super) fn window_nodes(plan: &LogicalPlan) -> Result<Vec<WindowNode>> {
    let mut nodes = Vec::new();
    plan.apply(|plan| {
        if let LogicalPlan::Extension(extension) = plan
            && let Some(node) = extension.node.as_any().downcast_ref::<WindowNode>()
        {
            nodes.push(node.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(nodes)
}

/// Whether the window of FROM is over the event time of `stream`.
pub(super) fn check_time(node: &WindowNode, stream: &Stream) -> Result<()> {
    match origin(&node.input, &node.time) {
        Origin::Source { path, .. } if path == stream.event_time => Ok(()),
        found => {
            let (time, event_time) = (&node.time.name, stream.time_spoken());
            let input = stream.input.spoken();
            let other = match found {
                Origin::Computed => plan_err!(
                    "the window is over {time}, which FROM computes, but the event time of {input} \
                     is its own column {event_time}; select {event_time} as it is, and write \
                     DESCRIPTOR({event_time})"
                ),
                _ => plan_err!(
                    "the window is over {time}, but the event time of {input} is {event_time}; \
                     write DESCRIPTOR({event_time})"
                ),
            };
            blamed(other, Clause::Window, &[&Expr::Column(node.time.clone())], Some(time))
        }
    }
}

/// What a column of a plan over a window of FROM gives of it.
pub(super) fn window_value_of(plan: &LogicalPlan, column: &Column) -> Option<WindowValue> {
    match origin(plan, column) {
        Origin::Window { column } => Some(match column.as_str() {
            WINDOW_START => WindowValue::Start,
            WINDOW_END => WindowValue::End,
            _ => WindowValue::Time,
        }),
        _ => None,
    }
}

fn from_node(
    input: &LogicalPlan,
    exprs: &[Expr],
    node: &WindowNode,
    stream: &Stream,
) -> Result<StageWindow> {
    check_time(node, stream)?;
    let mut keys = Vec::new();
    let mut told: Vec<(Column, WindowValue)> = Vec::new();
    for (position, expr) in exprs.iter().enumerate() {
        if is_window_function(window_key(unaliased(expr))?.as_ref()) {
            return second_window();
        }
        if let Expr::Column(column) = unaliased(expr)
            && let Some(value) = window_value_of(input, column)
        {
            keys.push((position, value));
            told.push((column.clone(), value));
        }
    }
    let is_enough =
        |value: &WindowValue| node.windows.is_told_by_start() || *value != WindowValue::Start;
    match told.iter().find(|(_, value)| is_enough(value)) {
        Some(first) => {
            let first_column = first.clone();
            Ok(StageWindow { windows: node.windows, keys, time: None, first_column })
        }
        None if told.is_empty() => {
            let keys = all_spoken(exprs);
            let what = if keys.is_empty() { "an aggregate".to_owned() } else { grouped(&keys) };
            plan_err!(
                "{what} over a window of FROM needs that window, for without it its groups are \
                 never complete; write {}",
                grouped(&[vec![WINDOW_START.to_owned(), WINDOW_END.to_owned()], keys].concat())
            )
        }
        None => {
            let names = all_spoken(exprs);
            let starts = told.iter().map(|(column, _)| column.name.clone());
            let ends = [WINDOW_END.to_owned()];
            let others = names.iter().filter(|name| told.iter().all(|(one, _)| one.name != **name));
            let keys: Vec<String> = starts.chain(ends).chain(others.cloned()).collect();
            plan_err!(
                "{} alone does not tell the window, for several begin at the same time; write {}",
                grouped(&names),
                grouped(&keys)
            )
        }
    }
}

fn from_expressions(input: &LogicalPlan, exprs: &[Expr], stream: &Stream) -> Result<StageWindow> {
    let mut found: Vec<(usize, Windows, WindowValue, Column)> = Vec::new();
    let mut functions: Vec<Windows> = Vec::new();
    for (position, expr) in exprs.iter().enumerate() {
        let Some(key) = window_key(unaliased(expr))? else { continue };
        functions.extend(is_window_function(Some(&key)).then_some(key.windows));
        let time = match key.time {
            Some(time) => match origin(input, &time) {
                Origin::Source { path, .. } if path == stream.event_time => time,
                _ => continue,
            },
            None => carried_time(input, stream)?,
        };
        found.push((position, key.windows, key.value, time));
    }
    // A window function says what the window is, so every other time is a key beside it.
    let rank = |(_, windows, value, _): &&(usize, Windows, WindowValue, Column)| match windows {
        Windows::Aligned(shape) if *value != WindowValue::Struct => shape.size_us(),
        Windows::Aligned(_) | Windows::Session(_) => 0,
    };
    let Some((_, windows, _, time)) = found.iter().min_by_key(rank) else {
        return no_window(input, exprs, stream);
    };
    let (windows, time) = (*windows, time.clone());
    if functions.iter().any(|function| *function != windows) {
        return second_window();
    }
    let keys = found
        .iter()
        .filter(|(_, other, ..)| *other == windows)
        .map(|(position, _, value, _)| (*position, *value))
        .collect();
    let first_column = (time.clone(), WindowValue::Start);
    Ok(StageWindow { windows, keys, time: Some(time), first_column })
}

/// The column of `input` that holds the stream's event time.
fn carried_time(input: &LogicalPlan, stream: &Stream) -> Result<Column> {
    let is_time = |column: &Column| matches!(origin(input, column), Origin::Source { path, .. } if path == stream.event_time);
    match input.schema().columns().into_iter().find(is_time) {
        Some(column) => Ok(column),
        None => plan_err!(
            "tumble(), hop() and session() take the event time that FROM carries, but {0} is not \
             among its columns; write SELECT {0}, ... in FROM",
            stream.time_spoken()
        ),
    }
}

/// Whether a key calls tumble(), hop() or session(); it has no value of its own.
fn is_window_function(key: Option<&WindowKey>) -> bool {
    key.is_some_and(|key| key.value == WindowValue::Struct)
}

fn no_window<T>(input: &LogicalPlan, exprs: &[Expr], stream: &Stream) -> Result<T> {
    let keys = all_spoken(exprs);
    let over = stream.input.spoken();
    let mut window = format!("date_trunc('minute', {})", stream.time_spoken());
    let mut others = keys.clone();
    for (expr, key) in exprs.iter().zip(&keys) {
        if !is_of_event_time(input, expr, stream) {
            continue;
        }
        match almost_window(unaliased(expr)) {
            Some(Almost::Written(written)) => {
                others.retain(|other| other != key);
                window = written;
            }
            Some(Almost::Endless(why)) => {
                return plan_err!("GROUP BY {key} over {over} is no window, for {why}");
            }
            None => {}
        }
    }
    let what = if keys.is_empty() { "an aggregate".to_owned() } else { grouped(&keys) };
    plan_err!(
        "{what} over {over} needs a window, for without one its groups are never complete; write \
         {}",
        grouped(&[vec![window], others].concat())
    )
}

/// Whether `expr` reads the event time of `stream` and nothing else.
fn is_of_event_time(input: &LogicalPlan, expr: &Expr, stream: &Stream) -> bool {
    let columns = expr.column_refs();
    let is_time = |column: &Column| match origin(input, column) {
        Origin::Source { path, .. } => path == stream.event_time,
        _ => false,
    };
    !columns.is_empty() && columns.iter().all(|column| is_time(column))
}

/// What a key of the event time is that might have been a window.
enum Almost {
    /// A window, written so.
    Written(String),
    /// None, and why.
    Endless(String),
}

fn almost_window(expr: &Expr) -> Option<Almost> {
    if let (Some(local), Some(time)) = (local_zone(expr), expr.column_refs().into_iter().next()) {
        let LocalZone { zone, is_of_utc } = local;
        let (mut key, mut why) = (spoken(expr), String::new());
        if !is_of_utc {
            let (alone, whole) = (
                format!("AT TIME ZONE '{zone}'"),
                format!("AT TIME ZONE 'UTC' AT TIME ZONE '{zone}'"),
            );
            key = key.replace(&alone, &whole);
            why = format!(
                " ({}, which is UTC, is a time of '{zone}' to {alone} by itself)",
                time.name
            );
        }
        return Some(Almost::Endless(format!(
            "windows are of UTC, and a day or an hour of '{zone}' is another; write GROUP BY \
             date_bin(INTERVAL '15 minutes', {}), {key}{why}, and add its rows up where you read them",
            time.name
        )));
    }
    let call = match expr {
        Expr::Cast(cast)
            if matches!(cast.field.data_type(), DataType::Date32)
                && matches!(cast.expr.as_ref(), Expr::Column(_)) =>
        {
            let day = format!("date_trunc('day', {})", spoken(&cast.expr));
            return Some(Almost::Written(day));
        }
        Expr::ScalarFunction(call) => call,
        _ => return None,
    };
    match (call.func.name(), call.args.as_slice()) {
        ("date_trunc", [unit, time, ..]) => {
            almost_truncation(unit, strip(time)).or_else(|| of_cast_time(call, 1))
        }
        ("date_bin", [stride, time, rest @ ..]) => match (interval_us(stride), rest) {
            (Err(error), _) => Some(Almost::Endless(planner_message(&error))),
            (Ok(_), [origin]) if !matches!(strip(origin), Expr::Literal(..)) => {
                Some(Almost::Endless(format!(
                    "its origin is no literal; write GROUP BY date_bin({}, {}, TIMESTAMP \
                     '2026-01-01T00:00:00')",
                    spoken(stride),
                    spoken(time)
                )))
            }
            (Ok(_), _) => of_cast_time(call, 1),
        },
        _ => None,
    }
}

/// The time zone other than UTC that `expr` casts a time to.
struct LocalZone {
    zone: String,
    /// Whether what is cast to it says that it is UTC; else it is taken for a time of the zone.
    is_of_utc: bool,
}

fn local_zone(expr: &Expr) -> Option<LocalZone> {
    let mut found = None;
    let walked = expr.apply(|expr| {
        if let Expr::Cast(cast) = expr
            && let DataType::Timestamp(_, Some(zone)) = cast.field.data_type()
            && !is_utc(zone)
        {
            let is_of_utc = matches!(
                cast.expr.as_ref(),
                Expr::Cast(utc)
                    if matches!(utc.field.data_type(), DataType::Timestamp(_, Some(zone)) if is_utc(zone))
            );
            found = Some(LocalZone { zone: zone.to_string(), is_of_utc });
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok().and(found)
}

/// `call` over the time itself, where its argument at `at` casts that to whole seconds or the like.
fn of_cast_time(call: &ScalarFunction, at: usize) -> Option<Almost> {
    let mut time = strip(call.args.get(at)?);
    let is_cast = matches!(time, Expr::Cast(_));
    while let Expr::Cast(cast) = time {
        time = strip(&cast.expr);
    }
    if !is_cast || !matches!(time, Expr::Column(_)) {
        return None;
    }
    let args: Vec<String> = call
        .args
        .iter()
        .enumerate()
        .map(|(position, arg)| spoken(if position == at { time } else { arg }))
        .collect();
    Some(Almost::Written(format!("{}({})", call.func.name(), args.join(", "))))
}

fn almost_truncation(unit: &Expr, time: &Expr) -> Option<Almost> {
    // A text may be cast to what the function takes.
    let unit = if let Expr::Cast(cast) = unit { cast.expr.as_ref() } else { unit };
    let Expr::Literal(value, _) = unit else { return None };
    let unit = value.try_as_str().flatten()?.to_lowercase();
    match unit.trim_end_matches('s') {
        "month" | "quarter" | "year" => Some(Almost::Endless(format!(
            "months, quarters and years have no fixed length; write GROUP BY date_trunc('day', \
             {}), or 'week'",
            spoken(time)
        ))),
        unit if !TRUNCATIONS.contains(&unit) => {
            let units = TRUNCATIONS.join("', '");
            Some(Almost::Endless(format!("its unit is none of '{units}'")))
        }
        _ => None,
    }
}

fn grouped(keys: &[String]) -> String {
    format!("GROUP BY {}", keys.join(", "))
}
