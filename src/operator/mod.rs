//! The engine's own nodes of physical plans: the leaf that a stream's chunks come through, the
//! leaf that reads a stage's state, and what makes sessions of it.

mod chunk_queue;
mod chunk_scan;
mod leaf;
mod session_exec;
mod state_scan;

pub use chunk_queue::ChunkQueue;
pub use chunk_scan::{ChunkScan, StreamTable};
pub(crate) use leaf::{leaf_methods, no_expressions};
pub use session_exec::{SessionExec, SessionLayout};
pub use state_scan::{StateInput, StateScan};
