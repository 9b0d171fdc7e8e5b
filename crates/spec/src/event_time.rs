//! The event time of a source: which column it is, and how long to wait for late rows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::column::{ColumnType, Schema};
use crate::item::Item;
use crate::report::quoted;
use crate::setting::{choice, duration};
use crate::suggest::nearest;

const KEYS: [&str; 10] = [
    "column",
    "delay",
    "allowed_lateness",
    "idle_after",
    "close_when_idle",
    "delivery",
    "future_max",
    "ahead_max",
    "ahead_share",
    "unit",
];
const IDLE_AFTER: Duration = Duration::from_secs(60);
const FUTURE_MAX: Duration = Duration::from_secs(3600);
/// Who believes times that are further ahead than this has data of the future, and not clocks that
/// are ahead.
const FUTURE_OF_CLOCKS_MAX: Duration = Duration::from_secs(86_400);
const AHEAD_SHARE_PPM: u32 = 20_000;
const AHEAD_SHARE_PPM_MAX: u32 = 500_000;

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
    /// How long a source may show no row before it stops holding other sources; 1 minute by
    /// default.
    pub idle_after: Duration,
    /// How long a source may show no row before what is open of it closes; never if absent.
    pub close_when_idle: Option<Duration>,
    /// How often new files come, where that is stated: nothing waits for it, `check` warns where
    /// other settings are shorter.
    pub delivery: Option<Duration>,
    /// How far past the wall clock an event time is believed; 1 hour by default.
    pub future_max: Duration,
    /// How far past the wall clock an event time moves the watermark; not at all by default, and
    /// as far as it is believed where that is more than a day.
    pub ahead_max: Duration,
    /// Parts of a million: more of an epoch's rows than this have to confirm a time that is
    /// further ahead of them than the delay, before it moves the watermark; 2 % by default.
    pub ahead_share_ppm: u32,
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

impl EpochUnit {
    /// As job files write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        UNITS.iter().find(|(_, unit)| *unit == self).map_or("", |(word, _)| *word)
    }
}

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
    let optional =
        |key: &str| fields.setting(key, None, |item| duration(item, Duration::ZERO).map(Some));
    let close_when_idle = optional("close_when_idle");
    let delivery = optional("delivery");
    let future_max =
        fields.setting("future_max", FUTURE_MAX, |item| duration(item, Duration::ZERO));
    let ahead_max = optional("ahead_max");
    let ahead_share_ppm = fields.setting("ahead_share", AHEAD_SHARE_PPM, share);
    let unit = fields.setting("unit", None, |item| choice(item, "a unit", &UNITS).map(Some));
    let future_max = future_max?;
    let ahead_default = match future_max > FUTURE_OF_CLOCKS_MAX {
        true => future_max,
        false => Duration::ZERO,
    };
    let mut path = column?.into_iter();
    Some(EventTimeSpec {
        column: path.next()?,
        fields: path.collect(),
        delay: delay?,
        allowed_lateness: allowed_lateness?,
        idle_after: idle_after?,
        close_when_idle: close_when_idle?,
        delivery: delivery?,
        future_max,
        ahead_max: ahead_max?.unwrap_or(ahead_default),
        ahead_share_ppm: ahead_share_ppm?,
        unit: unit?,
    })
}

/// A share such as `2%` or `0.5%`, as parts of a million.
fn share(item: &Item<'_>) -> Option<u32> {
    item.parsed("a share such as 2%", |text| {
        let shown = quoted(text);
        let ppm = text.strip_suffix('%').and_then(percent_ppm).ok_or_else(|| {
            format!("{shown} is not a share; write a percentage such as 2% or 0.5%")
        })?;
        match ppm > AHEAD_SHARE_PPM_MAX {
            true => Err(format!("{shown} is out of range; write a share from 0% to 50%")),
            false => Ok(ppm),
        }
    })
}

/// Digits with at most four more behind a point.
fn percent_ppm(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !are_digits(whole, 3) || !are_digits(part, 4) {
        return None;
    }
    Some(whole.parse::<u32>().ok()? * 10_000 + format!("{part:0<4}").parse::<u32>().ok()?)
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
