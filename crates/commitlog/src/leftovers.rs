//! What attempts have written that will never be committed, found by its names.
//!
//! An attempt that fails knows what it meant to write, and not what of that was written, by which
//! worker. But every name says whose it is.

use std::collections::{BTreeMap, HashMap};

use futures::future::{join, join_all};

use crate::attempt::Attempt;
use crate::error::Result;
use crate::names::{self, Epoch, MANIFEST, PREPARED, RUNS, SEEN};
use crate::storage::Storage;

/// Attempts, by their identity, whose records were never sent and will not be.
pub(crate) struct Leftovers<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) sinks: &'a BTreeMap<String, Storage>,
    pub(crate) job: &'a str,
    pub(crate) attempts: &'a HashMap<String, Attempt>,
}

impl Leftovers<'_> {
    /// Deletes what bears a name of these attempts at `epoch`, and returns how much that was.
    pub(crate) async fn delete(&self, epoch: Epoch, stages: &[&str]) -> Result<u64> {
        let runs = stages.iter().map(|stage| format!("{RUNS}/{stage}"));
        let folders = runs.chain([SEEN.to_owned(), MANIFEST.to_owned()]);
        let of_state = join_all(folders.map(|folder| self.delete_state(folder, epoch)));
        let of_sinks = join_all(self.sinks.values().map(|sink| self.delete_prepared(sink)));
        // A place that is away does not keep the others full.
        let (of_state, of_sinks) = join(of_state, of_sinks).await;
        of_state.into_iter().chain(of_sinks).sum()
    }

    async fn delete_state(&self, folder: String, epoch: Epoch) -> Result<u64> {
        // Names begin with the epoch, and none is later.
        let after = format!("{folder}/{}", epoch.padded());
        let found = self.storage.list_after(&folder, &after).await?;
        let is_own = |path: &String| {
            names::parse_attempted(path)
                .is_some_and(|(of, attempt)| of == epoch && self.attempts.contains_key(attempt))
        };
        let paths = found.iter().filter_map(|meta| self.storage.relative(&meta.location));
        delete(self.storage, paths.filter(is_own).collect()).await
    }

    async fn delete_prepared(&self, sink: &Storage) -> Result<u64> {
        let found = sink.list(&format!("{PREPARED}/{}", self.job)).await?;
        let is_own = |path: &String| {
            names::parse_prepared(path, self.job)
                .is_some_and(|name| self.attempts.values().any(|attempt| attempt.is_own(&name)))
        };
        let paths = found.iter().filter_map(|meta| sink.relative(&meta.location));
        delete(sink, paths.filter(is_own).collect()).await
    }
}

async fn delete(storage: &Storage, paths: Vec<String>) -> Result<u64> {
    if !paths.is_empty() {
        storage.delete(&paths).await?;
    }
    Ok(paths.len() as u64)
}
