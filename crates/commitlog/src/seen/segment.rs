//! Segments: the set of processed files as it stands on storage.
//!
//! ```text
//! "TGSEEN02" | per source | 16 bytes checksum
//!   source:  u32 length, name
//!            u64 count, count * (16 key, 8 epoch, 8 version, 8 read, 8 head)
//!            u64 count, count * 16                                             of older builds
//! "TGSEEN01" | per source: u32 length, name, u64 count, count * 16 bytes | 16 bytes checksum
//! ```
//!
//! Numbers are little-endian. Segments are merged in any order: of two entries of a key the one
//! of the later epoch holds.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::hash::{FileHash, HASH_BYTES, KeyHash, checksum};
use super::{Entries, Entry};
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TGSEEN02";
const MAGIC_BEFORE: &[u8; 8] = b"TGSEEN01";

/// Writes a segment; the same entries give the same bytes.
pub(crate) fn encode(mut entries: BTreeMap<String, Entries>) -> Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    for (source, entries) in &mut entries {
        entries.tidy();
        out.extend_from_slice(&(source.len() as u32).to_le_bytes());
        out.extend_from_slice(source.as_bytes());
        put_count(&mut out, entries.files.len());
        for Entry { key, epoch, version, read, head } in &entries.files {
            out.extend_from_slice(&key.0);
            put(&mut out, [*epoch, *version, *read, u64::from(*head)]);
        }
        put_count(&mut out, entries.old.len());
        for hash in &entries.old {
            out.extend_from_slice(&hash.0);
        }
    }
    let sum = checksum(&out);
    out.extend_from_slice(&sum);
    out.into()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put(out, [count as u64]);
}

fn put<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads a segment of this build or of those before. `path` is for the error.
pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<BTreeMap<String, Entries>> {
    parse(bytes).ok_or_else(|| {
        Error::corrupt(format!(
            "{path} is damaged (checksum or length); restore it or start anew with --reset-state"
        ))
    })
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<String, Entries>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    if sum != checksum(body) {
        return None;
    }
    let (magic, mut rest) = body.split_at_checked(MAGIC.len())?;
    let is_old = magic == MAGIC_BEFORE;
    if !is_old && magic != MAGIC {
        return None;
    }
    let mut all = BTreeMap::new();
    while !rest.is_empty() {
        let name_len = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let name = std::str::from_utf8(take(&mut rest, name_len as usize)?).ok()?.to_owned();
        let mut entries = Entries::default();
        if !is_old {
            entries.files = list(&mut rest, 48, |mut raw| {
                let key = key(&mut raw)?;
                let [epoch, version, read, head] = numbers(&mut raw)?;
                Some(Entry { key, epoch, version, read, head: u32::try_from(head).ok()? })
            })?;
        }
        entries.old = list(&mut rest, HASH_BYTES, |raw| raw.try_into().ok().map(FileHash))?;
        all.insert(name, entries);
    }
    Some(all)
}

fn list<T>(rest: &mut &[u8], bytes: usize, read: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    let [count] = numbers(rest)?;
    let raw = take(rest, usize::try_from(count).ok()?.checked_mul(bytes)?)?;
    raw.chunks_exact(bytes).map(read).collect()
}

fn key(rest: &mut &[u8]) -> Option<KeyHash> {
    take(rest, HASH_BYTES)?.try_into().ok().map(KeyHash)
}

fn numbers<const N: usize>(rest: &mut &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = u64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
    }
    Some(numbers)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}
