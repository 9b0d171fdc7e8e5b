//! A job as `/api/jobs` shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegauge_commitlog::{ParkedFile, SourceRows, SourceState, StageRows, StageState};

use crate::runtime::rfc3339;
use crate::service::{Hosted, JobPhase, Origin};

/// One line of the list.
#[derive(Debug, Serialize)]
pub(super) struct JobLine {
    name: String,
    phase: JobPhase,
    origin: Origin,
    /// Asked to stop, and not over yet.
    stopping: bool,
    /// The last committed epoch.
    epoch: Option<u64>,
    /// The least of its sources', RFC 3339.
    watermark: Option<String>,
    /// The clock less the latest event time of any source.
    lag_ms: Option<i64>,
    state_bytes: u64,
    restarts: u64,
    last_error: Option<String>,
}

/// Everything of one job.
#[derive(Debug, Serialize)]
pub(super) struct JobAnswer {
    #[serde(flatten)]
    line: JobLine,
    description: Option<String>,
    sources: BTreeMap<String, SourceAnswer>,
    stages: BTreeMap<String, StageAnswer>,
    /// Rows written since the first epoch, by sink.
    rows_out: BTreeMap<String, u64>,
    /// The steps of the last epoch.
    timings_ms: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct SourceAnswer {
    watermark: Option<String>,
    max_event_time: Option<String>,
    idle: bool,
    files: u64,
    files_changed: u64,
    files_gone: u64,
    files_parked: usize,
    /// The first of the files that cannot be used, with what is wrong.
    parked: Vec<ParkedAnswer>,
    rows: SourceRows,
}

/// So many of the files that are left out are shown of a source.
const PARKED_SHOWN: usize = 20;

#[derive(Debug, Serialize)]
struct ParkedAnswer {
    error: String,
    tries: u32,
    first_tried: Option<String>,
    last_tried: Option<String>,
}

#[derive(Debug, Serialize)]
struct StageAnswer {
    /// The source whose rows reach it.
    source: Option<String>,
    watermark: Option<String>,
    runs: usize,
    state_bytes: u64,
    rows: StageRows,
}

impl JobLine {
    pub(super) fn new(hosted: &Hosted, now_ms: i64) -> Self {
        let shown = hosted.snapshot();
        let latest_ms = shown.view.max_event_time_us().map(|us| us.div_euclid(1_000));
        Self {
            name: shown.job.spec.name.clone(),
            phase: shown.status.phase,
            origin: hosted.origin(),
            stopping: hosted.is_asked_to_stop() && !shown.status.phase.is_over(),
            epoch: shown.view.epoch.map(|epoch| epoch.0),
            watermark: shown.view.watermark_us().and_then(rfc3339),
            lag_ms: latest_ms.map(|latest_ms| now_ms.saturating_sub(latest_ms)),
            state_bytes: shown.view.state_bytes(),
            restarts: shown.status.restarts,
            last_error: shown.status.last_error,
        }
    }

    /// A kept job that this process cannot run.
    pub(super) fn unusable(name: String, why: String) -> Self {
        Self {
            name,
            phase: JobPhase::Failed,
            origin: Origin::Submitted,
            stopping: false,
            epoch: None,
            watermark: None,
            lag_ms: None,
            state_bytes: 0,
            restarts: 0,
            last_error: Some(why),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }
}

impl JobAnswer {
    pub(super) fn new(hosted: &Hosted, now_ms: i64) -> Self {
        let shown = hosted.snapshot();
        let sources = shown.view.sources.iter();
        let stages = shown.view.stages.iter().map(|(id, stage)| {
            let source = shown.job.plan.stages.get(id).map(|planned| {
                // One that is fed by stages is of all sources that reach it.
                Vec::from_iter(shown.job.plan.sources_of(&planned.input)).join(", ")
            });
            (id.clone(), StageAnswer::new(source, stage))
        });
        let sinks = shown.job.spec.sinks.iter().map(|sink| {
            let rows = shown.view.rows_out.get(&sink.name).copied().unwrap_or_default();
            (sink.name.clone(), rows)
        });
        Self {
            line: JobLine::new(hosted, now_ms),
            description: shown.job.spec.description.clone(),
            sources: sources.map(|(name, source)| (name.clone(), source.into())).collect(),
            stages: stages.collect(),
            rows_out: sinks.collect(),
            timings_ms: shown.view.timings_ms.clone(),
        }
    }
}

impl From<&SourceState> for SourceAnswer {
    fn from(source: &SourceState) -> Self {
        Self {
            watermark: source.watermark_us.and_then(rfc3339),
            max_event_time: source.max_event_time_us.and_then(rfc3339),
            idle: source.idle,
            files: source.files,
            files_changed: source.files_changed,
            files_gone: source.files_gone,
            files_parked: source.parked.len(),
            parked: source.parked.values().take(PARKED_SHOWN).map(ParkedAnswer::from).collect(),
            rows: source.totals,
        }
    }
}

impl From<&ParkedFile> for ParkedAnswer {
    fn from(file: &ParkedFile) -> Self {
        let time = |ms: i64| rfc3339(ms.saturating_mul(1_000));
        Self {
            error: file.error.clone(),
            tries: file.tries,
            first_tried: time(file.first_ms),
            last_tried: time(file.last_ms),
        }
    }
}

impl StageAnswer {
    fn new(source: Option<String>, stage: &StageState) -> Self {
        Self {
            source,
            watermark: stage.watermark_us.and_then(rfc3339),
            runs: stage.runs.len(),
            state_bytes: stage.runs.iter().map(|run| run.bytes).sum(),
            rows: stage.totals,
        }
    }
}
