//! A stream as the cut sees it: a source or a feed, and its event time.

use super::input::Input;

/// What rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) input: Input,
    /// The column that is its event time.
    pub(super) event_time: String,
}
