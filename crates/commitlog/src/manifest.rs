//! The list of every committed sink file, in segments that a reader of the log can fetch.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::record::{Epoch, FORMAT_VERSION, Segment, SegmentChange, SinkFile};

/// Every committed sink file: those of the latest epochs here, the others in segments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    segments: Vec<Segment>,
    pending: Vec<ManifestEntry>,
}

/// A sink file and the epoch that committed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ManifestEntry {
    pub(crate) epoch: Epoch,
    pub(crate) file: SinkFile,
}

#[derive(Serialize, Deserialize)]
struct SegmentDocument {
    format_version: u32,
    files: Vec<ManifestEntry>,
}

impl Manifest {
    /// The segments it is made of, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn pending(&self) -> &[ManifestEntry] {
        &self.pending
    }

    pub(crate) fn extend(&mut self, epoch: Epoch, files: &[SinkFile]) {
        self.pending.extend(entries(epoch, files));
    }

    /// A record moved what was pending into segments.
    pub(crate) fn spilled(&mut self, change: &SegmentChange) {
        self.pending.clear();
        self.segments.retain(|segment| !change.manifest_removed.contains(&segment.path));
        self.segments.extend(change.manifest_added.iter().cloned());
    }
}

/// The entries of one epoch.
pub(crate) fn entries(epoch: Epoch, files: &[SinkFile]) -> impl Iterator<Item = ManifestEntry> {
    files.iter().map(move |file| ManifestEntry { epoch, file: file.clone() })
}

/// Writes a segment, ordered by epoch.
pub(crate) fn encode(mut files: Vec<ManifestEntry>) -> Result<Bytes> {
    files.sort_by_key(|entry| entry.epoch);
    let document = SegmentDocument { format_version: FORMAT_VERSION, files };
    serde_json::to_vec(&document)
        .map(Bytes::from)
        .map_err(|e| Error::bug("cannot write a manifest segment as JSON").with_source(e))
}

/// Reads a segment. `path` is for the error.
pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<Vec<ManifestEntry>> {
    let document: SegmentDocument = serde_json::from_slice(bytes)
        .map_err(|e| Error::corrupt(format!("{path} is not a manifest segment")).with_source(e))?;
    if document.format_version > FORMAT_VERSION {
        return Err(Error::bad_job(format!(
            "{path} has form {}, this build reads up to {FORMAT_VERSION}; use a newer build",
            document.format_version
        )));
    }
    Ok(document.files)
}
