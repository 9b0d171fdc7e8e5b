//! Sink files of a log beside its commits: published, given up, cleared away.

use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;

use super::{CommitLog, added_state};
use crate::attempt::Attempt;
use crate::collect::Collected;
use crate::error::{Error, Result};
use crate::leftovers::Leftovers;
use crate::publish::{self, Publication, PublishOutcome};
use crate::record::{CommitRecord, SinkFile};
use crate::sabotage::Sabotage;

impl CommitLog {
    /// Publishes the last epoch's files. It can be repeated, and has to be until it succeeds.
    pub async fn publish(&mut self) -> Result<PublishOutcome> {
        self.check_leading()?;
        let Some(epoch) = self.state.epoch else {
            return Ok(PublishOutcome::Published { files: 0, gone: 0 });
        };
        let mut gone = 0;
        if self.state.published_through < epoch.0 {
            if !self.is_verified && self.is_superseded(epoch).await? {
                self.stop(format!("epoch {epoch} has been followed up by another coordinator"));
                return Ok(PublishOutcome::Fenced);
            }
            self.is_verified = false;
            let is_first = std::mem::take(&mut self.is_unpublished_own);
            let (files, locations) = (&self.state.files_last, &self.state.locations_last);
            let publication = self.publication(files, locations, &self.promoted);
            let publication = Publication { is_first, ..publication };
            gone = publication.run().await?;
            if !files.is_empty() {
                publish::mark(&self.storage, epoch, &self.state.writer).await?;
                publication.clear().await?;
            }
            self.promoted.lock().clear();
            self.state.published_through = epoch.0;
        }
        Ok(PublishOutcome::Published { files: self.state.files_last.len(), gone })
    }

    /// See [`Publication`].
    pub(super) fn publication<'a>(
        &'a self,
        files: &'a [SinkFile],
        locations: &'a BTreeMap<String, String>,
        promoted: &'a Mutex<HashSet<String>>,
    ) -> Publication<'a> {
        Publication {
            files,
            sinks: &self.sinks,
            locations,
            parallel: self.settings.publish_parallel,
            is_first: false,
            promoted,
        }
    }

    /// Whether a record of `attempt` was sent, and may still become the epoch.
    pub fn may_land(&self, attempt: &Attempt) -> bool {
        !self.unsent.contains_key(&attempt.id) && !self.given_up.contains_key(&attempt.id)
    }

    /// Deletes what attempts at the epoch have written whose records were never sent, `attempt`
    /// among them, as after a failure: by their names, so that whatever worker has written it is
    /// found. `stages` are those that runs may have been written for. What a task writes after this
    /// goes with the next failure, or with the garbage.
    pub async fn abandon(&mut self, attempt: &Attempt, stages: &[&str]) -> Result<u64> {
        if self.may_land(attempt) && !self.settings.broken(Sabotage::AbandonSent) {
            return Err(Error::bug(format!(
                "the files of epoch {} attempt {} may still be committed and cannot be deleted",
                attempt.epoch, attempt.id
            )));
        }
        self.given_up.extend(self.unsent.drain());
        self.given_up.insert(attempt.id.clone(), attempt.clone());
        let leftovers = Leftovers {
            storage: &self.storage,
            sinks: &self.sinks,
            job: &self.settings.job,
            attempts: &self.given_up,
        };
        leftovers.delete(attempt.epoch, stages).await
    }

    /// Deletes what processes that have died left behind: prepared files of decided epochs, and
    /// half-written local files, older than the grace period. Call it after publishing, at the
    /// start; later [`CommitLog::maintain`] does the same, and more.
    pub async fn tidy(&self) -> Result<Collected> {
        self.check_leading()?;
        if self.state.published_through < self.state.head() {
            return Ok(Collected::default());
        }
        self.collection().tidy().await
    }

    /// Gives up publishing those of the last epoch's files whose sink the job no longer has, and
    /// whose place the record, of a build before, does not tell, and returns them: whether they are
    /// published already cannot be looked up. For a job that starts
    /// anew, which could otherwise never be without a sink that its last epoch wrote to.
    pub fn give_up_foreign_files(&mut self) -> Vec<SinkFile> {
        let files = std::mem::take(&mut self.state.files_last);
        let (known, foreign) = files.into_iter().partition(|SinkFile { sink, .. }| {
            self.sinks.contains_key(sink) || self.state.locations_last.contains_key(sink)
        });
        self.state.files_last = known;
        foreign
    }

    /// Deletes what an attempt has written, where that is certain to be garbage. An attempt whose
    /// outcome is not known is refused (`Bug`): leave it to garbage collection.
    pub async fn discard(&mut self, attempt: &Attempt, record: &CommitRecord) -> Result<()> {
        let (epoch, winner) = &self.decided;
        let is_refused = *epoch == attempt.epoch && *winner != attempt.id;
        let is_unsent = self.begun.0 == attempt.epoch && !self.sent.contains(&attempt.id);
        let is_own = attempt.incarnation == self.incarnation;
        if !is_own || !(is_refused || is_unsent) {
            return Err(Error::bug(format!(
                "the files of epoch {} attempt {} may still be committed and cannot be deleted",
                attempt.epoch, attempt.id
            )));
        }
        attempt.check_names(record)?;
        self.delete_attempt(record).await
    }

    /// The files of an attempt that is certain to be garbage.
    pub(super) async fn delete_attempt(&self, record: &CommitRecord) -> Result<()> {
        let state: Vec<String> = added_state(record).collect();
        self.storage.delete(&state).await?;
        for (name, sink) in &self.sinks {
            let files = record.files.iter().filter(|file| file.sink == *name);
            let prepared: Vec<String> = files.map(|file| file.prepared.clone()).collect();
            sink.delete(&prepared).await?;
        }
        Ok(())
    }
}
