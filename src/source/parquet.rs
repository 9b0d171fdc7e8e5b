//! Parquet: the declared columns by name, each cast to its declared type.
//!
//! A column that the file has not is NULL, one that is not declared is not read. What is
//! written in another encoding or width is taken by its value (times of any unit and zone,
//! numbers that the declared type holds, lists of any layout, maps, dictionaries), structs by
//! the names of their fields; what is of another kind is an error before the first row. A value
//! that its declared type cannot hold is a reject, numbered by its row.

mod cast;
mod layout;
mod object;
mod statistics;

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectStore;

use self::cast::Leaves;
use self::layout::readable;
pub use self::object::ObjectReader;
pub use self::statistics::parquet_time_min;
use super::convert::{Misfit, convert};
use super::decoded::{absent, batch_of, one_per_row, without_misfits};
use super::fetch::check_local_version;
use super::missing::{missing_time, some_of};
use super::reader::{InputFile, OpenSettings};
use super::value::{Unfit, sql_name};
use super::{Decoded, Reject, SourceError, SourceResult};

/// The compressed bytes of each row group of `file`, from its footer: what to split it by.
pub async fn parquet_row_groups(
    store: Arc<dyn ObjectStore>,
    file: &InputFile,
) -> SourceResult<Vec<u64>> {
    let mut object = ObjectReader::new(store, file.clone());
    let metadata = load(&mut object, &file.display).await?;
    let groups = metadata.metadata().row_groups();
    Ok(groups.iter().map(|group| u64::try_from(group.compressed_size()).unwrap_or(0)).collect())
}

/// Reads the row groups of `file` that it names.
pub(super) fn read_parquet(
    store: Arc<dyn ObjectStore>,
    file: InputFile,
    settings: Arc<OpenSettings>,
) -> BoxStream<'static, SourceResult<Decoded>> {
    stream::once(open(store, file, settings)).try_flatten().boxed()
}

async fn open(
    store: Arc<dyn ObjectStore>,
    file: InputFile,
    settings: Arc<OpenSettings>,
) -> SourceResult<BoxStream<'static, SourceResult<Decoded>>> {
    let mut object = ObjectReader::new(Arc::clone(&store), file.clone());
    let metadata = readable(load(&mut object, &file.display).await?, &file.display)?;
    let schema = settings.projected_schema()?;
    check_columns(&file, &settings, metadata.schema())?;
    let roots = roots(&file.display, &schema, metadata.schema())?;
    let groups = metadata.metadata().row_groups();
    let wanted = file.row_groups.clone().unwrap_or(0..groups.len());
    let Some(skipped) = groups.get(..wanted.start).filter(|_| wanted.end <= groups.len()) else {
        let message = format!("has {} row groups where {wanted:?} are wanted", groups.len());
        return Err(SourceError::corrupt(&file.display, message));
    };
    let mut adapt = Adapt {
        file: file.display.clone(),
        constants: settings.constants(&file)?,
        schema,
        leaves: Leaves { unit: settings.unit, uuids: layout::uuids(&metadata) },
        row: skipped.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).sum(),
    };
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    let batches = ParquetRecordBatchStreamBuilder::new_with_metadata(object, metadata)
        .with_projection(mask)
        .with_row_groups(wanted.collect())
        .with_batch_size(settings.batch_rows.max(1))
        .build()
        .map_err(|error| SourceError::parquet(&file.display, error))?;
    let display = file.display.clone();
    let last = stream::once(async move { check_local_version(&*store, &file).await });
    Ok(batches
        .map_err(move |error| SourceError::parquet(&display, error))
        .and_then(move |batch| futures::future::ready(adapt.adapt(&batch)))
        .chain(last.filter_map(|checked| futures::future::ready(checked.err().map(Err))))
        .boxed())
}

/// A file with none of the declared columns, or without the event time, is not of the source.
fn check_columns(file: &InputFile, settings: &OpenSettings, found: &Schema) -> SourceResult<()> {
    let names = found.fields().iter().map(|field| field.name().as_str());
    let declared = settings.schema.fields();
    let bad = |message: String| SourceError::BadRecord {
        file: file.display.clone(),
        line: 0,
        field: None,
        message,
    };
    let is_there = |field: &FieldRef| found.fields().find(field.name()).is_some();
    if !declared.is_empty() && !declared.iter().any(is_there) {
        return Err(bad(format!("has none of the declared columns; it has {}", some_of(names))));
    }
    let required = settings.required(file)?.and_then(|at| declared.get(at));
    match required.filter(|field| found.fields().find(field.name()).is_none()) {
        Some(field) => Err(bad(missing_time(field.name(), names))),
        None => Ok(()),
    }
}

async fn load(object: &mut ObjectReader, display: &str) -> SourceResult<ArrowReaderMetadata> {
    ArrowReaderMetadata::load_async(object, ArrowReaderOptions::new())
        .await
        .map_err(|error| SourceError::parquet(display, error))
}

/// The places in the file of the columns to read; an error if one is of a wrong type.
fn roots(display: &str, schema: &Schema, file_schema: &Schema) -> SourceResult<Vec<usize>> {
    let mut roots = Vec::new();
    for field in schema.fields() {
        let Some((place, found)) = file_schema.fields().find(field.name()) else {
            continue;
        };
        cast::check(found.data_type(), field.data_type(), field.name()).map_err(|wrong| {
            SourceError::BadRecord {
                file: display.to_owned(),
                line: 0,
                field: Some(wrong.field),
                message: format!(
                    "is {} in the file and {} in the job",
                    wrong.from,
                    sql_name(&wrong.to)
                ),
            }
        })?;
        roots.push(place);
    }
    Ok(roots)
}

/// Turns batches of the file into batches of the job.
struct Adapt {
    file: String,
    schema: SchemaRef,
    /// For each column the value that the file's folders give it, if they do.
    constants: Vec<Option<ScalarValue>>,
    leaves: Leaves,
    /// Rows of the file before the next batch.
    row: u64,
}

impl Adapt {
    fn adapt(&mut self, batch: &RecordBatch) -> SourceResult<Decoded> {
        let (batch, rejects) =
            self.columns(batch).map_err(|error| SourceError::arrow(&self.file, error))?;
        Ok(Decoded { batch, rejects, consumed: 0 })
    }

    fn columns(&mut self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<Reject>), ArrowError> {
        let rows = batch.num_rows();
        let leaves = &self.leaves;
        let mut misfits = Vec::new();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (field, constant) in self.schema.fields().iter().zip(&self.constants) {
            columns.push(match batch.column_by_name(field.name()) {
                None => absent(field.data_type(), constant.as_ref(), rows)?,
                Some(column) => convert(
                    column,
                    field,
                    field.name(),
                    &|array, to, path, report| cast::leaf(array, to, path, leaves, report),
                    &mut misfits,
                )?,
            });
        }
        one_per_row(&mut misfits);
        let adapted = without_misfits(batch_of(&self.schema, columns, rows)?, &misfits)?;
        let first = self.row + 1;
        self.row += rows as u64;
        let rejects = misfits.into_iter().map(|Misfit { row, field, unfit, message }| Reject {
            byte_offset: 0,
            line: first + row as u64,
            field: Some(field),
            message,
            out_of_range: unfit == Unfit::OutOfRange,
            raw: Vec::new(),
        });
        Ok((adapted, rejects.collect()))
    }
}

#[cfg(test)]
mod tests;
