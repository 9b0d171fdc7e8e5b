//! The partial aggregates that one partition of an ingest plan makes: in memory while the memory
//! pool has room, else in runs.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tidegauge_commitlog::{Attempt, Run, Storage};

use crate::error::Result;
use crate::state::write_run;

/// Where a buffer's runs go.
#[derive(Debug, Clone)]
pub struct RunTarget {
    pub(crate) storage: Storage,
    pub(crate) attempt: Attempt,
    pub(crate) stage: String,
    pub(crate) schema: SchemaRef,
    /// What the runs hold, for their names: no two plans of an attempt share it.
    pub(crate) label: String,
}

impl RunTarget {
    /// The name of the run that holds what stays open, merged.
    pub(crate) fn merged_path(&self) -> String {
        self.attempt.run_path(&self.stage, &self.label)
    }
}

/// Partial aggregates of one stage.
#[derive(Debug)]
pub(super) struct StateBuffer {
    target: RunTarget,
    task: String,
    reservation: MemoryReservation,
    /// Counts what slices of one batch share once.
    memory: RecordBatchMemoryCounter,
    batches: Vec<RecordBatch>,
    runs: Vec<Run>,
}

/// What a buffer held in the end. The memory stays reserved as long as it is kept.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) runs: Vec<Run>,
    pub(crate) reservation: Option<MemoryReservation>,
}

impl StateBuffer {
    pub(super) fn new(target: RunTarget, task: String, pool: &Arc<dyn MemoryPool>) -> Self {
        let reservation = MemoryConsumer::new(format!("state of {}", target.stage)).register(pool);
        let memory = RecordBatchMemoryCounter::new();
        Self { target, task, reservation, memory, batches: vec![], runs: vec![] }
    }

    /// Keeps a batch, writing what is there to a run first when memory is short.
    pub(super) async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let bytes = self.memory.count_batch(&batch);
        self.batches.push(batch);
        if self.reservation.try_grow(bytes).is_err() {
            self.spill().await?;
        }
        Ok(())
    }

    async fn spill(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        let task = format!("{}-{}", self.task, self.runs.len());
        let path = self.target.attempt.run_path(&self.target.stage, &task);
        let schema = Arc::clone(&self.target.schema);
        let run = write_run(&self.target.storage, path, schema, batches).await?;
        self.runs.extend(run);
        self.reservation.free();
        self.memory = RecordBatchMemoryCounter::new();
        Ok(())
    }

    pub(super) fn finish(self) -> Buffered {
        let reservation = Some(self.reservation);
        Buffered { batches: self.batches, runs: self.runs, reservation }
    }
}
