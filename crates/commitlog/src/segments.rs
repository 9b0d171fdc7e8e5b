//! Writes what is pending into segments, as part of an epoch, and merges small ones.
//!
//! The record of that epoch names them. If another's record wins, they are garbage like the
//! attempt's runs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Result;
use crate::manifest;
use crate::names::{MANIFEST, SEEN, segment_path};
use crate::record::{CommitRecord, Segment, SegmentChange, SinkFile};
use crate::seen;
use crate::state::JobState;
use crate::storage::Storage;

/// More segments than this are merged by size.
const SEGMENTS_MAX: usize = 8;
/// A segment joins a merge when it is at most this many times as large as what is merged so far:
/// so a hash is written again a number of times that grows with the logarithm of the whole.
const TIER_FACTOR: u64 = 4;

/// What one epoch spills.
pub(crate) struct Spill<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) state: &'a JobState,
    pub(crate) record: &'a CommitRecord,
    /// See `LogSettings::retention`.
    pub(crate) retention: &'a BTreeMap<String, Duration>,
    /// Different each time: when an attempt's commit is repeated, a record that names the first
    /// time's segments may still land, and what they hold must stay.
    pub(crate) n: u64,
}

impl Spill<'_> {
    /// Writes the segments of the record's epoch.
    pub(crate) async fn run(&self) -> Result<SegmentChange> {
        let mut change = SegmentChange { spilled: true, ..SegmentChange::default() };
        self.spill_seen(&mut change).await?;
        self.spill_manifest(&mut change).await?;
        Ok(change)
    }

    async fn spill_seen(&self, change: &mut SegmentChange) -> Result<()> {
        let Spill { storage, state, record, n, .. } = self;
        let (mut entries, existing) = if record.reset {
            (BTreeMap::new(), [].as_slice())
        } else {
            (state.seen.pending(), state.seen.segments())
        };
        for (source, change) in &record.sources {
            let entries = entries.entry(source.clone()).or_default();
            for file in change.taken_note_of() {
                entries.push(file, record.epoch.0);
            }
        }
        if seen::count(&entries) == 0 {
            return Ok(());
        }
        for segment in to_merge(existing, seen::count(&entries)) {
            // One that is gone was collected: this coordinator is behind, and its commit will tell.
            if let Some(bytes) = storage.get(&segment.path).await? {
                for (source, more) in seen::decode(&segment.path, &bytes)? {
                    entries.entry(source).or_default().extend(more);
                }
                change.seen_removed.push(segment.path.clone());
            }
        }
        let segment = Segment {
            path: segment_path(SEEN, record.epoch, &record.attempt, *n),
            entries: seen::count(&entries),
        };
        storage.write(&segment.path, seen::encode(entries)).await?;
        change.seen_added.push(segment);
        Ok(())
    }

    /// What retention has let go is left out of whatever is written anew. Large segments are written
    /// anew when as much has come after them as a quarter of them, so that the list stays within
    /// a few times what is kept; until then readers leave it out by its times.
    async fn spill_manifest(&self, change: &mut SegmentChange) -> Result<()> {
        let Spill { storage, state, record, retention, n } = self;
        let mut files = state.manifest.pending().cloned().collect::<Vec<_>>();
        files.extend(manifest::entries(record.epoch, &record.files));
        if files.is_empty() {
            return Ok(());
        }
        for segment in to_merge(state.manifest.segments(), files.len() as u64) {
            if let Some(bytes) = storage.get(&segment.path).await? {
                files.extend(manifest::decode(&segment.path, &bytes)?);
                change.manifest_removed.push(segment.path.clone());
            }
        }
        files.retain(|entry| !is_over(&entry.file, retention, record.clock_ms));
        if files.is_empty() {
            return Ok(());
        }
        let segment = Segment {
            path: segment_path(MANIFEST, record.epoch, &record.attempt, *n),
            entries: files.len() as u64,
        };
        storage.write(&segment.path, manifest::encode(files)?).await?;
        change.manifest_added.push(segment);
        Ok(())
    }
}

/// Whether all rows of `file` are older than its sink keeps them, `now_ms` being the present.
pub fn is_over(file: &SinkFile, retention: &BTreeMap<String, Duration>, now_ms: i64) -> bool {
    let (Some(kept), Some(last_us)) = (retention.get(&file.sink), file.time_max_us) else {
        return false;
    };
    let kept_us = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
    last_us < now_ms.saturating_mul(1_000).saturating_sub(kept_us)
}

/// Which segments to merge with a new one of `entries`, smallest first.
fn to_merge(existing: &[Segment], entries: u64) -> Vec<&Segment> {
    if existing.len() < SEGMENTS_MAX {
        return Vec::new();
    }
    let mut by_size: Vec<&Segment> = existing.iter().collect();
    by_size.sort_by_key(|segment| segment.entries);
    let mut total = entries;
    let mut chosen = Vec::new();
    for segment in by_size {
        if !chosen.is_empty() && segment.entries > total.saturating_mul(TIER_FACTOR) {
            break;
        }
        total += segment.entries;
        chosen.push(segment);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_few_segments_and_rewrites_little() {
        let mut segments: Vec<Segment> = Vec::new();
        let mut written = 0;
        let epochs = 4_000;
        for n in 0..epochs {
            let merged: Vec<Segment> = to_merge(&segments, 10).into_iter().cloned().collect();
            segments.retain(|segment| !merged.contains(segment));
            let entries = 10 + merged.iter().map(|s| s.entries).sum::<u64>();
            written += entries;
            segments.push(Segment { path: n.to_string(), entries });
            assert!(segments.len() <= SEGMENTS_MAX, "{}", segments.len());
        }
        let total: u64 = segments.iter().map(|s| s.entries).sum();
        assert_eq!(total, epochs * 10);
        assert!(written < total * 20, "{written} written for {total}");
    }
}
