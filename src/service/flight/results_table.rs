//! `results.<sink>`: every committed row of one sink as of one epoch, read by the commit log and
//! never by listing, from the files that the query's filters leave.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result, ScalarValue, Statistics, project_schema};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;
use tidegauge_commitlog::{SinkFile, Storage, is_over};
use tidegauge_spec::SinkSpec;

use super::layout::Layout;
use super::pruning::{is_of_path, may_meet, meets_all, path_columns};
use super::query_job::QueryJob;
use super::stores::{Stores, store_url};
use crate::error::to_datafusion;

/// A sink's committed rows.
#[derive(Debug)]
pub(super) struct ResultsTable {
    job: Arc<QueryJob>,
    sink: SinkSpec,
    layout: Layout,
    stores: Arc<Stores>,
}

/// A file with the values of its path.
struct Chosen {
    file: SinkFile,
    values: Vec<ScalarValue>,
}

impl ResultsTable {
    /// The rows of `sink`, which has the columns of `layout`.
    pub(super) fn new(
        job: Arc<QueryJob>,
        sink: SinkSpec,
        layout: Layout,
        stores: Arc<Stores>,
    ) -> Self {
        Self { job, sink, layout, stores }
    }

    /// The files that may hold rows that meet all of `filters`.
    async fn choose(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<Chosen>> {
        let reader = self.stores.reader(self.job.spec()).map_err(to_datafusion)?;
        let view = self.job.opened().map_err(to_datafusion)?;
        let committed = reader.files_of(&view.manifest).await.map_err(to_datafusion)?;
        let retention = self.job.retention();
        let files: Vec<SinkFile> = committed
            .into_iter()
            .map(|(_, file)| file)
            .filter(|file| file.sink == self.sink.name)
            .filter(|file| !is_over(file, &retention, view.clock_ms))
            .collect();
        let partition = &self.layout.partition;
        let (by_path, by_row): (Vec<Expr>, Vec<Expr>) =
            filters.iter().cloned().partition(|filter| is_of_path(filter, partition));
        let columns = path_columns(&files, partition)?;
        let in_path = meets_all(session, &by_path, partition, &columns, files.len())?;
        let in_time = may_meet(session, &by_row, &self.layout.table, &files);
        files
            .into_iter()
            .enumerate()
            .filter(|(at, _)| in_path[*at] && in_time[*at])
            .map(|(at, file)| {
                let values = columns.iter().map(|column| ScalarValue::try_from_array(column, at));
                Ok(Chosen { file, values: values.collect::<Result<_>>()? })
            })
            .collect()
    }

    /// Those of `chosen` that are there. It is told once of each that is not.
    async fn present(&self, storage: &Storage, chosen: Vec<Chosen>) -> Result<Vec<Chosen>> {
        let files: Vec<&SinkFile> = chosen.iter().map(|chosen| &chosen.file).collect();
        let presence = &self.stores.presence;
        let there = presence.of(storage, &files).await.map_err(to_datafusion)?;
        let gone = files.iter().zip(&there).filter(|(_, is_there)| !**is_there);
        let gone: Vec<&str> = gone.map(|(file, _)| file.published.as_str()).collect();
        let untold = presence.untold(storage.location(), &gone);
        if let Some(first) = untold.first() {
            if let Some(metrics) = self.job.metrics() {
                metrics.gone("query", untold.len());
            }
            tracing::warn!(
                job = %self.job.spec().name,
                "{} committed files of the sink {} are not there, {}/{first} among them; queries \
                 answer from the others. Where they are deleted on purpose, say so to the job: \
                 sinks.{}.retention",
                untold.len(),
                self.sink.name,
                storage.location(),
                self.sink.name
            );
        }
        let kept = chosen.into_iter().zip(there).filter(|(_, is_there)| *is_there);
        Ok(kept.map(|(chosen, _)| chosen).collect())
    }
}

#[async_trait]
impl TableProvider for ResultsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.layout.table)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters on the path are decided here; the others stay, and go down into the files by
    /// DataFusion's own rule.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let exact = |filter: &&Expr| match is_of_path(filter, &self.layout.partition) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(exact).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let storage = self.stores.open(&self.sink.location).map_err(to_datafusion)?;
        let chosen = self.choose(session, filters).await?;
        let chosen = self.present(&storage, chosen).await?;
        if chosen.is_empty() {
            let schema = project_schema(&self.layout.table, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let url = store_url(&storage)?;
        session.runtime_env().register_object_store(url.as_ref(), Arc::clone(storage.store()));
        let schema = TableSchema::builder(Arc::clone(&self.layout.file))
            .with_table_partition_cols(self.layout.partition.clone())
            .build();
        let statistics = statistics(&schema, &chosen);
        let options = TableParquetOptions {
            global: session.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(schema).with_table_parquet_options(options);
        let files: Vec<PartitionedFile> =
            chosen.into_iter().map(|chosen| partitioned(&storage, chosen)).collect();
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let scan = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(self.layout.scanned(projection)))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// How many rows there are, exactly, so that counting them reads no file.
fn statistics(schema: &TableSchema, chosen: &[Chosen]) -> Statistics {
    let sum = |of: fn(&SinkFile) -> u64| {
        let total: u64 = chosen.iter().map(|chosen| of(&chosen.file)).sum();
        usize::try_from(total).unwrap_or(usize::MAX)
    };
    Statistics {
        num_rows: Precision::Exact(sum(|file| file.rows)),
        total_byte_size: Precision::Inexact(sum(|file| file.bytes)),
        ..Statistics::new_unknown(schema.table_schema())
    }
}

fn partitioned(storage: &Storage, chosen: Chosen) -> PartitionedFile {
    // Published files never change, so that a constant does as the time of their last change.
    let meta = ObjectMeta {
        location: storage.path(&chosen.file.published),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: chosen.file.bytes,
        e_tag: None,
        version: None,
    };
    PartitionedFile::new_from_meta(meta).with_partition_values(chosen.values)
}
