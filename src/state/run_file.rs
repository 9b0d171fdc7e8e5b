//! A run: an immutable Parquet file of partial aggregates, sorted by the start of the pane, so
//! that a close reads the row groups of its own windows and no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, min, sort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;
use datafusion::error::Result as PlanResult;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use datafusion::parquet::arrow::{ArrowWriter, ProjectionMask};
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::metadata::RowGroupMetaData;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::file::statistics::Statistics;
use datafusion::parquet::schema::types::ColumnPath;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegauge_commitlog::{Run, Storage};

use super::state_view::{StateShape, StateView, starts_of};
use crate::error::{Error, Result, to_datafusion};
use crate::source::{InputFile, ObjectReader};

const ROW_GROUP_ROWS_MAX: usize = 65_536;

/// The first and last start among the rows of `batches`.
pub fn start_range(batches: &[RecordBatch]) -> Option<(i64, i64)> {
    let starts = batches.iter().filter_map(starts_of).flat_map(|starts| starts.values().iter());
    starts.fold(None, |range, &start| match range {
        None => Some((start, start)),
        Some((first, last)) => Some((start.min(first), start.max(last))),
    })
}

/// The name of the column with the time of the first row of a piece of a session, in the state of
/// such stages.
pub const SESSION_FIRST: &str = "__first";
/// The name of the column after it, with the time of the last row.
pub const SESSION_LAST: &str = "__last";

/// The time of the first row of any session among `batches`; none for other windows.
pub fn session_time_min(batches: &[RecordBatch]) -> Option<i64> {
    let first = batches.iter().filter_map(|batch| batch.column_by_name(SESSION_FIRST));
    let first = first.filter_map(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    first.filter_map(min).min()
}

/// Writes `batches` as the run at `path`, a name that was never used before.
///
/// # Errors
/// When the storage fails, or the state has a type that Parquet has not.
pub async fn write_run(
    storage: &Storage,
    path: String,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
) -> Result<Option<Run>> {
    let Some((pane_min_us, pane_max_us)) = start_range(&batches) else { return Ok(None) };
    let time_min_us = session_time_min(&batches);
    let encoding = tokio::task::spawn_blocking(move || encode(&schema, &batches));
    let (bytes, rows) = encoding
        .await
        .map_err(|error| Error::bug("a run's encoding stopped").with_source(error))?
        .map_err(crate::error::from_datafusion)?;
    let size = bytes.len() as u64;
    storage.write(&path, bytes).await?;
    Ok(Some(Run { path, rows, bytes: size, pane_min_us, pane_max_us, time_min_us, role: None }))
}

fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> PlanResult<(Bytes, u64)> {
    let rows = concat_batches(schema, batches)?;
    let order = sort_to_indices(rows.column(0), None, None)?;
    let rows = take_record_batch(&rows, &order)?;
    let first_key = ColumnPath::from(schema.field(0).name().as_str());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(first_key, EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))?;
    writer.write(&rows)?;
    Ok((writer.into_inner()?.into(), rows.num_rows() as u64))
}

/// The rows of a run that `view` sees; `schema` is the state's, never one that was inferred, and
/// `columns` are the positions of those that are wanted, if not all are.
pub fn read_run(
    storage: Storage,
    run: Run,
    schema: SchemaRef,
    columns: Option<Vec<usize>>,
    (state, view): (StateShape, StateView),
) -> BoxStream<'static, PlanResult<RecordBatch>> {
    let opened = async move {
        let file = InputFile {
            location: storage.path(&run.path),
            size: run.bytes,
            etag: None,
            display: run.path.clone(),
            row_groups: None,
        };
        let reader = ObjectReader::new(Arc::clone(storage.store()), file);
        let options = ArrowReaderOptions::new().with_schema(schema);
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options)
            .await
            .map_err(|error| lost_run(&storage, &run, error))?;
        let groups: Vec<usize> = builder
            .metadata()
            .row_groups()
            .iter()
            .enumerate()
            .filter(|(_, group)| match starts_in(group) {
                Some((first, last)) => view.may_see(&state, first, last),
                None => true,
            })
            .map(|(at, _)| at)
            .collect();
        // The first column says what is seen.
        let read =
            columns.as_ref().map(|wanted| BTreeSet::from_iter([0].iter().chain(wanted).copied()));
        let mask = match &read {
            Some(read) => ProjectionMask::roots(builder.parquet_schema(), read.iter().copied()),
            None => ProjectionMask::all(),
        };
        let places = columns.zip(read).map(|(wanted, read)| {
            let place = |column: &usize| read.iter().position(|one| one == column);
            wanted.iter().filter_map(place).collect::<Vec<usize>>()
        });
        let rows = builder.with_row_groups(groups).with_projection(mask).build()?;
        let seen = move |batch| match &places {
            Some(places) => Ok(view.apply(&state, batch)?.project(places)?),
            None => view.apply(&state, batch),
        };
        Ok::<_, DataFusionError>(
            rows.map_err(DataFusionError::from)
                .and_then(move |batch| futures::future::ready(seen(batch))),
        )
    };
    futures::stream::once(opened).try_flatten().boxed()
}

fn starts_in(group: &RowGroupMetaData) -> Option<(i64, i64)> {
    match group.columns().first()?.statistics()? {
        Statistics::Int64(starts) => Some((*starts.min_opt()?, *starts.max_opt()?)),
        _ => None,
    }
}

fn lost_run(
    storage: &Storage,
    run: &Run,
    error: datafusion::parquet::errors::ParquetError,
) -> DataFusionError {
    let place = format!("{}/{}", storage.location().trim_end_matches('/'), run.path);
    to_datafusion(
        Error::unavailable(format!("the state file {place} cannot be read")).with_source(error),
    )
}
