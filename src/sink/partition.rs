//! Which rows of a batch belong to which partition value.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, take_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use tidegauge_commitlog::names::partition_folder;

use crate::error::{Error, to_datafusion};

/// What file systems allow for one name.
const FOLDER_BYTES_MAX: usize = 255;
const VALUE_BYTES_SHOWN: usize = 40;

/// Splits batches by the values of a sink's partition columns.
#[derive(Debug)]
pub(super) struct Partitioner {
    columns: Vec<usize>,
    names: Vec<String>,
    kept: Vec<usize>,
    converter: Option<RowConverter>,
    folders: HashMap<OwnedRow, Arc<str>>,
}

impl Partitioner {
    pub(super) fn new(schema: &SchemaRef, partition_by: &[String]) -> Result<Self> {
        let columns: Vec<usize> = partition_by
            .iter()
            .map(|name| schema.index_of(name).map_err(DataFusionError::from))
            .collect::<Result<_>>()?;
        let kept = (0..schema.fields().len()).filter(|at| !columns.contains(at)).collect();
        let converter = match columns.is_empty() {
            true => None,
            false => {
                let fields = columns
                    .iter()
                    .map(|&at| SortField::new(schema.field(at).data_type().clone()))
                    .collect();
                Some(RowConverter::new(fields)?)
            }
        };
        let names = partition_by.to_vec();
        Ok(Self { columns, names, kept, converter, folders: HashMap::new() })
    }

    /// The schema of the files: the columns that are not in their path.
    pub(super) fn file_schema(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::new(schema.project(&self.kept)?))
    }

    /// The rows of `batch` by partition folder, without the partition's columns.
    pub(super) fn split(&mut self, batch: &RecordBatch) -> Result<Vec<(Arc<str>, RecordBatch)>> {
        let Some(converter) = &self.converter else {
            return Ok(vec![(Arc::from(""), batch.clone())]);
        };
        let values: Vec<ArrayRef> =
            self.columns.iter().map(|&at| Arc::clone(batch.column(at))).collect();
        let rows = converter.convert_columns(&values)?;
        let file = batch.project(&self.kept)?;
        let mut groups: HashMap<Arc<str>, Vec<u32>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            let folder = match self.folders.get(&row.owned()) {
                Some(folder) => Arc::clone(folder),
                None => {
                    let folder: Arc<str> = folder_of(&self.names, &values, at)?.into();
                    self.folders.insert(row.owned(), Arc::clone(&folder));
                    folder
                }
            };
            let at = u32::try_from(at).map_err(|error| DataFusionError::External(error.into()))?;
            groups.entry(folder).or_default().push(at);
        }
        groups
            .into_iter()
            .map(|(folder, rows)| Ok((folder, take_record_batch(&file, &UInt32Array::from(rows))?)))
            .collect()
    }
}

fn folder_of(names: &[String], values: &[ArrayRef], row: usize) -> Result<String> {
    let mut texts: Vec<Option<String>> = Vec::with_capacity(values.len());
    for value in values {
        let one = cast(&value.slice(row, 1), &DataType::Utf8)?;
        let text = one.as_string::<i32>();
        texts.push(text.is_valid(0).then(|| text.value(0).to_owned()));
    }
    let pairs: Vec<(&str, Option<&str>)> =
        names.iter().map(String::as_str).zip(texts.iter().map(Option::as_deref)).collect();
    let folder = partition_folder(&pairs);
    // Found out here, it fails the epoch; found out when the file is published, it would be too
    // late: the epoch is committed then.
    match folder.split('/').find(|part| part.len() > FOLDER_BYTES_MAX) {
        None => Ok(folder),
        Some(part) => {
            let (name, value) = part.split_once('=').unwrap_or(("", part));
            let shown = value.get(..VALUE_BYTES_SHOWN).unwrap_or(value);
            Err(to_datafusion(Error::bad_record(format!(
                "{name}={shown}... has {} bytes, and a folder's name at most {FOLDER_BYTES_MAX}; \
                 shorten the value in the query, as by left({name}, 80) or md5({name})",
                part.len()
            ))))
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;

    use super::*;
    use crate::error::from_datafusion;

    #[test]
    fn a_value_that_is_no_name_for_a_folder_is_a_bad_record() {
        let folder = |value: String| {
            folder_of(&["tenant".to_owned()], &[Arc::new(StringArray::from(vec![value]))], 0)
        };
        assert_eq!(folder("a".repeat(248)).unwrap().len(), 255);
        let error = from_datafusion(folder("ü".repeat(42)).unwrap_err());
        assert_eq!(error.kind(), crate::error::ErrorKind::BadRecord);
        assert!(error.message().contains("has 259 bytes, and a folder's name at most 255"));
        assert!(error.message().contains("as by left(tenant, 80)"), "{error}");
    }
}
