//! Formats and compression of files, as sources and sinks name them.

use serde::{Deserialize, Serialize};

use crate::item::{Fields, Item};
use crate::report::quoted;
use crate::setting::choice;
use crate::yaml::Value;

const CSV_KEYS: [&str; 2] = ["delimiter", "null"];

/// The format of a source's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// `json`: one object a line.
    Json,
    /// `csv`: a header, then one record a line.
    Csv(CsvOptions),
    /// `parquet`
    Parquet,
}

/// How a source's CSV is written: YAML `csv: {delimiter: ";", null: "NULL"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvOptions {
    /// The byte between fields; a comma by default.
    pub delimiter: u8,
    /// The unquoted text that is NULL, besides the empty field, which always is.
    pub null: Option<String>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', null: None }
    }
}

/// The compression of a source's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// `auto`: told for each file.
    Auto,
    /// `none`
    None,
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
}

/// The format of a sink's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SinkFormat {
    /// `parquet`
    Parquet,
}

/// Reads `format` and the options that belong to it.
pub(crate) fn format(fields: &Fields<'_>) -> Option<Format> {
    let json = ("json", Format::Json);
    let csv = ("csv", Format::Csv(CsvOptions::default()));
    let parquet = ("parquet", Format::Parquet);
    let format = fields
        .required("format", "format: json, csv or parquet")
        .and_then(|item| choice(&item, "a format", &[json, csv, parquet]));
    let Some(section) = fields.get("csv") else {
        return format;
    };
    let options = csv_options(&section);
    match format? {
        Format::Csv(_) => options.map(Format::Csv),
        Format::Json | Format::Parquet => {
            section
                .problem("only files in CSV have these options; write format: csv, or remove them");
            None
        }
    }
}

/// Reads `compression`, which a Parquet file has inside, if it has any.
pub(crate) fn compression(fields: &Fields<'_>, format: Option<&Format>) -> Option<Compression> {
    let Some(item) = fields.get("compression") else {
        return Some(Compression::Auto);
    };
    let words = [
        ("auto", Compression::Auto),
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
    ];
    let compression = choice(&item, "a compression", &words)?;
    let around = matches!(compression, Compression::Gzip | Compression::Zstd);
    if around && format == Some(&Format::Parquet) {
        item.problem("Parquet compresses within its files; write auto, or remove the key");
        return None;
    }
    Some(compression)
}

/// Reads a sink's `format`.
pub(crate) fn sink_format(item: &Item<'_>) -> Option<SinkFormat> {
    choice(item, "a format of sinks", &[("parquet", SinkFormat::Parquet)])
}

fn csv_options(item: &Item<'_>) -> Option<CsvOptions> {
    let fields = item.section(&CSV_KEYS)?;
    let delimiter = fields.setting("delimiter", b',', delimiter);
    let null = fields.setting("null", None, null);
    Some(CsvOptions { delimiter: delimiter?, null: null? })
}

fn delimiter(item: &Item<'_>) -> Option<u8> {
    let right = r#"one ASCII character, such as ";" or "\t""#;
    item.parsed(right, |text| match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err(format!("{} is not a delimiter; write {right}", quoted(text))),
    })
}

/// The text that is NULL. Unquoted, `null: NULL` is YAML's null, and yet is meant as text.
fn null(item: &Item<'_>) -> Option<Option<String>> {
    match item.value() {
        Value::Scalar { text, plain: true } if text.is_empty() => Some(None),
        Value::Scalar { text, .. } => Some(Some(text.clone())),
        Value::List(_) | Value::Map(_) => item.text("the text that is NULL").map(|_| None),
    }
}
