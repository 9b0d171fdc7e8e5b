//! `system.epochs`: the retained commit records of all jobs, up to the epoch that the query sees.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tidegauge_commitlog::{CommitRecord, SourceRows};

use super::query_job::QueryJob;
use super::stores::Stores;
use crate::error::to_datafusion;
use crate::plan::utc_type;

/// The records of a job that are read for one query.
const RECORDS_MAX: usize = 1_000;

/// The commit records of jobs.
#[derive(Debug)]
pub(super) struct EpochsTable {
    jobs: Vec<Arc<QueryJob>>,
    stores: Arc<Stores>,
}

/// A record and the job that it is of.
struct Row {
    job: String,
    record: CommitRecord,
}

impl EpochsTable {
    /// The epochs of `jobs`.
    pub(super) fn new(jobs: Vec<Arc<QueryJob>>, stores: Arc<Stores>) -> Self {
        Self { jobs, stores }
    }
}

#[async_trait]
impl TableProvider for EpochsTable {
    fn schema(&self) -> SchemaRef {
        epochs_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut rows = Vec::new();
        for snapshot in &self.jobs {
            let Some(through) = snapshot.view.epoch else { continue };
            let reader = self.stores.reader(snapshot.spec()).map_err(to_datafusion)?;
            let records = reader.records(through, RECORDS_MAX).await.map_err(to_datafusion)?;
            let job = &snapshot.spec().name;
            rows.extend(records.into_iter().map(|record| Row { job: job.clone(), record }));
        }
        let batch = epochs_rows(&rows)?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![batch]], epochs_schema(), projection.cloned())?;
        Ok(plan)
    }
}

fn epochs_schema() -> SchemaRef {
    let count = |name: &str| Field::new(name, DataType::UInt64, true);
    Arc::new(Schema::new(vec![
        Field::new("job", DataType::Utf8, true),
        count("epoch"),
        Field::new("committed", utc_type(), true),
        Field::new("watermark", utc_type(), true),
        count("rows_in"),
        count("rows_used"),
        count("rows_filtered"),
        count("rows_late"),
        count("rows_quarantined"),
        count("rows_out"),
        count("files_in"),
        count("files_out"),
        count("ingest_ms"),
        count("close_ms"),
        count("state_ms"),
    ]))
}

fn epochs_rows(rows: &[Row]) -> Result<RecordBatch> {
    let counts = |of: &dyn Fn(&CommitRecord) -> Option<u64>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(&row.record)).collect::<UInt64Array>())
    };
    let times = |of: &dyn Fn(&CommitRecord) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = rows.iter().map(|row| of(&row.record)).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let jobs: StringArray = rows.iter().map(|row| Some(row.job.as_str())).collect();
    let columns = vec![
        Arc::new(jobs) as ArrayRef,
        counts(&|record| Some(record.epoch.0)),
        times(&|record| record.clock_ms.checked_mul(1_000)),
        times(&|record| record.sources.values().filter_map(|source| source.watermark_us).min()),
        counts(&|record| Some(fate(record).rows_in)),
        counts(&|record| Some(fate(record).used)),
        counts(&|record| Some(fate(record).filtered)),
        counts(&|record| Some(fate(record).late)),
        counts(&|record| Some(fate(record).quarantined)),
        counts(&|record| Some(record.rows_out.values().sum())),
        counts(&|record| Some(record.sources.values().map(|s| s.added.len() as u64).sum())),
        counts(&|record| Some(record.files.len() as u64)),
        counts(&|record| record.timings_ms.get("ingest").copied()),
        counts(&|record| record.timings_ms.get("close").copied()),
        counts(&|record| record.timings_ms.get("state").copied()),
    ];
    Ok(RecordBatch::try_new(epochs_schema(), columns)?)
}

fn fate(record: &CommitRecord) -> SourceRows {
    let mut sum = SourceRows::default();
    for source in record.sources.values() {
        sum.add(&source.rows);
    }
    sum
}
