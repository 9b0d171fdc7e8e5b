//! Plans as they are shown: with how many files a scan reads, and without where they are.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

/// What DataFusion writes before the files of a scan.
const FILES: &str = "file_groups={";
/// What it writes before the file that a figure is of.
const FILE_NAME: &str = "filename=";
/// What our files end with.
const FILE_ENDING: &str = ".parquet";
/// What ends them.
const FILES_END: &str = "]]}";

/// The rows of EXPLAIN without the paths of files.
pub(super) fn without_paths(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let shown = rows.map(|batch| batch.and_then(|batch| hide(&batch)));
    Box::pin(RecordBatchStreamAdapter::new(schema, shown))
}

fn hide(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8 => {
                let texts = column.as_string::<i32>().iter();
                Arc::new(texts.map(|text| text.map(hidden)).collect::<StringArray>())
            }
            _ => Arc::clone(column),
        }
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn hidden(plan: &str) -> Cow<'_, str> {
    if !plan.contains(FILES) && !plan.contains(FILE_NAME) {
        return Cow::Borrowed(plan);
    }
    let lines: Vec<String> = plan.split('\n').map(hidden_in_line).map(without_names).collect();
    Cow::Owned(lines.join("\n"))
}

/// A name may hold any of the signs around it, so all up to the last end is left out.
fn hidden_in_line(line: &str) -> String {
    let Some(from) = line.find(FILES) else { return line.to_owned() };
    let names = from + FILES.len();
    let count: String = line[names..].chars().take_while(|c| *c != ':').collect();
    let is_count = count.starts_with(|c: char| c.is_ascii_digit()) && count.len() < 40;
    let count = if is_count { count.as_str() } else { "files" };
    let after = line.rfind(FILES_END).map_or("", |end| &line[end + FILES_END.len()..]);
    format!("{}{FILES}{count}}}{after}", &line[..from])
}

/// The figures of one file each, without its name.
fn without_names(line: String) -> String {
    if !line.contains(FILE_NAME) {
        return line;
    }
    let mut shown = String::with_capacity(line.len());
    for (at, part) in line.split(FILE_NAME).enumerate() {
        let rest = part.find(FILE_ENDING).map_or("", |end| &part[end + FILE_ENDING.len()..]);
        shown += if at == 0 { part } else { FILE_NAME };
        shown += if at == 0 { "" } else { rest };
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_shows_how_many_files_and_not_which() {
        let plan = "ProjectionExec: expr=[1]\n  DataSourceExec: file_groups={2 groups: \
                    [[data/x=a]]}/b.parquet], [c/d.parquet]]}, projection=[a], predicate=b@1 = 2";
        assert_eq!(
            hidden(plan),
            "ProjectionExec: expr=[1]\n  DataSourceExec: file_groups={2 groups}, projection=[a], \
             predicate=b@1 = 2"
        );
        assert_eq!(hidden("file_groups={secret"), "file_groups={files}");
        assert_eq!(hidden("EmptyExec"), "EmptyExec");
        assert_eq!(
            hidden("metrics=[a{filename=x/y=1/b.parquet}=2, b{partition=0, filename=c.parquet}=3]"),
            "metrics=[a{filename=}=2, b{partition=0, filename=}=3]"
        );
    }
}
