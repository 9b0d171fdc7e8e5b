//! The rows that a sink's folder shows to whoever lists it: every published file, with the
//! partition's columns taken from its path.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use percent_encoding::percent_decode_str;
use tidegauge_commitlog::Storage;
use tidegauge_commitlog::names::NULL_PARTITION;

use crate::error::{Error, Result, from_datafusion};

/// Reads all published files below `storage`; `schema` are the sink's columns, those of its
/// partition among them.
///
/// # Errors
/// When a file cannot be read or does not have the sink's columns.
pub async fn read_published(storage: &Storage, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for (path, bytes) in published(storage).await? {
        let rows = read_file(bytes, &path, Some(schema))
            .map_err(|error| foreign(storage, &path, error))?;
        batches.extend(rows);
    }
    Ok(batches)
}

/// Reads all published files below `storage` with the columns of the first, those of its path as
/// text.
///
/// # Errors
/// As [`read_published`].
pub async fn read_all(storage: &Storage) -> Result<Vec<RecordBatch>> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    for (path, bytes) in published(storage).await? {
        let schema = batches.first().map(RecordBatch::schema);
        let rows = read_file(bytes, &path, schema.as_ref())
            .map_err(|error| foreign(storage, &path, error))?;
        batches.extend(rows);
    }
    Ok(batches)
}

async fn published(storage: &Storage) -> Result<Vec<(String, Bytes)>> {
    let mut files = Vec::new();
    for file in storage.list("").await? {
        let Some(path) = storage.relative(&file.location) else { continue };
        let is_hidden = path.split('/').any(|part| part.starts_with(['_', '.']));
        if is_hidden || !path.ends_with(".parquet") {
            continue;
        }
        if let Some(bytes) = storage.get(&path).await? {
            files.push((path, bytes));
        }
    }
    Ok(files)
}

fn foreign(storage: &Storage, path: &str, error: datafusion::error::DataFusionError) -> Error {
    let place = format!("{}/{path}", storage.location().trim_end_matches('/'));
    Error::corrupt(format!("{place} is not a file of this sink"))
        .with_source(from_datafusion(error))
}

/// The schema of a file with its path's columns before it.
fn whole_schema(file: &SchemaRef, values: &[(String, Option<String>)]) -> SchemaRef {
    let of_path = values.iter().map(|(name, _)| Arc::new(Field::new(name, DataType::Utf8, true)));
    let fields: Vec<FieldRef> = of_path.chain(file.fields().iter().cloned()).collect();
    Arc::new(Schema::new(fields))
}

fn read_file(bytes: Bytes, path: &str, schema: Option<&SchemaRef>) -> PlanResult<Vec<RecordBatch>> {
    let values = partition_values(path);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let schema = match schema {
        Some(schema) => Arc::clone(schema),
        None => whole_schema(builder.schema(), &values),
    };
    let reader = builder.build()?;
    let mut batches = Vec::new();
    for batch in reader {
        let batch = batch?;
        let columns = schema
            .fields()
            .iter()
            .map(|field| -> PlanResult<ArrayRef> {
                if let Some(column) = batch.column_by_name(field.name()) {
                    return Ok(cast(column, field.data_type())?);
                }
                let value = values.iter().find(|(name, _)| name == field.name());
                match value.and_then(|(_, value)| value.as_ref()) {
                    Some(text) => {
                        let text = ScalarValue::Utf8(Some(text.clone()));
                        let column = text.to_array_of_size(batch.num_rows())?;
                        Ok(cast(&column, field.data_type())?)
                    }
                    None => Ok(new_null_array(field.data_type(), batch.num_rows())),
                }
            })
            .collect::<PlanResult<Vec<_>>>()?;
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
    }
    Ok(batches)
}

/// The columns in a file's path; NULL has a name of its own.
pub(crate) fn partition_values(path: &str) -> Vec<(String, Option<String>)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    path.split('/')
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| match value {
            NULL_PARTITION => (decoded(name), None),
            value => (decoded(name), Some(decoded(value))),
        })
        .collect()
}
