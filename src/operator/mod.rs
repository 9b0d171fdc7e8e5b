//! The engine's own nodes of physical plans: the leaf that a stream's chunks come through, the
//! leaf that reads a stage's state, what makes sessions of it, and what merges it window by window.

mod chunk_queue;
mod chunk_scan;
mod key_ranges;
mod leaf;
mod order;
mod running_exec;
mod session_exec;
mod state_scan;

pub use chunk_queue::ChunkQueue;
pub use chunk_scan::{ChunkScan, StreamTable};
pub(crate) use leaf::{leaf_methods, no_expressions};
pub(crate) use order::by_first_column;
pub use running_exec::{RunningExec, RunningMerge};
pub use session_exec::{SessionExec, SessionLayout};
pub use state_scan::{StateInput, StateScan};
