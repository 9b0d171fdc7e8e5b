//! `system.jobs`: how each job of this process fares, a row a job.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use tidegauge_commitlog::{Epoch, SourceRows};

use super::query_job::QueryJob;
use crate::plan::utc_type;

/// The columns of the table.
pub(super) fn jobs_schema() -> SchemaRef {
    let count = |name: &str| Field::new(name, DataType::UInt64, true);
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("phase", DataType::Utf8, true),
        count("epoch"),
        Field::new("watermark", utc_type(), true),
        Field::new("max_event_time", utc_type(), true),
        Field::new("lag_ms", DataType::Int64, true),
        count("rows_in"),
        count("rows_used"),
        count("rows_filtered"),
        count("rows_late"),
        count("rows_quarantined"),
        count("rows_out"),
        count("state_bytes"),
        count("restarts"),
        Field::new("last_error", DataType::Utf8, true),
    ]))
}

/// The rows of the table; `lag_ms` is how far the watermark is behind `now_ms`.
pub(super) fn jobs_rows(jobs: &[Arc<QueryJob>], now_ms: i64) -> Result<RecordBatch> {
    let texts = |of: &dyn Fn(&QueryJob) -> Option<String>| -> ArrayRef {
        Arc::new(jobs.iter().map(|job| of(job)).collect::<StringArray>())
    };
    let counts = |of: &dyn Fn(&QueryJob) -> Option<u64>| -> ArrayRef {
        Arc::new(jobs.iter().map(|job| of(job)).collect::<UInt64Array>())
    };
    let times = |of: &dyn Fn(&QueryJob) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = jobs.iter().map(|job| of(job)).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let lags: Int64Array = jobs
        .iter()
        .map(|job| job.view.watermark_us().map(|us| now_ms.saturating_sub(us.div_euclid(1_000))))
        .collect();
    let columns = vec![
        texts(&|job| Some(job.spec().name.clone())),
        texts(&|job| Some(job.status.phase.to_string())),
        counts(&|job| job.view.epoch.map(|Epoch(epoch)| epoch)),
        times(&|job| job.view.watermark_us()),
        times(&|job| job.view.max_event_time_us()),
        Arc::new(lags),
        counts(&|job| Some(rows(job).rows_in)),
        counts(&|job| Some(rows(job).used)),
        counts(&|job| Some(rows(job).filtered)),
        counts(&|job| Some(rows(job).late)),
        counts(&|job| Some(rows(job).quarantined)),
        counts(&|job| Some(job.view.rows_out.values().sum())),
        counts(&|job| Some(job.view.state_bytes())),
        counts(&|job| Some(job.status.restarts)),
        texts(&|job| job.status.last_error.clone()),
    ];
    Ok(RecordBatch::try_new(jobs_schema(), columns)?)
}

fn rows(job: &QueryJob) -> SourceRows {
    let mut sum = SourceRows::default();
    for source in job.view.sources.values() {
        sum.add(&source.totals);
    }
    sum
}
