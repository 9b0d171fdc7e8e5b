//! Gives a committed epoch's files their final names.
//!
//! It needs no fencing: only files of a record that is in the log are published, the result is
//! the same whoever does it and however often, and a later epoch is committed only afterwards.
//!
//! That it is done is a fact of the log: a marker, or the next record. Published files are their
//! readers' from then on, who may take them away, so nobody looks for them again. Between the first
//! final name and the marker a crash leaves room for doubt, and then each file is looked at:
//!
//! ```text
//!  prepared  final
//!     there  there   copied, not cleared away yet (S3): done
//!     there  absent  published now. Where it was copied and taken away in that moment already, it
//!                    comes once more, under the same name (S3 only: a local rename is one step)
//!    absent  there   done
//!    absent  absent  published and taken away since, or deleted by hand: reported, and gone
//! ```

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::names::{self, Epoch, LATE_SINK};
use crate::record::{FORMAT_VERSION, SinkFile};
use crate::storage::{Promotion, Storage};

/// What became of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The last epoch's files are all published.
    Published {
        /// Files of the epoch, whoever published them.
        files: usize,
        /// Those of them that were found under neither of their names.
        gone: usize,
    },
    /// Another coordinator has gone on from this epoch; stop.
    Fenced,
}

/// The publication of one epoch.
pub(crate) struct Publication<'a> {
    pub(crate) files: &'a [SinkFile],
    pub(crate) sinks: &'a BTreeMap<String, Storage>,
    /// Where the sinks were when the files were prepared; unknown of records of builds before.
    pub(crate) locations: &'a BTreeMap<String, String>,
    pub(crate) parallel: usize,
    /// This process has committed the files a moment ago and not tried to publish them: their
    /// final names need not be looked up.
    pub(crate) is_first: bool,
    /// Final names that this process has given already.
    pub(crate) promoted: &'a Mutex<HashSet<String>>,
}

/// Whose files they are, and every place where they may be.
struct Place<'a> {
    storages: Vec<Storage>,
    files: Vec<&'a SinkFile>,
}

impl Publication<'_> {
    /// Publishes the files, durably, and returns how many were found under neither name.
    pub(crate) async fn run(&self) -> Result<usize> {
        let places = self.places()?;
        for place in &places {
            if let ([file, ..], [.., before]) = (&place.files[..], &place.storages[1..]) {
                tracing::warn!(
                    "the last files of the sink {} were prepared at {}, where the sink was; they \
                     are published there",
                    file.sink,
                    before.location()
                );
            }
        }
        let moves = places.iter().flat_map(|place| {
            place.files.iter().map(move |file| self.promote(&place.storages, file))
        });
        let moves: Vec<_> = moves.collect();
        let done: Vec<bool> =
            stream::iter(moves).buffer_unordered(self.parallel.max(1)).try_collect().await?;
        // Sinks side by side: each of many takes as long as its storage.
        let syncs: Vec<_> = places.iter().map(|place| place.sync().boxed()).collect();
        stream::iter(syncs).buffer_unordered(self.parallel.max(1)).try_collect::<()>().await?;
        Ok(done.iter().filter(|is_there| !**is_there).count())
    }

    /// Deletes what was prepared, now that nobody will look for it.
    pub(crate) async fn clear(&self) -> Result<()> {
        let places = self.places()?;
        let clears: Vec<_> =
            places.iter().map(|place| place.clear(self.is_first).boxed()).collect();
        stream::iter(clears).buffer_unordered(self.parallel.max(1)).collect::<()>().await;
        Ok(())
    }

    /// Publishes one file where it is; false when it is nowhere.
    async fn promote(&self, storages: &[Storage], file: &SinkFile) -> Result<bool> {
        if self.promoted.lock().contains(&file.published) {
            return Ok(true);
        }
        for storage in storages {
            let promoted = storage.promote(&file.prepared, &file.published, self.is_first).await?;
            if promoted == Promotion::There {
                self.promoted.lock().insert(file.published.clone());
                return Ok(true);
            }
        }
        let location = storages.first().map(Storage::location).unwrap_or_default();
        tracing::warn!(
            "{location}/{} is committed and is not there, nor is {location}/{}: it was published \
             and taken away since, or deleted by hand before it was published; the job goes on \
             without it",
            file.published,
            file.prepared
        );
        Ok(false)
    }

    fn places(&self) -> Result<Vec<Place<'_>>> {
        let mut by_sink: BTreeMap<&str, Place<'_>> = BTreeMap::new();
        for file in self.files {
            if !by_sink.contains_key(file.sink.as_str()) {
                let storages = self.storages_of(file)?;
                by_sink.insert(&file.sink, Place { storages, files: Vec::new() });
            }
            if let Some(place) = by_sink.get_mut(file.sink.as_str()) {
                place.files.push(file);
            }
        }
        Ok(by_sink.into_values().collect())
    }

    /// Where the sink is now, and where it was.
    fn storages_of(&self, file: &SinkFile) -> Result<Vec<Storage>> {
        let now = self.sinks.get(&file.sink);
        let Some(location) = self.locations.get(&file.sink) else {
            return storage_of(file, self.sinks).map(|storage| vec![storage.clone()]);
        };
        if now.is_some_and(|now| now.location() == location) {
            return Ok(now.cloned().into_iter().collect());
        }
        let before = Storage::open(location)?;
        Ok(now.cloned().into_iter().chain([before]).collect())
    }
}

impl Place<'_> {
    async fn sync(&self) -> Result<()> {
        let published: Vec<String> = self.files.iter().map(|file| file.published.clone()).collect();
        for storage in &self.storages {
            storage.sync_folders(&published).await?;
        }
        Ok(())
    }

    async fn clear(&self, is_first: bool) {
        let prepared: Vec<String> = self.files.iter().map(|file| file.prepared.clone()).collect();
        for storage in &self.storages {
            // A local rename has cleared it away.
            if storage.is_local() && is_first {
                continue;
            }
            if let Err(error) = storage.delete(&prepared).await {
                tracing::warn!(%error, "prepared files are left to garbage collection");
            }
        }
    }
}

/// The storage of a file's sink.
pub(crate) fn storage_of<'a>(
    file: &SinkFile,
    sinks: &'a BTreeMap<String, Storage>,
) -> Result<&'a Storage> {
    sinks.get(&file.sink).ok_or_else(|| {
        let (place, what) = match file.sink.as_str() {
            LATE_SINK => ("late".to_owned(), "table"),
            sink => (format!("sinks.{sink}"), "sink"),
        };
        Error::bad_job(format!(
            "{place}: the last committed epoch has files for this {what} that are not known to be \
             published, and the job has no such {what}; put it back, or start anew with \
             --reset-state"
        ))
    })
}

/// The marker of a published epoch.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format_version: u32,
    epoch: Epoch,
    /// The writer of the record whose files they are.
    writer: String,
}

/// Says that the files of the record by `writer` at `epoch` are published.
pub(crate) async fn mark(storage: &Storage, epoch: Epoch, writer: &str) -> Result<()> {
    let marker = Marker { format_version: FORMAT_VERSION, epoch, writer: writer.to_owned() };
    let bytes = serde_json::to_vec(&marker)
        .map(Bytes::from)
        .map_err(|e| Error::bug("cannot write a marker as JSON").with_source(e))?;
    storage.create(&names::published_marker_path(epoch), bytes).await.map(drop)
}

/// Whether that was said.
pub(crate) async fn is_marked(storage: &Storage, epoch: Epoch, writer: &str) -> Result<bool> {
    let Some(bytes) = storage.get(&names::published_marker_path(epoch)).await? else {
        return Ok(false);
    };
    // One that cannot be read says nothing, and then the files are looked at.
    Ok(serde_json::from_slice::<Marker>(&bytes)
        .is_ok_and(|marker| marker.epoch == epoch && marker.writer == writer))
}
