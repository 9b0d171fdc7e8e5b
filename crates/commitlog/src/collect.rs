//! Garbage collection: deletes what no retained epoch names.
//!
//! The *base* is the newest checkpoint at or before `head - retain_epochs`. Kept are: what the
//! state at the base is made of, and everything that the records after it, up to the head, added.
//! Deleted are records up to the base, checkpoints before it, and of the rest what is not kept,
//! when the epoch in its name is at most the head, and it is older than the grace period.
//!
//! A coordinator that pauses here, for however long, and then goes on deleting with a head that
//! lies far in the past, does no harm:
//!
//! 1. What it holds is true. A record of the real history never changes; each record after the
//!    base is reached from the head by the chain of parents, so none of them is an impostor that
//!    was created in a collected slot meanwhile. If one is missing, nothing is deleted.
//! 2. A record can only add what bears its own epoch's number (`Attempt::check_names`). So what is
//!    numbered at most `head` and is not named yet will never be: all those slots are decided.
//!    What bears a greater number is not touched, since a create that was sent long ago may still
//!    land in a slot that is open, and name it.
//! 3. What was live at the base, or was added after it, is kept, even if later epochs have removed
//!    it. What is live in any later epoch either is among that, or bears a greater number.
//! 4. Published files are not in the folders that are looked at.
//! 5. Emptying a slot of the log lets a sleeper create that record again. But the base was written
//!    before; the sleeper looks for such a checkpoint before it publishes anything, and readers
//!    ignore records at or below the newest one.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;

use crate::checkpoint;
use crate::error::Result;
use crate::names::{self, CHECKPOINT, Epoch, LOG, MANIFEST, PREPARED, PUBLISHED, RUNS, SEEN};
use crate::record::CommitRecord;
use crate::recover::{list_checkpoints, read_record};
use crate::sabotage::Sabotage;
use crate::settings::LogSettings;
use crate::state::JobState;
use crate::storage::Storage;

const READS_IN_FLIGHT: usize = 16;

/// How many objects a collection deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Commit records.
    pub records: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Runs and segments.
    pub state: u64,
    /// Prepared files.
    pub prepared: u64,
    /// Markers of published epochs.
    pub markers: u64,
    /// Local files that a writer left half-written.
    pub staged: u64,
}

/// Where and from whose point of view to collect.
pub(crate) struct Collection<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) sinks: &'a BTreeMap<String, Storage>,
    pub(crate) settings: &'a LogSettings,
    pub(crate) state: &'a JobState,
    pub(crate) now_ms: i64,
}

/// What must stay.
struct Kept {
    base: Epoch,
    paths: HashSet<String>,
    prepared: HashSet<String>,
}

impl Collection<'_> {
    /// Deletes what can go. Nothing does when the log has moved on under this coordinator.
    pub(crate) async fn run(&self) -> Result<Collected> {
        let Some(kept) = self.kept().await? else {
            return Ok(Collected::default());
        };
        // Names go before what they name, so that a collection cut short leaves no name dangling.
        let checkpoints = self
            .sweep(self.storage, CHECKPOINT, |path| {
                names::parse_numbered(path).is_some_and(|epoch| epoch < kept.base)
            })
            .await?;
        let records = self
            .sweep(self.storage, LOG, |path| {
                names::parse_numbered(path).is_some_and(|epoch| epoch <= kept.base)
            })
            .await?;
        let mut done = Collected { checkpoints, records, ..Collected::default() };
        for folder in [RUNS, SEEN, MANIFEST] {
            done.state += self
                .sweep(self.storage, folder, |path| {
                    names::parse_attempted(path).is_some_and(|(epoch, _)| self.is_decided(epoch))
                        && !kept.paths.contains(path)
                })
                .await?;
        }
        done.markers = self
            .sweep(self.storage, PUBLISHED, |path| {
                names::parse_numbered(path).is_some_and(|epoch| epoch <= kept.base)
            })
            .await?;
        done.prepared = self.sweep_prepared(&kept.prepared).await?;
        done.staged =
            self.sweep_staged(&[LOG, CHECKPOINT, PUBLISHED, RUNS, SEEN, MANIFEST]).await?;
        Ok(done)
    }

    /// Deletes what needs no look at the retained epochs: half-written local files, and prepared
    /// files of epochs up to the head, whose own files are published.
    pub(crate) async fn tidy(&self) -> Result<Collected> {
        let last = self.state.files_last.iter().map(|file| file.prepared.clone()).collect();
        let prepared = self.sweep_prepared(&last).await?;
        let staged = self.sweep_staged(&[LOG, CHECKPOINT, PUBLISHED, RUNS, SEEN, MANIFEST]).await?;
        Ok(Collected { prepared, staged, ..Collected::default() })
    }

    async fn sweep_prepared(&self, kept: &HashSet<String>) -> Result<u64> {
        let job = &self.settings.job;
        let folder = format!("{PREPARED}/{job}");
        let mut swept = 0;
        for sink in self.sinks.values() {
            swept += self
                .sweep(sink, &folder, |path| {
                    names::parse_prepared(path, job).is_some_and(|name| self.is_decided(name.epoch))
                        && !kept.contains(path)
                })
                .await?;
        }
        Ok(swept)
    }

    /// Half-written local files are nobody's: a record names what was renamed, and synced.
    async fn sweep_staged(&self, folders: &[&str]) -> Result<u64> {
        let before_ms = self.now_ms.saturating_sub(self.grace_ms());
        let mut swept = 0;
        for folder in folders {
            swept += self.storage.delete_staged(folder, before_ms).await?;
        }
        let prepared = format!("{PREPARED}/{}", self.settings.job);
        for sink in self.sinks.values() {
            swept += sink.delete_staged(&prepared, before_ms).await?;
        }
        Ok(swept)
    }

    fn is_decided(&self, epoch: Epoch) -> bool {
        epoch.0 <= self.state.head() || self.settings.broken(Sabotage::CollectUndecided)
    }

    /// Everything that a retained epoch names; `None` when that cannot be told.
    async fn kept(&self) -> Result<Option<Kept>> {
        let head = self.state.head();
        // The head's own files may not be published, so the base is always before it.
        let last = head.saturating_sub(self.settings.retain_epochs.max(1));
        let checkpoints = list_checkpoints(self.storage).await?;
        let Some(base) = checkpoints.into_iter().rev().find(|c| c.0 <= last) else {
            return Ok(None);
        };
        let Some(state) = checkpoint::read(self.storage, base).await? else {
            return Ok(None);
        };
        let Some(records) = self.records_after(&state).await? else {
            return Ok(None);
        };
        let mut kept = Kept {
            base,
            paths: state.paths().map(str::to_owned).collect(),
            prepared: HashSet::new(),
        };
        kept.prepared.extend(self.state.files_last.iter().map(|f| f.prepared.clone()));
        if self.settings.broken(Sabotage::CollectRetained) {
            kept.paths = self.state.paths().map(str::to_owned).collect();
            return Ok(Some(kept));
        }
        for record in records {
            kept.add(&record);
        }
        Ok(Some(kept))
    }

    /// The records after `base` up to the head; `None` unless they form one chain between the two.
    async fn records_after(&self, base: &JobState) -> Result<Option<Vec<CommitRecord>>> {
        let numbers = (base.next_epoch().0..=self.state.head()).map(Epoch);
        let read: Vec<Option<CommitRecord>> = stream::iter(numbers)
            .map(|epoch| read_record(self.storage, epoch))
            .buffered(READS_IN_FLIGHT)
            .try_collect()
            .await?;
        let Some(records) = read.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        if self.settings.broken(Sabotage::CollectByImpostor) {
            return Ok(Some(records));
        }
        let mut writer = &base.writer;
        for record in &records {
            if record.parent != *writer {
                return Ok(None);
            }
            writer = &record.writer;
        }
        Ok((*writer == self.state.writer).then_some(records))
    }

    /// Deletes below a folder what `is_garbage` and old enough.
    async fn sweep(
        &self,
        storage: &Storage,
        folder: &str,
        is_garbage: impl Fn(&str) -> bool,
    ) -> Result<u64> {
        let garbage: Vec<String> = storage
            .list(folder)
            .await?
            .into_iter()
            .filter(|meta| self.is_old(meta))
            .filter_map(|meta| storage.relative(&meta.location))
            .filter(|path| is_garbage(path))
            .collect();
        if !garbage.is_empty() {
            storage.delete(&garbage).await?;
        }
        Ok(garbage.len() as u64)
    }

    fn is_old(&self, meta: &ObjectMeta) -> bool {
        let age_ms = self.now_ms.saturating_sub(meta.last_modified.timestamp_millis());
        age_ms >= self.grace_ms()
    }

    fn grace_ms(&self) -> i64 {
        i64::try_from(self.settings.grace.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Kept {
    fn add(&mut self, record: &CommitRecord) {
        let runs = record.stages.values().flat_map(|stage| &stage.runs_added);
        self.paths.extend(runs.map(|run| run.path.clone()));
        let segments = &record.segments;
        let added = segments.seen_added.iter().chain(&segments.manifest_added);
        self.paths.extend(added.map(|segment| segment.path.clone()));
        let prepared = record.files.iter().map(|file| file.prepared.clone());
        self.prepared.extend(prepared);
    }
}
