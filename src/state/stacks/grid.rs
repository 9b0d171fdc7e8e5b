//! The arithmetic of panes by number: which windows end where, and the blocks and sub-blocks that
//! panes lie in.
//!
//! Pane `k` begins `k` panes after the offset. A window is told by its end `e`, the number of the
//! first pane after it.

use crate::sql::WindowShape;

/// Below this many windows over each pane, reading each pane once a window is cheaper.
const WINDOWS_PER_PANE_MIN: i64 = 9;

/// Whether the windows of `shape` are many enough over each pane that merges of panes pay.
/// The others are put together from their panes.
pub fn suits_stacks(shape: &WindowShape) -> bool {
    shape.suits_panes() && shape.size_us() / shape.slide_us() >= WINDOWS_PER_PANE_MIN
}

/// The panes of a family of windows, by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pane_us: i64,
    offset_us: i64,
    /// Panes in a block, which are those in a window; of CUMULATE those in the longest.
    pub(super) block: i64,
    /// Panes in a sub-block, of which the last may have fewer.
    pub(super) sub_block: i64,
    /// Panes between the ends of two windows.
    pub(super) slide: i64,
    pub(super) cumulates: bool,
}

impl Grid {
    pub(super) fn new(shape: &WindowShape) -> Self {
        let pane_us = shape.pane_us();
        let block = shape.size_us() / pane_us;
        let slide = shape.slide_us() / pane_us;
        // As many merges of sub-blocks in a block as there are windows beginning in a sub-block.
        let sub_block = ((block * slide).isqrt() + 1).min(block);
        let cumulates = shape.cumulates();
        Self { pane_us, offset_us: shape.offset_us(), block, sub_block, slide, cumulates }
    }

    /// The number of the pane that holds a time.
    pub(super) fn pane(&self, time_us: i64) -> i64 {
        time_us.saturating_sub(self.offset_us).div_euclid(self.pane_us)
    }

    /// Where a pane begins, in microseconds.
    pub(super) fn us(&self, pane: i64) -> i64 {
        pane.saturating_mul(self.pane_us).saturating_add(self.offset_us)
    }

    /// The last end of a window at or before the watermark.
    pub(super) fn last_end(&self, watermark_us: i64) -> i64 {
        self.ends() + floor(self.pane(watermark_us) - self.ends(), self.slide)
    }

    /// The end of the first window that holds `pane`.
    pub(super) fn first_end(&self, pane: i64) -> i64 {
        self.ends() + floor(pane - self.ends(), self.slide) + self.slide
    }

    /// The first pane of the window that ends at `end`.
    pub(super) fn start(&self, end: i64) -> i64 {
        if self.cumulates { self.filling(end) } else { end - self.block }
    }

    /// The mark of the window that ends at `end`, in microseconds.
    pub(super) fn mark_us(&self, end: i64) -> i64 {
        self.us(if self.cumulates { end - 1 } else { end - self.block })
    }

    /// The first pane of the block that fills when the window up to `end` closes.
    pub(super) fn filling(&self, end: i64) -> i64 {
        floor(end - 1, self.block)
    }

    /// Whether the prefix of the window up to `end` is part of the next window's.
    pub(super) fn prefix_goes_on(&self, end: i64) -> bool {
        self.filling(end + self.slide) == self.filling(end)
    }

    /// The first pane of the sub-block that holds `pane`.
    pub(super) fn sub_start(&self, pane: i64) -> i64 {
        let block = floor(pane, self.block);
        block + floor(pane - block, self.sub_block)
    }

    /// The first pane after the sub-block that holds `pane`.
    pub(super) fn sub_end(&self, pane: i64) -> i64 {
        let block_end = floor(pane, self.block) + self.block;
        (self.sub_start(pane) + self.sub_block).min(block_end)
    }

    /// The first pane of the first sub-block that begins at or after `pane`.
    pub(super) fn sub_from(&self, pane: i64) -> i64 {
        if self.sub_start(pane) == pane { pane } else { self.sub_end(pane) }
    }

    /// The first panes of the sub-blocks of a block of which a total may be read: all but the
    /// first, since no window has a whole block and part of another.
    pub(super) fn totals(&self, block: i64) -> impl DoubleEndedIterator<Item = i64> + use<> {
        let (sub_block, count) = (self.sub_block, (self.block - 1) / self.sub_block);
        (1..=count).map(move |number| block + number * sub_block)
    }

    /// The windows' starts in `[first, end)`.
    pub(super) fn starts(
        &self,
        first: i64,
        end: i64,
    ) -> impl DoubleEndedIterator<Item = i64> + use<> {
        let slide = self.slide;
        let first = floor(first + slide - 1, slide) / slide;
        let last = floor(end - 1, slide) / slide;
        (first..=last).map(move |number| number * slide)
    }

    /// The first pane that is still read as a pane once the window up to `end` is closed.
    pub(super) fn panes_from(&self, end: i64) -> i64 {
        if self.cumulates {
            return end;
        }
        let start = self.start(end);
        self.sub_from(start).max(start + self.slide)
    }

    /// Where ends lie among the multiples of the slide.
    fn ends(&self) -> i64 {
        if self.cumulates { 0 } else { self.block }
    }
}

/// The last multiple of `step` at or before `number`.
fn floor(number: i64, step: i64) -> i64 {
    number.div_euclid(step) * step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(size_ms: i64, slide_ms: i64, offset_ms: i64) -> Grid {
        let shape = WindowShape::new(size_ms * 1_000, slide_ms * 1_000, offset_ms * 1_000);
        Grid::new(&shape.unwrap())
    }

    #[test]
    fn ends_by_number_are_the_ends_of_the_shape() {
        for (size_ms, slide_ms, offset_ms) in [(60, 1, 0), (25, 2, -1), (21, 4, 3)] {
            let shape = WindowShape::new(size_ms * 1_000, slide_ms * 1_000, offset_ms * 1_000);
            let (shape, grid) = (shape.unwrap(), hop(size_ms, slide_ms, offset_ms));
            for ms in -100..100 {
                let us = ms * 1_000 + 7;
                assert_eq!(grid.us(grid.pane(us)), shape.pane_start(us));
                let first = shape.starts(us).last().unwrap();
                assert_eq!(grid.us(grid.first_end(grid.pane(us))), shape.end_of(first));
                assert_eq!(grid.mark_us(grid.first_end(grid.pane(us))), first);
                assert_eq!(grid.us(grid.last_end(us) + grid.slide), shape.next_end(us));
            }
        }
    }

    #[test]
    fn a_cumulated_window_begins_with_its_block() {
        let grid = Grid::new(&WindowShape::cumulate(6_000, 1_000, -2_000).unwrap());
        assert_eq!((grid.start(6), grid.start(7)), (0, 6));
        assert_eq!((grid.mark_us(6), grid.mark_us(7)), (3_000, 4_000));
        assert_eq!((grid.first_end(5), grid.last_end(3_999)), (6, 5));
        assert!(!grid.prefix_goes_on(6) && grid.prefix_goes_on(7));
    }

    #[test]
    fn sub_blocks_part_a_block_and_the_last_may_be_short() {
        let grid = hop(10, 1, 0);
        assert_eq!((grid.block, grid.sub_block), (10, 4));
        assert_eq!(grid.totals(-10).collect::<Vec<_>>(), [-6, -2]);
        assert_eq!((grid.sub_start(-1), grid.sub_end(-1), grid.sub_end(-3)), (-2, 0, -2));
        assert_eq!((grid.sub_from(-2), grid.sub_from(-1)), (-2, 0));
    }

    #[test]
    fn few_windows_over_a_pane_need_no_merges() {
        let suits =
            |size_us, slide_us| suits_stacks(&WindowShape::new(size_us, slide_us, 0).unwrap());
        assert!(suits(86_400_000_000, 60_000_000));
        assert!(suits(9_000, 1_000) && !suits(8_000, 1_000));
        assert!(!suits(7_000, 5_000) && !suits(2_000, 5_000));
        assert!(suits_stacks(&WindowShape::cumulate(86_400_000, 60_000, 0).unwrap()));
    }
}
