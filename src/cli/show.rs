//! Rows of a sink as a person reads them.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::failure::Failure;
use super::terminal::one_line;

/// The names of columns as a table shows them.
pub(super) fn header(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| one_line(field.name()).into_owned()).collect()
}

/// The cells of `batch` as text, row by row.
pub(super) fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>, Failure> {
    let options = FormatOptions::default().with_null("NULL");
    let failed = |error| Failure::running(format!("error: a row cannot be shown: {error}"));
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).map_err(failed))
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok((0..batch.num_rows())
        .map(|row| {
            let cell =
                |column: &ArrayFormatter<'_>| one_line(&column.value(row).to_string()).into_owned();
            columns.iter().map(cell).collect()
        })
        .collect())
}

/// A value of an answer in JSON: text without quotes, and `-` where there is none.
pub(super) fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => one_line(text).into_owned(),
        other => one_line(&other.to_string()).into_owned(),
    }
}
