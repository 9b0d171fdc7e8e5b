//! Files that are left out, by source, between one epoch and the next: what of them is to be
//! written into the next record, and when one is tried again. It does no I/O.
//!
//! ```text
//!  cannot be used --park--> parked --changed, due, or a new run--> tried alone --ok--> read
//!                              |                                        \--> parked again
//!                              \--gone--> released
//! ```
//!
//! The state holds what was committed of it; this holds what is true now. What is news goes into
//! the next record, and worth an epoch of its own is only what an operator has to hear of.

use std::collections::{BTreeMap, BTreeSet};

use tidegauge_commitlog::{CommitRecord, JobState, ParkedFile, SeenFile, SourceChange};

use crate::error::{Error, Result};
use crate::source::Discovered;

/// More files of a source than this are not left out: the job does not fit its files.
pub(super) const PARKED_MAX: usize = 1_000;
/// More of an error than this is not kept.
const ERROR_CHARS_MAX: usize = 1_000;
/// An error that may pass is tried again after this, then after twice as long, and so on.
const RETRY_FIRST_MS: i64 = 10_000;
const RETRY_LAST_MS: i64 = 600_000;
/// So many versions at most are taken note of with one record.
const NOTED_MAX: usize = 10_000;

/// Why a file is left out.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// What is wrong; it begins with the file.
    pub(super) error: String,
    /// The error's kind.
    pub(super) kind: String,
    /// Whether it may pass without a new version of the file.
    pub(super) may_pass: bool,
}

/// What is to be done with a listed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is not parked.
    Free,
    /// It stays where it is.
    Parked,
    /// It is to be tried again, by itself.
    Due,
}

/// What is left out of all sources.
#[derive(Debug, Default)]
pub(super) struct Parking {
    lots: BTreeMap<String, Lot>,
}

/// What is left out of one source.
#[derive(Debug, Default)]
pub(super) struct Lot {
    parked: BTreeMap<String, Parked>,
    /// Keys that are parked in the state and no more here.
    released: BTreeSet<String>,
    /// Versions to be taken note of, by key.
    noted: BTreeMap<String, SeenFile>,
    /// Known files that were found changed, with their versions.
    changed: BTreeSet<(String, Option<String>)>,
    /// Keys that were warned of in this run.
    warned: BTreeSet<String>,
    gone: u64,
    /// The root of the keys, where it is another one than the state's.
    base: Option<String>,
    /// Something that an operator has to hear of is not in a record yet.
    is_urgent: bool,
}

#[derive(Debug)]
struct Parked {
    file: ParkedFile,
    /// Not as it is here in the state.
    is_news: bool,
    /// Was tried in this run.
    was_tried: bool,
}

impl Parking {
    /// What the state has parked: all of it is tried again in a new run, which may be of a
    /// corrected job or of a newer build.
    pub(super) fn new(state: &JobState) -> Self {
        let lot = |parked: &BTreeMap<String, ParkedFile>| Lot {
            parked: parked
                .iter()
                .map(|(key, file)| {
                    (key.clone(), Parked { file: file.clone(), is_news: false, was_tried: false })
                })
                .collect(),
            ..Lot::default()
        };
        let sources = state.sources.iter();
        Self { lots: sources.map(|(name, source)| (name.clone(), lot(&source.parked))).collect() }
    }

    pub(super) fn lot(&mut self, source: &str) -> &mut Lot {
        self.lots.entry(source.to_owned()).or_default()
    }

    /// Whether an epoch is worth its record for this alone.
    pub(super) fn has_news(&self) -> bool {
        self.lots.values().any(|lot| lot.is_urgent)
    }

    /// Everything that is parked, by source.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &ParkedFile)> {
        self.lots.iter().flat_map(|(source, lot)| {
            lot.parked.values().map(move |parked| (source.as_str(), &parked.file))
        })
    }

    /// Writes what is news of a source into its change.
    pub(super) fn write(&self, source: &str, change: &mut SourceChange) {
        let Some(lot) = self.lots.get(source) else { return };
        let news = lot.parked.values().filter(|parked| parked.is_news);
        change.parked = news.map(|parked| parked.file.clone()).collect();
        change.released = lot.released.iter().cloned().collect();
        change.noted = lot.noted.values().take(NOTED_MAX).cloned().collect();
        change.files_changed = lot.changed.len() as u64;
        change.files_gone = lot.gone;
        change.base.clone_from(&lot.base);
    }

    /// A record with what was written is committed.
    pub(super) fn committed(&mut self, record: &CommitRecord) {
        for (source, change) in &record.sources {
            let lot = self.lot(source);
            for file in &change.added {
                lot.parked.remove(&file.key);
            }
            for parked in lot.parked.values_mut() {
                parked.is_news = false;
            }
            for noted in &change.noted {
                lot.noted.remove(&noted.key);
            }
            lot.released.clear();
            lot.changed.clear();
            lot.gone = 0;
            lot.base = None;
            lot.is_urgent = false;
        }
    }
}

impl Lot {
    /// What is to be done with a file, as a listing shows it.
    pub(super) fn place(&self, file: &Discovered, now_ms: i64) -> Place {
        let Some(Parked { file: parked, was_tried, .. }) = self.parked.get(&file.key) else {
            return Place::Free;
        };
        let is_same = (&parked.etag, parked.size) == (&file.etag, file.size);
        let doublings = parked.tries.saturating_sub(1).min(16);
        let wait_ms = (RETRY_FIRST_MS << doublings).min(RETRY_LAST_MS);
        let is_due = parked.may_pass && now_ms.saturating_sub(parked.last_ms) >= wait_ms;
        match is_same && *was_tried && !is_due {
            true => Place::Parked,
            false => Place::Due,
        }
    }

    /// Leaves a file out. Returns whether it was not before.
    ///
    /// # Errors
    /// `BadRecord` where too many are left out already.
    pub(super) fn park(&mut self, file: &Discovered, fault: Fault, now_ms: i64) -> Result<bool> {
        let before = self.parked.get(&file.key).map(|parked| &parked.file);
        if before.is_none() && self.parked.len() >= PARKED_MAX {
            return Err(Error::bad_record(format!(
                "{}; {PARKED_MAX} files of its source cannot be used already: correct the source in \
                 the job, or move such files away",
                fault.error
            )));
        }
        let is_new = before.is_none();
        let parked = ParkedFile {
            key: file.key.clone(),
            etag: file.etag.clone(),
            size: file.size,
            file: file.display.clone(),
            error: fault.error.chars().take(ERROR_CHARS_MAX).collect(),
            kind: fault.kind,
            first_ms: before.map_or(now_ms, |before| before.first_ms),
            last_ms: now_ms,
            tries: before.map_or(1, |before| before.tries.saturating_add(1)),
            may_pass: fault.may_pass,
        };
        self.released.remove(&file.key);
        self.parked
            .insert(file.key.clone(), Parked { file: parked, is_news: true, was_tried: true });
        self.is_urgent |= is_new;
        Ok(is_new)
    }

    /// Of what is parked only `there` is there still.
    pub(super) fn keep(&mut self, there: &BTreeSet<String>) {
        let gone: Vec<String> =
            self.parked.keys().filter(|key| !there.contains(*key)).cloned().collect();
        for key in gone {
            self.parked.remove(&key);
            self.released.insert(key);
            self.is_urgent = true;
        }
    }

    /// A listed file is gone before it was read.
    pub(super) fn gone(&mut self, key: &str) {
        self.gone += 1;
        self.is_urgent = true;
        if self.parked.remove(key).is_some() {
            self.released.insert(key.to_owned());
        }
    }

    /// A known file was found changed. Returns whether that is to be warned of.
    pub(super) fn changed(&mut self, file: &Discovered) -> bool {
        self.changed.insert((file.key.clone(), file.etag.clone()));
        let is_first = self.warned.len() < NOTED_MAX && self.warned.insert(file.key.clone());
        self.is_urgent |= is_first;
        is_first
    }

    /// The version of a file is to be known without being read.
    pub(super) fn note(&mut self, file: SeenFile) {
        self.noted.insert(file.key.clone(), file);
    }

    /// Keys begin at another root from now on; where the location `has_moved` there was one before.
    pub(super) fn rebase(&mut self, base: String, has_moved: bool) {
        self.base = Some(base);
        self.is_urgent |= has_moved;
    }
}

#[cfg(test)]
mod tests;
