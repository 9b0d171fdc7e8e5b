//! Which panes may have rows, as far as the pieces tell, and so how long windows stay open.

use super::grid::Grid;
use super::piece::{Merge, Piece, Role};
use crate::error::Result;
use crate::sql::WindowShape;

/// A piece over more windows than this is asked which panes it holds.
const WINDOWS_UNASKED_MAX: i64 = 4;

/// Ranges of panes, apart from each other and in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Occupied {
    ranges: Vec<(i64, i64)>,
}

impl Occupied {
    /// The union of `ranges`, both ends of each included.
    pub(super) fn new(mut ranges: Vec<(i64, i64)>) -> Self {
        ranges.sort_unstable();
        let mut apart: Vec<(i64, i64)> = Vec::new();
        for (first, last) in ranges {
            match apart.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => apart.push((first, last)),
            }
        }
        Self { ranges: apart }
    }

    /// The first pane from `pane` on that may have rows.
    pub(super) fn next(&self, pane: i64) -> Option<i64> {
        let at = self.ranges.partition_point(|&(_, last)| last < pane);
        self.ranges.get(at).map(|&(first, _)| first.max(pane))
    }
}

/// The end of the last window that any of the pieces has rows of, each range being exact: moving
/// the watermark there closes what is open, and moving it less does not.
pub fn last_open_end_us<P>(shape: &WindowShape, pieces: &[Piece<P>]) -> Option<i64> {
    let grid = Grid::new(shape);
    let ends = pieces.iter().filter_map(|piece| match piece.role {
        // An inner merge is under the start of the last window that has its last row.
        Role::Panes | Role::Stray | Role::Inner => shape.last_end(piece.last_us),
        Role::Prefix if grid.cumulates => shape.last_end(piece.last_us.saturating_sub(1)),
        // Their panes are there, or in inner merges.
        Role::Prefix | Role::Total | Role::Outer => None,
    });
    ends.max()
}

/// The panes, as ranges, that a piece may have rows of; rows of panes before `panes_from` are in
/// other pieces too.
pub(super) async fn panes_of<P: Clone, M: Merge<P>>(
    grid: &Grid,
    piece: &Piece<P>,
    panes_from: Option<i64>,
    merge: &mut M,
) -> Result<Vec<(i64, i64)>> {
    let (first, last) = (grid.pane(piece.first_us), grid.pane(piece.last_us));
    let first = match piece.role {
        Role::Panes => panes_from.map_or(first, |pane| first.max(pane)),
        Role::Stray => first,
        Role::Inner => return Ok(vec![(first, grid.sub_end(last) - 1)]),
        Role::Prefix if grid.cumulates => return Ok(vec![(grid.filling(last), last - 1)]),
        // Their panes are there, or in inner merges.
        Role::Prefix | Role::Total | Role::Outer => return Ok(vec![]),
    };
    if last.saturating_sub(first) / grid.block < WINDOWS_UNASKED_MAX {
        return Ok(if first <= last { vec![(first, last)] } else { vec![] });
    }
    let Some(slice) = piece.slice(grid.us(first), piece.last_us) else { return Ok(vec![]) };
    let keys = merge.keys(slice).await?.into_iter().map(|key_us| grid.pane(key_us));
    Ok(keys.map(|pane| (pane, pane)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_pane_is_in_a_range_or_begins_one() {
        let occupied = Occupied::new(vec![(10, 12), (1, 3), (2, 5), (6, 6)]);
        assert_eq!(occupied.ranges, [(1, 6), (10, 12)]);
        assert_eq!([0, 4, 7, 12].map(|pane| occupied.next(pane)), [1, 4, 10, 12].map(Some));
        assert_eq!(occupied.next(13), None);
    }
}
