//! A pass on workers: over a task's files, as the leaf of an ingest plan, or over the rows of a
//! feed's plan. Its partial aggregates are merged and written as one run a stage.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream,
};
use datafusion_distributed::DistributedTaskContext;
use futures::{Future, TryStreamExt};
use object_store::ObjectStore;
use tidegauge_commitlog::Run;

use super::leaf::one_partition;
use super::receipt::{IngestReceipt, receipt_schema, receipt_stream};
use super::sink_exec::task_files;
use super::task::TaskObserver;
use crate::error::{Error, from_datafusion, to_datafusion};
use crate::observe::{TaskNode, count};
use crate::operator::{StateScan, no_expressions};
use crate::plan::CutTarget;
use crate::runtime::{Buffered, OutputTarget, PassCut, PassPlan, SourceReceipt};
use crate::sink::TaskFiles;
use crate::source::InputFile;
use crate::state::{StatePart, write_run};

/// A pass over `files`, or over the rows of `input`, to be run by one task.
#[derive(Debug)]
pub(super) struct IngestExec {
    pub(super) input: Option<Arc<dyn ExecutionPlan>>,
    pub(super) pass: PassPlan,
    pub(super) files: Vec<InputFile>,
    /// Which of the attempt's plans it is, for the names of files in sinks.
    pub(super) number: u32,
    /// Which of the tasks that files were dealt out to.
    pub(super) at: usize,
    properties: Arc<PlanProperties>,
}

impl IngestExec {
    pub(super) fn new(pass: PassPlan, files: Vec<InputFile>, number: u32) -> Self {
        let properties = one_partition(receipt_schema());
        Self { input: None, pass, files, number, at: 0, properties }
    }

    /// The same pass as that of the task `at`.
    pub(super) fn of_task(self, at: usize) -> Self {
        Self { at, ..self }
    }

    /// A pass over the rows of `input`, in as many tasks as it has.
    pub(super) fn fed(input: Arc<dyn ExecutionPlan>, pass: PassPlan, number: u32) -> Self {
        Self::new(pass, vec![], number).over(Some(input))
    }

    /// The same pass over the rows of `input`, where there is one.
    pub(super) fn over(self, input: Option<Arc<dyn ExecutionPlan>>) -> Self {
        Self { input, ..self }
    }

    /// The pass with the files that all of its sinks share, late rows among them. Tasks that share an
    /// input are told apart here, those that have files of their own when they are dealt out.
    fn numbered(&self, task: &Arc<TaskContext>) -> (PassPlan, TaskFiles) {
        let mut pass = self.pass.clone();
        let mut at = self.at;
        if self.input.is_some() {
            at = DistributedTaskContext::from_ctx(task).task_index;
            pass.task = format!("{}-{at}", pass.task);
        }
        let files = task_files(self.number, at, task);
        for cut in &mut pass.cuts {
            if let OutputTarget::Sink(target) = &mut cut.output {
                target.files = files.clone();
            }
            if let Some(late) = &mut cut.late {
                late.sink.files = files.clone();
            }
        }
        (pass, files)
    }
}

impl DisplayAs for IngestExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match self.input {
            Some(_) => write!(f, "IngestExec: feed cuts={}", self.pass.cuts.len()),
            None => {
                write!(f, "IngestExec: files={} cuts={}", self.files.len(), self.pass.cuts.len())
            }
        }
    }
}

impl ExecutionPlan for IngestExec {
    fn name(&self) -> &str {
        "IngestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.input.iter().collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.input.iter().map(|_| false).collect()
    }

    no_expressions!();

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (pass, files) = (self.pass.clone(), self.files.clone());
        let same = Self::new(pass, files, self.number).of_task(self.at);
        Ok(Arc::new(same.over(children.pop())))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return internal_err!("a pass runs in one partition");
        }
        let ((pass, written), files) = (self.numbered(&task), self.files.clone());
        let observer = TaskObserver::of(&task)?;
        if let Some(input) = &self.input {
            let observed = Arc::clone(&task);
            let rows = execute_stream(Arc::clone(input), Arc::clone(&task))?;
            let reports = observer.reports().clone();
            let reading = finished(take(pass, rows, Arc::clone(&task)), written);
            let reading = async move {
                let mut receipt = reading.await?;
                receipt.reported = reports.take();
                Ok(receipt)
            };
            let task = observed;
            return Ok(receipt_stream(observer.run(TaskNode::Ingest, task, reading)));
        }
        let Some(source) = &pass.source.files else {
            return internal_err!("a pass has neither files nor rows");
        };
        let store = observer.store(&source.scheme).map_err(to_datafusion)?;
        let reading = finished(read(pass, files, store, Arc::clone(&task)), written);
        Ok(receipt_stream(observer.run(TaskNode::Ingest, task, reading)))
    }
}

/// The receipt of `reading`, with the files of rows that waited for each other.
async fn finished(
    reading: impl Future<Output = crate::error::Result<IngestReceipt>>,
    written: TaskFiles,
) -> crate::error::Result<IngestReceipt> {
    let mut receipt = reading.await?;
    receipt.files.extend(written.finish().await?);
    Ok(receipt)
}

/// Takes the rows of a feed, for all cuts of `pass`.
async fn take(
    pass: PassPlan,
    rows: SendableRecordBatchStream,
    task: Arc<TaskContext>,
) -> crate::error::Result<IngestReceipt> {
    let (cuts, name) = (pass.cuts.clone(), pass.task.clone());
    let receipt = pass.run_rows(rows, Arc::clone(&task)).await?;
    count([("rows", receipt.rows.rows_in)]);
    into_runs(receipt, &cuts, &name, &task).await
}

/// Reads `files` once, for all cuts of `pass`.
async fn read(
    pass: PassPlan,
    files: Vec<InputFile>,
    store: Arc<dyn ObjectStore>,
    task: Arc<TaskContext>,
) -> crate::error::Result<IngestReceipt> {
    let (cuts, name) = (pass.cuts.clone(), pass.task.clone());
    count([("files", files.len() as u64)]);
    if files.iter().all(|file| file.row_groups.is_none()) {
        // Of a file that is shared among tasks, no one knows the size of a share.
        count([("bytes", files.iter().map(|file| file.size).sum())]);
    }
    let receipt = pass.run(store, files, Arc::default(), Arc::clone(&task)).await?;
    count([("rows", receipt.rows.rows_in)]);
    into_runs(receipt, &cuts, &name, &task).await
}

/// Writes what is in memory of each stage, one row a key, so that the receipt names files only.
async fn into_runs(
    mut receipt: SourceReceipt,
    cuts: &[PassCut],
    name: &str,
    task: &Arc<TaskContext>,
) -> crate::error::Result<IngestReceipt> {
    let mut stages = Vec::new();
    for cut in cuts {
        let CutTarget::Stage(id) = &cut.plan.target else { continue };
        let stage = receipt.stages.remove(id).unwrap_or_default();
        let (mut runs, mut batches, mut reserved) = (Vec::new(), Vec::new(), Vec::new());
        for Buffered { batches: more, runs: spilled, reservation } in stage.parts {
            batches.extend(more);
            runs.extend(spilled);
            reserved.push(reservation);
        }
        runs.extend(merged_run(cut, batches, name, task).await?);
        stages.push((id.clone(), stage.rows, runs));
    }
    Ok(IngestReceipt {
        rows: receipt.rows,
        times: receipt.times,
        file_rows: receipt.file_rows,
        stages,
        files: receipt.files,
        failed: receipt.failed,
        reported: receipt.reported,
    })
}

async fn merged_run(
    cut: &PassCut,
    batches: Vec<RecordBatch>,
    name: &str,
    task: &Arc<TaskContext>,
) -> crate::error::Result<Option<Run>> {
    let (Some(merge), OutputTarget::State(target)) = (&cut.merge, &cut.output) else {
        return Err(Error::bug("a stage has no plan to merge its state"));
    };
    if batches.is_empty() {
        return Ok(None);
    }
    let parts = batches.into_iter().map(|batch| StatePart::Memory(Arc::new(vec![batch])));
    let plan = over_parts(merge, parts.collect()).map_err(from_datafusion)?;
    let rows = execute_stream(plan, Arc::clone(task)).map_err(from_datafusion)?;
    let merged: Vec<RecordBatch> = rows.try_collect().await.map_err(from_datafusion)?;
    let path = target.attempt.run_path(&target.stage, name);
    write_run(&target.storage, path, Arc::clone(&target.schema), merged).await
}

/// `plan` with its scan of nothing replaced by one of `parts`.
fn over_parts(
    plan: &Arc<dyn ExecutionPlan>,
    parts: Vec<StatePart>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = Arc::clone(plan).transform_up(|node| {
        Ok(match node.downcast_ref::<StateScan>() {
            Some(scan) => {
                let scan: Arc<dyn ExecutionPlan> = Arc::new(scan.with_parts(parts.clone()));
                Transformed::yes(scan)
            }
            None => Transformed::no(node),
        })
    })?;
    Ok(replaced.data)
}
