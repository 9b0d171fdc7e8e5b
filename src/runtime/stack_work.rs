//! A stage whose windows are put together from merges of panes: which of them close in an epoch,
//! and what of the merges remains. The logic is `state/stacks`; this file gives it the state's
//! pieces and merges them with the stage's own plan, here or on workers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;

use super::compile::CompiledJob;
use super::ingest::{IngestContext, run_target};
use super::remote::Crew;
use super::stage_work::{Piece, PieceOrigin};
use super::state_buffer::RunTarget;
use crate::error::{Result, from_datafusion};
use crate::operator::StateInput;
use crate::plan::Stage;
use crate::sql::WindowShape;
use crate::state::stacks::{
    self, ClosingWindow, Merge, Remains, Role, Slice, Step, Sum, Walk, Watermarks,
};
use crate::state::{PartSlice, StatePart, StateView, starts_of};
use tidegauge_commitlog::Storage;

/// The most windows that are put together at once.
const WINDOWS_MAX: usize = 32;

/// What the logic merges: rows in one or several places, and the piece of the stage's state that
/// they are, if they are one.
#[derive(Debug, Clone)]
pub(super) struct StackPart {
    parts: Arc<Vec<StatePart>>,
    given: Option<usize>,
}

/// The windows of a stage that close in an epoch, a bounded number of them at a time.
#[derive(Debug)]
pub(super) struct StackWork {
    shape: WindowShape,
    walk: Walk<StackPart>,
    given: Vec<Piece>,
    pulled: VecDeque<ClosingWindow<StackPart>>,
}

impl StackWork {
    /// Begins with the pieces of the stage's state.
    pub(super) async fn start(
        shape: WindowShape,
        watermarks: Watermarks,
        pieces: Vec<Piece>,
        merger: &mut Merger,
    ) -> Result<Self> {
        let (mut given, mut fresh) = (Vec::new(), Vec::new());
        for (at, piece) in pieces.iter().enumerate() {
            let part = StackPart { parts: Arc::new(vec![piece.part.clone()]), given: Some(at) };
            let (first_us, last_us) = (piece.first_us, piece.last_us);
            let of = stacks::Piece { role: piece.role, first_us, last_us, part };
            match piece.origin {
                PieceOrigin::OldRun(_) => given.push(of),
                PieceOrigin::Memory | PieceOrigin::NewRun(_) => fresh.push(of),
            }
        }
        let walk = Walk::start(&shape, watermarks, given, fresh, merger).await?;
        Ok(Self { shape, walk, given: pieces, pulled: VecDeque::new() })
    }

    /// Puts the next windows together; gives the end of the last where there may be more.
    pub(super) async fn pull(&mut self, merger: &mut Merger) -> Result<Option<i64>> {
        while self.pulled.len() < WINDOWS_MAX {
            match self.walk.next(merger).await? {
                Some(window) => self.pulled.push_back(window),
                None => return Ok(None),
            }
        }
        Ok(self.pulled.back().map(|window| self.shape.end_of(window.mark_us)))
    }

    /// Whether any of the windows that were put together ends at or before `through_us`.
    pub(super) fn has_windows_through(&self, through_us: i64) -> bool {
        let first = self.pulled.front();
        first.is_some_and(|window| self.shape.end_of(window.mark_us) <= through_us)
    }

    /// What a plan reads of the windows that end at or before `through_us`, and were put together.
    pub(super) fn parts_through(&self, through_us: i64) -> Vec<StatePart> {
        let closing =
            |window: &&ClosingWindow<StackPart>| self.shape.end_of(window.mark_us) <= through_us;
        let windows = self.pulled.iter().take_while(closing);
        windows
            .flat_map(|window| window.parts.iter().map(|slice| (window.mark_us, slice)))
            .flat_map(|(mark_us, slice)| slices(slice, Some(mark_us)))
            .collect()
    }

    /// What a plan reads of all windows.
    pub(super) async fn all_parts(mut self, merger: &mut Merger) -> Result<Vec<StatePart>> {
        let mut parts = Vec::new();
        loop {
            let more = self.pull(merger).await?.is_some();
            parts.extend(self.parts_through(i64::MAX));
            self.close_through(i64::MAX);
            if !more {
                return Ok(parts);
            }
        }
    }

    /// Lets go of the windows that have closed.
    pub(super) fn close_through(&mut self, through_us: i64) {
        while let Some(window) = self.pulled.front()
            && self.shape.end_of(window.mark_us) <= through_us
        {
            self.pulled.pop_front();
        }
    }

    /// The pieces of the state once all windows have closed, and those that are no longer of it.
    pub(super) async fn finish(self, merger: &mut Merger) -> Result<(Vec<Piece>, Vec<Piece>)> {
        let Self { walk, given, .. } = self;
        let Remains { kept, dropped, panes_from_us } = walk.finish(merger).await?;
        let mut pieces = Vec::new();
        for piece in kept {
            match piece.part.given.and_then(|at| given.get(at)) {
                Some(known) => {
                    let (first_us, last_us) = (piece.first_us, piece.last_us);
                    pieces.push(Piece { first_us, last_us, ..known.clone() });
                }
                None => pieces.extend(made(&piece)),
            }
        }
        for piece in pieces.iter_mut().filter(|piece| piece.role == Role::Panes) {
            piece.first_us = piece.first_us.max(panes_from_us.unwrap_or(i64::MIN));
        }
        let kept: BTreeSet<&str> = pieces.iter().filter_map(Piece::path).collect();
        let given_and_gone = dropped.iter().filter_map(|piece| given.get(piece.part.given?));
        let gone = given_and_gone
            .filter(|piece| piece.path().is_none_or(|path| !kept.contains(path)))
            .cloned()
            .collect();
        Ok((pieces, gone))
    }
}

/// The pieces that a merge made: of one key range, in memory or in runs.
fn made(piece: &stacks::Piece<StackPart>) -> Vec<Piece> {
    let (first_us, last_us, role) = (piece.first_us, piece.last_us, piece.role);
    let parts = piece.part.parts.iter().filter_map(|part| match part.run() {
        // Runs of other keys were made together with these.
        Some(run) if run.pane_max_us < first_us || run.pane_min_us > last_us => None,
        Some(run) => Some(Piece {
            part: part.clone(),
            first_us: run.pane_min_us,
            last_us: run.pane_max_us,
            origin: PieceOrigin::NewRun(run.clone()),
            role,
        }),
        None => {
            Some(Piece { part: part.clone(), first_us, last_us, origin: PieceOrigin::Memory, role })
        }
    });
    parts.collect()
}

fn slices(slice: &Slice<StackPart>, key_us: Option<i64>) -> Vec<StatePart> {
    let (first_us, last_us) = (slice.first_us, slice.last_us);
    let of = |part: &StatePart| {
        let of = part.clone();
        StatePart::Slice(Box::new(PartSlice { of, first_us, last_us, key_us }))
    };
    slice.part.parts.iter().map(of).collect()
}

/// Merges the partial aggregates of one stage.
pub(super) struct Merger {
    stage: Stage,
    session: SessionState,
    storage: Storage,
    remote: Option<RemoteMerges>,
}

/// Merges on workers, each of which becomes runs of its own.
struct RemoteMerges {
    crew: Arc<dyn Crew>,
    target: RunTarget,
    made: u32,
}

impl Merger {
    /// For one attempt at an epoch.
    pub(super) fn new(job: &CompiledJob, stage: &Stage, context: &IngestContext) -> Result<Self> {
        let remote = match &context.crew {
            Some(crew) => {
                let (crew, target) = (Arc::clone(crew), run_target(stage, context)?);
                Some(RemoteMerges { crew, target, made: 0 })
            }
            None => None,
        };
        let (session, storage) = (context.session(job), context.state.clone());
        Ok(Self { stage: stage.clone(), session, storage, remote })
    }

    /// In this process, for whoever writes nothing.
    pub(super) fn here(stage: &Stage, session: SessionState, storage: Storage) -> Self {
        Self { stage: stage.clone(), session, storage, remote: None }
    }

    fn input(&self, parts: Vec<StatePart>) -> StateInput {
        let (storage, state) = (self.storage.clone(), self.stage.state_shape());
        StateInput { storage, parts, state, view: StateView::ALL }
    }

    /// The merge of `parts`, a row a key, in the order of the first column.
    async fn merged(&mut self, parts: Vec<StatePart>) -> Result<Vec<StatePart>> {
        if parts.is_empty() {
            return Ok(vec![]);
        }
        let partitions = self.session.config().target_partitions();
        let plan = self.stage.merge_plan(self.input(parts), partitions).map_err(from_datafusion)?;
        if let Some(remote) = &mut self.remote {
            remote.made += 1;
            let label = format!("merged-{}", remote.made);
            let target = RunTarget { label, ..remote.target.clone() };
            let runs = remote.crew.merge_runs(&self.session, plan, target).await?;
            return Ok(runs.into_iter().map(StatePart::File).collect());
        }
        let rows = execute_stream(plan, self.session.task_ctx()).map_err(from_datafusion)?;
        let rows: Vec<RecordBatch> = rows.try_collect().await.map_err(from_datafusion)?;
        let rows = rows.into_iter().filter(|batch| batch.num_rows() > 0).collect::<Vec<_>>();
        match rows.is_empty() {
            true => Ok(vec![]),
            false => Ok(vec![StatePart::Memory(Arc::new(by_first_column(&rows)?))]),
        }
    }

    fn part(parts: Vec<StatePart>) -> Option<StackPart> {
        let parts = Arc::new(parts);
        (!parts.is_empty()).then_some(StackPart { parts, given: None })
    }
}

/// `rows` in batches of one value of the first column each, in its order.
fn by_first_column(rows: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let Some(first) = rows.first() else { return Ok(vec![]) };
    let cut = || -> datafusion::common::Result<Vec<RecordBatch>> {
        let rows = concat_batches(&first.schema(), rows)?;
        let is_one = starts_of(&rows).is_some_and(|starts| {
            let values = starts.values();
            values.iter().all(|value| *value == values[0])
        });
        if is_one {
            return Ok(vec![rows]);
        }
        let order = sort_to_indices(rows.column(0), None, None)?;
        let rows = take_record_batch(&rows, &order)?;
        let Some(starts) = starts_of(&rows) else { return Ok(vec![rows]) };
        let (values, mut from, mut batches) = (starts.values(), 0, Vec::new());
        while from < values.len() {
            let rest = &values[from..];
            let length = rest.partition_point(|value| *value == rest[0]);
            batches.push(rows.slice(from, length));
            from += length;
        }
        Ok(batches)
    };
    cut().map_err(from_datafusion)
}

impl Merge<StackPart> for Merger {
    async fn merge(&mut self, steps: Vec<Step<StackPart>>, sum: Sum) -> Result<Option<StackPart>> {
        let inputs = |step: &Step<StackPart>| -> Vec<StatePart> {
            step.inputs.iter().flat_map(|slice| slices(slice, Some(step.key_us))).collect()
        };
        if sum == Sum::Each {
            let all = steps.iter().flat_map(inputs).collect();
            return Ok(Self::part(self.merged(all).await?));
        }
        let (mut before, mut made): (Vec<StatePart>, Vec<StatePart>) = (vec![], vec![]);
        for step in &steps {
            let whole = (i64::MIN, i64::MAX, Some(step.key_us));
            let sliced = before.into_iter().map(|of| {
                let (first_us, last_us, key_us) = whole;
                StatePart::Slice(Box::new(PartSlice { of, first_us, last_us, key_us }))
            });
            let all = sliced.chain(inputs(step)).collect();
            before = self.merged(all).await?;
            made.extend(before.iter().cloned());
        }
        Ok(Self::part(made))
    }

    async fn select(&mut self, slice: Slice<StackPart>) -> Result<Option<StackPart>> {
        Ok(Self::part(self.merged(slices(&slice, None)).await?))
    }

    async fn keys(&mut self, slice: Slice<StackPart>) -> Result<Vec<i64>> {
        let input = self.input(slices(&slice, None));
        let scan = self.stage.state_plan(input).map_err(from_datafusion)?;
        let rows = execute_stream(scan, self.session.task_ctx()).map_err(from_datafusion)?;
        let rows: Vec<RecordBatch> = rows.try_collect().await.map_err(from_datafusion)?;
        let keys = rows.iter().filter_map(starts_of).flat_map(|starts| starts.values().to_vec());
        Ok(BTreeSet::from_iter(keys).into_iter().collect())
    }
}

/// The role that a run's record names; runs of panes name none.
pub(super) fn role_of(name: Option<&str>) -> Role {
    let name = name.map(|name| serde_json::Value::String(name.to_owned()));
    name.and_then(|name| serde_json::from_value(name).ok()).unwrap_or(Role::Panes)
}

/// The name of a role in a run's record.
pub(super) fn role_name(role: Role) -> Option<String> {
    match serde_json::to_value(role) {
        Ok(serde_json::Value::String(name)) if role != Role::Panes => Some(name),
        _ => None,
    }
}
