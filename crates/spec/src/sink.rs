//! A sink: where the rows of an `INSERT INTO` become files.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use crate::format::{SinkFormat, sink_format};
use crate::item::Item;
use crate::location::{Purpose, location};
use crate::name::check_name;
use crate::report::quoted;
use crate::setting::duration;

const KEYS: [&str; 4] = ["location", "format", "partition_by", "retention"];
const RETENTION_MIN: Duration = Duration::from_secs(1);

/// A sink as the job declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkSpec {
    /// The name by which the SQL writes to it.
    pub name: String,
    /// The folder of its files: a path relative to the working directory, `file://` or
    /// `s3://bucket/prefix/`.
    pub location: String,
    /// The format of its files; `parquet` by default.
    pub format: SinkFormat,
    /// The columns whose values make up its folders, outermost first; none by default. That
    /// the SQL gives them is not checked here.
    pub partition_by: Vec<String>,
    /// How long its rows are kept, by their time. A file whose rows are all older is no result of
    /// the job any more, whether it is there or not; unbounded by default.
    pub retention: Option<Duration>,
}

/// Reads the sink called `name`.
pub(crate) fn sink(name: &str, item: &Item<'_>) -> Option<SinkSpec> {
    let name = check_name(name).map_err(|message| item.problem(message)).ok();
    let fields = item.fields(&KEYS)?;
    let location = fields
        .required("location", "where its files go, such as location: ./out/")
        .and_then(|item| location(&item, Purpose::Write));
    let format = fields.setting("format", SinkFormat::Parquet, sink_format);
    let partition_by = fields.setting("partition_by", Vec::new(), partition_by);
    let retention =
        fields.setting("retention", None, |item| duration(item, RETENTION_MIN).map(Some));
    Some(SinkSpec {
        name: name?,
        location: location?,
        format: format?,
        partition_by: partition_by?,
        retention: retention?,
    })
}

fn partition_by(item: &Item<'_>) -> Option<Vec<String>> {
    let items = item.list("the columns as a list, such as [tenant]")?;
    let mut seen = HashSet::new();
    let column = |item: &Item<'_>| {
        item.parsed("the name of a column", |name| match name {
            "" => Err(r#""" is not a column name; write one"#.to_owned()),
            name => Ok(name.to_owned()),
        })
    };
    let columns: Vec<Option<String>> = items
        .iter()
        .map(|item| {
            let name = column(item)?;
            if seen.insert(name.clone()) {
                return Some(name);
            }
            item.problem(format!("{} is in the list twice; keep one", quoted(&name)));
            None
        })
        .collect();
    columns.into_iter().collect()
}
