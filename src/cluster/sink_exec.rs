//! The top of a close plan on workers: the rows of a task go into prepared files, and their names
//! to the coordinator.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion_distributed::DistributedTaskContext;
use futures::stream::select_all;

use super::leaf::one_partition;
use super::receipt::{receipt_schema, receipt_stream};
use super::task::TaskObserver;
use crate::observe::{TaskNode, count_files};
use crate::operator::no_expressions;
use crate::runtime::Written;
use crate::sink::{SinkTarget, TaskFiles, write_streams};

/// Writes the rows of its input.
#[derive(Debug)]
pub(super) struct SinkExec {
    pub(super) input: Arc<dyn ExecutionPlan>,
    pub(super) target: SinkTarget,
    /// Which of the attempt's plans it is, for the names of files.
    pub(super) number: u32,
    properties: Arc<PlanProperties>,
}

impl SinkExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, target: SinkTarget, number: u32) -> Self {
        Self { input, target, number, properties: one_partition(receipt_schema()) }
    }
}

impl DisplayAs for SinkExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SinkExec: sink={} by={:?}", self.target.sink, self.target.partition_by)
    }
}

impl ExecutionPlan for SinkExec {
    fn name(&self) -> &str {
        "SinkExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    no_expressions!();

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("a sink has one input") };
        Ok(Arc::new(Self::new(input, self.target.clone(), self.number)))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return internal_err!("a sink is written in one partition");
        }
        let at = DistributedTaskContext::from_ctx(&task).task_index;
        let files = task_files(self.number, at, &task);
        let target = SinkTarget { files: files.clone(), ..self.target.clone() };
        let partitions = self.input.output_partitioning().partition_count();
        let mut streams = (0..partitions)
            .map(|partition| self.input.execute(partition, Arc::clone(&task)))
            .collect::<Result<Vec<_>>>()?;
        if target.partition_by.is_empty() && streams.len() > 1 {
            // One file of a task, and not one of each partition.
            let schema = self.input.schema();
            let all = RecordBatchStreamAdapter::new(schema, select_all(streams));
            streams = vec![Box::pin(all)];
        }
        let observer = TaskObserver::of(&task)?;
        let reports = observer.reports().clone();
        let writing = async move {
            let mut written = write_streams(streams, &target).await?;
            written.extend(files.finish().await?);
            count_files(&written);
            Ok(Written { files: written, reported: reports.take() })
        };
        Ok(receipt_stream(observer.run(TaskNode::Sink, task, writing)))
    }
}

/// The files of the task `at` of the plan `number`: no other of the attempt has this name.
pub(super) fn task_files(number: u32, at: usize, task: &TaskContext) -> TaskFiles {
    TaskFiles::new(format!("{number}_{at}"), task.runtime_env())
}
