//! A source: files that come into being at a location, each row with its event time.

use serde::Serialize;

use crate::column::{Column, complete, schema};
use crate::event_time::{EventTimeSpec, event_time};
use crate::format::{Compression, Format, compression, format};
use crate::item::Item;
use crate::location::{Purpose, location};
use crate::name::check_name;
use crate::path_time::{EXAMPLE, PathTime};
use crate::setting::choice;

const KEYS: [&str; 7] =
    ["location", "format", "csv", "compression", "schema", "event_time", "discovery"];
const DISCOVERY_KEYS: [&str; 2] = ["order", "path_time"];

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
    let order = fields.setting("discovery", DiscoveryOrder::Name, discovery);
    Some(SourceSpec {
        name: name?,
        location: location?,
        format: format?,
        compression: compression?,
        schema: complete(columns?)?,
        event_time: event_time?,
        order: order?,
    })
}

fn discovery(item: &Item<'_>) -> Option<DiscoveryOrder> {
    let fields = item.section(&DISCOVERY_KEYS)?;
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
