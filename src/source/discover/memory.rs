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
//! turn after a few.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// About so many known files are looked at in one listing.
const LOOKS: usize = 20_000;

/// The files of one source that were processed, as its listings know them.
#[derive(Debug, Default)]
pub struct ListingMemory {
    hashes: RandomState,
    /// A hash of the version, by a hash of the key: two files are taken for one by chance once in
    /// 10^19 pairs, for both hashes would have to agree.
    known: HashMap<u64, u64>,
    listings: u64,
    /// All files are looked at in every listing: they grow.
    looks_at_all: bool,
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

    pub(super) fn begin(&mut self) {
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

    /// Whether a file need not be looked at in this listing.
    pub(super) fn may_pass(&self, key: u64) -> bool {
        let turns = self.known.len().div_ceil(LOOKS).max(1) as u64;
        !self.looks_at_all && key % turns != self.listings % turns && self.known.contains_key(&key)
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
        for _ in 0..3 {
            memory.begin();
            for (key, looked) in keys.iter().zip(&mut looked) {
                *looked += u64::from(!memory.may_pass(*key));
            }
        }
        assert!(looked.iter().all(|looks| *looks == 1));
        assert!(!memory.may_pass(memory.key(b"new")));
        let mut growing = ListingMemory::new(true);
        growing.known = memory.known;
        assert!(keys.iter().all(|key| !growing.may_pass(*key)));
    }
}
