//! Reads a job's log from outside, while coordinators write it.
//!
//! Whatever it returns is one whole prefix of the epochs. Objects that it names can be collected
//! once their epoch is no longer retained; a reader that takes longer than that reads again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::manifest::{self, Manifest, ManifestEntry};
use crate::names::{self, LOG};
use crate::record::{CommitRecord, Epoch, SinkFile};
use crate::recover::{Load, read_record, recover, recover_at};
use crate::state::JobState;
use crate::storage::Storage;

const ROUNDS_MAX: u32 = 8;
const READS_IN_FLIGHT: usize = 8;

/// Decoded entries of more files than this are not kept.
const CACHED_FILES_MAX: usize = 500_000;

/// A reader of one job's log.
#[derive(Debug, Clone)]
pub struct LogReader {
    storage: Storage,
    cache: Option<Arc<SegmentCache>>,
}

/// Decoded segments of manifests, for those who read again and again: a segment never changes
/// under its name. It is emptied when it would hold too much.
#[derive(Debug, Default)]
pub struct SegmentCache {
    segments: Mutex<HashMap<String, Arc<Vec<ManifestEntry>>>>,
}

impl SegmentCache {
    fn get(&self, place: &str) -> Option<Arc<Vec<ManifestEntry>>> {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.get(place).map(Arc::clone)
    }

    fn insert(&self, place: String, entries: &Arc<Vec<ManifestEntry>>) {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let held: usize = segments.values().map(|entries| entries.len()).sum();
        if held + entries.len() > CACHED_FILES_MAX {
            segments.clear();
        }
        if entries.len() <= CACHED_FILES_MAX {
            segments.insert(place, Arc::clone(entries));
        }
    }
}

impl LogReader {
    /// A reader of the log below `<state>/<job>`.
    pub fn new(storage: Storage) -> Self {
        LogReader { storage, cache: None }
    }

    /// The same reader, keeping what it decodes in `cache`.
    #[must_use]
    pub fn with_cache(self, cache: Arc<SegmentCache>) -> Self {
        LogReader { cache: Some(cache), ..self }
    }

    /// The state after the last committed epoch, without the set of processed files.
    pub async fn state(&self) -> Result<JobState> {
        Ok(recover(&self.storage, Load::WithoutSeen).await?.0)
    }

    /// The newest epoch after `known` whose record is there, if any. It costs one listing of what is
    /// new, and may be an impostor of a slot that was collected: see [`LogReader::state`].
    pub async fn newest_after(&self, known: Option<Epoch>) -> Result<Option<Epoch>> {
        let known = known.unwrap_or_default();
        let listed = self.storage.list_after(LOG, &names::log_path(known)).await?;
        let epochs = listed.iter().filter_map(|meta| names::parse_numbered(meta.location.as_ref()));
        Ok(epochs.filter(|epoch| *epoch > known).max())
    }

    /// The state after a retained epoch, without the set of processed files. An epoch that is not
    /// retained any more, or not committed yet, is a `BadJob`.
    pub async fn state_at(&self, epoch: Epoch) -> Result<JobState> {
        recover_at(&self.storage, epoch).await
    }

    /// Every sink file that was ever committed, by epoch. Open `published`, or `prepared` while
    /// that is absent, and `published` again when both were.
    pub async fn committed(&self) -> Result<Vec<(Epoch, SinkFile)>> {
        let mut gone = String::new();
        for _ in 0..ROUNDS_MAX {
            let state = self.state().await?;
            match self.entries(&state.manifest).await? {
                Ok(mut entries) => {
                    entries.sort_by_key(|entry| entry.epoch);
                    return Ok(entries
                        .into_iter()
                        .map(|entry| (entry.epoch, entry.file))
                        .collect());
                }
                // Merged and collected since the state was read.
                Err(path) => gone = path,
            }
        }
        Err(Error::unavailable(format!(
            "{}/{gone} was gone each of {ROUNDS_MAX} times the log was read; if it stays so, \
             restore it",
            self.storage.location()
        )))
    }

    /// The files of a manifest that was read before, by epoch, so that they and what else was read
    /// with it are of one epoch. A segment that was merged and collected since is `Unavailable`:
    /// read the state again.
    pub async fn files_of(&self, manifest: &Manifest) -> Result<Vec<(Epoch, SinkFile)>> {
        match self.entries(manifest).await? {
            Ok(mut entries) => {
                entries.sort_by_key(|entry| entry.epoch);
                Ok(entries.into_iter().map(|entry| (entry.epoch, entry.file)).collect())
            }
            Err(path) => Err(Error::unavailable(format!(
                "{}/{path} was merged since its epoch was read; read again",
                self.storage.location()
            ))),
        }
    }

    /// The retained commit records up to `through`, at most the last `limit`, oldest first.
    /// `through` must be an epoch that is known to be committed. Records that were collected are
    /// not there; what does not lead to `through` by its parents is a stray and is left out.
    pub async fn records(&self, through: Epoch, limit: usize) -> Result<Vec<CommitRecord>> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let before = Epoch(through.0.saturating_sub(limit));
        let listed = self.storage.list_after(LOG, &names::log_path(before)).await?;
        let wanted: Vec<Epoch> = listed
            .iter()
            .filter_map(|meta| names::parse_numbered(meta.location.as_ref()))
            .filter(|epoch| *epoch > before && *epoch <= through)
            .collect();
        let mut read =
            stream::iter(wanted).map(|at| read_record(&self.storage, at)).buffered(READS_IN_FLIGHT);
        let mut records: Vec<CommitRecord> = Vec::new();
        while let Some(record) = read.try_next().await? {
            // One that was collected between the two calls was the oldest.
            records.extend(record);
        }
        let follows = |pair: &[CommitRecord]| {
            pair[1].epoch == pair[0].epoch.next() && pair[1].parent == pair[0].writer
        };
        let first = records.windows(2).rposition(|pair| !follows(pair)).map_or(0, |at| at + 1);
        if records.last().is_some_and(|last| last.epoch != through) {
            return Ok(vec![]);
        }
        Ok(records.split_off(first))
    }

    /// All entries, or the path of a segment that is gone.
    async fn entries(&self, manifest: &Manifest) -> Result<Result<Vec<ManifestEntry>, String>> {
        let paths = manifest.segments().iter().map(|s| s.path.clone());
        let mut segments = stream::iter(paths.collect::<Vec<_>>())
            .map(|path| async move { self.segment(&path).await.map(|read| (path, read)) })
            .buffered(READS_IN_FLIGHT);
        let mut entries = Vec::new();
        while let Some((path, segment)) = segments.try_next().await? {
            let Some(segment) = segment else {
                return Ok(Err(path));
            };
            entries.extend_from_slice(&segment);
        }
        entries.extend(manifest.pending().cloned());
        Ok(Ok(entries))
    }

    /// One segment, or nothing where it is gone.
    async fn segment(&self, path: &str) -> Result<Option<Arc<Vec<ManifestEntry>>>> {
        let place = format!("{}/{path}", self.storage.location());
        if let Some(known) = self.cache.as_ref().and_then(|cache| cache.get(&place)) {
            return Ok(Some(known));
        }
        let Some(bytes) = self.storage.get(path).await? else { return Ok(None) };
        let entries = Arc::new(manifest::decode(path, &bytes)?);
        if let Some(cache) = &self.cache {
            cache.insert(place, &entries);
        }
        Ok(Some(entries))
    }
}

/// Every sink file that the log below `storage` has committed: see [`LogReader::committed`].
pub async fn read_committed(storage: &Storage) -> Result<Vec<(Epoch, SinkFile)>> {
    LogReader::new(storage.clone()).committed().await
}
