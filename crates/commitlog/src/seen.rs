//! The set of processed files: by source, a hash of each key beside that of its version.
//!
//! ```text
//!  listing:  (key, version) --> New       the key was never seen
//!                           --> Same      it was processed, or its version was taken note of
//!                           --> Changed   it was processed in another version
//! ```
//!
//! Progress is this set, never a high-water mark: on S3 a key may appear with an older time. Keys
//! are relative to the source's location. What builds before `TGSEEN02` wrote are hashes of the
//! absolute key and version together: those are kept apart and asked by [`SeenFiles::knows_old`],
//! until a record takes note of the file by its relative key.

mod hash;
mod segment;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

pub use self::hash::FileHash;
pub(crate) use self::hash::KeyHash;
pub(crate) use self::segment::{decode, encode};
use crate::record::{SeenFile, Segment, SegmentChange, Tail};

/// What is known of a file that a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its key was never seen.
    New,
    /// This very version was processed.
    Same,
    /// The key was processed in another version.
    Changed,
}

/// A version of a key, and the epoch that took note of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Entry {
    key: KeyHash,
    epoch: u64,
    version: u64,
    read: u64,
    head: u32,
}

/// As [`Entry`], in memory under its key: a job may have processed millions of files.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    version: u64,
    read: u64,
    /// Epochs beyond 2^32 are taken for that one: they only order the versions of a key.
    epoch: u32,
    head: u32,
}

/// What is to be written of one source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entries {
    files: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    old: Vec<FileHash>,
}

/// What is known of one source.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    files: HashMap<KeyHash, Seen>,
    old: HashSet<FileHash>,
}

/// The files that are processed, by source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenFiles {
    #[serde(skip)]
    known: BTreeMap<String, Known>,
    segments: Vec<Segment>,
    /// Of builds before `TGSEEN02`, in checkpoints that they wrote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pending: BTreeMap<String, Vec<FileHash>>,
    /// What is in no segment yet.
    #[serde(default)]
    fresh: BTreeMap<String, Entries>,
}

impl SeenFiles {
    /// What is known of a file, by its key relative to the source's location.
    pub fn standing(&self, source: &str, key: &str, etag: Option<&str>, size: u64) -> Standing {
        match self.find(source, key) {
            None => Standing::New,
            Some(seen) if seen.version == hash::version(etag, size) => Standing::Same,
            Some(_) => Standing::Changed,
        }
    }

    fn find(&self, source: &str, key: &str) -> Option<&Seen> {
        self.known.get(source)?.files.get(&KeyHash::of(key))
    }

    /// The epoch that last took note of a key.
    pub fn noted_at(&self, source: &str, key: &str) -> Option<u64> {
        self.find(source, key).map(|seen| u64::from(seen.epoch))
    }

    /// How far a file was read, by its key.
    pub fn tail(&self, source: &str, key: &str) -> Option<Tail> {
        let seen = self.find(source, key)?;
        Some(Tail { bytes: seen.read, head: (seen.head != 0).then_some(seen.head) })
    }

    /// Whether this very file was processed.
    pub fn contains(&self, source: &str, key: &str, etag: Option<&str>, size: u64) -> bool {
        self.standing(source, key, etag, size) == Standing::Same
    }

    /// Whether builds that kept absolute keys processed files of the source that are not all taken
    /// note of anew.
    pub fn has_old(&self, source: &str) -> bool {
        self.known.get(source).is_some_and(|known| !known.old.is_empty())
    }

    /// Whether such a build processed this very file, by its absolute key and the ETag of then.
    pub fn knows_old(&self, source: &str, key: &str, etag: Option<&str>, size: u64) -> bool {
        self.known
            .get(source)
            .is_some_and(|known| known.old.contains(&FileHash::of(key, etag, size)))
    }

    /// Takes note of a file in `epoch`.
    pub fn insert(&mut self, source: &str, file: &SeenFile, epoch: u64) {
        // Of a file that is taken note of anew, that is what counts from then on.
        let is_noted = !file.relative || self.noted_at(source, &file.key) >= Some(epoch);
        if is_noted && self.contains_exactly(source, file) {
            return;
        }
        let fresh = self.fresh.entry(source.to_owned()).or_default();
        fresh.push(file, epoch);
        let known = self.known.entry(source.to_owned()).or_default();
        match note(file, epoch) {
            Note::Old(hash) => {
                known.old.insert(hash);
            }
            Note::File(entry) => {
                known.files.insert(entry.key, entry.seen());
            }
        }
    }

    fn contains_exactly(&self, source: &str, file: &SeenFile) -> bool {
        let etag = file.etag.as_deref();
        if !file.relative {
            return self.knows_old(source, &file.key, etag, file.size);
        }
        let tail = file.tail.unwrap_or(Tail { bytes: file.size, head: None });
        self.contains(source, &file.key, etag, file.size)
            && self.tail(source, &file.key) == Some(tail)
    }

    /// How many files are known, over all sources.
    pub fn len(&self) -> usize {
        self.known.values().map(|known| known.files.len() + known.old.len()).sum()
    }

    /// Whether no file is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The segments it is made of, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What is in no segment yet.
    pub(crate) fn pending(&self) -> BTreeMap<String, Entries> {
        let mut entries = self.fresh.clone();
        for (source, hashes) in &self.pending {
            entries.entry(source.clone()).or_default().old.extend(hashes);
        }
        entries
    }

    pub(crate) fn clear(&mut self) {
        *self = SeenFiles::default();
    }

    /// A record moved what was pending into segments.
    pub(crate) fn spilled(&mut self, change: &SegmentChange) {
        self.pending.clear();
        self.fresh.clear();
        self.segments.retain(|segment| !change.seen_removed.contains(&segment.path));
        self.segments.extend(change.seen_added.iter().cloned());
    }

    /// Adds what a segment holds, after a checkpoint was read.
    pub(crate) fn load(&mut self, entries: BTreeMap<String, Entries>) {
        for (source, entries) in entries {
            let known = self.known.entry(source).or_default();
            known.old.extend(entries.old);
            for entry in entries.files {
                let newest = known.files.entry(entry.key).or_insert(entry.seen());
                if u64::from(newest.epoch) <= entry.epoch {
                    *newest = entry.seen();
                }
            }
        }
    }

    /// Adds what was pending in a checkpoint.
    pub(crate) fn load_pending(&mut self) {
        self.load(self.pending());
    }
}

/// What is written of a file.
enum Note {
    Old(FileHash),
    File(Entry),
}

fn note(file: &SeenFile, epoch: u64) -> Note {
    let etag = file.etag.as_deref();
    if !file.relative {
        return Note::Old(FileHash::of(&file.key, etag, file.size));
    }
    let key = KeyHash::of(&file.key);
    let version = hash::version(etag, file.size);
    let tail = file.tail.unwrap_or(Tail { bytes: file.size, head: None });
    Note::File(Entry { key, epoch, version, read: tail.bytes, head: tail.head.unwrap_or(0) })
}

impl Entry {
    fn seen(&self) -> Seen {
        let Self { version, read, head, .. } = *self;
        Seen { version, read, head, epoch: u32::try_from(self.epoch).unwrap_or(u32::MAX) }
    }
}

impl Entries {
    pub(crate) fn push(&mut self, file: &SeenFile, epoch: u64) {
        match note(file, epoch) {
            Note::Old(hash) => self.old.push(hash),
            Note::File(entry) => self.files.push(entry),
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.old.extend(other.old);
    }

    pub(crate) fn len(&self) -> u64 {
        (self.files.len() + self.old.len()) as u64
    }

    /// Sorted, and of several entries of a key the latest.
    fn tidy(&mut self) {
        self.files.sort_unstable_by(|a, b| b.cmp(a));
        self.files.dedup_by_key(|entry| entry.key);
        self.old.sort_unstable();
        self.old.dedup();
    }
}

/// Number of entries over all sources.
pub(crate) fn count(entries: &BTreeMap<String, Entries>) -> u64 {
    entries.values().map(Entries::len).sum()
}

#[cfg(test)]
mod tests;
