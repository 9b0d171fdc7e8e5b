//! The list of every committed sink file, in segments that a reader of the log can fetch.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::record::{Epoch, FORMAT_VERSION, Segment, SegmentChange, SinkFile};
use crate::wire;

/// Every committed sink file: those of the latest epochs here, the others in segments. A copy
/// shares them: whoever shows a job takes one after each epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    segments: Segments,
    pending: Pending,
}

/// A list of segments in JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Segment>", into = "Vec<Segment>")]
struct Segments(Arc<Vec<Segment>>);

impl From<Vec<Segment>> for Segments {
    fn from(segments: Vec<Segment>) -> Self {
        Self(Arc::new(segments))
    }
}

impl From<Segments> for Vec<Segment> {
    fn from(segments: Segments) -> Self {
        segments.0.as_ref().clone()
    }
}

/// Files in no segment yet, by the epoch that added them. One list of files in JSON.
#[derive(Debug, Clone, Default)]
struct Pending {
    epochs: Vec<Arc<[ManifestEntry]>>,
}

/// A sink file and the epoch that committed it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ManifestEntry {
    pub(crate) epoch: Epoch,
    pub(crate) file: SinkFile,
}

#[derive(Serialize, Deserialize)]
struct SegmentDocument {
    format_version: u32,
    #[serde(with = "crate::wire::entries")]
    files: Vec<ManifestEntry>,
}

impl Manifest {
    /// The segments it is made of, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments.0
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &ManifestEntry> {
        self.pending.iter()
    }

    pub(crate) fn extend(&mut self, epoch: Epoch, files: &[SinkFile]) {
        if !files.is_empty() {
            self.pending.epochs.push(entries(epoch, files).collect());
        }
    }

    /// A record moved what was pending into segments.
    pub(crate) fn spilled(&mut self, change: &SegmentChange) {
        self.pending.epochs.clear();
        let segments = Arc::make_mut(&mut self.segments.0);
        segments.retain(|segment| !change.manifest_removed.contains(&segment.path));
        segments.extend(change.manifest_added.iter().cloned());
    }
}

impl Pending {
    fn iter(&self) -> impl Iterator<Item = &ManifestEntry> {
        self.epochs.iter().flat_map(|files| files.iter())
    }
}

/// Equal where the files are, however many epochs they came in.
impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Serialize for Pending {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        wire::entries::collect(self.iter(), serializer)
    }
}

impl<'de> Deserialize<'de> for Pending {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let files = wire::entries::deserialize(deserializer)?;
        let epochs = if files.is_empty() { vec![] } else { vec![files.into()] };
        Ok(Self { epochs })
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
