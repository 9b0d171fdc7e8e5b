//! What is counted of requests to object storage.

use std::fmt;
use std::sync::Arc;

use object_store::{Error, Result};
use opentelemetry::KeyValue;

use super::instruments::Instruments;

/// Counts requests of one job's stores.
#[derive(Clone)]
pub(super) struct StoreCounts {
    job: KeyValue,
    instruments: Arc<Instruments>,
}

impl StoreCounts {
    pub(super) fn new(job: KeyValue, instruments: Arc<Instruments>) -> Self {
        Self { job, instruments }
    }

    /// Counts one request of `kind` by its answer.
    pub(super) fn request<T>(&self, kind: &'static str, answer: &Result<T>) {
        self.requests(kind, outcome(answer), 1);
    }

    pub(super) fn requests(&self, kind: &'static str, outcome: &'static str, number: u64) {
        let labels =
            [self.job.clone(), KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)];
        self.instruments.store_requests.add(number, &labels);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.instruments.store_read.add(bytes, std::slice::from_ref(&self.job));
    }

    pub(super) fn written(&self, bytes: u64) {
        self.instruments.store_written.add(bytes, std::slice::from_ref(&self.job));
    }
}

impl fmt::Debug for StoreCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCounts").finish_non_exhaustive()
    }
}

/// A listing's outcome, counted when it is over or given up.
pub(super) struct Listing {
    counts: StoreCounts,
    outcome: &'static str,
}

impl Listing {
    pub(super) fn new(counts: StoreCounts) -> Self {
        Self { counts, outcome: "ok" }
    }

    pub(super) fn saw<T>(&mut self, item: &Result<T>) {
        if item.is_err() {
            self.outcome = outcome(item);
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.counts.requests("list", self.outcome, 1);
    }
}

/// An answer as a label's value. An object that is not there, or is there already, is an answer
/// that the engine asks for, and no failure.
pub(super) fn outcome<T>(answer: &Result<T>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Error::NotFound { .. }) => "absent",
        Err(
            Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. },
        ) => "refused",
        Err(_) => "failed",
    }
}
