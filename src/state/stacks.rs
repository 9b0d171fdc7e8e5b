//! Windows of many panes at a constant price: which merges of panes are kept so that a closing
//! window reads three of them, whatever its size over its slide is. Pure: what a merge is, and
//! where its rows lie, is the caller's.
//!
//! Time is cut into blocks as long as a window, and blocks into sub-blocks of about the square root
//! of their panes. A window lies in two blocks: the *old* one, of which it has a suffix, and the one
//! that *fills*, of which it has a prefix.
//!
//! ```text
//!            old block                    |  block that fills
//!   sub-block    sub-block    sub-block   |  sub-block    sub-block    sub-block
//!  |-------------|------------|-----------|-------------|------------|-----------|
//!         [-------------------- window ------------------------)
//!         |INNER |  OUTER                 |  PREFIX             |
//! ```
//!
//! - PREFIX grows with each window that closes, by the panes that the window has more.
//! - TOTAL is the merge of a sub-block of the block that fills, made when the windows' end passes it.
//! - OUTER are the merges of sub-blocks up to the block's end, one for each sub-block, made from the
//!   totals when the block becomes the old one.
//! - INNER are the merges of panes up to their sub-block's end, one for each window that begins in
//!   it, made when the first of them closes. After that the panes are not needed.
//! - A row may come for a pane of which windows are closed and others are open. In the block that
//!   fills it is merged into the prefix and the total. In the old block it is a STRAY, which each
//!   later window that holds its pane reads by itself.
//!
//! CUMULATE has the prefix alone, and its panes are not needed once they are in it.
//!
//! So each pane is read three times and a window makes a constant number of merges on average; one
//! close makes no more than about the square root of a window's panes.
//!
//! What has been merged is determined by the watermark: at the end of the last window that closed,
//! and nothing else. The keys of rows tell the rest, and so the pieces of one epoch are all that the
//! next one needs. Windows that cannot hold a row are passed over without a step.

mod grid;
mod held;
mod occupied;
mod piece;
mod rolled;
mod walk;

#[cfg(test)]
mod tests;

pub use grid::suits_stacks;
pub use occupied::last_open_end_us;
pub use piece::{ClosingWindow, Merge, Piece, Role, Slice, Step, Sum};
pub use walk::{Remains, Walk, Watermarks};
