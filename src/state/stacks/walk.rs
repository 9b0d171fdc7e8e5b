//! Which windows close in an epoch, one after another, and what of the state remains.

use std::collections::VecDeque;

use super::grid::Grid;
use super::held::Held;
use super::occupied::{Occupied, panes_of};
use super::piece::{ClosingWindow, Merge, Piece, Role};
use super::rolled::Rolled;
use crate::error::{Error, Result};
use crate::sql::WindowShape;

/// A stage's watermark before an epoch and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Windows up to this were closed in earlier epochs.
    pub after_us: Option<i64>,
    /// Windows up to this close in this epoch; never less.
    pub through_us: Option<i64>,
}

/// What a walk leaves to the next epoch's.
#[derive(Debug, Clone)]
pub struct Remains<P> {
    /// The pieces of the state: given ones as they were given, and new ones. A piece that was
    /// given as fresh may have a smaller range.
    pub kept: Vec<Piece<P>>,
    /// The given pieces that are not among them.
    pub dropped: Vec<Piece<P>>,
    /// Rows of [`Role::Panes`] before this are not read again, so that whoever puts pieces
    /// together need not keep them.
    pub panes_from_us: Option<i64>,
}

/// The windows of a stage that close in one epoch.
#[derive(Debug)]
pub struct Walk<P> {
    grid: Grid,
    rolled: Rolled<P>,
    occupied: Occupied,
    /// The end of the last window that is closed, or passed over.
    at: Option<i64>,
    /// The end of the last window that closes in this epoch.
    until: Option<i64>,
    closed: VecDeque<ClosingWindow<P>>,
}

impl<P: Clone> Walk<P> {
    /// Begins with the pieces that the walk before left, and `fresh` pieces of panes that came
    /// since. A row in `fresh` is in at least one window that ends after `watermarks.after_us`.
    ///
    /// # Errors
    /// When a merge fails, or the pieces are not those of the watermark.
    pub async fn start<M: Merge<P>>(
        shape: &WindowShape,
        watermarks: Watermarks,
        given: Vec<Piece<P>>,
        fresh: Vec<Piece<P>>,
        merge: &mut M,
    ) -> Result<Self> {
        let grid = Grid::new(shape);
        let at = watermarks.after_us.map(|us| grid.last_end(us));
        let until = watermarks.through_us.map(|us| grid.last_end(us)).max(at);
        check_prefixes(&grid, at, &given)?;
        let mut occupied = Vec::new();
        if until > at {
            let panes_from = at.map(|end| grid.panes_from(end));
            for piece in &given {
                occupied.extend(panes_of(&grid, piece, panes_from, merge).await?);
            }
            for piece in &fresh {
                occupied.extend(panes_of(&grid, piece, None, merge).await?);
            }
        }
        let mut rolled = Rolled::new(grid, Held::new(grid, given), at);
        for piece in fresh {
            rolled.accept(piece, at, merge).await?;
        }
        let occupied = Occupied::new(occupied);
        Ok(Self { grid, rolled, occupied, at, until, closed: VecDeque::new() })
    }

    /// The next window that closes and may have rows, in the order of their ends.
    ///
    /// # Errors
    /// When a merge fails.
    pub async fn next<M: Merge<P>>(&mut self, merge: &mut M) -> Result<Option<ClosingWindow<P>>> {
        while self.closed.is_empty() {
            let ends = self.next_ends();
            let (Some(&first), Some(&last)) = (ends.first(), ends.last()) else {
                return Ok(None);
            };
            if self.at != Some(first - self.grid.slide) {
                self.rolled.clear();
            }
            self.closed.extend(self.rolled.close(&ends, merge).await?);
            self.at = Some(last);
        }
        Ok(self.closed.pop_front())
    }

    /// What remains once [`Walk::next`] has given all windows.
    ///
    /// # Errors
    /// When a merge fails, or windows are left.
    pub async fn finish<M: Merge<P>>(mut self, merge: &mut M) -> Result<Remains<P>> {
        if !self.closed.is_empty() || self.next_end().is_some() {
            return Err(Error::bug("the state was settled before all windows were closed"));
        }
        if self.at != self.until {
            // No window up to there has a row, so that none of those that were merged is needed.
            self.rolled.clear();
        }
        self.rolled.finish(self.until, merge).await
    }

    /// The ends of windows that close next and can be closed together: those in one sub-block.
    fn next_ends(&self) -> Vec<i64> {
        let Some(first) = self.next_end() else { return vec![] };
        let last = self.until.unwrap_or(first).min(self.grid.sub_end(first - 1));
        let mut ends = vec![first];
        let mut end = first + self.grid.slide;
        while end <= last && self.may_have_rows(end) {
            ends.push(end);
            end += self.grid.slide;
        }
        ends
    }

    /// The end of the next window that closes and may have rows.
    fn next_end(&self) -> Option<i64> {
        let least = self.at.map(|end| end + self.grid.slide);
        let pane = self.occupied.next(least.map_or(i64::MIN, |end| self.grid.start(end)))?;
        let end = self.grid.first_end(pane).max(least.unwrap_or(i64::MIN));
        (self.until? >= end).then_some(end)
    }

    fn may_have_rows(&self, end: i64) -> bool {
        self.occupied.next(self.grid.start(end)).is_some_and(|pane| pane < end)
    }
}

/// A prefix is kept under the end of the window that closed last.
fn check_prefixes<P>(grid: &Grid, at: Option<i64>, given: &[Piece<P>]) -> Result<()> {
    let at_us = at.map(|end| grid.us(end));
    let strange = given.iter().find(|piece| {
        piece.role == Role::Prefix && (Some(piece.first_us), Some(piece.last_us)) != (at_us, at_us)
    });
    match strange {
        None => Ok(()),
        Some(Piece { first_us, last_us, .. }) => Err(Error::bug(format!(
            "the last window closed at {at_us:?}, but the state has a prefix up to \
             {first_us}..{last_us}"
        ))),
    }
}
