//! Step 2 of an epoch: one pass over a source's new files, shared by all cuts.
//!
//! ```text
//!  files --> decode --> guard --> rule of cut 1 --> plan of cut 1 --> state buffer
//!                            \--> rule of cut 2 --> plan of cut 2 --> prepared files of a sink
//! ```
//!
//! Each partition takes the next file from one queue, so that a slow file holds up nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::expressions::lit;
use futures::StreamExt;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tidegauge_commitlog::{Attempt, SinkFile, SourceRows, StageRows, Storage};
use tidegauge_spec::Format;
use tokio::task::JoinSet;

use super::assign::{CutRule, Guard, source_rows};
use super::compile::{CompiledJob, SourceRuntime};
use super::cut_run::{CutOutput, CutResult, CutRun};
use super::progress::Progress;
use super::split::split;
use super::state_buffer::{Buffered, RunTarget, StateBuffer};
use crate::error::{Error, Result, from_datafusion};
use crate::observe::count;
use crate::plan::{CutTarget, IngestCut};
use crate::sink::{SinkTarget, SinkWriter};
use crate::source::{Decoded, InputFile, OpenSettings, Reject, read_file};

/// What an epoch's ingest needs beside the source.
#[derive(Debug, Clone)]
pub(super) struct IngestContext {
    pub(super) attempt: Attempt,
    pub(super) state: Storage,
    pub(super) sinks: BTreeMap<String, Storage>,
    /// Each stage's watermark at the start of the epoch.
    pub(super) watermarks: BTreeMap<String, Option<i64>>,
    pub(super) numbers: Arc<AtomicU32>,
    pub(super) progress: Arc<Progress>,
}

/// What the pass over a source gave.
#[derive(Debug, Default)]
pub(super) struct SourceReceipt {
    pub(super) rows: SourceRows,
    pub(super) time_max_us: Option<i64>,
    pub(super) stages: BTreeMap<String, StageReceipt>,
    pub(super) files: Vec<SinkFile>,
}

/// What a pass gave to one stage.
#[derive(Debug, Default)]
pub(super) struct StageReceipt {
    pub(super) rows: StageRows,
    pub(super) parts: Vec<Buffered>,
}

/// Reads `files` of `source` once, for all cuts.
pub(super) async fn ingest(
    job: &CompiledJob,
    source: &SourceRuntime,
    files: Vec<InputFile>,
    context: &IngestContext,
) -> Result<SourceReceipt> {
    let session = job.session_at(context.attempt.started_ms);
    let cuts = job.plan.ingest_cuts(&session, &source.table.name).await.map_err(from_datafusion)?;
    let partitions = session.config().target_partitions();
    let files_read = files.len() as u64;
    let bytes_read = files.iter().map(|file| file.size).sum();
    let files = match source.spec.format {
        Format::Parquet if files.len() < partitions => {
            split(&source.store, files, partitions).await?
        }
        _ => files,
    };
    let pass = Arc::new(Pass::new(job, source, cuts, files, context, session.task_ctx())?);
    let mut tasks = JoinSet::new();
    for partition in 0..partitions {
        let pass = Arc::clone(&pass);
        tasks.spawn(async move { pass.run(partition).await });
    }
    let mut total = SourceReceipt::default();
    while let Some(done) = tasks.join_next().await {
        let part = done.map_err(|error| Error::bug("an ingest task stopped").with_source(error))?;
        total.add(part?);
    }
    count([("files", files_read), ("bytes", bytes_read), ("rows", total.rows.rows_in)]);
    Ok(total)
}

/// One pass over a source, shared by its partitions.
struct Pass {
    cuts: Vec<Cut>,
    guard: Guard,
    files: Mutex<VecDeque<InputFile>>,
    store: Arc<dyn ObjectStore>,
    settings: Arc<OpenSettings>,
    task: Arc<TaskContext>,
    progress: Arc<Progress>,
}

struct Cut {
    plan: IngestCut,
    rule: CutRule,
    output: OutputTarget,
}

enum OutputTarget {
    State(RunTarget),
    Sink(SinkTarget),
}

impl Pass {
    fn new(
        job: &CompiledJob,
        source: &SourceRuntime,
        cuts: Vec<IngestCut>,
        files: Vec<InputFile>,
        context: &IngestContext,
        task: Arc<TaskContext>,
    ) -> Result<Self> {
        let schema = &source.table.schema;
        let decoded = decoded_columns(source.time_column, &cuts);
        let decoded_schema: SchemaRef =
            Arc::new(schema.project(&decoded).map_err(|error| from_datafusion(error.into()))?);
        let position = |column: usize| decoded.iter().position(|&at| at == column).unwrap_or(0);
        let cuts = cuts
            .into_iter()
            .map(|plan| {
                let rule = rule(job, &plan, context, &decoded_schema, &position)?;
                let output = output(job, &plan.target, context)?;
                Ok(Cut { plan, rule, output })
            })
            .collect::<Result<Vec<_>>>()?;
        let guard = Guard {
            time_column: position(source.time_column),
            future_max_us: context
                .attempt
                .started_ms
                .saturating_mul(1_000)
                .saturating_add(source.future_max_us),
        };
        Ok(Self {
            cuts,
            guard,
            files: Mutex::new(files.into()),
            store: Arc::clone(&source.store),
            settings: Arc::new(source.open_settings(decoded)),
            task,
            progress: Arc::clone(&context.progress),
        })
    }

    async fn run(&self, partition: usize) -> Result<SourceReceipt> {
        let mut receipt = SourceReceipt::default();
        let mut runs = self
            .cuts
            .iter()
            .map(|cut| cut.start(partition, &self.task))
            .collect::<Result<Vec<_>>>()?;
        let mut rows = vec![StageRows::default(); runs.len()];
        while let Some(file) = self.next_file() {
            let mut decoded = read_file(Arc::clone(&self.store), &file, Arc::clone(&self.settings));
            while let Some(block) = decoded.next().await {
                let block = block.map_err(Error::from)?;
                refuse_rejects(&file, &block)?;
                self.hand_out(block, &mut runs, &mut rows, &mut receipt).await?;
            }
            self.progress.add_file();
        }
        for ((run, cut), rows) in runs.into_iter().zip(&self.cuts).zip(rows) {
            receipt.add_result(&cut.plan.target, run.finish().await?, rows);
        }
        Ok(receipt)
    }

    fn next_file(&self) -> Option<InputFile> {
        self.files.lock().pop_front()
    }

    async fn hand_out(
        &self,
        block: Decoded,
        runs: &mut [CutRun],
        rows: &mut [StageRows],
        receipt: &mut SourceReceipt,
    ) -> Result<()> {
        let guarded = self.guard.apply(block.batch).map_err(from_datafusion)?;
        let mut taken = Vec::with_capacity(self.cuts.len());
        for cut in &self.cuts {
            let cut = cut.rule.take(&guarded, self.guard.time_column).map_err(from_datafusion)?;
            taken.push(cut);
        }
        let source = source_rows(&guarded, &taken);
        for ((run, cut), rows) in runs.iter_mut().zip(taken).zip(rows) {
            rows.add(&cut.rows);
            if let Some(chunk) = cut.chunk {
                run.feed(chunk).await?;
            }
        }
        let time_max_us = guarded.time_us.map(|(_, last)| last);
        receipt.rows.add(&source);
        receipt.time_max_us = receipt.time_max_us.max(time_max_us);
        self.progress.add_rows(source.rows_in, time_max_us);
        Ok(())
    }
}

impl Cut {
    fn start(&self, partition: usize, task: &Arc<TaskContext>) -> Result<CutRun> {
        let (queue, stream) = match &self.plan.input {
            Some(input) => {
                let stream = self.plan.plan.execute(partition, Arc::clone(task));
                (input.queues.get(partition).cloned(), stream.map_err(from_datafusion)?)
            }
            None => {
                let nothing = EmptyRecordBatchStream::new(self.plan.plan.schema());
                let stream: SendableRecordBatchStream = Box::pin(nothing);
                (None, stream)
            }
        };
        let output = match &self.output {
            OutputTarget::State(target) => {
                let pool = task.memory_pool();
                let buffer = StateBuffer::new(target.clone(), format!("{partition}"), pool);
                CutOutput::State(Box::new(buffer))
            }
            OutputTarget::Sink(target) => {
                CutOutput::Sink(Box::new(SinkWriter::new(target.clone())?))
            }
        };
        Ok(CutRun::new(stream, queue, output))
    }
}

impl SourceReceipt {
    fn add(&mut self, other: Self) {
        self.rows.add(&other.rows);
        self.time_max_us = self.time_max_us.max(other.time_max_us);
        self.files.extend(other.files);
        for (id, stage) in other.stages {
            let mine = self.stages.entry(id).or_default();
            mine.rows.add(&stage.rows);
            mine.parts.extend(stage.parts);
        }
    }

    fn add_result(&mut self, target: &CutTarget, result: CutResult, rows: StageRows) {
        match (target, result) {
            (CutTarget::Stage(id), CutResult::State(part)) => {
                let stage = self.stages.entry(id.clone()).or_default();
                stage.rows.add(&rows);
                stage.parts.push(part);
            }
            (_, CutResult::Sink(files)) => self.files.extend(files),
            (CutTarget::Query(_), CutResult::State(_)) => {}
        }
    }
}

/// The columns of the source that any cut reads, in order.
fn decoded_columns(time_column: usize, cuts: &[IngestCut]) -> Vec<usize> {
    let mut columns = BTreeSet::from([time_column]);
    for input in cuts.iter().filter_map(|cut| cut.input.as_ref()) {
        columns.extend(&input.columns);
        if let Some(filter) = &input.filter {
            columns.extend(collect_columns(filter).iter().map(|column| column.index()));
        }
    }
    columns.into_iter().collect()
}

fn rule(
    job: &CompiledJob,
    cut: &IngestCut,
    context: &IngestContext,
    decoded: &Schema,
    position: &impl Fn(usize) -> usize,
) -> Result<CutRule> {
    let window = match &cut.target {
        CutTarget::Stage(id) => {
            let watermark_us = context.watermarks.get(id).copied().flatten();
            job.plan.stages.get(id).map(|stage| (stage.shape, watermark_us))
        }
        CutTarget::Query(_) => None,
    };
    let Some(input) = &cut.input else {
        // The planner found that the filter is never true.
        return Ok(CutRule { filter: Some(lit(false)), columns: vec![], window });
    };
    let filter: Option<Arc<dyn PhysicalExpr>> = match &input.filter {
        Some(filter) => {
            Some(reassign_expr_columns(Arc::clone(filter), decoded).map_err(from_datafusion)?)
        }
        None => None,
    };
    Ok(CutRule { filter, columns: input.columns.iter().map(|&at| position(at)).collect(), window })
}

fn output(job: &CompiledJob, target: &CutTarget, context: &IngestContext) -> Result<OutputTarget> {
    match target {
        CutTarget::Stage(id) => {
            let stage =
                job.plan.stages.get(id).ok_or_else(|| Error::bug(format!("no stage {id}")))?;
            Ok(OutputTarget::State(RunTarget {
                storage: context.state.clone(),
                attempt: context.attempt.clone(),
                stage: id.clone(),
                schema: stage.state_schema().map_err(from_datafusion)?,
            }))
        }
        CutTarget::Query(at) => {
            let query =
                job.plan.queries.get(*at).ok_or_else(|| Error::bug(format!("no query {at}")))?;
            let target = job.sink_target(query, context)?;
            Ok(OutputTarget::Sink(target))
        }
    }
}

/// Until there is a quarantine, a record that cannot be read fails the epoch.
fn refuse_rejects(file: &InputFile, block: &Decoded) -> Result<()> {
    let Some(Reject { line, byte_offset, field, message, .. }) = block.rejects.first() else {
        return Ok(());
    };
    let field = field.as_deref().map(|name| format!("field {name}: ")).unwrap_or_default();
    Err(Error::bad_record(format!(
        "{}:{line}: {field}{message} (byte {byte_offset})",
        file.display
    )))
}
