//! A stream as the cut sees it: a source or a feed, and its event time.

use super::input::Input;
use crate::sql::WINDOW_TIME;

/// What rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) input: Input,
    /// The column that is its event time, and the fields of structs below it.
    pub(super) event_time: Vec<String>,
}

impl Stream {
    /// What a refusal calls its event time: a feed may have named it.
    pub(super) fn time_spoken(&self) -> String {
        let name = self.event_time.join(".");
        match (&self.input, name.split_once("__")) {
            (Input::Feed(_), Some(("", _))) => WINDOW_TIME.to_owned(),
            (Input::Feed(_), Some((name, _))) => name.to_owned(),
            _ => name,
        }
    }
}
