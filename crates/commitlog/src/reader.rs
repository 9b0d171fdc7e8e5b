//! Reads a job's log from outside, while coordinators write it.
//!
//! Whatever it returns is one whole prefix of the epochs. Objects that it names can be collected
//! once their epoch is no longer retained; a reader that takes longer than that reads again.

use futures::{StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::manifest::{self, Manifest, ManifestEntry};
use crate::record::{Epoch, SinkFile};
use crate::recover::{Load, recover, recover_at};
use crate::state::JobState;
use crate::storage::Storage;

const ROUNDS_MAX: u32 = 8;
const READS_IN_FLIGHT: usize = 8;

/// A reader of one job's log.
#[derive(Debug, Clone)]
pub struct LogReader {
    storage: Storage,
}

impl LogReader {
    /// A reader of the log below `<state>/<job>`.
    pub fn new(storage: Storage) -> Self {
        LogReader { storage }
    }

    /// The state after the last committed epoch, without the set of processed files.
    pub async fn state(&self) -> Result<JobState> {
        Ok(recover(&self.storage, Load::WithoutSeen).await?.0)
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

    /// All entries, or the path of a segment that is gone.
    async fn entries(&self, manifest: &Manifest) -> Result<Result<Vec<ManifestEntry>, String>> {
        let paths = manifest.segments().iter().map(|s| s.path.clone());
        let mut segments = stream::iter(paths.collect::<Vec<_>>())
            .map(|path| async move { self.storage.get(&path).await.map(|bytes| (path, bytes)) })
            .buffered(READS_IN_FLIGHT);
        let mut entries = Vec::new();
        while let Some((path, bytes)) = segments.try_next().await? {
            let Some(bytes) = bytes else {
                return Ok(Err(path));
            };
            entries.extend(manifest::decode(&path, &bytes)?);
        }
        entries.extend_from_slice(manifest.pending());
        Ok(Ok(entries))
    }
}

/// Every sink file that the log below `storage` has committed: see [`LogReader::committed`].
pub async fn read_committed(storage: &Storage) -> Result<Vec<(Epoch, SinkFile)>> {
    LogReader::new(storage.clone()).committed().await
}
