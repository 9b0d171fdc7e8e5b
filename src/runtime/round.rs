//! How many windows close at once. An epoch that is a back-fill closes thousands, whose aggregates
//! would be in memory together; in rounds they take the memory of a few.

use datafusion::common::utils::memory::RecordBatchMemoryCounter;

use super::merger::UNPACKED;
use super::stage_work::{Piece, PieceOrigin, StageWork};
use crate::sql::WindowShape;
use crate::state::{StatePart, StateShape};

/// The most rounds of a stage in an epoch: times may lie decades apart.
const ROUNDS_MAX: i64 = 256;

/// The closing windows of one stage, as far as they have to share memory.
#[derive(Debug)]
pub(super) struct Rounds {
    shape: WindowShape,
    first_end_us: i64,
    last_end_us: i64,
    /// How many windows close at once.
    windows: i64,
}

impl Rounds {
    /// For the windows of `work` that close, so that those of a round read about `bytes_max`; none
    /// where all of them do, or where something else decides.
    pub(super) fn new(work: &StageWork, bytes_max: u64) -> Option<Self> {
        if work.stack.is_some() {
            // It pulls as many as fit.
            return None;
        }
        let (shape, copies) = match work.state {
            StateShape::Windows(shape) => (shape, 1),
            StateShape::Panes(shape) => (shape, shape.size_us() / shape.slide_us()),
            StateShape::Stacks(_) | StateShape::Sessions(_) => return None,
        };
        let pieces: Vec<&Piece> = work.seen(&work.pieces, work.closing()?).collect();
        let first_us = pieces.iter().map(|piece| piece.first_us).min()?;
        let last_us = pieces.iter().map(|piece| piece.last_us).max()?;
        let first_end_us = work.state.first_end(first_us);
        let last_end_us = work.state.last_end(last_us);
        let all = last_end_us.saturating_sub(first_end_us) / shape.slide_us() + 1;
        let bytes = i64::try_from(bytes_of(&pieces)).unwrap_or(i64::MAX);
        let by_window = bytes.saturating_mul(copies.max(1)) / all.max(1);
        let windows = i64::try_from(bytes_max).unwrap_or(i64::MAX) / by_window.max(1);
        let windows = windows.max(all / ROUNDS_MAX + 1);
        (windows < all).then_some(Self { shape, first_end_us, last_end_us, windows })
    }

    /// The end of the last window of the round after `from_us`; none when there are no more.
    pub(super) fn through_us(&self, from_us: i64) -> Option<i64> {
        if from_us >= self.last_end_us {
            return None;
        }
        let first_end_us = match from_us < self.first_end_us {
            true => self.first_end_us,
            false => self.shape.next_end(from_us),
        };
        let more_us = self.shape.slide_us().saturating_mul(self.windows - 1);
        Some(first_end_us.saturating_add(more_us))
    }
}

/// The memory that the rows of `pieces` take, those that batches share once.
fn bytes_of(pieces: &[&Piece]) -> u64 {
    let mut counter = RecordBatchMemoryCounter::new();
    let mut stored = 0;
    for piece in pieces {
        match (&piece.part, &piece.origin) {
            (StatePart::Memory(batches), _) => {
                for batch in batches.iter() {
                    counter.count_batch(batch);
                }
            }
            (_, PieceOrigin::NewRun(run) | PieceOrigin::OldRun(run)) => stored += run.bytes,
            (_, PieceOrigin::Memory) => {}
        }
    }
    counter.memory_usage() as u64 + stored * UNPACKED
}
