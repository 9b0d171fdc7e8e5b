//! The pieces of a stage's state by what their rows are merges of, and what merges them.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What the rows of a piece are merges of, and what their first key tells. Pieces of one role may
/// be many: together they are the merge of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Panes, by their start.
    Panes,
    /// Panes that came after merges of theirs were made, by their start.
    Stray,
    /// The panes of a block up to the end of the last window that closed, by that end.
    Prefix,
    /// The panes of a sub-block, by its start.
    Total,
    /// The panes of a block from a sub-block on, by that sub-block's start.
    Outer,
    /// The panes of a sub-block from a window's start on, by that start.
    Inner,
}

/// A piece of the state: the rows of `part` whose first key lies in the range. What else `part`
/// holds is not of the piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<P> {
    /// What its rows are.
    pub role: Role,
    /// Its least first key, or less; microseconds since 1970.
    pub first_us: i64,
    /// Its greatest first key, or more.
    pub last_us: i64,
    /// Where its rows are. Cheap to clone, and read by narrow ranges of its first key again and
    /// again: rows in memory are best sorted by it, as those of a run are.
    pub part: P,
}

/// The rows of a part whose first key lies in a range, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<P> {
    /// What its rows are.
    pub role: Role,
    /// The least first key.
    pub first_us: i64,
    /// The greatest first key.
    pub last_us: i64,
    /// Where the rows are.
    pub part: P,
}

/// A window that closes: the merge of its parts, each row under the window's mark as first key.
#[derive(Debug, Clone)]
pub struct ClosingWindow<P> {
    /// The window's mark, as [`crate::sql::WindowShape`] has it.
    pub mark_us: i64,
    /// What it is the merge of: at most one of each role, and strays.
    pub parts: Vec<Slice<P>>,
}

/// One merge to be made: `inputs`, all under one first key.
#[derive(Debug, Clone)]
pub struct Step<P> {
    /// The first key of the merge.
    pub key_us: i64,
    /// What is merged; nothing where no piece may have rows.
    pub inputs: Vec<Slice<P>>,
}

/// How the steps of one merge belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Each is the merge of its inputs.
    Each,
    /// Each is the merge of its inputs and of those of all steps before it. A step that adds
    /// nothing has the rows of the one before.
    Running,
}

/// Merges partial aggregates.
pub trait Merge<P> {
    /// The merges of `steps` in one part, each under its key; nothing where there is no row.
    fn merge(
        &mut self,
        steps: Vec<Step<P>>,
        sum: Sum,
    ) -> impl Future<Output = Result<Option<P>>> + Send;

    /// The rows of a slice, as they are, in a part of their own; nothing where there is no row.
    fn select(&mut self, slice: Slice<P>) -> impl Future<Output = Result<Option<P>>> + Send;

    /// The first keys that occur in a slice, in any order. Asked only of slices so wide that
    /// closing each window in their range would take long.
    fn keys(&mut self, slice: Slice<P>) -> impl Future<Output = Result<Vec<i64>>> + Send;
}

impl<P: Clone> Piece<P> {
    /// The rows of the piece in a range, where there may be any.
    pub(super) fn slice(&self, first_us: i64, last_us: i64) -> Option<Slice<P>> {
        let (first_us, last_us) = (self.first_us.max(first_us), self.last_us.min(last_us));
        let part = || self.part.clone();
        (first_us <= last_us).then(|| Slice { role: self.role, first_us, last_us, part: part() })
    }
}
