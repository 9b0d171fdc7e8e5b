//! The set of processed files: 16 bytes a file in memory, and in segments on storage.
//!
//! ```text
//! segment:  "TGSEEN01" | per source: u32 length, name, u64 count, count * 16 bytes | 16 bytes checksum
//! ```
//!
//! Progress is this set, never a high-water mark: on S3 a key may appear with an older time.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::record::{SeenFile, Segment, SegmentChange};

const MAGIC: &[u8; 8] = b"TGSEEN01";
const HASH_BYTES: usize = 16;

/// Sha-256 of key, ETag and size, cut to 128 bits: two files of a job collide by chance once in
/// 10^19 jobs of ten billion files each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHash([u8; HASH_BYTES]);

impl FileHash {
    /// The hash of a file as a listing shows it.
    pub fn of(key: &str, etag: Option<&str>, size: u64) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((key.len() as u64).to_le_bytes());
        hasher.update(key);
        // A missing ETag differs from an empty one.
        hasher.update([u8::from(etag.is_some())]);
        hasher.update(etag.unwrap_or_default());
        hasher.update(size.to_le_bytes());
        FileHash(truncated(hasher))
    }
}

/// Hashes by source.
pub(crate) type Hashes = BTreeMap<String, Vec<FileHash>>;

/// The files that are processed, by source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenFiles {
    #[serde(skip)]
    known: BTreeMap<String, HashSet<FileHash>>,
    segments: Vec<Segment>,
    pending: Hashes,
}

impl SeenFiles {
    /// Whether this very file was processed: a file that was overwritten is another one.
    pub fn contains(&self, source: &str, key: &str, etag: Option<&str>, size: u64) -> bool {
        self.known.get(source).is_some_and(|known| known.contains(&FileHash::of(key, etag, size)))
    }

    /// Takes note of a processed file.
    pub fn insert(&mut self, source: &str, file: &SeenFile) {
        let hash = FileHash::of(&file.key, file.etag.as_deref(), file.size);
        if !self.known.contains_key(source) {
            self.known.insert(source.to_owned(), HashSet::new());
        }
        let new = self.known.get_mut(source).is_some_and(|k| k.insert(hash));
        if new {
            self.pending.entry(source.to_owned()).or_default().push(hash);
        }
    }

    /// How many files are known, over all sources.
    pub fn len(&self) -> usize {
        self.known.values().map(HashSet::len).sum()
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
    pub(crate) fn pending(&self) -> &Hashes {
        &self.pending
    }

    pub(crate) fn clear(&mut self) {
        *self = SeenFiles::default();
    }

    /// A record moved what was pending into segments.
    pub(crate) fn spilled(&mut self, change: &SegmentChange) {
        self.pending.clear();
        self.segments.retain(|segment| !change.seen_removed.contains(&segment.path));
        self.segments.extend(change.seen_added.iter().cloned());
    }

    /// Adds what a segment holds, after a checkpoint was read.
    pub(crate) fn load(&mut self, hashes: Hashes) {
        for (source, hashes) in hashes {
            self.known.entry(source).or_default().extend(hashes);
        }
    }

    /// Adds what was pending in a checkpoint.
    pub(crate) fn load_pending(&mut self) {
        self.load(self.pending.clone());
    }
}

/// Number of hashes over all sources.
pub(crate) fn count(hashes: &Hashes) -> u64 {
    hashes.values().map(|hashes| hashes.len() as u64).sum()
}

/// Writes a segment; the same hashes give the same bytes.
pub(crate) fn encode(mut hashes: Hashes) -> Bytes {
    let mut out = Vec::with_capacity(64 + HASH_BYTES * count(&hashes) as usize);
    out.extend_from_slice(MAGIC);
    for (source, hashes) in &mut hashes {
        hashes.sort_unstable();
        hashes.dedup();
        out.extend_from_slice(&(source.len() as u32).to_le_bytes());
        out.extend_from_slice(source.as_bytes());
        out.extend_from_slice(&(hashes.len() as u64).to_le_bytes());
        for hash in hashes {
            out.extend_from_slice(&hash.0);
        }
    }
    let checksum = checksum(&out);
    out.extend_from_slice(&checksum);
    out.into()
}

/// Reads a segment. `path` is for the error.
pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<Hashes> {
    parse(bytes).ok_or_else(|| {
        Error::corrupt(format!(
            "{path} is damaged (checksum or length); restore it or start anew with --reset-state"
        ))
    })
}

fn parse(bytes: &[u8]) -> Option<Hashes> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    if sum != checksum(body) {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let mut hashes = Hashes::new();
    while !rest.is_empty() {
        let name_len = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let name = std::str::from_utf8(take(&mut rest, name_len as usize)?).ok()?;
        let count = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let raw = take(&mut rest, usize::try_from(count).ok()?.checked_mul(HASH_BYTES)?)?;
        let list = raw
            .chunks_exact(HASH_BYTES)
            .filter_map(|chunk| chunk.try_into().ok().map(FileHash))
            .collect();
        hashes.insert(name.to_owned(), list);
    }
    Some(hashes)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn checksum(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = Sha256::new();
    hasher.update(bytes);
    truncated(hasher)
}

fn truncated(hasher: Sha256) -> [u8; HASH_BYTES] {
    let digest = hasher.finalize();
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(&digest[..HASH_BYTES]);
    out
}

impl Serialize for FileHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for FileHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .map(|value| FileHash(value.to_be_bytes()))
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(n: u64) -> Hashes {
        let list = |salt: u64| (0..n).map(|i| FileHash::of("k", None, i + salt)).collect();
        [("a".to_owned(), list(0)), ("b".to_owned(), list(1_000))].into()
    }

    #[test]
    fn a_segment_reads_back_and_damage_is_found() {
        let bytes = encode(hashes(5));
        let back = decode("seen/x", &bytes).unwrap();
        assert_eq!(count(&back), 10);
        assert_eq!(encode(back), bytes);
        for cut in [0, 7, 15, bytes.len() - 1] {
            assert!(decode("seen/x", &bytes[..cut]).is_err(), "{cut}");
        }
        let mut flipped = bytes.to_vec();
        flipped[30] ^= 1;
        assert!(decode("seen/x", &flipped).is_err());
    }

    #[test]
    fn key_etag_and_size_all_tell_files_apart() {
        let all = [
            FileHash::of("k", None, 1),
            FileHash::of("k", Some(""), 1),
            FileHash::of("k", Some("e"), 1),
            FileHash::of("k", None, 2),
            FileHash::of("l", None, 1),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn pending_hashes_survive_json() {
        let mut seen = SeenFiles::default();
        let file = SeenFile { key: "k".into(), etag: Some("e".into()), size: 3 };
        seen.insert("s", &file);
        seen.insert("s", &file);
        let text = serde_json::to_string(&seen).unwrap();
        let mut back: SeenFiles = serde_json::from_str(&text).unwrap();
        back.load_pending();
        assert_eq!(back, seen);
        assert!(back.contains("s", "k", Some("e"), 3));
        assert_eq!(back.len(), 1);
    }
}
