//! A stream as the cut sees it: a source or a feed, and its event time.

use super::input::Input;
use crate::sql::WINDOW_TIME;

/// What rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) input: Input,
    /// The column that is its event time.
    pub(super) event_time: String,
}

impl Stream {
    /// What a refusal calls its event time: a feed may have named it.
    pub(super) fn time_spoken(&self) -> &str {
        match (&self.input, self.event_time.split_once("__")) {
            (Input::Feed(_), Some(("", _))) => WINDOW_TIME,
            (Input::Feed(_), Some((name, _))) => name,
            _ => &self.event_time,
        }
    }
}
