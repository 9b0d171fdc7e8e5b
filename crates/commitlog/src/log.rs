//! The protocol: in which order an epoch is written, believed, published and cleaned up.
//!
//! 1. An epoch happens when `log/<epoch>.json` is created. After any answer but success the slot
//!    is read back: mine, committed; another's, lost; empty, created again, a bounded number of
//!    times. Otherwise the outcome is unknown, and nothing may be deleted.
//! 2. After success, and before anything is published, a checkpoint at or past the slot or a later
//!    record means: fenced. The slot may have been emptied by collection while this coordinator
//!    slept; such a record is ignored by everyone (see `recover`).
//! 3. An attempt older than half the grace period is abandoned before its record is written.
//! 4. Epoch N+1 is committed only after the files of N are published.
//! 5. What an attempt has written is deleted only when its record was never sent, or when another
//!    record was read in its slot and no checkpoint has passed that slot (so it is the true one).
//!    An attempt that failed is cleared away at once, by names: see [`CommitLog::abandon`].
//! 6. Every `checkpoint_every` epochs the log is folded, then garbage is collected (see `collect`).
//! 7. All that a record adds bears the epoch and the attempt in its name. A second attempt at an
//!    epoch has other names and another writer than the first, whose record may still land.
//! 8. Locally, what a record names is synced before it, the record itself with its creation, and
//!    published names before the next epoch.
//! 9. That an epoch is published is said by a marker, written once all of its files have their final
//!    names, and by the next record. After that nobody looks for the files again: they are their
//!    readers'. Nothing prepared is cleared away before the marker (see `publish`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::attempt::Attempt;
use crate::checkpoint;
use crate::clock::Clock;
use crate::collect::{Collected, Collection};
use crate::error::{Error, ErrorKind, Result};
use crate::names::{self, CHECKPOINT, Epoch, LATE_SINK};
use crate::publish;
use crate::record::CommitRecord;
use crate::recover::{self, Load, read_record};
use crate::sabotage::Sabotage;
use crate::segments::Spill;
use crate::settings::LogSettings;
use crate::state::JobState;
use crate::storage::{Creation, Storage, sync_all};

/// What became of a commit. An error instead means that the outcome is not known: commit the same
/// attempt again, or begin a new one; either finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The epoch is in the log: publish it.
    Committed,
    /// A record that this process sent earlier for the same epoch is in the log instead: it landed
    /// late. [`CommitLog::state`] holds it now: forget what this attempt tried (it may be
    /// discarded), publish, and go on from there.
    Earlier,
    /// Another coordinator's record is in the log: stop. What was prepared may be discarded.
    Lost {
        /// The incarnation whose record it is.
        winner: String,
    },
    /// Other coordinators have gone on beyond this epoch: stop, and delete nothing.
    Fenced,
    /// The attempt took too long and was not sent: begin again. It may be discarded.
    Abandoned,
}

/// What [`CommitLog::maintain`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// The checkpoint that was due.
    pub checkpoint: Option<Epoch>,
    /// What was deleted.
    pub collected: Collected,
}

/// What was found in a slot that was tried.
enum Slot {
    Mine(Box<CommitRecord>),
    Other(Box<CommitRecord>),
}

/// One coordinator's hold on a job's log.
#[derive(Debug)]
pub struct CommitLog {
    storage: Storage,
    sinks: BTreeMap<String, Storage>,
    settings: LogSettings,
    clock: Arc<dyn Clock>,
    rng: SmallRng,
    incarnation: String,
    state: JobState,
    /// The newest checkpoint known; 0 when there is none.
    checkpointed: u64,
    /// Nothing was looked for since the last epoch was found to be the last.
    is_verified: bool,
    /// Why nothing may be done any more.
    stopped: Option<String>,
    /// The epoch that was last begun, and how many attempts at it there were.
    begun: (Epoch, u32),
    /// How often segments were written.
    spills: u64,
    /// Attempts at that epoch whose record may land.
    sent: HashSet<String>,
    /// The others: attempts at that epoch whose record was never sent.
    unsent: HashMap<String, Attempt>,
    /// Those of them that have failed and were cleared away: they are not committed any more.
    given_up: HashMap<String, Attempt>,
    /// Final names of the last epoch that this process has given.
    promoted: Mutex<HashSet<String>>,
    /// This process has committed the last epoch, and not tried to publish it.
    is_unpublished_own: bool,
    /// The last slot found to be taken, and the attempt that took it.
    decided: (Epoch, String),
}

impl CommitLog {
    /// Recovers the job's state from the log below `storage` (`<state>/<job>`). `sinks` are the
    /// job's, by name. `seed` should be random: the names of this process's files come from it.
    ///
    /// Nobody may have published the last epoch's files yet: [`CommitLog::publish`] comes before
    /// the first commit, once the caller is sure that the state is its job's.
    pub async fn open(
        storage: Storage,
        sinks: BTreeMap<String, Storage>,
        settings: LogSettings,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<CommitLog> {
        let (mut state, checkpointed) = recover::recover(&storage, Load::All).await?;
        if let Some(epoch) = state.epoch
            && (state.files_last.is_empty()
                || publish::is_marked(&storage, epoch, &state.writer).await?)
        {
            state.published_through = epoch.0;
        }
        let mut rng = SmallRng::seed_from_u64(seed);
        let incarnation = token(&mut rng);
        let log = CommitLog {
            storage,
            sinks,
            settings,
            clock,
            rng,
            incarnation,
            state,
            checkpointed,
            is_verified: true,
            stopped: None,
            begun: (Epoch(0), 0),
            spills: 0,
            sent: HashSet::new(),
            unsent: HashMap::new(),
            given_up: HashMap::new(),
            promoted: Mutex::default(),
            is_unpublished_own: false,
            decided: (Epoch(0), String::new()),
        };
        if let Some(epoch) = log.state.epoch
            && log.storage.is_local()
            && log.storage.exists(&names::log_path(epoch)).await?
        {
            // Its writer may have died between creating the record and making it durable.
            log.storage.sync(&[names::log_path(epoch)]).await?;
        }
        Ok(log)
    }

    /// What the log says, as far as this coordinator knows.
    pub fn state(&self) -> &JobState {
        &self.state
    }

    /// The random name of this process.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// Where the log is.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Starts a try at the next epoch. Trying again means beginning again.
    pub fn begin(&mut self) -> Attempt {
        let epoch = self.state.next_epoch();
        let ordinal = match self.begun {
            (begun, count) if begun == epoch => count,
            _ => {
                self.sent.clear();
                self.unsent.clear();
                self.given_up.clear();
                0
            }
        };
        self.begun = (epoch, ordinal + 1);
        let reused = self.settings.broken(Sabotage::ReuseNames);
        let attempt = Attempt {
            epoch,
            id: token(&mut self.rng),
            incarnation: self.incarnation.clone(),
            started_ms: self.clock.now_ms(),
            job: self.settings.job.clone(),
            writer: token(&mut self.rng),
            ordinal: if reused { 0 } else { ordinal },
        };
        self.unsent.insert(attempt.id.clone(), attempt.clone());
        attempt
    }

    /// Makes the epoch happen, if nobody else has. All that `record` names must be written.
    pub async fn commit(
        &mut self,
        attempt: &Attempt,
        record: CommitRecord,
    ) -> Result<CommitOutcome> {
        self.check_leading()?;
        let mut record = self.complete(attempt, record)?;
        if self.is_too_old(attempt) {
            if !self.sent.contains(&attempt.id) {
                return Ok(CommitOutcome::Abandoned);
            }
            return Err(self.unknown(attempt.epoch, None));
        }
        let spilled_ago = record.epoch.0.saturating_sub(self.state.spilled_at);
        if spilled_ago >= self.settings.checkpoint_every {
            self.spills += 1;
            let spill = Spill {
                storage: &self.storage,
                state: &self.state,
                record: &record,
                retention: &self.settings.retention,
                n: self.spills,
            };
            record.segments = spill.run().await?;
        }
        self.sync(&record).await?;
        if self.settings.broken(Sabotage::PublishFirst) {
            let promoted = Mutex::default();
            self.publication(&record.files, &record.locations, &promoted).run().await?;
        }
        let found = match self.put(attempt, &record).await {
            Ok(found) => found,
            Err(error) => {
                if self.settings.broken(Sabotage::DeleteOnUnknown) {
                    self.delete_attempt(&record).await?;
                }
                return Err(error);
            }
        };
        match found {
            Slot::Mine(found) => self.accept(*found, &record).await,
            Slot::Other(found) => self.yield_to(*found, &record).await,
        }
    }

    /// Writes a checkpoint when one is due, and then collects garbage. Call it after publishing.
    pub async fn maintain(&mut self) -> Result<Maintenance> {
        self.check_leading()?;
        let head = self.state.head();
        let is_due = head.saturating_sub(self.checkpointed) >= self.settings.checkpoint_every;
        if !is_due || self.state.published_through < head {
            return Ok(Maintenance::default());
        }
        let path = names::checkpoint_path(Epoch(head));
        let bytes = checkpoint::encode(&mut self.state)?;
        // One that exists has the same content, and a local one is synced by its creation.
        self.storage.create(&path, bytes).await?;
        self.checkpointed = head;
        let collected = self.collection().run().await?;
        Ok(Maintenance { checkpoint: Some(Epoch(head)), collected })
    }

    fn collection(&self) -> Collection<'_> {
        Collection {
            storage: &self.storage,
            sinks: &self.sinks,
            settings: &self.settings,
            state: &self.state,
            now_ms: self.clock.now_ms(),
        }
    }

    /// Fills in what the log knows, and refuses what breaks a rule.
    fn complete(&self, attempt: &Attempt, mut record: CommitRecord) -> Result<CommitRecord> {
        if self.given_up.contains_key(&attempt.id) {
            return Err(Error::bug(format!(
                "epoch {} attempt {} was given up, and its files are deleted",
                attempt.epoch, attempt.id
            )));
        }
        let head = self.state.head();
        let next = self.state.next_epoch();
        if attempt.epoch != next || attempt.incarnation != self.incarnation {
            return Err(Error::bug(format!(
                "an attempt at epoch {} cannot be committed: the next epoch is {next}",
                attempt.epoch
            )));
        }
        let is_unpublished = self.state.published_through < head;
        if is_unpublished && !self.settings.broken(Sabotage::CommitUnpublished) {
            return Err(Error::bug(format!(
                "epoch {next} cannot be committed before epoch {head} is published"
            )));
        }
        let identity = attempt.record();
        record.format_version = identity.format_version;
        record.epoch = identity.epoch;
        record.incarnation = identity.incarnation;
        record.attempt = identity.attempt;
        record.writer = identity.writer;
        record.parent.clone_from(&self.state.writer);
        record.published_through = head;
        record.rows_out.clear();
        record.locations.clear();
        for file in &record.files {
            let storage = publish::storage_of(file, &self.sinks)?;
            if !record.locations.contains_key(&file.sink) {
                record.locations.insert(file.sink.clone(), storage.location().to_owned());
            }
            if file.sink != LATE_SINK {
                *record.rows_out.entry(file.sink.clone()).or_default() += file.rows;
            }
        }
        attempt.check_names(&record)?;
        self.check_accounting(&record)?;
        Ok(record)
    }

    /// Every row is accounted for, and only what is there is removed.
    fn check_accounting(&self, record: &CommitRecord) -> Result<()> {
        for (source, change) in &record.sources {
            if !change.rows.adds_up() {
                return Err(Error::bug(format!(
                    "epoch {}: the rows of source {source} do not add up: {:?}",
                    record.epoch, change.rows
                )));
            }
        }
        for (stage, change) in &record.stages {
            let live: HashSet<&str> = match self.state.stages.get(stage) {
                Some(stage) if !record.reset => {
                    stage.runs.iter().map(|r| r.path.as_str()).collect()
                }
                _ => HashSet::new(),
            };
            if let Some(path) = change.runs_removed.iter().find(|p| !live.contains(p.as_str())) {
                return Err(Error::bug(format!(
                    "epoch {}: stage {stage} removes {path}, which it does not have",
                    record.epoch
                )));
            }
        }
        Ok(())
    }

    /// Rule 8, the first part.
    async fn sync(&self, record: &CommitRecord) -> Result<()> {
        let mut places = vec![(&self.storage, added_state(record).collect::<Vec<_>>())];
        for (name, sink) in &self.sinks {
            let files = record.files.iter().filter(|file| file.sink == *name);
            places.push((sink, files.map(|file| file.prepared.clone()).collect()));
        }
        sync_all(&places).await
    }

    /// Rule 1.
    async fn put(&mut self, attempt: &Attempt, record: &CommitRecord) -> Result<Slot> {
        let path = names::log_path(record.epoch);
        let bytes = serde_json::to_vec(record)
            .map(Bytes::from)
            .map_err(|e| Error::bug("cannot write a commit record as JSON").with_source(e))?;
        self.sent.insert(attempt.id.clone());
        self.unsent.remove(&attempt.id);
        let mut last = None;
        for tried in 0..=self.settings.put_retries {
            if tried > 0 {
                let wait = self.settings.backoff_before(tried - 1);
                self.clock.sleep(wait).await;
                if self.is_too_old(attempt) {
                    break;
                }
            }
            match self.storage.create(&path, bytes.clone()).await {
                Ok(Creation::Created) => return Ok(Slot::Mine(Box::new(record.clone()))),
                Ok(Creation::Exists) if self.settings.broken(Sabotage::NoReadBack) => {
                    return Ok(Slot::Other(Box::new(CommitRecord {
                        epoch: record.epoch,
                        ..CommitRecord::default()
                    })));
                }
                Ok(Creation::Exists) => {}
                Err(error) => last = Some(error),
            }
            match read_record(&self.storage, record.epoch).await {
                Ok(Some(found)) if found.writer == record.writer => {
                    // On local storage its creation may have failed half-way, before the sync.
                    self.storage.sync(std::slice::from_ref(&path)).await?;
                    return Ok(Slot::Mine(Box::new(found)));
                }
                Ok(Some(found)) => return Ok(Slot::Other(Box::new(found))),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Unavailable => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(self.unknown(record.epoch, last))
    }

    /// The slot holds this process's record: it is the epoch, unless everyone has gone on.
    async fn accept(&mut self, found: CommitRecord, tried: &CommitRecord) -> Result<CommitOutcome> {
        if self.is_superseded(found.epoch).await? {
            self.stop(format!("epoch {} was over already", found.epoch));
            return Ok(CommitOutcome::Fenced);
        }
        self.decided = (found.epoch, found.attempt.clone());
        // A repeated commit writes its segments again; which of them were named does not matter.
        let mut same = tried.clone();
        same.segments.clone_from(&found.segments);
        let is_earlier = found != same;
        self.state.apply(&found);
        if self.state.files_last.is_empty() {
            self.state.published_through = found.epoch.0;
        }
        self.is_verified = true;
        self.is_unpublished_own = true;
        self.promoted.lock().clear();
        Ok(if is_earlier { CommitOutcome::Earlier } else { CommitOutcome::Committed })
    }

    /// The slot holds a record that is not this attempt's.
    async fn yield_to(
        &mut self,
        found: CommitRecord,
        tried: &CommitRecord,
    ) -> Result<CommitOutcome> {
        if found.incarnation == self.incarnation {
            if self.settings.broken(Sabotage::TrustOwnEarlier) {
                self.state.apply(tried);
                self.is_unpublished_own = true;
                return Ok(CommitOutcome::Committed);
            }
            return self.accept(found, tried).await;
        }
        // An impostor in a slot that was collected says nothing about whose the epoch was.
        let is_trusting = self.settings.broken(Sabotage::LoseToImpostor);
        if !is_trusting && self.is_passed(found.epoch).await? {
            self.stop(format!("epoch {} was over already", found.epoch));
            return Ok(CommitOutcome::Fenced);
        }
        self.decided = (found.epoch, found.attempt);
        self.stop(format!("coordinator {} has committed epoch {}", found.incarnation, found.epoch));
        Ok(CommitOutcome::Lost { winner: found.incarnation })
    }

    /// Rule 2: whether others have gone on from `epoch`.
    async fn is_superseded(&self, epoch: Epoch) -> Result<bool> {
        if self.settings.broken(Sabotage::NoFenceCheck) {
            return Ok(false);
        }
        let later = names::log_path(epoch.next());
        let (followed, passed) =
            try_join(self.storage.exists(&later), self.is_passed(epoch)).await?;
        Ok(followed || passed)
    }

    /// Whether a checkpoint at or past `epoch` exists: then its slot may have been emptied.
    async fn is_passed(&self, epoch: Epoch) -> Result<bool> {
        let before = names::checkpoint_path(Epoch(epoch.0.saturating_sub(1)));
        let found = self.storage.list_after(CHECKPOINT, &before).await?;
        Ok(found
            .iter()
            .filter_map(|meta| names::parse_numbered(meta.location.as_ref()))
            .any(|checkpoint| checkpoint >= epoch))
    }

    /// Rule 3.
    fn is_too_old(&self, attempt: &Attempt) -> bool {
        let age_ms = self.clock.now_ms().saturating_sub(attempt.started_ms);
        u128::try_from(age_ms).is_ok_and(|age| age > self.settings.grace.as_millis() / 2)
    }

    fn check_leading(&self) -> Result<()> {
        match &self.stopped {
            Some(reason) => Err(Error::fenced(format!(
                "{}: {reason}; this coordinator has stopped, only one may run a job",
                self.storage.location()
            ))),
            None => Ok(()),
        }
    }

    fn stop(&mut self, reason: String) {
        tracing::warn!(incarnation = %self.incarnation, %reason, "coordinator stops");
        self.stopped = Some(reason);
    }

    fn unknown(&self, epoch: Epoch, last: Option<Error>) -> Error {
        let message = format!(
            "{}: whether epoch {epoch} was committed is not known; check the storage and run \
             again, which finds out",
            self.storage.location()
        );
        match last {
            Some(last) => Error::unavailable(format!("{message}: {last}")).with_source(last),
            None => Error::unavailable(message),
        }
    }
}

/// Paths of everything that a record adds to the state folder.
fn added_state(record: &CommitRecord) -> impl Iterator<Item = String> {
    let runs = record.stages.values().flat_map(|stage| &stage.runs_added);
    let segments = &record.segments;
    runs.map(|run| run.path.clone()).chain(
        segments
            .seen_added
            .iter()
            .chain(&segments.manifest_added)
            .map(|segment| segment.path.clone()),
    )
}

fn token(rng: &mut SmallRng) -> String {
    format!("{:016x}", rng.random::<u64>())
}

mod files;
#[cfg(test)]
mod impostor_tests;
#[cfg(test)]
mod publish_tests;
#[cfg(test)]
mod tests;
