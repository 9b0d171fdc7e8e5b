//! Step 1 of an epoch: what is there and was never processed, in each source's order, and what
//! becomes of a file that was processed and is there in another version.
//!
//! ```text
//!  listed --> parked, not due        left where it is
//!         \-> younger than settle    left to a later listing
//!         \-> never seen             new
//!         \-> seen, same version     known: the next listing passes it by
//!         \-> seen, other version    appended: its new lines; else on_change
//! ```

use std::collections::BTreeSet;

use tidegauge_commitlog::{JobState, SeenFile, Standing, Tail};
use tidegauge_spec::{DiscoveryOrder, OnChange};

use super::compile::SourceRuntime;
use super::engine::Engine;
use super::parking::{Fault, Lot, Place};
use super::pending::Pending;
use super::watermark::micros;
use crate::error::{Error, Result};
use crate::source::{
    Discovered, Growth, Listing, ListingMemory, SourceError, discover, growth, key_from,
};

/// So many files that a build with absolute keys has processed are taken note of in one listing.
const RECOGNISED_MAX: usize = 10_000;

impl Engine {
    /// What waits of the source at a place among the job's.
    pub(super) async fn list_source(&mut self, at: usize) -> Result<Pending> {
        let Some(source) = self.sources.get(at).cloned() else { return Ok(Pending::default()) };
        let name = source.table.name.clone();
        let mut memory =
            self.memories.remove(&name).unwrap_or_else(|| ListingMemory::new(source.spec.appended));
        let (order, now_ms) = (&source.spec.order, self.clock.now_ms());
        let listed = discover(source.store.as_ref(), &source.location, order, &mut memory, now_ms);
        let sifted = match listed.await {
            Ok(listing) => self.sift(&source, listing, &mut memory).await,
            Err(error) => Err(error.into()),
        };
        self.memories.insert(name, memory);
        // A path's time is when its file was begun or written: rows may be older by the delay.
        let slack_us = match source.spec.order {
            DiscoveryOrder::PathTime(_) => micros(source.spec.event_time.delay),
            _ => 0,
        };
        Ok(Pending::new(sifted?, slack_us))
    }

    /// The files of a listing that are to be read.
    async fn sift(
        &mut self,
        source: &SourceRuntime,
        listing: Listing,
        memory: &mut ListingMemory,
    ) -> Result<Vec<Discovered>> {
        let name = &source.table.name;
        let now_ms = self.clock.now_ms();
        let is_once = self.is_once;
        let state = self.reset.as_deref().unwrap_or(self.log.state());
        let lot = self.parking.lot(name);
        let keys = Keys::new(state, name, &listing.root);
        if let Some(base) = &keys.new_base {
            lot.rebase(base.clone(), keys.moved_at > 0);
        }
        let mut sieve = Sieve { source, state, lot, keys, memory, now_ms, recognised: 0, is_once };
        let mut there = BTreeSet::new();
        for mut unusable in listing.unusable {
            unusable.file.key = sieve.keys.of(&unusable.file.key);
            there.insert(unusable.file.key.clone());
            sieve.refuse(unusable.file, &unusable.error)?;
        }
        let mut files = Vec::new();
        for mut file in listing.files {
            file.key = sieve.keys.of(&file.key);
            there.insert(file.key.clone());
            files.extend(sieve.sift(file).await?);
        }
        sieve.lot.keep(&there);
        Ok(files)
    }
}

/// The keys of a source's files, as its state knows them.
struct Keys {
    /// Where they begin.
    base: String,
    root: String,
    /// The base that a record has to name.
    new_base: Option<String>,
    /// Versions that were taken note of before this epoch are of another folder.
    moved_at: u64,
}

impl Keys {
    fn new(state: &JobState, source: &str, root: &str) -> Self {
        let known = state.sources.get(source);
        let base = known.and_then(|source| source.base.clone());
        let based_at = known.map_or(0, |source| source.based_at);
        let root = root.to_owned();
        match base {
            Some(base) if key_from(&base, &root, "").is_some() => {
                Self { base, root, new_base: None, moved_at: based_at }
            }
            // All that was taken note of so far is of elsewhere.
            Some(_) => {
                let new_base = Some(root.clone());
                Self { base: root.clone(), root, new_base, moved_at: u64::MAX }
            }
            None => {
                let new_base = Some(root.clone());
                Self { base: root.clone(), root, new_base, moved_at: 0 }
            }
        }
    }

    fn of(&self, below: &str) -> String {
        key_from(&self.base, &self.root, below).unwrap_or_else(|| below.to_owned())
    }
}

struct Sieve<'a> {
    source: &'a SourceRuntime,
    state: &'a JobState,
    lot: &'a mut Lot,
    keys: Keys,
    memory: &'a mut ListingMemory,
    now_ms: i64,
    recognised: usize,
    is_once: bool,
}

impl Sieve<'_> {
    /// The file as it is to be read, if it is.
    async fn sift(&mut self, mut file: Discovered) -> Result<Option<Discovered>> {
        if self.is_unsettled(&file) {
            return Ok(None);
        }
        match self.lot.place(&file, self.now_ms) {
            Place::Free => {}
            Place::Parked => return Ok(None),
            Place::Due => file.is_doubtful = true,
        }
        let name = &self.source.table.name;
        let seen = &self.state.seen;
        match seen.standing(name, &file.key, file.etag.as_deref(), file.size) {
            Standing::Same => {
                self.same(&file);
                Ok(None)
            }
            Standing::New if self.is_recognised(&file) => Ok(None),
            Standing::New => self.fresh(file).await,
            Standing::Changed if self.is_of_elsewhere(&file) => self.fresh(file).await,
            // It had no rows then: its writer had made it and not filled it yet.
            Standing::Changed if seen.tail(name, &file.key).is_some_and(|tail| tail.bytes == 0) => {
                self.fresh(file).await
            }
            Standing::Changed if self.source.spec.appended => {
                let tail = seen.tail(name, &file.key);
                self.grown(file, tail).await
            }
            Standing::Changed => self.changed(file).await,
        }
    }

    /// A file that is known in this version. One that was moved with the location is taken note of
    /// anew, some at a time: what was taken note of before the move and is then changed is a file of
    /// elsewhere.
    fn same(&mut self, file: &Discovered) {
        if self.is_of_elsewhere(file) {
            if self.recognised >= RECOGNISED_MAX {
                return;
            }
            self.recognised += 1;
            let tail = self.state.seen.tail(&self.source.table.name, &file.key);
            self.lot.note(SeenFile { tail, ..file.seen_file() });
        }
        self.memory.remember(file.mark);
    }

    fn is_unsettled(&self, file: &Discovered) -> bool {
        let settle_ms = micros(self.source.spec.settle) / 1_000;
        settle_ms > 0 && self.now_ms.saturating_sub(file.modified.timestamp_millis()) < settle_ms
    }

    /// The location was moved, and this is no file that was moved with it.
    fn is_of_elsewhere(&self, file: &Discovered) -> bool {
        let noted_at = self.state.seen.noted_at(&self.source.table.name, &file.key);
        noted_at.is_some_and(|epoch| epoch < self.keys.moved_at)
    }

    /// Whether a build with absolute keys has processed the file. Its relative key is taken note
    /// of, some at a time, so that from then on a change of it is noticed.
    fn is_recognised(&mut self, file: &Discovered) -> bool {
        let name = &self.source.table.name;
        let seen = &self.state.seen;
        let etag = file.etag_old.as_deref().or(file.etag.as_deref());
        if !seen.has_old(name) || !seen.knows_old(name, file.key_old(), etag, file.size) {
            return false;
        }
        if self.recognised < RECOGNISED_MAX {
            self.recognised += 1;
            self.lot.note(file.seen_file());
        }
        self.memory.remember(file.mark);
        true
    }

    /// A file of which nothing was read.
    async fn fresh(&mut self, file: Discovered) -> Result<Option<Discovered>> {
        match self.source.spec.appended {
            true => self.grown(file, None).await,
            false => Ok(Some(file)),
        }
    }

    /// A file of which the bytes up to `read` were read, and that grows.
    async fn grown(
        &mut self,
        mut file: Discovered,
        read: Option<Tail>,
    ) -> Result<Option<Discovered>> {
        match growth(self.source.store.as_ref(), &file, read).await {
            Ok(Growth::Lines(part, tail)) => {
                (file.part, file.tail) = (Some(part), Some(tail));
                Ok(Some(file))
            }
            Ok(Growth::Nothing) => {
                self.memory.remember(file.mark);
                Ok(None)
            }
            Ok(Growth::Replaced) => Box::pin(self.changed(file)).await,
            Err(error) => {
                self.refuse(file, &error)?;
                Ok(None)
            }
        }
    }

    /// A known file that is there in another version, of which nothing can be read on.
    async fn changed(&mut self, file: Discovered) -> Result<Option<Discovered>> {
        let spec = &self.source.spec;
        let is_first = self.lot.changed(&file);
        match spec.on_change {
            OnChange::Fail => Err(Error::bad_record(format!(
                "{}: was changed after it was read, and on_change: fail stops the job; restore it, \
                 move it away, or write on_change: skip or read_as_new",
                file.display
            ))),
            OnChange::Skip => {
                if is_first {
                    tracing::warn!(
                        file = file.display,
                        source = spec.name,
                        "a file was changed after it was read; it stays as it was read, and what \
                         was added to it is left out: write appended: true for files that grow, \
                         or on_change: read_as_new to read all of it again"
                    );
                }
                let tail = self.state.seen.tail(&spec.name, &file.key);
                self.lot.note(SeenFile { tail, ..file.seen_file() });
                self.memory.remember(file.mark);
                Ok(None)
            }
            OnChange::ReadAsNew => {
                if is_first {
                    tracing::warn!(
                        file = file.display,
                        source = spec.name,
                        "a file was changed after it was read; on_change: read_as_new reads all \
                         of it again"
                    );
                }
                self.fresh(file).await
            }
        }
    }

    /// Leaves out what cannot be read as it is.
    fn refuse(&mut self, file: Discovered, error: &SourceError) -> Result<()> {
        if self.lot.place(&file, self.now_ms) == Place::Parked {
            return Ok(());
        }
        let error = Error::new(error.kind(), error.to_string());
        let fault = Fault::of(&error);
        let is_new = self.lot.park(&file, fault, self.now_ms)?;
        if is_new && !self.is_once {
            warn_parked(&self.source.table.name, &error);
        }
        Ok(())
    }
}

/// Says that a file is left out. A run that ends says it at its end.
pub(super) fn warn_parked(source: &str, error: &Error) {
    tracing::warn!(
        source,
        error = error.message(),
        "a file cannot be used and is left out, and the rest goes on; correct or replace it and it \
         is read, or move it away"
    );
}
