//! One pass over new files of a source, shared by all cuts: what step 2 of an epoch does, here or
//! on a worker.
//!
//! ```text
//!  files --> decode --> guard --> rule of cut 1 --> plan of cut 1 --> state buffer
//!                            \--> rule of cut 2 --> plan of cut 2 --> prepared files of a sink
//! ```
//!
//! Each partition takes the next file from one queue, so that a slow file holds up nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_plan::expressions::lit;
use datafusion::physical_plan::{EmptyRecordBatchStream, ExecutionPlan};
use futures::StreamExt;
use object_store::ObjectStore;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::{FailedWhere, SinkFile, SourceRows, StageRows};
use tidegauge_spec::{Compression, EpochUnit, Format};
use tokio::task::JoinSet;

use super::ahead::{AheadRule, LatestTimes, Reach};
use super::assign::{CutRule, Guard, Guarded, Refused, Taken, TimePlace, source_rows};
use super::cut_run::{CutOutput, CutResult, CutRun};
use super::doubtful::FileRows;
use super::failures::{FailedIn, Failures};
use super::late::{LateTarget, LateWriter};
use super::progress::Progress;
use super::state_buffer::{Buffered, RunTarget, StateBuffer};
use crate::error::{Error, Result, from_datafusion};
use crate::operator::{Policy, Reported, RowNames};
use crate::plan::{CutTarget, IngestCut};
use crate::sink::{SinkTarget, SinkWriter};
use crate::source::{Decoded, InputFile, OpenSettings, Scheme, read_file};
use crate::sql::{Windows, canonical_batch};

const BATCH_ROWS: usize = 8_192;
const BLOCK_BYTES: usize = 1024 * 1024;
/// About how many rows a plan makes at once of those that it is handed.
const COPIED_ROWS_MAX: usize = 262_144;

/// A pass, but for its files.
#[derive(Debug, Clone)]
pub struct PassPlan {
    pub(crate) source: PassSource,
    /// The declared columns of the source.
    pub(crate) schema: SchemaRef,
    pub(crate) cuts: Vec<PassCut>,
    /// How many files are read at once.
    pub(crate) partitions: usize,
    /// The task that runs it, for the names of runs.
    pub(crate) task: String,
    /// What becomes of rows of which an expression cannot be computed.
    pub(crate) on_error: Policy,
}

/// Where the rows of a pass come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PassSource {
    /// How its files are read; none for a feed, whose rows a plan makes.
    pub(crate) files: Option<FilesOf>,
    /// The event time among the declared columns.
    pub(crate) time: TimePlace,
    /// Later event times than this are taken for a broken clock.
    pub(crate) future_max_us: i64,
    /// How clocks that are ahead are told; none for a feed, whose times do not move its watermark.
    pub(crate) ahead: Option<AheadRule>,
}

/// How the files of a source are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FilesOf {
    pub(crate) scheme: Scheme,
    pub(crate) format: Format,
    pub(crate) compression: Compression,
    pub(crate) unit: Option<EpochUnit>,
}

/// One cut of a pass.
#[derive(Debug, Clone)]
pub(crate) struct PassCut {
    pub(crate) plan: IngestCut,
    /// The query, or the first of those, that it is for.
    pub(crate) query: FailedIn,
    /// For a windowed stage: its windows, and the watermark that refuses rows.
    pub(crate) window: Option<(Windows, Option<i64>)>,
    /// How many rows the plan makes of one, at most, before it aggregates them.
    pub(crate) copies: usize,
    /// Where the rows go that the watermark refuses; they are only counted if absent.
    pub(crate) late: Option<LateTarget>,
    pub(crate) output: OutputTarget,
    /// For a stage: the plan that merges its partial aggregates, over a scan of nothing yet.
    pub(crate) merge: Option<Arc<dyn ExecutionPlan>>,
}

/// Where the rows of a cut go.
#[derive(Debug, Clone)]
pub(crate) enum OutputTarget {
    State(RunTarget),
    Sink(SinkTarget),
}

/// What the pass over a source gave.
#[derive(Debug, Default)]
pub struct SourceReceipt {
    pub(crate) rows: SourceRows,
    pub(crate) times: LatestTimes,
    /// How far they say that the source has come, once they are all there.
    pub(crate) reach: Reach,
    pub(crate) file_rows: FileRows,
    pub(crate) stages: BTreeMap<String, StageReceipt>,
    pub(crate) files: Vec<SinkFile>,
    /// Rows of which an expression cannot be computed.
    pub(crate) failed: Failures,
    /// Those of a feed's plan, on a worker.
    pub(crate) reported: Reported,
}

/// What a pass gave to one stage.
#[derive(Debug, Default)]
pub(crate) struct StageReceipt {
    pub(crate) rows: StageRows,
    pub(crate) parts: Vec<Buffered>,
}

impl PassPlan {
    /// Reads `files` of `store` once, for all cuts.
    pub(crate) async fn run(
        self,
        store: Arc<dyn ObjectStore>,
        files: Vec<InputFile>,
        progress: Arc<Progress>,
        task: Arc<TaskContext>,
    ) -> Result<SourceReceipt> {
        // Those without a file run too: a join in a plan may wait for the end of each.
        let partitions = self.partitions;
        let reader = self.reader(store)?;
        let pass = Arc::new(Pass::new(self, Some(reader), files, progress, task)?);
        let mut tasks = JoinSet::new();
        for partition in 0..partitions {
            let pass = Arc::clone(&pass);
            tasks.spawn(async move { pass.run(partition).await });
        }
        let mut total = SourceReceipt::default();
        while let Some(done) = tasks.join_next().await {
            let stopped = |error| Error::bug("an ingest task stopped").with_source(error);
            total.add(done.map_err(stopped)??);
        }
        Ok(total)
    }

    /// Reads each of `files` by itself, for no cut: what came of it, by its place.
    pub(crate) async fn check(
        self,
        store: Arc<dyn ObjectStore>,
        files: Vec<InputFile>,
    ) -> Result<Vec<(usize, Result<SourceReceipt>)>> {
        let partitions = self.partitions;
        let reader = self.reader(store)?;
        let pass = Pass::new(self, Some(reader), vec![], Arc::default(), Arc::default())?;
        let pass = Arc::new(Pass { cuts: vec![], ..pass });
        let queue: VecDeque<_> = files.into_iter().enumerate().collect();
        let queue = Arc::new(Mutex::new(queue));
        let mut tasks = JoinSet::new();
        for _ in 0..partitions {
            let (pass, queue) = (Arc::clone(&pass), Arc::clone(&queue));
            tasks.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let next = queue.lock().pop_front();
                    let Some((at, file)) = next else { return done };
                    done.push((at, pass.check(&file).await));
                }
            });
        }
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let stopped = |error| Error::bug("a check of files stopped").with_source(error);
            all.extend(done.map_err(stopped)?);
        }
        Ok(all)
    }

    /// Takes `rows`, with the columns of a feed, for all cuts.
    pub(crate) async fn run_rows(
        self,
        rows: SendableRecordBatchStream,
        task: Arc<TaskContext>,
    ) -> Result<SourceReceipt> {
        Pass::new(self, None, vec![], Arc::default(), task)?.run_rows(rows).await
    }

    fn reader(&self, store: Arc<dyn ObjectStore>) -> Result<Reader> {
        let Some(files) = &self.source.files else {
            return Err(Error::bug("a feed has no files to read"));
        };
        let settings = OpenSettings {
            schema: Arc::clone(&self.schema),
            projection: decoded_columns(&self.source, &self.schema, &self.cuts),
            time_column: Some(self.source.time.column),
            format: files.format.clone(),
            compression: files.compression,
            unit: files.unit,
            batch_rows: BATCH_ROWS,
            block_bytes: BLOCK_BYTES,
        };
        Ok(Reader { store, settings: Arc::new(settings) })
    }
}

/// What reads the files of a pass.
struct Reader {
    store: Arc<dyn ObjectStore>,
    settings: Arc<OpenSettings>,
}

/// A pass that runs, shared by its partitions.
struct Pass {
    cuts: Vec<Cut>,
    guard: Guard,
    /// The event time as rejects name it.
    event_time: String,
    ahead: Option<AheadRule>,
    files: Mutex<VecDeque<InputFile>>,
    reader: Option<Reader>,
    /// The positions of the columns that any cut reads.
    decoded: Vec<usize>,
    task: Arc<TaskContext>,
    task_name: String,
    progress: Arc<Progress>,
    on_error: Policy,
}

struct Cut {
    plan: IngestCut,
    query: FailedIn,
    rule: CutRule,
    /// The most rows that its plan is handed at once.
    rows_at_once: usize,
    late: Option<LateTarget>,
    output: OutputTarget,
}

/// A cut as one partition runs it.
struct Running {
    run: CutRun,
    late: Option<LateWriter>,
    rows: StageRows,
}

impl Pass {
    fn new(
        plan: PassPlan,
        reader: Option<Reader>,
        files: Vec<InputFile>,
        progress: Arc<Progress>,
        task: Arc<TaskContext>,
    ) -> Result<Self> {
        let PassPlan { source, schema, cuts, task: task_name, on_error, .. } = plan;
        let decoded = decoded_columns(&source, &schema, &cuts);
        let decoded_schema: SchemaRef =
            Arc::new(schema.project(&decoded).map_err(|error| from_datafusion(error.into()))?);
        let position = |column: usize| decoded.iter().position(|&at| at == column).unwrap_or(0);
        let cuts = cuts
            .into_iter()
            .map(|cut| {
                let rule = rule(&cut, &decoded_schema, &position)?;
                let rows_at_once = COPIED_ROWS_MAX.checked_div(cut.copies).unwrap_or(1).max(1);
                let PassCut { plan, query, late, output, .. } = cut;
                Ok(Cut { plan, query, rule, rows_at_once, late, output })
            })
            .collect::<Result<Vec<_>>>()?;
        let TimePlace { column, fields } = &source.time;
        let path = std::iter::once(schema.field(*column).name()).chain(fields);
        let event_time = path.cloned().collect::<Vec<_>>().join(".");
        let time = TimePlace { column: position(*column), fields: fields.clone() };
        let guard = Guard { time, future_max_us: source.future_max_us };
        Ok(Self {
            cuts,
            guard,
            event_time,
            ahead: source.ahead,
            files: Mutex::new(files.into()),
            reader,
            decoded,
            task,
            task_name,
            progress,
            on_error,
        })
    }

    async fn run(&self, partition: usize) -> Result<SourceReceipt> {
        let mut receipt = SourceReceipt::default();
        let mut runs = self.start(partition)?;
        while let (Some(file), Some(reader)) = (self.next_file(), &self.reader) {
            let (store, settings) = (Arc::clone(&reader.store), Arc::clone(&reader.settings));
            let mut decoded = read_file(store, &file, settings);
            let (mut rows, mut refused) = (0, Refused::default());
            while let Some(block) = decoded.next().await {
                let block = block.map_err(Error::from)?;
                let beyond = refuse_rejects(&file, &block, &self.event_time)?;
                receipt.quarantine(beyond);
                self.progress.add_rows(beyond, None);
                rows += beyond + block.batch.num_rows() as u64;
                let batch =
                    canonical_batch(block.batch).map_err(|error| from_datafusion(error.into()))?;
                let more = self.hand_out(batch, &file.display, &mut runs, &mut receipt).await?;
                refused.timeless += beyond + more.timeless;
                refused.future += more.future;
            }
            receipt.file_rows.add(&file.display, rows, refused, file.row_groups.is_some());
            self.progress.add_file();
        }
        self.finish(runs, &mut receipt).await?;
        Ok(receipt)
    }

    async fn check(&self, file: &InputFile) -> Result<SourceReceipt> {
        let mut receipt = SourceReceipt::default();
        let Some(Reader { store, settings }) = &self.reader else { return Ok(receipt) };
        let mut decoded = read_file(Arc::clone(store), file, Arc::clone(settings));
        let (mut rows, mut refused) = (0, Refused::default());
        while let Some(block) = decoded.next().await {
            let block = block.map_err(Error::from)?;
            let beyond = refuse_rejects(file, &block, &self.event_time)?;
            rows += beyond + block.batch.num_rows() as u64;
            let more = self.guard.apply(block.batch).map_err(from_datafusion)?.refused;
            refused.timeless += beyond + more.timeless;
            refused.future += more.future;
        }
        receipt.file_rows.add(&file.display, rows, refused, false);
        Ok(receipt)
    }

    async fn run_rows(&self, mut input: SendableRecordBatchStream) -> Result<SourceReceipt> {
        let mut receipt = SourceReceipt::default();
        let mut runs = self.start(0)?;
        while let Some(batch) = input.next().await {
            let batch = batch.and_then(|batch| Ok(batch.project(&self.decoded)?));
            let batch = batch.map_err(from_datafusion)?;
            self.hand_out(batch, "a view", &mut runs, &mut receipt).await?;
        }
        self.finish(runs, &mut receipt).await?;
        Ok(receipt)
    }

    fn start(&self, partition: usize) -> Result<Vec<Running>> {
        let cuts = self.cuts.iter();
        cuts.map(|cut| cut.start(partition, &self.task_name, &self.task)).collect()
    }

    async fn finish(&self, runs: Vec<Running>, receipt: &mut SourceReceipt) -> Result<()> {
        for (Running { run, late, rows }, cut) in runs.into_iter().zip(&self.cuts) {
            receipt.add_result(&cut.plan.target, run.finish().await?, rows);
            if let Some(late) = late {
                receipt.files.extend(late.finish().await?);
            }
        }
        Ok(())
    }

    fn next_file(&self) -> Option<InputFile> {
        self.files.lock().pop_front()
    }

    async fn hand_out(
        &self,
        batch: RecordBatch,
        from: &str,
        runs: &mut [Running],
        receipt: &mut SourceReceipt,
    ) -> Result<Refused> {
        let guarded = self.guard.apply(batch).map_err(from_datafusion)?;
        let mut taken = Vec::with_capacity(self.cuts.len());
        for cut in &self.cuts {
            let cut = cut.rule.take(&guarded, &self.guard.time).map_err(from_datafusion)?;
            taken.push(cut);
        }
        let rows = guarded.batch.num_rows();
        for ((running, taken), cut) in runs.iter_mut().zip(&mut taken).zip(&self.cuts) {
            if let Some(late) = &mut running.late {
                late.write(&cut.rule, &guarded, taken, &self.guard.time).await?;
            }
            if let Some(chunk) = taken.chunk.take() {
                let mut refused = Vec::new();
                for from in (0..chunk.num_rows()).step_by(cut.rows_at_once) {
                    let rows = cut.rows_at_once.min(chunk.num_rows() - from);
                    let failed = running.run.feed(chunk.slice(from, rows)).await?;
                    refused.extend(failed.into_iter().map(|(at, error)| (from + at, error)));
                }
                taken.take_back(refused, rows);
            }
            running.rows.add(&taken.rows);
            self.report(cut, taken, &guarded, from, &mut receipt.failed)?;
        }
        let source = source_rows(&guarded, &taken);
        let time_max_us = guarded.time_us.map(|(_, last)| last);
        receipt.rows.add(&source);
        if let (Some(rule), Some(last_us)) = (&self.ahead, time_max_us) {
            let times = self.guard.time.of(&guarded.batch).map_err(from_datafusion)?;
            receipt.times.add(&times, last_us, rule);
        }
        self.progress.add_rows(source.rows_in, time_max_us);
        Ok(guarded.refused)
    }
}

impl Pass {
    /// Says which rows of a batch `from` a file failed in a cut.
    fn report(
        &self,
        cut: &Cut,
        taken: &Taken,
        guarded: &Guarded,
        from: &str,
        failed: &mut Failures,
    ) -> Result<()> {
        let Some((row, error)) = taken.failed().first() else { return Ok(()) };
        let row = RowNames::default().describe(&guarded.batch, *row);
        let example = format!("{error}: {from}, {row}");
        if self.on_error == Policy::Fail {
            return Err(Error::bad_record(format!(
                "the query into {} in line {}: {example}; on_error: skip leaves such rows out",
                cut.query.query, cut.query.line
            )));
        }
        let reported = Reported { rows: taken.rows.failed, example: Some(example) };
        failed.report(&cut.query, FailedWhere::Rows, reported);
        Ok(())
    }
}

impl Cut {
    fn start(&self, partition: usize, task_name: &str, task: &Arc<TaskContext>) -> Result<Running> {
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
                let buffer =
                    StateBuffer::new(target.clone(), format!("{task_name}-{partition}"), pool);
                CutOutput::State(Box::new(buffer))
            }
            OutputTarget::Sink(target) => {
                CutOutput::Sink(Box::new(SinkWriter::new(target.clone())?))
            }
        };
        Ok(Running {
            run: CutRun::new(stream, queue, output),
            late: self.late.clone().map(LateWriter::new),
            rows: StageRows::default(),
        })
    }
}

impl SourceReceipt {
    /// Takes in what another part of the pass gave.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows.add(&other.rows);
        self.times.merge(other.times);
        self.file_rows.merge(other.file_rows);
        self.files.extend(other.files);
        self.failed.add(other.failed);
        self.reported.add(other.reported);
        for (id, stage) in other.stages {
            let mine = self.stages.entry(id).or_default();
            mine.rows.add(&stage.rows);
            mine.parts.extend(stage.parts);
        }
    }

    /// Takes in rows that no query may see.
    fn quarantine(&mut self, rows: u64) {
        self.rows.rows_in += rows;
        self.rows.quarantined += rows;
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

/// The columns of the source that any cut reads, in order; all of them where late rows are kept.
fn decoded_columns(source: &PassSource, schema: &Schema, cuts: &[PassCut]) -> Vec<usize> {
    if cuts.iter().any(|cut| cut.late.is_some()) {
        return (0..schema.fields().len()).collect();
    }
    let mut columns = BTreeSet::from([source.time.column]);
    for input in cuts.iter().filter_map(|cut| cut.plan.input.as_ref()) {
        columns.extend(&input.columns);
        if let Some(filter) = &input.filter {
            columns.extend(collect_columns(filter).iter().map(|column| column.index()));
        }
    }
    columns.into_iter().collect()
}

fn rule(cut: &PassCut, decoded: &Schema, position: &impl Fn(usize) -> usize) -> Result<CutRule> {
    let window = cut.window;
    let Some(input) = &cut.plan.input else {
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

/// Counts the rows whose event time lies outside of the years 1 to 9999 as quarantined; until there
/// is a place for other records that cannot be read, one of them fails the epoch.
fn refuse_rejects(file: &InputFile, block: &Decoded, event_time: &str) -> Result<u64> {
    let mut quarantined = 0;
    for reject in &block.rejects {
        if !reject.out_of_range || reject.field.as_deref() != Some(event_time) {
            return Err(Error::bad_record(reject.spoken(&file.display)));
        }
        quarantined += 1;
    }
    Ok(quarantined)
}
