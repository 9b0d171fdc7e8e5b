//! `live.<sink>`: the windows that are open, as they are so far, of every query that writes one
//! sink.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::live_scan::LiveScan;
use super::query_job::QueryJob;
use crate::error::to_datafusion;

/// A sink's open windows.
#[derive(Debug)]
pub(super) struct LiveTable {
    job: Arc<QueryJob>,
    sink: String,
    schema: SchemaRef,
}

impl LiveTable {
    /// The open windows of `sink`, with its columns.
    pub(super) fn new(job: Arc<QueryJob>, sink: String, schema: SchemaRef) -> Self {
        Self { job, sink, schema }
    }
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let view = self.job.opened().map_err(to_datafusion)?;
        let job = self.job.planned.job().await.map_err(to_datafusion)?;
        let mut scans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for query in job.plan.queries.iter().filter(|query| query.sink == self.sink) {
            if !query.is_stateless() {
                let plan = job.live_plan(query, view).await.map_err(to_datafusion)?;
                scans.push(Arc::new(LiveScan::new(plan, &self.schema, projection)?));
            }
        }
        UnionExec::try_new(scans)
    }
}
