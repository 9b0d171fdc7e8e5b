//! A run: an immutable Parquet file of partial aggregates, sorted by the start of the pane, so
//! that a close reads the row groups of its own windows and no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::{interleave_record_batch, min};
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;
use datafusion::error::Result as PlanResult;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use datafusion::parquet::file::metadata::RowGroupMetaData;
use datafusion::parquet::file::statistics::Statistics;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegauge_commitlog::{Run, Storage};

use super::run_writer::{PackedRun, RunEncoder};
use super::state_view::{StateShape, StateView, starts_of};
use crate::error::{Error, Result, to_datafusion};
use crate::source::{InputFile, ObjectReader};

/// Rows that are put in order at once.
const ROWS_AT_ONCE: usize = 8_192;

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
    let encoding = tokio::task::spawn_blocking(move || encode(schema, &batches));
    let packed = encoding
        .await
        .map_err(|error| Error::bug("a run's encoding stopped").with_source(error))?
        .map_err(crate::error::from_datafusion)?;
    match packed {
        Some(packed) => packed.store(storage, path).await.map(Some),
        None => Ok(None),
    }
}

/// Packs the rows in the order of their first column, some at a time, so that they are never in
/// memory twice.
fn encode(schema: SchemaRef, batches: &[RecordBatch]) -> PlanResult<Option<PackedRun>> {
    let mut encoder = RunEncoder::new(schema);
    let starts = |batch: &RecordBatch| starts_of(batch).map(|starts| starts.values().clone());
    let starts: Vec<_> = batches.iter().filter_map(starts).collect();
    let is_sorted = starts.iter().flat_map(|starts| starts.iter()).is_sorted();
    if is_sorted || starts.len() != batches.len() {
        batches.iter().try_for_each(|batch| encoder.write(batch))?;
        return encoder.finish();
    }
    let place = |(batch, starts): (usize, &ScalarBuffer<i64>)| {
        (0..starts.len()).map(move |row| (batch, row)).collect::<Vec<_>>()
    };
    let mut places: Vec<(usize, usize)> = starts.iter().enumerate().flat_map(place).collect();
    places.sort_by_key(|&(batch, row)| starts[batch][row]);
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    for places in places.chunks(ROWS_AT_ONCE) {
        encoder.write(&interleave_record_batch(&batches, places)?)?;
    }
    encoder.finish()
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
            part: None,
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
        let seen = move |batch: RecordBatch| {
            let places = places.clone();
            futures::stream::iter(view.applied(state, batch).map(move |batch| match &places {
                Some(places) => Ok(batch?.project(places)?),
                None => batch,
            }))
        };
        Ok::<_, DataFusionError>(rows.map_err(DataFusionError::from).map_ok(seen).try_flatten())
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
