//! The top of a merge of state on workers: the rows of a task become one run.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream,
};
use datafusion_distributed::DistributedTaskContext;
use futures::TryStreamExt;

use super::leaf::one_partition;
use super::receipt::{receipt_schema, receipt_stream};
use super::task::TaskObserver;
use crate::error::from_datafusion;
use crate::observe::{TaskNode, count_runs};
use crate::operator::{by_first_column, no_expressions};
use crate::runtime::RunTarget;
use crate::state::RunWriter;

/// Writes the partial aggregates of its input.
#[derive(Debug)]
pub(super) struct RunExec {
    pub(super) input: Arc<dyn ExecutionPlan>,
    pub(super) target: RunTarget,
    properties: Arc<PlanProperties>,
}

impl RunExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, target: RunTarget) -> Self {
        Self { input, target, properties: one_partition(receipt_schema()) }
    }
}

impl DisplayAs for RunExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "RunExec: stage={}", self.target.stage)
    }
}

impl ExecutionPlan for RunExec {
    fn name(&self) -> &str {
        "RunExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    no_expressions!();

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("a run has one input") };
        Ok(Arc::new(Self::new(input, self.target.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return internal_err!("a run is written in one partition");
        }
        let at = DistributedTaskContext::from_ctx(&task).task_index;
        let input = by_first_column(Arc::clone(&self.input))?;
        let mut rows = execute_stream(input, Arc::clone(&task))?;
        let target = self.target.clone();
        let observer = TaskObserver::of(&task)?;
        let writing = async move {
            let path = target.attempt.run_path(&target.stage, &format!("{}-{at}", target.label));
            let mut run = RunWriter::new(&target.storage, path, target.schema);
            while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
                run.write(&batch).await?;
            }
            let run = run.finish().await?;
            count_runs(run.iter());
            Ok(run)
        };
        Ok(receipt_stream(observer.run(TaskNode::Run, task, writing)))
    }
}
