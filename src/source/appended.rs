//! Files that grow: which whole lines of one are new.
//!
//! ```text
//!  | read before | new lines ............ | last line, not ended |
//!                ^ start                  ^ end: waits for its line break
//! ```

use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tidegauge_commitlog::Tail;

use super::compression::{by_name, detect};
use super::discover::Discovered;
use super::format::Compression;
use super::reader::FilePart;
use super::{SourceError, SourceResult};

/// A file is recognised by so many of its first bytes.
const HEAD_BYTES: u64 = 1024;
/// The last line break is looked for in steps of this size.
const STEP_BYTES: u64 = 64 << 10;

/// What became of a file that grows since it was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// It has new lines; with them it is read up to the tail.
    Lines(FilePart, Tail),
    /// It has no new line that is ended.
    Nothing,
    /// It is shorter than what was read, or begins with other bytes: another file has its name.
    Replaced,
}

/// Looks at a file of which `read` was read before, where any was.
pub async fn growth(
    store: &dyn ObjectStore,
    file: &Discovered,
    read: Option<Tail>,
) -> SourceResult<Growth> {
    let failed = |error| SourceError::store(&file.display, error);
    let start = read.map_or(0, |tail| tail.bytes);
    if file.size < start {
        return Ok(Growth::Replaced);
    }
    if file.size == 0 {
        return Ok(Growth::Nothing);
    }
    let head = store.get_range(&file.path, 0..file.size.min(HEAD_BYTES)).await.map_err(failed)?;
    let is_packed = by_name(&file.key).is_some() || detect(&head) != Compression::None;
    if is_packed {
        return Err(SourceError::corrupt(
            &file.display,
            "is compressed, so that it cannot be read on from the middle; remove appended: true, \
             or keep compressed files in a source of their own",
        ));
    }
    let known = read.and_then(|tail| tail.head);
    if known.is_some_and(|known| known != head_hash(&head, start)) {
        return Ok(Growth::Replaced);
    }
    let mut at = file.size;
    while at > start {
        let from = at.saturating_sub(STEP_BYTES).max(start);
        let bytes = store.get_range(&file.path, from..at).await.map_err(failed)?;
        if let Some(place) = bytes.iter().rposition(|byte| *byte == b'\n') {
            let end = from + place as u64 + 1;
            let tail = Tail { bytes: end, head: Some(head_hash(&head, end)) };
            return Ok(Growth::Lines(FilePart { start, end }, tail));
        }
        at = from;
    }
    Ok(Growth::Nothing)
}

/// A hash of the first bytes, of those that were read.
fn head_hash(head: &[u8], read: u64) -> u32 {
    let length = usize::try_from(read.min(HEAD_BYTES)).unwrap_or(usize::MAX).min(head.len());
    let digest = Sha256::digest(&head[..length]);
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
}
