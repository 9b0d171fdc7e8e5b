//! A job file to what runs: the session, the plan, the fingerprint, and every problem of the SQL
//! with its place. It reads no data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::context::SessionState;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use object_store::ObjectStore;
use tidegauge_commitlog::{LATE_SINK, Storage};
use tidegauge_spec::{BadJob, JobSpec, JobText, LateSpec, Problem, SourceSpec};

use super::assign::TimePlace;
use super::ingest::IngestContext;
use super::late::{LateTarget, late_schema};
use crate::error::{Error, Result, from_datafusion};
use crate::observe::{JobMetrics, Metrics};
use crate::plan::{
    Input, JobPlan, Query, SinkTable, SourceTable, Stage, fingerprint, held_settings,
};
use crate::sink::SinkTarget;
use crate::source::{SourceLocation, arrow_schema, open_store, split_location};
use crate::sql::{SessionSettings, SqlError, at_clock, parse_script, session_state};

/// How many of the largest consumers an error about memory names.
const CONSUMERS_NAMED: usize = 3;

/// A job that can run.
pub struct CompiledJob {
    /// Its file.
    pub spec: JobSpec,
    /// Its stages and queries.
    pub plan: JobPlan,
    /// What its state depends on.
    pub fingerprint: BTreeMap<String, String>,
    /// Its text, where another process may have to plan it for a query.
    pub text: Option<Arc<JobText>>,
    /// What is counted of it: nothing, unless [`CompiledJob::observed`] says otherwise.
    pub metrics: JobMetrics,
    pub(super) session: SessionState,
}

/// A source that a running job reads.
#[derive(Debug, Clone)]
pub(super) struct SourceRuntime {
    pub(super) spec: SourceSpec,
    pub(super) table: SourceTable,
    pub(super) location: SourceLocation,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) time: TimePlace,
    pub(super) future_max_us: i64,
}

impl fmt::Debug for CompiledJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledJob").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl CompiledJob {
    /// Plans the job of `spec`.
    ///
    /// # Errors
    /// Every problem of its SQL.
    pub async fn new(spec: JobSpec) -> std::result::Result<Self, BadJob> {
        let bad = |error: SqlError| problem(&spec, &error);
        let statements =
            parse_script(&spec.sql.text).map_err(|error| BadJob { problems: vec![bad(error)] })?;
        let partitions = match spec.partitions {
            Some(partitions) => partitions,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let runtime = runtime_env(spec.memory_max_bytes).map_err(|error| BadJob {
            problems: vec![general(&spec, "memory_max", error.message())],
        })?;
        let mut session = session_state(&SessionSettings { partitions, runtime });
        let execution = &mut session.config_mut().options_mut().execution;
        execution.sort_spill_reservation_bytes = sort_reserve(spec.memory_max_bytes);
        let sources: Vec<SourceTable> = spec.sources.iter().map(source_table).collect();
        let sinks: Vec<SinkTable> = spec
            .sinks
            .iter()
            .map(|sink| SinkTable {
                name: sink.name.clone(),
                partition_by: sink.partition_by.clone(),
            })
            .collect();
        let plan = JobPlan::new(&session, &sources, &sinks, &statements)
            .await
            .map_err(|errors| BadJob { problems: errors.into_iter().map(bad).collect() })?;
        let clashes = late_clashes(&spec, &plan);
        if !clashes.is_empty() {
            return Err(BadJob { problems: clashes.into_iter().map(bad).collect() });
        }
        let mut fingerprint = fingerprint(&plan, &sources);
        fingerprint.extend(held_settings(&spec, &plan.sources_used()));
        let metrics = Metrics::off().job(&spec.name);
        Ok(Self { spec, plan, fingerprint, text: None, metrics, session })
    }

    /// The job with the text that it was read from.
    #[must_use]
    pub fn with_text(self, text: JobText) -> Self {
        Self { text: Some(Arc::new(text)), ..self }
    }

    /// The job, counted by `metrics`.
    #[must_use]
    pub fn observed(self, metrics: &Metrics) -> Self {
        Self { metrics: metrics.job(&self.spec.name), ..self }
    }

    /// The memory that its plans say they hold now, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.session.runtime_env().memory_pool.reserved()
    }

    /// The session with `now()` at an epoch's clock.
    pub fn session_at(&self, clock_ms: i64) -> SessionState {
        at_clock(&self.session, clock_ms)
    }

    /// The sources that a query reads, with their storage.
    pub(super) fn open_sources(&self) -> Result<Vec<SourceRuntime>> {
        let used = self.plan.sources_used();
        self.spec
            .sources
            .iter()
            .filter(|source| used.contains(source.name.as_str()))
            .map(|source| SourceRuntime::open(source, &self.metrics))
            .collect()
    }

    /// Where a query's rows go in one attempt.
    pub(super) fn sink_target(&self, query: &Query, context: &IngestContext) -> Result<SinkTarget> {
        let sink = self.spec.sinks.iter().find(|sink| sink.name == query.sink);
        let storage = context.sinks.get(&query.sink);
        let (Some(sink), Some(storage)) = (sink, storage) else {
            return Err(Error::bug(format!("there is no sink {}", query.sink)));
        };
        Ok(SinkTarget {
            sink: query.sink.clone(),
            storage: storage.clone(),
            folder: String::new(),
            partition_by: sink.partition_by.clone(),
            schema: Arc::clone(&query.schema),
            attempt: context.attempt.clone(),
            files: context.files.clone(),
        })
    }
}

impl CompiledJob {
    /// Where the late rows of a stage go in one attempt, if the job keeps them.
    pub(super) fn late_target(
        &self,
        stage: &Stage,
        context: &IngestContext,
    ) -> Result<Option<LateTarget>> {
        if self.spec.late.is_none() {
            return Ok(None);
        }
        let columns = match &stage.input {
            Input::Source(name) => {
                let source = self.spec.sources.iter().find(|source| source.name == *name);
                source.map(|source| arrow_schema(&source.schema))
            }
            Input::Feed(id) => self.plan.feeds.get(id).map(|feed| Arc::clone(&feed.schema)),
        };
        let (Some(columns), Some(storage)) = (columns, context.sinks.get(LATE_SINK)) else {
            return Err(Error::bug(format!("there is no table of late rows for {}", stage.id)));
        };
        let sink = SinkTarget {
            sink: LATE_SINK.to_owned(),
            storage: storage.clone(),
            folder: stage.id.clone(),
            partition_by: vec![],
            schema: late_schema(&columns),
            attempt: context.attempt.clone(),
            files: context.files.clone(),
        };
        let source = Vec::from_iter(self.plan.sources_of(&stage.input)).join(", ");
        let lateness_us = stage.lateness_us;
        Ok(Some(LateTarget { sink, source, stage: stage.id.clone(), lateness_us }))
    }

    /// How long the rows of each sink are kept, where that is said.
    pub fn retention(&self) -> BTreeMap<String, Duration> {
        let sinks = self.spec.sinks.iter();
        sinks.filter_map(|sink| Some((sink.name.clone(), sink.retention?))).collect()
    }

    /// The storage of each sink, and of the table of late rows if there is one.
    pub(super) fn open_sinks(&self) -> Result<BTreeMap<String, Storage>> {
        let sinks = self.spec.sinks.iter().map(|sink| (sink.name.as_str(), &sink.location));
        let late = self.spec.late.iter().map(|late| (LATE_SINK, &late.location));
        sinks
            .chain(late)
            .map(|(name, location)| {
                Ok((name.to_owned(), self.metrics.storage(Storage::open(location)?)))
            })
            .collect()
    }
}

impl SourceRuntime {
    fn open(spec: &SourceSpec, metrics: &JobMetrics) -> Result<Self> {
        let table = source_table(spec);
        let column = table.schema.index_of(&spec.event_time.column).map_err(|error| {
            Error::bug(format!("the source {} lost its event time", spec.name)).with_source(error)
        })?;
        let location = split_location(&spec.location)?;
        let store = metrics.store(open_store(&location.scheme)?);
        let future_max_us =
            i64::try_from(spec.event_time.future_max.as_micros()).unwrap_or(i64::MAX);
        let time = TimePlace { column, fields: spec.event_time.fields.clone() };
        Ok(Self { spec: spec.clone(), table, location, store, time, future_max_us })
    }
}

fn source_table(spec: &SourceSpec) -> SourceTable {
    SourceTable {
        name: spec.name.clone(),
        schema: arrow_schema(&spec.schema),
        event_time: std::iter::once(&spec.event_time.column)
            .chain(&spec.event_time.fields)
            .cloned()
            .collect(),
        allowed_lateness_us: i64::try_from(spec.event_time.allowed_lateness.as_micros())
            .unwrap_or(i64::MAX),
    }
}

/// Memory of at most `memory_max_bytes`, shared fairly by all that runs in it, with spill files.
///
/// # Errors
/// When there is no place for spill files.
pub fn runtime_env(memory_max_bytes: u64) -> Result<Arc<RuntimeEnv>> {
    let bytes = usize::try_from(memory_max_bytes).unwrap_or(usize::MAX);
    let named = std::num::NonZeroUsize::new(CONSUMERS_NAMED).unwrap_or(std::num::NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(FairSpillPool::new(bytes), named);
    RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc().map_err(from_datafusion)
}

/// What a sort that spills sets aside for merging what it spilled: DataFusion's own share is more than a
/// small `memory_max`.
fn sort_reserve(memory_max_bytes: u64) -> usize {
    usize::try_from(memory_max_bytes / 64).unwrap_or(usize::MAX).clamp(64 << 10, 10 << 20)
}

/// The columns of views over windows that the table of late rows adds too, where it is kept: it has
/// those of whatever a stage reads. Those of sources are refused with the job file.
fn late_clashes(spec: &JobSpec, plan: &JobPlan) -> Vec<SqlError> {
    let (mut clashes, mut seen) = (Vec::new(), BTreeSet::new());
    for query in plan.queries.iter().filter(|_| spec.late.is_some()) {
        let mut ids: Vec<&String> = query.stages.iter().collect();
        while let Some(stage) = ids.pop().and_then(|id| plan.stages.get(id)) {
            let Input::Feed(id) = &stage.input else { continue };
            let Some(feed) = plan.feeds.get(id).filter(|_| seen.insert(id)) else { continue };
            ids.extend(&feed.stages);
            let names = LateSpec::COLUMNS.into_iter();
            for name in names.filter(|name| feed.schema.column_with_name(name).is_some()) {
                let message = format!(
                    "{name} of a view that is put into windows is also a column that the table of \
                     late rows adds; rename it in the view, or remove late"
                );
                clashes.push(SqlError::in_statement(query.line, message));
            }
        }
    }
    clashes
}

fn problem(spec: &JobSpec, error: &SqlError) -> Problem {
    let Some(file) = &spec.sql.path else { return general(spec, "sql", &error.to_string()) };
    let column = error.column.map(|column| format!("column {column}: ")).unwrap_or_default();
    Problem {
        file: file.clone(),
        line: error.line.and_then(|line| usize::try_from(line).ok()),
        path: String::new(),
        message: format!("{column}{}", error.message),
    }
}

fn general(spec: &JobSpec, path: &str, message: &str) -> Problem {
    Problem {
        file: spec.path.clone(),
        line: None,
        path: path.to_owned(),
        message: message.to_owned(),
    }
}
