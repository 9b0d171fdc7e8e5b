//! A stage whose windows are put together from merges of panes: which of them close in an epoch,
//! and what of the merges remains. The logic is `state/stacks`; this file gives it the state's
//! pieces, which `merger.rs` merges.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use super::merger::{Merger, StackPart, read_of};
use super::stage_work::{Piece, PieceOrigin};
use crate::error::{Error, Result};
use crate::sql::WindowShape;
use crate::state::StatePart;
use crate::state::stacks::{self, ClosingWindow, Remains, Role, Walk, Watermarks};

/// The least windows that are put together at once, whatever they take.
const WINDOWS_MIN: usize = 32;
/// The most windows that are put together at once, however little they take.
const WINDOWS_MAX: usize = 16_384;

/// The windows of a stage that close in an epoch, a bounded number of them at a time.
#[derive(Debug)]
pub(super) struct StackWork {
    shape: WindowShape,
    walk: Walk<StackPart>,
    given: Vec<Piece>,
    pulled: VecDeque<ClosingWindow<StackPart>>,
    /// About the memory of windows that are put together at once.
    bytes_max: u64,
    /// The others are passed over.
    wanted: Wanted,
}

/// Which windows are put together.
#[derive(Debug)]
enum Wanted {
    /// All that the walk gives.
    All,
    /// Those that end after this.
    After(i64),
    /// Those that end at one of these.
    Ends(BTreeSet<i64>),
}

impl StackWork {
    /// Begins with the pieces of the stage's state.
    pub(super) async fn start(
        shape: WindowShape,
        watermarks: Watermarks,
        pieces: Vec<Piece>,
        bytes_max: u64,
        merger: &mut Merger,
    ) -> Result<Self> {
        let (mut given, mut fresh) = (Vec::new(), Vec::new());
        for (at, piece) in pieces.iter().enumerate() {
            let part = StackPart::given(&piece.part, at);
            let (first_us, last_us) = (piece.first_us, piece.last_us);
            let of = stacks::Piece { role: piece.role, first_us, last_us, part };
            match piece.origin {
                PieceOrigin::OldRun(_) => given.push(of),
                PieceOrigin::Memory | PieceOrigin::NewRun(_) => fresh.push(of),
            }
        }
        let walk = Walk::start(&shape, watermarks, given, fresh, merger).await?;
        Ok(Self {
            shape,
            walk,
            given: pieces,
            pulled: VecDeque::new(),
            bytes_max,
            wanted: Wanted::All,
        })
    }

    /// Puts the windows that end in `(after_us, through_us]` together from panes that stay as they
    /// are, since their windows may still change.
    pub(super) async fn over_panes(
        shape: WindowShape,
        (after_us, through_us): (i64, i64),
        pieces: &[Piece],
        bytes_max: u64,
        merger: &mut Merger,
    ) -> Result<Self> {
        let first_end_us = shape.next_end(after_us);
        let of_windows = (first_end_us, through_us);
        let wanted = Wanted::After(after_us);
        Self::transient(shape, of_windows, wanted, pieces, bytes_max, merger).await
    }

    /// Puts the windows that end at one of `ends` together, from panes that stay as they are.
    pub(super) async fn again(
        shape: WindowShape,
        ends: BTreeSet<i64>,
        pieces: &[Piece],
        bytes_max: u64,
        merger: &mut Merger,
    ) -> Result<Self> {
        let range = (ends.first().copied(), ends.last().copied());
        let (Some(first_us), Some(last_us)) = range else {
            return Err(Error::bug("no windows are to be put together again"));
        };
        let of_windows = (shape.next_end(first_us.saturating_sub(1)), last_us);
        let wanted = Wanted::Ends(ends);
        Self::transient(shape, of_windows, wanted, pieces, bytes_max, merger).await
    }

    /// All merges are made anew, and so windows before the first may be, which are passed over.
    async fn transient(
        shape: WindowShape,
        (first_end_us, through_us): (i64, i64),
        wanted: Wanted,
        pieces: &[Piece],
        bytes_max: u64,
        merger: &mut Merger,
    ) -> Result<Self> {
        let mark_us = first_end_us.saturating_sub(shape.end_of(0));
        let from_us = shape.pane_start(shape.start_of(mark_us));
        let fresh = pieces.iter().enumerate().filter(|(_, piece)| piece.last_us >= from_us);
        let fresh = fresh.map(|(at, piece)| stacks::Piece {
            role: Role::Panes,
            first_us: piece.first_us.max(from_us),
            last_us: piece.last_us,
            part: StackPart::given(&piece.part, at),
        });
        let watermarks = Watermarks { after_us: None, through_us: Some(through_us) };
        let walk = Walk::start(&shape, watermarks, vec![], fresh.collect(), merger).await?;
        Ok(Self { shape, walk, given: vec![], pulled: VecDeque::new(), bytes_max, wanted })
    }

    /// Puts the next windows together; gives the end of the last where there may be more.
    pub(super) async fn pull(&mut self, merger: &mut Merger) -> Result<Option<i64>> {
        // A merge that several windows read takes its memory once.
        let (mut counted, mut bytes) = (HashSet::new(), 0);
        let mut count = |window: &ClosingWindow<StackPart>| -> u64 {
            let parts = window.parts.iter().map(|slice| &slice.part);
            let new = parts.filter(|part| counted.insert(Arc::as_ptr(&part.parts).addr()));
            new.map(|part| part.bytes).sum()
        };
        for window in &self.pulled {
            bytes += count(window);
        }
        while self.pulled.len() < WINDOWS_MIN
            || (bytes < self.bytes_max && self.pulled.len() < WINDOWS_MAX)
        {
            let Some(window) = self.walk.next(merger).await? else { return Ok(None) };
            let end_us = self.shape.end_of(window.mark_us);
            let is_wanted = match &self.wanted {
                Wanted::All => true,
                Wanted::After(after_us) => end_us > *after_us,
                Wanted::Ends(ends) => ends.contains(&end_us),
            };
            if !is_wanted {
                continue;
            }
            bytes += count(&window);
            self.pulled.push_back(window);
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
        read_of(
            windows.flat_map(|window| {
                window.parts.iter().map(move |slice| (Some(window.mark_us), slice))
            }),
        )
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
    let parts = piece.part.parts.iter().filter_map(|part| {
        let in_memory = PieceOrigin::Memory;
        let whole = Piece { part: part.clone(), first_us, last_us, origin: in_memory, role };
        let Some(run) = part.run() else { return Some(whole) };
        // Runs of other keys were made together with these.
        if run.pane_max_us < first_us || run.pane_min_us > last_us {
            return None;
        }
        if run.pane_min_us < first_us || run.pane_max_us > last_us {
            return Some(whole);
        }
        let origin = PieceOrigin::NewRun(run.clone());
        Some(Piece { first_us: run.pane_min_us, last_us: run.pane_max_us, origin, ..whole })
    });
    parts.collect()
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
