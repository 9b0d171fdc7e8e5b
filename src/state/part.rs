//! The pieces of a stage's state that a plan reads: batches in memory, and runs.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use tidegauge_commitlog::Run;

/// A piece of a stage's state.
#[derive(Debug, Clone)]
pub enum StatePart {
    /// Partial aggregates in memory: of this epoch, or a run that was kept.
    Memory(Arc<Vec<RecordBatch>>),
    /// A run in the state's storage.
    File(Run),
}
