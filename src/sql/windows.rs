//! The windows that a query names: aligned to the clock, or sessions.

use serde::{Deserialize, Serialize};

use super::window_shape::WindowShape;

/// A family of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Windows {
    /// TUMBLE, HOP and CUMULATE: the same for all keys.
    Aligned(WindowShape),
    /// SESSION: as the rows of a key lie.
    Session(SessionShape),
}

/// Sessions of rows that are at most `gap_us` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionShape {
    gap_us: i64,
}

impl SessionShape {
    /// Sessions with a gap in microseconds.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn new(gap_us: i64) -> Result<Self, String> {
        if gap_us < 1_000 {
            return Err("the session's gap must be at least one millisecond".to_owned());
        }
        Ok(Self { gap_us })
    }

    /// The largest distance between two neighbours of a session, in microseconds.
    pub fn gap_us(&self) -> i64 {
        self.gap_us
    }

    /// The length within which all rows of a key are in one session.
    pub fn panes(&self) -> WindowShape {
        WindowShape::tumble_unchecked(self.gap_us)
    }
}

impl Windows {
    /// The windows aligned to the clock, if these are.
    pub fn aligned(&self) -> Option<&WindowShape> {
        match self {
            Self::Aligned(shape) => Some(shape),
            Self::Session(_) => None,
        }
    }

    /// Whether a window's start alone tells which one it is; otherwise its end does.
    pub fn is_told_by_start(&self) -> bool {
        self.aligned().is_some_and(WindowShape::is_told_by_start)
    }
}
