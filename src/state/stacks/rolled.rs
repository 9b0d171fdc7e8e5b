//! What is merged when windows close, and how a closing window is put together from it. Which
//! windows close is the walk's to say.

use std::collections::BTreeMap;

use super::grid::Grid;
use super::held::Held;
use super::piece::{ClosingWindow, Merge, Piece, Role, Slice, Step, Sum};
use super::walk::Remains;
use crate::error::Result;

/// The merges at the end of the last window that closed.
#[derive(Debug)]
pub(super) struct Rolled<P> {
    grid: Grid,
    pub(super) held: Held<P>,
    /// Rows of the prefix that came after it was made.
    late_in_prefix: Vec<Slice<P>>,
    /// Rows of totals that came after they were made, by the total's sub-block.
    late_in_totals: BTreeMap<i64, Vec<Slice<P>>>,
    /// The sub-block whose inner merges are made.
    inner_of: Option<i64>,
}

impl<P: Clone> Rolled<P> {
    /// The merges as they are once the window up to `at` is closed.
    pub(super) fn new(grid: Grid, held: Held<P>, at: Option<i64>) -> Self {
        let start = at.filter(|_| !grid.cumulates).map(|end| grid.start(end));
        let inner_of = start.map(|start| (start, grid.sub_start(start)));
        let inner_of = inner_of.and_then(|(start, sub)| (start != sub).then_some(sub));
        Self { grid, held, late_in_prefix: vec![], late_in_totals: BTreeMap::new(), inner_of }
    }

    /// Takes in panes that came after the window up to `at` was closed.
    pub(super) async fn accept<M: Merge<P>>(
        &mut self,
        piece: Piece<P>,
        at: Option<i64>,
        merge: &mut M,
    ) -> Result<()> {
        let Some(end) = at else {
            self.held.add_given(piece);
            return Ok(());
        };
        let filling = self.grid.filling(end);
        if self.grid.prefix_goes_on(end) {
            self.late_in_prefix.extend(self.rows(&piece, filling, end));
        }
        if self.grid.cumulates {
            self.held.add_given(piece);
            return Ok(());
        }
        for total in self.grid.totals(filling) {
            let total_end = self.grid.sub_end(total);
            if total_end <= end
                && let Some(rows) = self.rows(&piece, total, total_end)
            {
                self.late_in_totals.entry(total).or_default().push(rows);
            }
        }
        self.take_strays(piece, filling, merge).await
    }

    /// Keeps the rows before the block that fills apart: inner and outer merges were, or will be,
    /// made without them.
    async fn take_strays<M: Merge<P>>(
        &mut self,
        piece: Piece<P>,
        filling: i64,
        merge: &mut M,
    ) -> Result<()> {
        let filling_us = self.grid.us(filling);
        let Some(strays) = piece.slice(i64::MIN, filling_us.saturating_sub(1)) else {
            self.held.add_given(piece);
            return Ok(());
        };
        let (first_us, last_us) = (strays.first_us, strays.last_us);
        if let Some(part) = merge.select(strays).await? {
            let panes = (self.grid.pane(first_us), self.grid.pane(last_us));
            self.held.add_made(Role::Stray, panes, Some(part));
        }
        match piece.last_us < filling_us {
            true => self.held.drop_given(piece),
            false => self.held.add_given(Piece { first_us: filling_us, ..piece }),
        }
        Ok(())
    }

    /// Lets go of all merges, since none of their rows is in a window that is still open.
    pub(super) fn clear(&mut self) {
        self.held.retain(|piece| piece.role == Role::Panes);
        self.late_in_prefix.clear();
        self.late_in_totals.clear();
        self.inner_of = None;
    }

    /// Closes the windows up to `ends`, which follow each other in one sub-block, the window
    /// before the first of them being closed.
    pub(super) async fn close<M: Merge<P>>(
        &mut self,
        ends: &[i64],
        merge: &mut M,
    ) -> Result<Vec<ClosingWindow<P>>> {
        let (Some(&first), Some(&last)) = (ends.first(), ends.last()) else { return Ok(vec![]) };
        let before = first - self.grid.slide;
        if self.grid.filling(before) != self.grid.filling(first) {
            self.turn_over(before, first, merge).await?;
        }
        if !self.grid.cumulates {
            self.make_inner(self.grid.start(first), merge).await?;
        }
        self.grow_prefix(before, ends, merge).await?;
        if !self.grid.cumulates {
            self.make_totals(self.grid.filling(first), (before, last), merge).await?;
        }
        let windows = ends.iter().map(|&end| self.window(end));
        Ok(windows.filter(|window| !window.parts.is_empty()).collect())
    }

    /// The block that filled up to `before` becomes the old one.
    async fn turn_over<M: Merge<P>>(
        &mut self,
        before: i64,
        first: i64,
        merge: &mut M,
    ) -> Result<()> {
        let grid = self.grid;
        self.held.retain(|piece| is_needed(&grid, piece, before));
        self.late_in_prefix.clear();
        if self.grid.cumulates {
            return Ok(());
        }
        let (old, filling) = (self.grid.filling(before), self.grid.filling(first));
        self.make_totals(old, (before, filling), merge).await?;
        self.inner_of = None;
        let start = self.grid.start(first);
        let mut steps = Vec::new();
        for total in self.grid.totals(old).rev().filter(|total| *total >= start) {
            let mut inputs = self.held.slices(Role::Total, total, total + 1);
            inputs.extend(self.late_in_totals.remove(&total).into_iter().flatten());
            steps.push((total, inputs));
        }
        self.make(Role::Outer, steps, Sum::Running, merge).await?;
        self.held.discard(Role::Total);
        self.late_in_totals.clear();
        Ok(())
    }

    /// The inner merges for the windows that begin at `start` and later in its sub-block, where
    /// they are not made yet. A window that begins with a sub-block needs none.
    async fn make_inner<M: Merge<P>>(&mut self, start: i64, merge: &mut M) -> Result<()> {
        let (sub_start, sub_end) = (self.grid.sub_start(start), self.grid.sub_end(start));
        if start == sub_start || self.inner_of == Some(sub_start) {
            return Ok(());
        }
        self.inner_of = Some(sub_start);
        self.held.discard(Role::Inner);
        let mut steps = Vec::new();
        let mut end = sub_end;
        for key in self.grid.starts(start, sub_end).rev() {
            steps.push((key, self.held.slices(Role::Panes, key, end)));
            end = key;
        }
        self.make(Role::Inner, steps, Sum::Running, merge).await
    }

    /// The prefixes up to each of `ends`.
    async fn grow_prefix<M: Merge<P>>(
        &mut self,
        before: i64,
        ends: &[i64],
        merge: &mut M,
    ) -> Result<()> {
        let mut steps = Vec::new();
        let mut first = before;
        let mut inputs = self.held.slices(Role::Prefix, before, before + 1);
        inputs.append(&mut self.late_in_prefix);
        for &end in ends {
            let first_pane = first.max(self.grid.filling(end));
            inputs.extend(self.held.slices(Role::Panes, first_pane, end));
            steps.push((end, std::mem::take(&mut inputs)));
            first = end;
        }
        self.held.discard(Role::Prefix);
        self.make(Role::Prefix, steps, Sum::Running, merge).await
    }

    /// The totals of a block's sub-blocks that end in `(after, through]`.
    async fn make_totals<M: Merge<P>>(
        &mut self,
        block: i64,
        (after, through): (i64, i64),
        merge: &mut M,
    ) -> Result<()> {
        let passed = |total: &i64| {
            let end = self.grid.sub_end(*total);
            end > after && end <= through
        };
        let totals = self.grid.totals(block).filter(passed);
        let panes = |total| self.held.slices(Role::Panes, total, self.grid.sub_end(total));
        let steps = totals.map(|total| (total, panes(total))).collect();
        self.make(Role::Total, steps, Sum::Each, merge).await
    }

    /// Makes merges by key and keeps them.
    async fn make<M: Merge<P>>(
        &mut self,
        role: Role,
        steps: Vec<(i64, Vec<Slice<P>>)>,
        sum: Sum,
        merge: &mut M,
    ) -> Result<()> {
        let mut steps: Vec<_> = match sum {
            Sum::Each => steps.into_iter().filter(|(_, inputs)| !inputs.is_empty()).collect(),
            Sum::Running => steps.into_iter().skip_while(|(_, inputs)| inputs.is_empty()).collect(),
        };
        let keys = || steps.iter().map(|(key, _)| *key);
        let (Some(first), Some(last)) = (keys().min(), keys().max()) else { return Ok(()) };
        let steps = steps
            .drain(..)
            .map(|(key, inputs)| Step { key_us: self.grid.us(key), inputs })
            .collect();
        let part = merge.merge(steps, sum).await?;
        self.held.add_made(role, (first, last), part);
        Ok(())
    }

    /// The window up to `end`, of which all merges are made.
    fn window(&self, end: i64) -> ClosingWindow<P> {
        let mark_us = self.grid.mark_us(end);
        let mut parts = self.held.slices(Role::Prefix, end, end + 1);
        if !self.grid.cumulates {
            let (start, filling) = (self.grid.start(end), self.grid.filling(end));
            if self.grid.sub_start(start) != start {
                parts.extend(self.held.slices(Role::Inner, start, start + 1));
            }
            let outer = self.grid.sub_from(start);
            if outer < filling {
                parts.extend(self.held.slices(Role::Outer, outer, outer + 1));
            }
            parts.extend(self.held.slices(Role::Stray, start, filling));
        }
        ClosingWindow { mark_us, parts }
    }

    /// Settles what is kept once the window up to `at` is closed and no other closes.
    pub(super) async fn finish<M: Merge<P>>(
        mut self,
        at: Option<i64>,
        merge: &mut M,
    ) -> Result<Remains<P>> {
        let Some(end) = at else {
            let (kept, dropped) = self.held.finish();
            return Ok(Remains { kept, dropped, panes_from_us: None });
        };
        let inputs = std::mem::take(&mut self.late_in_prefix);
        self.make(Role::Prefix, vec![(end, inputs)], Sum::Each, merge).await?;
        let totals = std::mem::take(&mut self.late_in_totals).into_iter().collect();
        self.make(Role::Total, totals, Sum::Each, merge).await?;
        let grid = self.grid;
        self.held.retain(|piece| is_needed(&grid, piece, end));
        let (mut kept, dropped) = self.held.finish();
        // A prefix was made together with those of the windows before.
        for piece in kept.iter_mut().filter(|piece| piece.role == Role::Prefix) {
            piece.first_us = piece.last_us;
        }
        Ok(Remains { kept, dropped, panes_from_us: Some(grid.us(grid.panes_from(end))) })
    }

    fn rows(&self, piece: &Piece<P>, first: i64, end: i64) -> Option<Slice<P>> {
        if first >= end {
            return None;
        }
        piece.slice(self.grid.us(first), self.grid.us(end).saturating_sub(1))
    }
}

/// Whether a window after the one up to `end` may read the piece.
fn is_needed<P>(grid: &Grid, piece: &Piece<P>, end: i64) -> bool {
    let last = grid.pane(piece.last_us);
    let next_start = grid.start(end + grid.slide);
    match piece.role {
        Role::Panes => last >= grid.panes_from(end),
        Role::Prefix => last == end && grid.prefix_goes_on(end),
        Role::Outer => last >= grid.sub_from(next_start),
        Role::Stray | Role::Inner | Role::Total => last >= next_start,
    }
}
