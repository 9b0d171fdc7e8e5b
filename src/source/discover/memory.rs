//! What is known already, so that a listing of many processed files costs little: of each file 16
//! bytes, and nothing is allocated, hashed with sha or, most times, looked at of one that is known.
//!
//! ```text
//!  name in the folder --hash--> known and not its turn   nothing is asked
//!                           \-> else                     size and time: as known, or handed on
//! ```
//!
//! A local folder says names without sizes and times, which cost a call of the system each. New
//! names are always looked at; of known ones a share in each listing, so that all have had their
//! turn after a few. Names cost, too: a folder of known files alone whose own time has not changed
//! has the names that it had, and is listed in its turn only. Where a file system keeps no such times,
//! or it is not known whether it does (`mounts.rs`), it is listed each time.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};

/// About so many known files are looked at in one listing.
const LOOKS: usize = 20_000;
/// Of no file system the times of changes are coarser.
const RESOLUTION_S: i64 = 5;
/// A folder that has not changed is listed once in so many listings.
const FOLDER_TURNS: u64 = 5;

/// The files of one source that were processed, as its listings know them.
#[derive(Debug, Default)]
pub struct ListingMemory {
    hashes: RandomState,
    /// A hash of the version, by a hash of the key: two files are taken for one by chance once in
    /// 10^19 pairs, for both hashes would have to agree.
    known: HashMap<u64, u64>,
    listings: u64,
    now_ms: i64,
    /// All files are looked at in every listing: they grow.
    looks_at_all: bool,
    folders: HashMap<FolderId, Folder>,
}

/// The device and the inode of a folder.
pub(super) type FolderId = (u64, u64);

/// A local folder, as it was when it was listed.
#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    /// Its path below the location: one that was moved has other files.
    pub(super) below: Vec<u8>,
    /// When its names changed last, in seconds and nanoseconds.
    pub(super) changed: (i64, i64),
    /// The names of the folders in it.
    pub(super) folders: Vec<OsString>,
    /// Whether nothing in it was new, and a later change of its names changes its time.
    pub(super) is_settled: bool,
    /// How often it was listed before.
    pub(super) listed: u64,
}

/// What a listing recognises a file by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    key: u64,
    version: u64,
}

impl ListingMemory {
    /// A memory that has every file looked at in every listing, where `all` says so.
    pub fn new(all: bool) -> Self {
        Self { looks_at_all: all, ..Self::default() }
    }

    /// Takes note that a listed file is processed in this version.
    pub fn remember(&mut self, mark: Mark) {
        self.known.insert(mark.key, mark.version);
    }

    /// Whether no file is known.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// A listing begins at `now_ms`.
    pub(super) fn begin(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.listings = self.listings.wrapping_add(1);
    }

    pub(super) fn key(&self, key: &[u8]) -> u64 {
        self.hashes.hash_one(key)
    }

    pub(super) fn mark(&self, key: u64, version: impl std::hash::Hash) -> Mark {
        Mark { key, version: self.hashes.hash_one(version) }
    }

    pub(super) fn is_known(&self, mark: Mark) -> bool {
        self.known.get(&mark.key) == Some(&mark.version)
    }

    /// Whether a file need not be looked at in this listing, in a folder that was listed `listed` times
    /// before.
    pub(super) fn may_pass(&self, key: u64, listed: u64) -> bool {
        let turns = self.known.len().div_ceil(LOOKS).max(1) as u64;
        !self.looks_at_all && key % turns != listed % turns && self.known.contains_key(&key)
    }

    /// Whether what changed at `at_s` cannot have changed once more within the resolution of its time.
    pub(super) fn is_old(&self, at_s: i64) -> bool {
        self.now_ms / 1_000 - at_s >= RESOLUTION_S
    }

    /// What is known of a folder.
    pub(super) fn folder(&self, id: FolderId) -> Option<&Folder> {
        self.folders.get(&id)
    }

    /// The folder, where it need not be listed this time: files are many, and its names changed last
    /// when they did at its last listing.
    pub(super) fn unchanged(
        &self,
        id: FolderId,
        below: &[u8],
        changed: (i64, i64),
    ) -> Option<&Folder> {
        let is_its_turn = id.1.wrapping_add(self.listings).is_multiple_of(FOLDER_TURNS);
        if is_its_turn || self.looks_at_all || self.known.len() <= LOOKS {
            return None;
        }
        let is_same = |folder: &&Folder| {
            folder.is_settled && folder.changed == changed && folder.below == below
        };
        self.folders.get(&id).filter(is_same)
    }

    pub(super) fn folder_listed(&mut self, id: FolderId, folder: Folder) {
        self.folders.insert(id, folder);
    }

    /// Forgets the folders that are not among `there`.
    pub(super) fn keep_folders(&mut self, there: &HashSet<FolderId>) {
        self.folders.retain(|id, _| there.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_file_has_its_turn() {
        let mut memory = ListingMemory::new(false);
        for n in 0..(LOOKS as u64 * 3) {
            let key = memory.key(&n.to_le_bytes());
            memory.remember(memory.mark(key, n));
        }
        let keys: Vec<u64> = memory.known.keys().copied().collect();
        let mut looked = vec![0; keys.len()];
        for listed in 0..3 {
            for (key, looked) in keys.iter().zip(&mut looked) {
                *looked += u64::from(!memory.may_pass(*key, listed));
            }
        }
        assert!(looked.iter().all(|looks| *looks == 1));
        assert!(!memory.may_pass(memory.key(b"new"), 0));
        let mut growing = ListingMemory::new(true);
        growing.known = memory.known;
        assert!(keys.iter().all(|key| !growing.may_pass(*key, 0)));
    }

    #[test]
    fn a_folder_that_has_not_changed_has_its_turn() {
        let (below, changed) = (b"a/b".to_vec(), (5, 7));
        let settled = Folder { below, changed, is_settled: true, ..Folder::default() };
        let listings = |id: FolderId, below: &[u8], changed, folder: &Folder, grows| {
            let known = (0..=LOOKS as u64).map(|n| (n, n)).collect();
            let mut memory = ListingMemory { known, ..ListingMemory::new(grows) };
            memory.folder_listed((1, 2), folder.clone());
            let mut listed = 0;
            for _ in 0..FOLDER_TURNS {
                memory.begin(0);
                listed += u64::from(memory.unchanged(id, below, changed).is_none());
            }
            listed
        };
        assert_eq!(listings((1, 2), b"a/b", (5, 7), &settled, false), 1);
        assert_eq!(listings((1, 2), b"c/b", (5, 7), &settled, false), FOLDER_TURNS);
        for (id, changed, is_settled, grows) in [
            ((1, 3), (5, 7), true, false),
            ((1, 2), (5, 8), true, false),
            ((1, 2), (5, 7), false, false),
            ((1, 2), (5, 7), true, true),
        ] {
            let folder = Folder { is_settled, ..settled.clone() };
            assert_eq!(listings(id, b"a/b", changed, &folder, grows), FOLDER_TURNS);
        }
    }
}
