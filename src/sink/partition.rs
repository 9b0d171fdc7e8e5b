//! Which rows of a batch belong to which partition value. How they are brought together is
//! `gather`'s.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result, internal_err};
use tidegauge_commitlog::names::{FOLDER_BYTES_MAX, partition_folder};

/// Numbers rows by the values of a sink's partition columns.
#[derive(Debug)]
pub(super) struct Partitioner {
    columns: Vec<usize>,
    names: Vec<String>,
    kept: Vec<usize>,
    converter: RowConverter,
    /// The number of each value that was seen, by its row form.
    numbers: HashMap<Box<[u8]>, u32>,
    by_folder: HashMap<Arc<str>, u32>,
    /// The folder of each number.
    folders: Vec<Arc<str>>,
}

impl Partitioner {
    pub(super) fn new(schema: &SchemaRef, partition_by: &[String]) -> Result<Self> {
        let columns: Vec<usize> = partition_by
            .iter()
            .map(|name| schema.index_of(name).map_err(DataFusionError::from))
            .collect::<Result<_>>()?;
        let kept = (0..schema.fields().len()).filter(|at| !columns.contains(at)).collect();
        let fields = columns.iter().map(|&at| SortField::new(schema.field(at).data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let names = partition_by.to_vec();
        let (numbers, by_folder, folders) = (HashMap::new(), HashMap::new(), Vec::new());
        Ok(Self { columns, names, kept, converter, numbers, by_folder, folders })
    }

    /// The schema of the files: the columns that are not in their path.
    pub(super) fn file_schema(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::new(schema.project(&self.kept)?))
    }

    /// The folder of each number, the first seen first.
    pub(super) fn folders(&self) -> &[Arc<str>] {
        &self.folders
    }

    /// The rows of `batch` without the partition's columns, and the number of the folder of each.
    pub(super) fn number(&mut self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<u32>)> {
        let values: Vec<ArrayRef> =
            self.columns.iter().map(|&at| Arc::clone(batch.column(at))).collect();
        let rows = self.converter.convert_columns(&values)?;
        let mut numbers = Vec::with_capacity(batch.num_rows());
        for (at, row) in rows.iter().enumerate() {
            let number = match self.numbers.get(row.as_ref()) {
                Some(&number) => number,
                None => {
                    let folder: Arc<str> = folder_of(&self.names, &values, at)?.into();
                    let number = self.number_of(folder)?;
                    self.numbers.insert(row.as_ref().into(), number);
                    number
                }
            };
            numbers.push(number);
        }
        Ok((batch.project(&self.kept)?, numbers))
    }

    /// Values of one text, such as 0.0 and -0.0 of some types, share a folder.
    fn number_of(&mut self, folder: Arc<str>) -> Result<u32> {
        if let Some(&number) = self.by_folder.get(&folder) {
            return Ok(number);
        }
        let number = u32::try_from(self.folders.len())
            .map_err(|error| DataFusionError::External(error.into()))?;
        self.by_folder.insert(Arc::clone(&folder), number);
        self.folders.push(folder);
        Ok(number)
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
    // The plan leaves such rows out (`folder_value.rs`); found out when the file is published, it would
    // be too late.
    match folder.split('/').any(|part| part.len() > FOLDER_BYTES_MAX) {
        true => internal_err!("a value is too long for the name of a folder"),
        false => Ok(folder),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;

    use super::*;

    #[test]
    fn a_value_that_is_no_name_for_a_folder_makes_none() {
        let folder = |value: String| {
            folder_of(&["tenant".to_owned()], &[Arc::new(StringArray::from(vec![value]))], 0)
        };
        assert_eq!(folder("a".repeat(248)).unwrap().len(), 255);
        folder("a".repeat(249)).unwrap_err();
    }
}
