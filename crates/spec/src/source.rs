//! A source: files that come into being at a location, each row with its event time.

use std::time::Duration;

use serde::Serialize;

use crate::column::{Column, complete, schema};
use crate::event_time::{EventTimeSpec, event_time};
use crate::format::{Compression, Format, compression, format};
use crate::item::{Fields, Item};
use crate::location::{Purpose, location};
use crate::name::check_name;
use crate::path_time::{EXAMPLE, PathTime};
use crate::setting::{choice, duration};

const KEYS: [&str; 9] = [
    "location",
    "format",
    "csv",
    "compression",
    "schema",
    "event_time",
    "discovery",
    "on_change",
    "appended",
];
const DISCOVERY_KEYS: [&str; 3] = ["order", "path_time", "settle"];

/// A source as the job declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceSpec {
    /// The name by which the SQL reads it.
    pub name: String,
    /// A folder, a glob or a file: a path relative to the working directory, `file://` or
    /// `s3://bucket/prefix/`.
    pub location: String,
    /// The format of its files.
    pub format: Format,
    /// The compression of its files; `auto` by default.
    pub compression: Compression,
    /// Its columns, in the order of the job file; at least one.
    pub schema: Vec<Column>,
    /// Its event time.
    pub event_time: EventTimeSpec,
    /// The order in which its files are taken; YAML `discovery: {order: name}`, and for the time in
    /// their path `{order: path_time, path_time: "dt=%Y-%m-%d/hour=%H/"}`.
    pub order: DiscoveryOrder,
    /// Files younger than this are left to a later listing, since their writer may not be done; 0
    /// by default. YAML `discovery: {settle: 5s}`.
    pub settle: Duration,
    /// What becomes of a file that was read and is then found changed.
    pub on_change: OnChange,
    /// Whether files grow: what is appended to one is read from where its last reading ended.
    pub appended: bool,
}

/// What becomes of a file that was read and is then found changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum OnChange {
    /// `fail`: the job stops and names the file.
    Fail,
    /// `skip`, the default: it stays as it was read; the change is warned of and counted.
    Skip,
    /// `read_as_new`: all of it is read again.
    ReadAsNew,
}

/// The order in which files are taken; ties are broken by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum DiscoveryOrder {
    /// `name`, the default.
    Name,
    /// `modified`: by modification time.
    Modified,
    /// `path_time`: by the time in their path.
    PathTime(PathTime),
}

/// Reads the source called `name`.
pub(crate) fn source(name: &str, item: &Item<'_>) -> Option<SourceSpec> {
    let name = check_name(name).map_err(|message| item.problem(message)).ok();
    let fields = item.fields(&KEYS)?;
    let location = fields
        .required("location", "where its files are, such as location: ./data/")
        .and_then(|item| location(&item, Purpose::Read));
    let format = format(&fields);
    let compression = compression(&fields, format.as_ref());
    let columns = fields
        .required("schema", "its columns, such as schema: {ts: TIMESTAMP, host: VARCHAR}")
        .and_then(|item| schema(&item));
    let event_time = fields
        .required("event_time", "event_time: {column: ts, delay: 10s}")
        .and_then(|item| event_time(&item, columns.as_ref()));
    let by_default = (DiscoveryOrder::Name, Duration::ZERO);
    let discovery = fields.setting("discovery", by_default, discovery);
    let on_change = fields.setting("on_change", OnChange::Skip, on_change);
    let appended =
        fields.setting("appended", false, |item| appended(item, format.as_ref(), compression));
    let (order, settle) = discovery?;
    Some(SourceSpec {
        name: name?,
        location: location?,
        format: format?,
        compression: compression?,
        schema: complete(columns?)?,
        event_time: event_time?,
        order,
        settle,
        on_change: on_change?,
        appended: appended?,
    })
}

fn on_change(item: &Item<'_>) -> Option<OnChange> {
    let words =
        [("fail", OnChange::Fail), ("skip", OnChange::Skip), ("read_as_new", OnChange::ReadAsNew)];
    choice(item, "what becomes of a changed file", &words)
}

/// Reads `appended`: where a file goes on is known of lines only, as they stand in it.
fn appended(
    item: &Item<'_>,
    format: Option<&Format>,
    compression: Option<Compression>,
) -> Option<bool> {
    let appended = choice(item, "a yes or no", &[("true", true), ("false", false)])?;
    let refused = match (appended, format, compression) {
        (false, ..) => return Some(false),
        (_, Some(Format::Parquet), _) => {
            "Parquet files cannot be appended to; remove the key, or write format: json or csv"
        }
        (_, _, Some(Compression::Gzip | Compression::Zstd)) => {
            "compressed files cannot be read from the middle; remove the key, or write \
             compression: none"
        }
        _ => return Some(true),
    };
    item.problem(refused);
    None
}

fn discovery(item: &Item<'_>) -> Option<(DiscoveryOrder, Duration)> {
    let fields = item.section(&DISCOVERY_KEYS)?;
    let settle = fields.setting("settle", Duration::ZERO, |item| duration(item, Duration::ZERO));
    let order = order(&fields);
    Some((order?, settle?))
}

fn order(fields: &Fields<'_>) -> Option<DiscoveryOrder> {
    let words = [
        ("name", DiscoveryOrder::Name),
        ("modified", DiscoveryOrder::Modified),
        ("path_time", DiscoveryOrder::PathTime(PathTime::default())),
    ];
    let order =
        fields.setting("order", DiscoveryOrder::Name, |item| choice(item, "an order", &words))?;
    let Some(pattern) = fields.get("path_time") else { return Some(order) };
    let DiscoveryOrder::PathTime(_) = order else {
        pattern.problem("is a pattern for order: path_time; write that order, or remove the key");
        return None;
    };
    let right = format!("a pattern such as {EXAMPLE}");
    pattern.parsed(&right, PathTime::new).map(DiscoveryOrder::PathTime)
}
