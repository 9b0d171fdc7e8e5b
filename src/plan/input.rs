//! What feeds a stage, and what holds its watermark back.

use serde::{Deserialize, Serialize};

/// A stream of rows with an event time. It is a clock, too: the watermark of a stage is the least
/// of the streams that it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Input {
    /// The source of this name.
    Source(String),
    /// The feed of this identity: what other stages emit.
    Feed(String),
}

impl Input {
    /// The name of the source or the identity of the feed.
    pub fn name(&self) -> &str {
        match self {
            Self::Source(name) | Self::Feed(name) => name,
        }
    }

    /// What a refusal calls it: identities say nothing to a user.
    pub(super) fn spoken(&self) -> String {
        match self {
            Self::Source(name) => format!("the stream {name}"),
            Self::Feed(_) => "the view".to_owned(),
        }
    }

    /// The source's name, if it is one.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Source(name) => Some(name),
            Self::Feed(_) => None,
        }
    }
}
