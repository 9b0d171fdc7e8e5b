//! The engine's own nodes of physical plans: the leaf that a source's chunks come through and the
//! leaf that reads a stage's state.

mod chunk_queue;
mod chunk_scan;
mod leaf;
mod state_scan;

pub use chunk_queue::ChunkQueue;
pub use chunk_scan::{ChunkScan, StreamTable};
pub(crate) use leaf::leaf_methods;
pub use state_scan::{StateInput, StateScan};
