//! The table of late rows: where rows go that come after their windows have closed.

use serde::Serialize;

use crate::item::{Fields, Item};
use crate::location::{Purpose, location};
use crate::report::quoted;

const KEYS: [&str; 1] = ["location"];

/// The `late` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LateSpec {
    /// The folder of the table: a path relative to the working directory, `file://` or
    /// `s3://bucket/prefix/`.
    pub location: String,
}

impl LateSpec {
    /// The name by which the table is known where sinks are: no sink has it.
    pub const SINK: &'static str = "_late";
    /// The columns that the table has beside those of the source.
    pub const COLUMNS: [&'static str; 5] =
        ["_source", "_stage", "_window_start", "_window_end", "_watermark"];
}

/// Reads the section.
pub(crate) fn late(item: &Item<'_>) -> Option<LateSpec> {
    let fields = item.fields(&KEYS)?;
    let location = fields
        .required("location", "where late rows go, such as location: ./out/_late/")
        .and_then(|item| location(&item, Purpose::Write))?;
    Some(LateSpec { location })
}

/// Checks that no sink and no column of a source has a name of the table's.
pub(crate) fn check_late_names(fields: &Fields<'_>) {
    for (name, sink) in fields.children("sinks") {
        if name == LateSpec::SINK {
            let name = quoted(name);
            sink.problem(format!("{name} is the name of the table of late rows; rename the sink"));
        }
    }
    if fields.get("late").is_none() {
        return;
    }
    for (_, source) in fields.children("sources") {
        let columns = source.child("schema").map(|schema| schema.children()).unwrap_or_default();
        for (name, column) in columns {
            if LateSpec::COLUMNS.contains(&name) {
                let name = quoted(name);
                column.problem(format!(
                    "{name} is also a column that the table of late rows adds; rename it, or \
                     remove late"
                ));
            }
        }
    }
}
