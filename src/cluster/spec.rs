//! The engine's descriptions of work as they travel: plain data, as JSON inside a plan.
//!
//! Storage travels as its location, which is absolute: a worker opens the same place.

use std::ops::Range;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::ExecutionPlan;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::{Attempt, Run};

use super::task::TaskObserver;
use crate::error::{Error, Result, from_datafusion};
use crate::operator::{Policy, RowNames, SessionLayout, StateInput, StateScan};
use crate::plan::CutTarget;
use crate::runtime::{FailedIn, LateTarget, OutputTarget, PassSource, RunTarget, late_schema};
use crate::sink::{SinkTarget, TaskFiles};
use crate::source::{FilePart, InputFile};
use crate::sql::Windows;
use crate::state::{KeyRange, StatePart, StateShape, StateView};

/// A node of the engine, without its plans and schemas.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NodeSpec {
    Chunks { columns: Vec<usize>, partitions: usize },
    State(StateSpec),
    Ingest(IngestSpec),
    Sink { sink: SinkSpec, number: u32 },
    Run(RunSpec),
    Sessions { layout: SessionLayout },
    Isolate { depth: usize, policy: Policy, names: RowNames },
    GuardedJoin { policy: Policy },
    Batch,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateSpec {
    location: String,
    parts: Vec<PartSpec>,
    state: StateShape,
    view: StateView,
    columns: Option<Vec<usize>>,
    partitions: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartSpec {
    run: Run,
    /// The range of the first column that is read, and what takes its place.
    slice: Option<Vec<KeyRange>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IngestSpec {
    pub(super) source: PassSource,
    pub(super) partitions: usize,
    pub(super) task: String,
    pub(super) number: u32,
    pub(super) at: usize,
    pub(super) on_error: Policy,
    pub(super) cuts: Vec<CutSpec>,
    pub(super) files: Vec<FileSpec>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CutSpec {
    pub(super) target: CutTarget,
    pub(super) query: FailedIn,
    pub(super) window: Option<(Windows, Option<i64>)>,
    pub(super) copies: usize,
    pub(super) late: Option<LateSpec>,
    pub(super) output: OutputSpec,
}

/// Where late rows go; the columns follow from the source's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LateSpec {
    sink: SinkSpec,
    source: String,
    stage: String,
    lateness_us: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum OutputSpec {
    State(RunSpec),
    Sink(SinkSpec),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SinkSpec {
    sink: String,
    location: String,
    folder: String,
    partition_by: Vec<String>,
    attempt: Attempt,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunSpec {
    location: String,
    attempt: Attempt,
    stage: String,
    label: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileSpec {
    location: String,
    size: u64,
    etag: Option<String>,
    display: String,
    row_groups: Option<Range<usize>>,
    part: Option<FilePart>,
}

impl StateSpec {
    pub(super) fn of(scan: &StateScan) -> Result<Self> {
        let input = scan.input();
        let parts = input.parts.iter().map(|part| match part.run() {
            Some(run) => Ok(PartSpec { run: run.clone(), slice: slice_of(part) }),
            None => Err(Error::bug("state in memory cannot go to a worker")),
        });
        Ok(Self {
            location: input.storage.location().to_owned(),
            parts: parts.collect::<Result<_>>()?,
            state: input.state,
            view: input.view,
            columns: scan.columns().map(<[usize]>::to_vec),
            partitions: scan.properties().partitioning.partition_count(),
        })
    }

    /// The scan; `schema` is that of the state.
    pub(super) fn scan(self, schema: SchemaRef, observer: &TaskObserver) -> Result<StateScan> {
        let input = StateInput {
            storage: observer.storage(&self.location)?,
            parts: self.parts.into_iter().map(PartSpec::part).collect(),
            state: self.state,
            view: self.view,
        };
        let scan = StateScan::new(input, schema, self.partitions);
        match self.columns {
            Some(columns) => scan.only(columns).map_err(from_datafusion),
            None => Ok(scan),
        }
    }
}

fn slice_of(part: &StatePart) -> Option<Vec<KeyRange>> {
    match part {
        StatePart::Slice(slice) => Some(slice.ranges.to_vec()),
        _ => None,
    }
}

impl PartSpec {
    fn part(self) -> StatePart {
        let of = StatePart::File(self.run);
        match self.slice {
            None => of,
            Some(ranges) => of.sliced(ranges),
        }
    }
}

impl OutputSpec {
    pub(super) fn of(target: &OutputTarget) -> (Self, &SchemaRef) {
        match target {
            OutputTarget::State(target) => (Self::State(RunSpec::of(target)), &target.schema),
            OutputTarget::Sink(target) => (Self::Sink(SinkSpec::of(target)), &target.schema),
        }
    }

    pub(super) fn target(self, schema: SchemaRef, observer: &TaskObserver) -> Result<OutputTarget> {
        Ok(match self {
            Self::State(spec) => OutputTarget::State(spec.target(schema, observer)?),
            Self::Sink(spec) => OutputTarget::Sink(spec.target(schema, observer)?),
        })
    }
}

impl LateSpec {
    pub(super) fn of(target: &LateTarget) -> Self {
        Self {
            sink: SinkSpec::of(&target.sink),
            source: target.source.clone(),
            stage: target.stage.clone(),
            lateness_us: target.lateness_us,
        }
    }

    /// The target for late rows of a source with the columns `schema`.
    pub(super) fn target(self, schema: &SchemaRef, observer: &TaskObserver) -> Result<LateTarget> {
        let sink = self.sink.target(late_schema(schema), observer)?;
        let Self { source, stage, lateness_us, .. } = self;
        Ok(LateTarget { sink, source, stage, lateness_us })
    }
}

impl SinkSpec {
    pub(super) fn of(target: &SinkTarget) -> Self {
        Self {
            sink: target.sink.clone(),
            location: target.storage.location().to_owned(),
            folder: target.folder.clone(),
            partition_by: target.partition_by.clone(),
            attempt: target.attempt.clone(),
        }
    }

    pub(super) fn target(self, schema: SchemaRef, observer: &TaskObserver) -> Result<SinkTarget> {
        Ok(SinkTarget {
            sink: self.sink,
            storage: observer.storage(&self.location)?,
            folder: self.folder,
            partition_by: self.partition_by,
            schema,
            attempt: self.attempt,
            // Whoever runs the node names its files.
            files: TaskFiles::default(),
        })
    }
}

impl RunSpec {
    pub(super) fn of(target: &RunTarget) -> Self {
        Self {
            location: target.storage.location().to_owned(),
            attempt: target.attempt.clone(),
            stage: target.stage.clone(),
            label: target.label.clone(),
        }
    }

    pub(super) fn target(self, schema: SchemaRef, observer: &TaskObserver) -> Result<RunTarget> {
        Ok(RunTarget {
            storage: observer.storage(&self.location)?,
            attempt: self.attempt,
            stage: self.stage,
            schema,
            label: self.label,
        })
    }
}

impl FileSpec {
    pub(super) fn of(file: &InputFile) -> Self {
        Self {
            location: file.location.to_string(),
            size: file.size,
            etag: file.etag.clone(),
            display: file.display.clone(),
            row_groups: file.row_groups.clone(),
            part: file.part,
        }
    }

    pub(super) fn file(self) -> Result<InputFile> {
        let location = Path::parse(&self.location).map_err(|error| {
            Error::bug(format!("{} is no path", self.location)).with_source(error)
        })?;
        Ok(InputFile {
            location,
            size: self.size,
            etag: self.etag,
            display: self.display,
            row_groups: self.row_groups,
            part: self.part,
        })
    }
}
