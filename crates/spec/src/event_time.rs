//! The event time of a source: which column it is, and how long to wait for late rows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::column::{ColumnType, Schema};
use crate::item::Item;
use crate::report::quoted;
use crate::setting::{choice, duration};
use crate::suggest::nearest;

const KEYS: [&str; 6] = ["column", "delay", "allowed_lateness", "idle_after", "future_max", "unit"];
const IDLE_AFTER: Duration = Duration::from_secs(60);
const FUTURE_MAX: Duration = Duration::from_secs(3600);

/// Where a source's event time is, and how far its watermark stays behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventTimeSpec {
    /// The column that holds it, or the struct that it is in; YAML `column: ts`, and
    /// `column: event.timestamp` for a field.
    pub column: String,
    /// The fields of structs from that column to the event time, a `TIMESTAMP`; none where the
    /// column is the event time itself.
    pub fields: Vec<String>,
    /// How much older than the newest row a row may be without being late.
    pub delay: Duration,
    /// How long after its end a window still takes rows, and gives its result anew; 0 by default.
    pub allowed_lateness: Duration,
    /// How long, by the wall clock, a source may show no row before it stops holding the
    /// watermark; 1 minute by default.
    pub idle_after: Duration,
    /// How far past the wall clock an event time is believed; 1 hour by default.
    pub future_max: Duration,
    /// The unit of event times that are numbers; told by their magnitude if absent.
    pub unit: Option<EpochUnit>,
}

/// The unit of a time that is a number, counted from 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochUnit {
    /// `s`
    Seconds,
    /// `ms`
    Milliseconds,
    /// `us`
    Microseconds,
    /// `ns`
    Nanoseconds,
}

const UNITS: [(&str, EpochUnit); 4] = [
    ("s", EpochUnit::Seconds),
    ("ms", EpochUnit::Milliseconds),
    ("us", EpochUnit::Microseconds),
    ("ns", EpochUnit::Nanoseconds),
];

/// Reads `event_time`; `schema` is absent when it was not understood, and is then not asked.
pub(crate) fn event_time(item: &Item<'_>, schema: Option<&Schema<'_>>) -> Option<EventTimeSpec> {
    let fields = item.fields(&KEYS)?;
    let column = fields
        .required("column", "the column of the event time, such as column: ts")
        .and_then(|item| path(&item, schema));
    let delay = fields
        .required("delay", "how late a row may come, such as delay: 10s")
        .and_then(|item| duration(&item, Duration::ZERO));
    let allowed_lateness =
        fields.setting("allowed_lateness", Duration::ZERO, |item| duration(item, Duration::ZERO));
    let idle_after =
        fields.setting("idle_after", IDLE_AFTER, |item| duration(item, Duration::ZERO));
    let future_max =
        fields.setting("future_max", FUTURE_MAX, |item| duration(item, Duration::ZERO));
    let unit = fields.setting("unit", None, |item| choice(item, "a unit", &UNITS).map(Some));
    let mut path = column?.into_iter();
    Some(EventTimeSpec {
        column: path.next()?,
        fields: path.collect(),
        delay: delay?,
        allowed_lateness: allowed_lateness?,
        idle_after: idle_after?,
        future_max: future_max?,
        unit: unit?,
    })
}

impl EventTimeSpec {
    /// The event time as the job names it: `ts`, `event.timestamp`.
    pub fn spoken(&self) -> String {
        std::iter::once(&self.column).chain(&self.fields).cloned().collect::<Vec<_>>().join(".")
    }
}

/// The column of the event time and the fields below it. A column whose name has dots in it comes
/// before a path of the same spelling.
fn path(item: &Item<'_>, schema: Option<&Schema<'_>>) -> Option<Vec<String>> {
    item.parsed("the name of a column", |name| {
        let Some(columns) = schema else {
            return Ok(vec![name.to_owned()]);
        };
        let shown = quoted(name);
        let times = times_of(columns);
        let times: Vec<&str> = times.iter().map(String::as_str).collect();
        let known: Vec<_> = columns.iter().map(|(name, ty)| (*name, ty.as_ref())).collect();
        match found(&known, name) {
            None => {
                let names = columns.iter().map(|(name, _)| *name);
                let near = nearest(name, times.iter().copied()).or_else(|| nearest(name, names));
                Err(format!("{shown} is not in the schema; write {}", right(near, &times)))
            }
            Some((path, Some(ColumnType::Timestamp) | None)) => {
                Ok(path.into_iter().map(str::to_owned).collect())
            }
            Some(_) => Err(match times.as_slice() {
                [] => format!("{shown} is not a TIMESTAMP; make it one in the schema"),
                times => format!(
                    "{shown} is not a TIMESTAMP; make it one in the schema, or write {}",
                    times.join(" or ")
                ),
            }),
        }
    })
}

/// A path to a field, and its type where that was understood.
type Found<'a> = (Vec<&'a str>, Option<&'a ColumnType>);

/// The column of this name, or the field that a dotted name leads to through structs.
fn found<'a>(columns: &[(&'a str, Option<&'a ColumnType>)], name: &str) -> Option<Found<'a>> {
    if let Some((column, ty)) = columns.iter().find(|(column, _)| *column == name) {
        return Some((vec![column], *ty));
    }
    columns.iter().find_map(|(column, ty)| {
        let rest = name.strip_prefix(column)?.strip_prefix('.')?;
        let Some(ColumnType::Struct(fields)) = ty else { return None };
        let fields: Vec<_> =
            fields.iter().map(|field| (field.name.as_str(), Some(&field.ty))).collect();
        let (path, ty) = found(&fields, rest)?;
        Some((std::iter::once(*column).chain(path).collect(), ty))
    })
}

/// The names of all times in the schema, dotted inside structs.
fn times_of(columns: &Schema<'_>) -> Vec<String> {
    fn collect(name: String, ty: &ColumnType, times: &mut Vec<String>) {
        match ty {
            ColumnType::Timestamp => times.push(name),
            ColumnType::Struct(fields) => {
                for field in fields {
                    collect(format!("{name}.{}", field.name), &field.ty, times);
                }
            }
            _ => {}
        }
    }
    let mut times = Vec::new();
    for (name, ty) in columns {
        if let Some(ty) = ty {
            collect((*name).to_owned(), ty, &mut times);
        }
    }
    times
}

fn right(near: Option<&str>, times: &[&str]) -> String {
    match (near, times) {
        (Some(near), _) => near.to_owned(),
        (None, []) => "a column of it that is a TIMESTAMP".to_owned(),
        (None, times) => times.join(" or "),
    }
}
