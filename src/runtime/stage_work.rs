//! One stage in one epoch: the pieces of its state, how far its windows close, and what remains.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;
use tidegauge_commitlog::{Run, StageChange, StageState, Storage};

use super::merger::Merger;
use super::pass::StageReceipt;
use super::stack_work::{StackWork, role_name, role_of};
use crate::error::{Result, from_datafusion};
use crate::operator::StateInput;
use crate::plan::{Input, Stage};
use crate::sql::WindowShape;
use crate::state::stacks::{self, Role, Watermarks, suits_stacks};
use crate::state::{
    KeyRange, RunSize, SESSION_FIRST, StatePart, StateShape, StateView, Tiers, read_run,
    session_time_min, start_range, starts_of,
};

/// From so many closing windows on, those over many panes are put together from merges of panes.
const MERGED_WINDOWS_MIN: i64 = 9;

/// A stage between its ingest and its commit.
#[derive(Debug)]
pub(super) struct StageWork {
    pub(super) id: String,
    pub(super) input: Input,
    pub(super) clocks: BTreeSet<Input>,
    pub(super) state: StateShape,
    /// How long after its end a window may still change.
    pub(super) lateness_us: i64,
    /// The watermark before this epoch.
    pub(super) after_us: Option<i64>,
    /// The watermark that this epoch reaches.
    pub(super) through_us: Option<i64>,
    /// The part of the way between them, `(after, through]`, that closes now, where it is done in
    /// rounds.
    pub(super) round_us: Option<(i64, i64)>,
    pub(super) pieces: Vec<Piece>,
    /// For windows that are put together from merges of panes: those that close.
    pub(super) stack: Option<StackWork>,
    /// For sessions: the pieces that closed, with the bounds of their sessions, which may go on.
    sessions: Vec<Piece>,
    pub(super) change: StageChange,
    /// Holds the memory of this epoch's pieces reserved.
    reserved: Vec<MemoryReservation>,
}

/// A piece of a stage's state, with the starts of its first and last pane or window.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) part: StatePart,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) origin: PieceOrigin,
    /// What its rows are merges of.
    pub(super) role: Role,
}

/// Where a piece is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PieceOrigin {
    /// Nowhere yet.
    Memory,
    /// In a run that this epoch wrote.
    NewRun(Run),
    /// In a run of an earlier epoch.
    OldRun(Run),
}

impl StageWork {
    /// Puts together what was there and what this epoch's ingest gave; `cached` gives the rows of
    /// runs that are in memory.
    pub(super) fn new(
        stage: &Stage,
        before: Option<&StageState>,
        receipt: StageReceipt,
        cached: &dyn Fn(&str) -> Option<Arc<Vec<RecordBatch>>>,
    ) -> Self {
        let mut pieces = Vec::new();
        for run in before.map(|state| state.runs.as_slice()).unwrap_or_default() {
            let part = match cached(&run.path) {
                Some(batches) => StatePart::Memory(batches),
                None => StatePart::File(run.clone()),
            };
            pieces.push(piece_of_run(part, PieceOrigin::OldRun(run.clone())));
        }
        let after_us = before.and_then(|state| state.watermark_us);
        let mut work = Self {
            id: stage.id.clone(),
            input: stage.input.clone(),
            clocks: stage.clocks.clone(),
            state: stage.state_shape(),
            lateness_us: stage.lateness_us,
            after_us,
            through_us: after_us,
            round_us: None,
            pieces,
            stack: None,
            sessions: Vec::new(),
            change: StageChange { watermark_us: after_us, ..StageChange::default() },
            reserved: Vec::new(),
        };
        work.add(receipt);
        work
    }

    /// Takes in what a pass gave.
    pub(super) fn add(&mut self, receipt: StageReceipt) {
        self.change.rows.add(&receipt.rows);
        for part in receipt.parts {
            self.add_rows(part.batches);
            self.add_runs(part.runs);
            self.reserved.extend(part.reservation);
        }
    }

    /// Takes in state that is in memory only.
    pub(super) fn add_rows(&mut self, batches: Vec<RecordBatch>) {
        self.pieces.extend(Piece::of_rows(batches));
    }

    /// Takes in state that this epoch has written.
    pub(super) fn add_runs(&mut self, runs: Vec<Run>) {
        self.pieces.extend(runs.into_iter().map(Piece::of_new_run));
    }

    /// The end of the last window that is open.
    pub(super) fn last_open_end_us(&self) -> Option<i64> {
        let last = match &self.state {
            StateShape::Stacks(shape) => {
                let pieces: Vec<stacks::Piece<()>> = self.pieces.iter().map(Piece::bare).collect();
                stacks::last_open_end_us(shape, &pieces)
            }
            state => self.pieces.iter().map(|piece| state.last_end(piece.last_us)).max(),
        };
        last.filter(|end| self.after_us.is_none_or(|after| *end > after))
    }

    /// Moves the stage's watermark, never back.
    pub(super) fn advance(&mut self, watermark_us: Option<i64>) {
        self.through_us = self.through_us.max(watermark_us);
        self.change.watermark_us = self.through_us;
    }

    /// Whether any window may close on the way of the watermark.
    pub(super) fn may_close(&self) -> bool {
        let after_us = self.after_us.unwrap_or(i64::MIN);
        self.through_us.filter(|through_us| *through_us > after_us).is_some_and(|through_us| {
            let view = StateView::Closing { after_us, through_us };
            self.seen(&self.pieces, view).next().is_some()
        })
    }

    /// The view of the windows that close, where there may be any.
    pub(super) fn closing(&self) -> Option<StateView> {
        let (after_us, through_us) = match self.round_us {
            Some(round) => round,
            None => (self.after_us.unwrap_or(i64::MIN), self.through_us?),
        };
        let view = StateView::Closing { after_us, through_us };
        let closes = match (&self.stack, self.state) {
            (Some(stack), _) => stack.has_windows_through(through_us),
            (None, StateShape::Stacks(_)) => false,
            (None, StateShape::Sessions(_)) => self.seen(&self.sessions, view).next().is_some(),
            (None, _) => self.seen(&self.pieces, view).next().is_some(),
        };
        closes.then_some(view)
    }

    /// Whether it has few rows, all in memory, each of one window.
    pub(super) fn is_small(&self) -> bool {
        let parts = self.pieces.iter().map(|piece| &piece.part);
        matches!(self.state, StateShape::Windows(_)) && StatePart::are_few(parts)
    }

    /// What a plan with `view` reads.
    pub(super) fn input(&self, storage: &Storage, view: StateView) -> StateInput {
        let (storage, state) = (storage.clone(), self.state);
        if matches!(self.state, StateShape::Stacks(_)) || self.stack.is_some() {
            let parts = match (&self.stack, view) {
                (Some(stack), StateView::Closing { through_us, .. }) => {
                    stack.parts_through(through_us)
                }
                _ => vec![],
            };
            return StateInput { storage, parts, state, view: StateView::ALL };
        }
        let pieces = match (self.state, view) {
            (StateShape::Sessions(_), StateView::Closing { .. }) => &self.sessions,
            _ => &self.pieces,
        };
        StateInput { storage, parts: self.parts_seen(pieces, view), state, view }
    }

    /// For sessions, the pieces that close at `through_us` and those that stay, of which their
    /// sessions may be as well; none where no piece closes.
    pub(super) fn pieces_to_join(
        &self,
        storage: &Storage,
        through_us: i64,
    ) -> Option<(StateInput, StateInput)> {
        let StateShape::Sessions(_) = self.state else { return None };
        let after_us = self.after_us.unwrap_or(i64::MIN);
        let of = |view| {
            let parts = self.parts_seen(&self.pieces, view);
            StateInput { storage: storage.clone(), parts, state: self.state, view }
        };
        let closing = of(StateView::Closing { after_us, through_us });
        (!closing.parts.is_empty()).then(|| (closing, of(StateView::Open { through_us })))
    }

    /// Takes in the pieces that close with the bounds of their sessions.
    pub(super) fn set_sessions(&mut self, pieces: Vec<Piece>, held: Option<MemoryReservation>) {
        self.sessions = pieces;
        self.reserved.extend(held);
    }

    /// Leaves what closed of sessions, once all close plans have read it: what goes on is open.
    pub(super) fn finish_sessions(&mut self) -> Result<()> {
        let open = self.open_view();
        for piece in std::mem::take(&mut self.sessions) {
            match &piece.part {
                StatePart::Memory(batches) => {
                    let rows = batches.iter().map(|rows| open.apply(&self.state, rows.clone()));
                    let rows = rows.collect::<datafusion::common::Result<Vec<_>>>();
                    self.add_rows(rows.map_err(from_datafusion)?);
                }
                _ => self.pieces.push(piece),
            }
        }
        Ok(())
    }

    /// Begins to put windows together from merges of panes, where that is how they are kept and
    /// there is anything to do.
    pub(super) async fn start_stack(
        &mut self,
        bytes_max: u64,
        merger: &mut Merger,
    ) -> Result<bool> {
        let shape = match self.state {
            StateShape::Stacks(shape) => shape,
            StateShape::Panes(shape) => {
                return self.start_over_panes(shape, bytes_max, merger).await;
            }
            StateShape::Windows(_) | StateShape::Sessions(_) => return Ok(false),
        };
        let is_old = |piece: &Piece| matches!(piece.origin, PieceOrigin::OldRun(_));
        if self.through_us == self.after_us && self.pieces.iter().all(is_old) {
            return Ok(false);
        }
        let watermarks = Watermarks { after_us: self.after_us, through_us: self.through_us };
        let pieces = std::mem::take(&mut self.pieces);
        self.stack = Some(StackWork::start(shape, watermarks, pieces, bytes_max, merger).await?);
        Ok(true)
    }

    /// As [`StageWork::start_stack`] where the panes stay as they are, and so many windows close that
    /// merges pay.
    async fn start_over_panes(
        &mut self,
        shape: WindowShape,
        bytes_max: u64,
        merger: &mut Merger,
    ) -> Result<bool> {
        let closing = self.closing_panes().filter(|_| suits_stacks(&shape));
        let Some((after_us, first_us, through_us)) = closing else { return Ok(false) };
        let from_us = after_us.max(self.state.first_end(first_us));
        let windows = through_us.saturating_sub(from_us) / shape.slide_us();
        if windows < MERGED_WINDOWS_MIN {
            return Ok(false);
        }
        let span_us = (after_us, through_us);
        let pieces = &self.pieces;
        self.stack = Some(StackWork::over_panes(shape, span_us, pieces, bytes_max, merger).await?);
        Ok(true)
    }

    /// The watermarks between which windows of panes close, and the first pane of any of them.
    fn closing_panes(&self) -> Option<(i64, i64, i64)> {
        let view = self.closing()?;
        let StateView::Closing { after_us, through_us } = view else { return None };
        let pieces: Vec<&Piece> = self.seen(&self.pieces, view).collect();
        let first_us = pieces.iter().map(|piece| piece.first_us).min()?;
        let last_us = pieces.iter().map(|piece| piece.last_us).max()?;
        Some((after_us, first_us, through_us.min(self.state.last_end(last_us))))
    }

    /// What remains once all windows were put together.
    pub(super) async fn finish_stack(&mut self, merger: &mut Merger) -> Result<()> {
        let Some(stack) = self.stack.take() else { return Ok(()) };
        if !matches!(self.state, StateShape::Stacks(_)) {
            return Ok(());
        }
        let (pieces, gone) = stack.finish(merger).await?;
        self.pieces = pieces;
        for piece in gone {
            self.remove_if_old(&piece);
        }
        Ok(())
    }

    /// The time of the first row of any session that is open. A piece may hold closed ones, too:
    /// their times do not count, and are read only where they might.
    pub(super) async fn first_open_us(
        &self,
        schema: &SchemaRef,
        storage: &Storage,
    ) -> Result<Option<i64>> {
        let view = self.open_view();
        let open = self.seen(&self.pieces, view);
        let mut pieces: Vec<(i64, &Piece)> =
            open.filter_map(|piece| Some((piece.time_min_us()?, piece))).collect();
        pieces.sort_unstable_by_key(|(time_us, _)| *time_us);
        let mut first: Option<i64> = None;
        for (time_us, piece) in pieces {
            if first.is_some_and(|first_us| first_us <= time_us) {
                break;
            }
            let is_open = self.state.last_end(piece.first_us) > self.settled_us();
            let exact_us = match (&piece.part, is_open) {
                (_, true) | (StatePart::Slice(_), _) => Some(time_us),
                (StatePart::Memory(batches), _) => {
                    let open = batches.iter().map(|batch| view.apply(&self.state, batch.clone()));
                    let open: datafusion::common::Result<Vec<RecordBatch>> = open.collect();
                    session_time_min(&open.map_err(from_datafusion)?)
                }
                (StatePart::File(run), _) => {
                    let times = schema.index_of(SESSION_FIRST).ok().map(|at| vec![at]);
                    let (run, schema) = (run.clone(), Arc::clone(schema));
                    let rows = read_run(storage.clone(), run, schema, times, (self.state, view));
                    let rows: Vec<RecordBatch> =
                        rows.try_collect().await.map_err(from_datafusion)?;
                    session_time_min(&rows)
                }
            };
            first = first.into_iter().chain(exact_us).min();
        }
        Ok(first)
    }

    /// The view of what stays: open windows, and closed ones that may still change.
    pub(super) fn open_view(&self) -> StateView {
        StateView::Open { through_us: self.settled_us() }
    }

    /// The watermark up to which windows can change no more.
    pub(super) fn settled_us(&self) -> i64 {
        self.through_us.unwrap_or(i64::MIN).saturating_sub(self.lateness_us)
    }

    /// The ends of windows that had closed before this epoch and have new rows.
    pub(super) async fn changed_ends_us(
        &self,
        schema: SchemaRef,
        storage: &Storage,
    ) -> Result<BTreeSet<i64>> {
        let mut ends = BTreeSet::new();
        let Some(after_us) = self.after_us.filter(|_| self.lateness_us > 0) else {
            return Ok(ends);
        };
        let since_us = after_us.saturating_sub(self.lateness_us);
        let closed = |end: &i64| *end > since_us && *end <= after_us;
        for piece in &self.pieces {
            let batches = match (&piece.origin, &piece.part) {
                (PieceOrigin::OldRun(_), _) => continue,
                _ if self.state.first_end(piece.first_us) > after_us => continue,
                (_, StatePart::Memory(batches)) => Arc::clone(batches),
                (_, StatePart::Slice(_)) => continue,
                (_, StatePart::File(run)) => {
                    let all = StateView::Open { through_us: i64::MIN };
                    let schema = Arc::clone(&schema);
                    let seen = (self.state, all);
                    let rows = read_run(storage.clone(), run.clone(), schema, None, seen);
                    Arc::new(rows.try_collect().await.map_err(from_datafusion)?)
                }
            };
            for starts in batches.iter().filter_map(starts_of) {
                let all = starts.values().iter().flat_map(|start| self.state.ends(*start));
                ends.extend(all.filter(closed));
            }
        }
        Ok(ends)
    }

    /// Settles which pieces stay as they are and gives those that are to be written as one new
    /// run: what is only in memory and, when there would be too many runs, those of a tier.
    pub(super) fn settle(&mut self, runs_max: usize) -> Vec<Piece> {
        let open = self.open_view();
        let (open_pieces, closed): (Vec<Piece>, Vec<Piece>) = std::mem::take(&mut self.pieces)
            .into_iter()
            .partition(|piece| open.may_see(&self.state, piece.first_us, piece.last_us));
        for piece in closed {
            self.remove_if_old(&piece);
        }
        self.settle_runs(open_pieces, runs_max)
    }

    /// As [`StageWork::settle`] for merges of panes, each of which becomes a run of its own; gives
    /// the panes that are to be written as one, and the merges.
    pub(super) fn settle_stack(&mut self, runs_max: usize) -> (Vec<Piece>, Vec<Piece>) {
        let pieces = std::mem::take(&mut self.pieces);
        let (panes, merges): (Vec<Piece>, Vec<Piece>) =
            pieces.into_iter().partition(|piece| piece.role == Role::Panes);
        let mut unwritten = Vec::new();
        for piece in merges {
            match piece.origin {
                PieceOrigin::OldRun(_) => {}
                PieceOrigin::NewRun(run) => {
                    self.change.runs_added.push(Run { role: role_name(piece.role), ..run });
                }
                PieceOrigin::Memory => unwritten.push(piece),
            }
        }
        (self.settle_runs(panes, runs_max), unwritten)
    }

    fn settle_runs(&mut self, pieces: Vec<Piece>, runs_max: usize) -> Vec<Piece> {
        let (mut fresh, runs): (Vec<Piece>, Vec<Piece>) =
            pieces.into_iter().partition(Piece::is_unwritten);
        // Windows end; a session may go on for ever.
        let leaves_whole = !matches!(self.state, StateShape::Sessions(_));
        let tiers = Tiers { runs_max, leaves_whole };
        let sizes: Vec<RunSize> = runs.iter().map(Piece::size).collect();
        let fresh_rows = fresh.iter().map(|piece| piece.size().rows).sum();
        let chosen = tiers.chosen(&sizes, fresh_rows);
        for (place, piece) in runs.into_iter().enumerate() {
            if chosen.contains(&place) {
                self.remove_if_old(&piece);
                fresh.push(piece);
            } else if let PieceOrigin::NewRun(run) = piece.origin {
                self.change.runs_added.push(run);
            }
        }
        fresh
    }

    /// Those of `pieces` of which `view` may see a row.
    pub(super) fn seen<'a>(
        &'a self,
        pieces: &'a [Piece],
        view: StateView,
    ) -> impl Iterator<Item = &'a Piece> {
        let is_seen =
            move |piece: &&Piece| view.may_see(&self.state, piece.first_us, piece.last_us);
        pieces.iter().filter(is_seen)
    }

    fn parts_seen(&self, pieces: &[Piece], view: StateView) -> Vec<StatePart> {
        self.seen(pieces, view).flat_map(|piece| split(&piece.part)).collect()
    }

    /// Says that a piece of an earlier epoch is no longer of the state.
    pub(super) fn remove_if_old(&mut self, piece: &Piece) {
        if let PieceOrigin::OldRun(run) = &piece.origin {
            self.change.runs_removed.push(run.path.clone());
        }
    }
}

impl Piece {
    /// State that is in memory only, if it has any rows.
    pub(super) fn of_rows(batches: Vec<RecordBatch>) -> Option<Self> {
        let (first_us, last_us) = start_range(&batches)?;
        let part = StatePart::Memory(Arc::new(batches));
        Some(Self { part, first_us, last_us, origin: PieceOrigin::Memory, role: Role::Panes })
    }

    /// State that this epoch has written.
    pub(super) fn of_new_run(run: Run) -> Self {
        piece_of_run(StatePart::File(run.clone()), PieceOrigin::NewRun(run))
    }

    /// The time of the first row in a piece of sessions.
    fn time_min_us(&self) -> Option<i64> {
        match (&self.origin, &self.part) {
            (PieceOrigin::NewRun(run) | PieceOrigin::OldRun(run), _)
            | (PieceOrigin::Memory, StatePart::File(run)) => run.time_min_us,
            (PieceOrigin::Memory, StatePart::Memory(batches)) => session_time_min(batches),
            (PieceOrigin::Memory, StatePart::Slice(_)) => None,
        }
    }

    /// Whether a run must be written for it: it is in memory only, or a part of a new run.
    fn is_unwritten(&self) -> bool {
        match &self.origin {
            PieceOrigin::Memory => true,
            PieceOrigin::NewRun(run) => self.first_us > run.pane_min_us,
            PieceOrigin::OldRun(_) => false,
        }
    }

    /// The path of its run.
    pub(super) fn path(&self) -> Option<&str> {
        match &self.origin {
            PieceOrigin::Memory => None,
            PieceOrigin::NewRun(run) | PieceOrigin::OldRun(run) => Some(&run.path),
        }
    }

    /// What it is to the logic of stacks, without its rows.
    fn bare(&self) -> stacks::Piece<()> {
        let (first_us, last_us) = (self.first_us, self.last_us);
        stacks::Piece { role: self.role, first_us, last_us, part: () }
    }

    /// Its rows and no others.
    pub(super) fn slice(&self) -> StatePart {
        let (first_us, last_us) = (self.first_us, self.last_us);
        self.part.clone().sliced([KeyRange { first_us, last_us, key_us: None }])
    }

    fn size(&self) -> RunSize {
        match (&self.origin, &self.part) {
            (PieceOrigin::NewRun(run) | PieceOrigin::OldRun(run), _)
            | (PieceOrigin::Memory, StatePart::File(run)) => {
                RunSize { rows: run.rows, bytes: run.bytes }
            }
            (PieceOrigin::Memory, StatePart::Memory(batches)) => {
                let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
                RunSize { rows, bytes: 0 }
            }
            (PieceOrigin::Memory, StatePart::Slice(_)) => RunSize { rows: 0, bytes: 0 },
        }
    }
}

/// Batches of one piece as parts of their own, so that a plan's partitions share them.
fn split(part: &StatePart) -> Vec<StatePart> {
    match part {
        StatePart::Memory(batches) if batches.len() > 1 => {
            batches.iter().map(|batch| StatePart::Memory(Arc::new(vec![batch.clone()]))).collect()
        }
        part => vec![part.clone()],
    }
}

fn piece_of_run(part: StatePart, origin: PieceOrigin) -> Piece {
    let (first_us, last_us) = match &origin {
        PieceOrigin::NewRun(run) | PieceOrigin::OldRun(run) => (run.pane_min_us, run.pane_max_us),
        PieceOrigin::Memory => (i64::MIN, i64::MAX),
    };
    let role = match &origin {
        PieceOrigin::NewRun(run) | PieceOrigin::OldRun(run) => role_of(run.role.as_deref()),
        PieceOrigin::Memory => Role::Panes,
    };
    Piece { part, first_us, last_us, origin, role }
}
