//! What a running job shows of itself after each epoch: enough to answer questions about it and to
//! read its results and open windows, all of one epoch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::{
    CommitRecord, Epoch, JobState, Manifest, SourceState, StageState, Storage,
};

use super::close::joined_sessions;
use super::compile::CompiledJob;
use super::epoch_session::EpochSession;
use super::merger::Merger;
use super::stack_work::StackWork;
use super::stage_work::StageWork;
use crate::error::{Error, Result, from_datafusion};
use crate::operator::{Policy, RowReports, StateInput};
use crate::plan::{Query, Stage};
use crate::sql::WindowShape;
use crate::state::stacks::{Watermarks, suits_stacks};
use crate::state::{RunCache, StatePart, StateShape, StateView};

/// A job after one epoch, all of whose files are published.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JobView {
    /// The last committed epoch; none before the first.
    pub epoch: Option<Epoch>,
    /// Its committed clock, milliseconds since 1970.
    pub clock_ms: i64,
    /// By name.
    pub sources: BTreeMap<String, SourceState>,
    /// By identity.
    pub stages: BTreeMap<String, StageState>,
    /// Rows written since the job's first epoch, by sink.
    pub rows_out: BTreeMap<String, u64>,
    /// Every committed sink file: see [`tidegauge_commitlog::LogReader::files_of`].
    pub manifest: Manifest,
    /// How long each step of the last epoch of this process took, milliseconds.
    pub timings_ms: BTreeMap<String, u64>,
    /// The runs of `stages` that are in memory, by path. They are in the storage, too, where another
    /// process finds them.
    #[serde(skip)]
    cached: HashMap<String, Arc<Vec<RecordBatch>>>,
}

impl JobView {
    pub(super) fn new(state: &JobState, cache: &RunCache, last: Option<&CommitRecord>) -> Self {
        let runs = state.stages.values().flat_map(|stage| &stage.runs);
        let cached =
            runs.filter_map(|run| Some((run.path.clone(), cache.get(&run.path)?))).collect();
        Self {
            epoch: state.epoch,
            clock_ms: state.clock_ms,
            sources: state.sources.clone(),
            stages: state.stages.clone(),
            rows_out: state.rows_out.clone(),
            manifest: state.manifest.clone(),
            timings_ms: last.map(|record| record.timings_ms.clone()).unwrap_or_default(),
            cached,
        }
    }

    /// The least watermark of the job's sources, microseconds since 1970.
    pub fn watermark_us(&self) -> Option<i64> {
        self.sources.values().filter_map(|source| source.watermark_us).min()
    }

    /// The latest event time of any source, microseconds since 1970.
    pub fn max_event_time_us(&self) -> Option<i64> {
        self.sources.values().filter_map(|source| source.max_event_time_us).max()
    }

    /// Bytes of the runs that the job's state is made of.
    pub fn state_bytes(&self) -> u64 {
        self.stages.values().flat_map(|stage| &stage.runs).map(|run| run.bytes).sum()
    }
}

impl CompiledJob {
    /// Where the job's log and state are.
    ///
    /// # Errors
    /// When the location cannot be opened.
    pub fn state_storage(&self) -> Result<Storage> {
        let storage = Storage::open(&self.spec.state.location)?.child(&self.spec.name);
        Ok(self.metrics.storage(storage))
    }

    /// The close plan of `query` over the windows that are open in `view`, without closing them:
    /// the rows as they are so far, with the columns of the query's sink. Run it with
    /// [`CompiledJob::session_at`] of the view's clock.
    ///
    /// # Errors
    /// When the plan cannot be made, which is a defect.
    pub async fn live_plan(&self, query: &Query, view: &JobView) -> Result<Arc<dyn ExecutionPlan>> {
        let storage = self.state_storage()?;
        let session = EpochSession::new(self.session_at(view.clock_ms));
        let mut inputs = HashMap::new();
        for id in &query.stages {
            let Some(stage) = self.plan.stages.get(id) else {
                return Err(Error::bug(format!("there is no stage {id}")));
            };
            let cached = |path: &str| view.cached.get(path).map(Arc::clone);
            let work = StageWork::new(stage, view.stages.get(id), Default::default(), &cached);
            let input = match work.state {
                StateShape::Stacks(shape) => {
                    let merger = Merger::here(stage, session.clone(), storage.clone());
                    live_stack(shape, &work, &storage, merger).await?
                }
                StateShape::Panes(shape) if suits_stacks(&shape) => {
                    let merger = Merger::here(stage, session.clone(), storage.clone());
                    live_panes(shape, &work, &storage, merger).await?
                }
                StateShape::Sessions(_) => live_sessions(stage, &work, &storage, &session).await?,
                _ => work.input(&storage, open_in(&work)),
            };
            inputs.insert(id.clone(), input);
        }
        let plan = self.plan.close_plan(&session, query, inputs, 0).await;
        let plan = plan.map_err(from_datafusion)?;
        // What cannot be computed is left out, as when the window closes.
        let reports = RowReports::default();
        let shown = self.plan.isolated(&plan, &query.stages, Policy::Skip, &reports);
        shown.map_err(from_datafusion)
    }
}

/// What the open windows are, where they are put together from merges of panes.
async fn live_stack(
    shape: WindowShape,
    work: &StageWork,
    storage: &Storage,
    mut merger: Merger,
) -> Result<StateInput> {
    let through_us = work.last_open_end_us().or(work.after_us);
    let watermarks = Watermarks { after_us: work.after_us, through_us };
    // All of them are read by one plan.
    let stack =
        StackWork::start(shape, watermarks, work.pieces.clone(), u64::MAX, &mut merger).await?;
    let parts = stack.all_parts(&mut merger).await?;
    Ok(StateInput { storage: storage.clone(), parts, state: work.state, view: StateView::ALL })
}

/// What the open windows are, where there are many over each pane and the panes stay as they are.
async fn live_panes(
    shape: WindowShape,
    work: &StageWork,
    storage: &Storage,
    mut merger: Merger,
) -> Result<StateInput> {
    let after_us = work.after_us.unwrap_or(i64::MIN);
    let mut parts = Vec::new();
    if let Some(through_us) = work.last_open_end_us() {
        let span_us = (after_us, through_us);
        let stack =
            StackWork::over_panes(shape, span_us, &work.pieces, u64::MAX, &mut merger).await?;
        parts = stack.all_parts(&mut merger).await?;
    }
    Ok(StateInput { storage: storage.clone(), parts, state: work.state, view: StateView::ALL })
}

/// The open sessions, put together from their pieces.
async fn live_sessions(
    stage: &Stage,
    work: &StageWork,
    storage: &Storage,
    session: &EpochSession,
) -> Result<StateInput> {
    let mut parts = Vec::new();
    if let Some(pieces) = work.pieces_to_join(storage, i64::MAX) {
        let (rows, _) = joined_sessions(stage, pieces, session).await?;
        parts.push(StatePart::Memory(Arc::new(rows)));
    }
    Ok(StateInput { storage: storage.clone(), parts, state: work.state, view: open_in(work) })
}

/// The view of all windows that have not closed, as if they closed now.
fn open_in(work: &StageWork) -> StateView {
    let after_us = work.after_us.unwrap_or(i64::MIN);
    StateView::Closing { after_us, through_us: i64::MAX }
}
