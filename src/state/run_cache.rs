//! Runs of recent epochs, kept in memory beside their files so that a close need not read them
//! back. Bounded in bytes; the oldest go first, and nothing is lost with them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;

/// Batches by the path of their run.
#[derive(Debug)]
pub struct RunCache {
    bytes_max: u64,
    bytes: u64,
    order: VecDeque<String>,
    runs: HashMap<String, (Arc<Vec<RecordBatch>>, u64)>,
}

impl RunCache {
    /// An empty cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, order: VecDeque::new(), runs: HashMap::new() }
    }

    /// The rows of a run, where they are still here.
    pub fn get(&self, path: &str) -> Option<Arc<Vec<RecordBatch>>> {
        self.runs.get(path).map(|(batches, _)| Arc::clone(batches))
    }

    /// Keeps the rows of a run, letting go of older ones.
    pub fn insert(&mut self, path: &str, batches: Arc<Vec<RecordBatch>>) {
        let mut memory = RecordBatchMemoryCounter::new();
        for batch in batches.iter() {
            memory.count_batch(batch);
        }
        let bytes = memory.memory_usage() as u64;
        if bytes > self.bytes_max {
            return;
        }
        self.remove(path);
        self.runs.insert(path.to_owned(), (batches, bytes));
        self.order.push_back(path.to_owned());
        self.bytes += bytes;
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
    }

    /// Lets go of a run that no later epoch reads.
    pub fn remove(&mut self, path: &str) {
        self.forget(path);
        self.order.retain(|kept| kept != path);
    }

    fn forget(&mut self, path: &str) {
        if let Some((_, bytes)) = self.runs.remove(path) {
            self.bytes -= bytes;
        }
    }
}
