//! Values that stand in the names of a file's folders, as Hive writes them:
//! `tenant=acme/dt=2026-03-01/a.json`.
//!
//! Such a value is that of every row of the file, in a column that the source declares and the
//! file does not have; in JSON, where each row says what it has, of the rows without a value of
//! their own. It is text with `%20` and its like resolved, converted as text is in any format;
//! `__HIVE_DEFAULT_PARTITION__` is NULL. Of two folders of the same name the inner one counts.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;

use super::address::key_at;
use super::convert::convert;
use super::format::EpochUnit;
use super::location::percent_decoded;
use super::reader::InputFile;
use super::value::from_text;
use super::{SourceError, SourceResult};

/// What stands for NULL in the name of a folder.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// For each column of `schema` the value that the folders of `file` give it; none where they give
/// none, or NULL.
///
/// # Errors
/// When a value does not fit its column, naming the file and the folder.
pub(super) fn folder_values(
    file: &InputFile,
    schema: &Schema,
    unit: Option<EpochUnit>,
) -> SourceResult<Vec<Option<ScalarValue>>> {
    let mut values = vec![None; schema.fields().len()];
    let key = key_at(&file.location);
    let key = String::from_utf8_lossy(&key);
    let folders = key.rsplit('/').skip(1);
    for folder in folders.filter(|folder| folder.contains('=')) {
        let Some((name, value)) = folder.split_once('=') else { continue };
        let (name, value) = (decoded(name), decoded(value));
        let Some((at, field)) = schema.fields().find(&name) else { continue };
        if values[at].is_none() {
            values[at] = Some(match value == NULL {
                true => None,
                false => scalar(field, &value, unit).map_err(|message| SourceError::BadRecord {
                    file: file.display.clone(),
                    line: 0,
                    field: Some(name),
                    message: format!("its folder {folder:?} gives {message}"),
                })?,
            });
        }
    }
    Ok(values.into_iter().map(Option::flatten).collect())
}

fn decoded(text: &str) -> String {
    percent_decoded(text).unwrap_or_else(|| text.to_owned())
}

/// The value as the type of `field`; none for types that no folder can give.
fn scalar(
    field: &Field,
    value: &str,
    unit: Option<EpochUnit>,
) -> Result<Option<ScalarValue>, String> {
    if matches!(field.data_type(), DataType::Struct(_) | DataType::List(_)) {
        return Ok(None);
    }
    let text: ArrayRef = Arc::new(StringViewArray::from(vec![value]));
    let mut misfits = Vec::new();
    let leaf = |array: &ArrayRef, to: &DataType, _: &str, report: super::convert::Report<'_>| {
        from_text(array, to, unit, report)
    };
    let array = convert(&text, field, field.name(), &leaf, &mut misfits)
        .map_err(|error| error.to_string())?;
    match misfits.pop() {
        Some(misfit) => Err(misfit.message),
        None => ScalarValue::try_from_array(&array, 0).map(Some).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;
    use object_store::path::Path;

    use super::*;

    fn values(path: &str) -> SourceResult<Vec<Option<ScalarValue>>> {
        let schema = Schema::new(vec![
            Field::new("tenant", DataType::Utf8View, true),
            Field::new("hour", DataType::Int32, true),
            Field::new("dt", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ]);
        let file = InputFile {
            location: Path::parse(path).unwrap(),
            size: 1,
            etag: None,
            display: path.to_owned(),
            row_groups: None,
            part: None,
        };
        folder_values(&file, &schema, None)
    }

    #[test]
    fn folders_give_values_of_the_declared_types() {
        let text = |text: &str| Some(ScalarValue::Utf8View(Some(text.to_owned())));
        assert_eq!(
            values("logs/tenant=b%20c%3Dd/hour=07/x.json").unwrap(),
            [text("b c=d"), Some(ScalarValue::Int32(Some(7))), None]
        );
        let day = values("dt=2026-03-01/a.json").unwrap();
        let midnight = ScalarValue::TimestampMicrosecond(Some(1_772_323_200_000_000), None);
        assert_eq!(day[2], Some(midnight));
        assert_eq!(values("tenant=a/tenant=b/x").unwrap()[0], text("b"), "the inner one");
        for none in ["tenant=__HIVE_DEFAULT_PARTITION__/x", "Tenant=a/x", "a/tenant=b.json", "x"] {
            assert_eq!(values(none).unwrap(), [None, None, None], "{none}");
        }
    }

    #[test]
    fn a_folder_that_does_not_fit_is_named() {
        let error = values("s/hour=x/a.json").unwrap_err().to_string();
        assert_eq!(
            error,
            "s/hour=x/a.json: column hour: its folder \"hour=x\" gives \"x\" is not INT"
        );
    }
}
