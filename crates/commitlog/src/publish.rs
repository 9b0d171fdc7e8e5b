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
use crate::storage::{Promotion, Storage, promote_local, sync_folders};

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
        let here = |place: &&Place<'_>| {
            self.is_first && matches!(&place.storages[..], [one] if one.is_local())
        };
        let (here, elsewhere): (Vec<_>, Vec<_>) = places.iter().partition(here);
        let mut gone = self.promote_here(&here).await?;
        let moves = elsewhere.iter().flat_map(|place| {
            place.files.iter().map(move |file| self.promote(&place.storages, file))
        });
        let moves: Vec<_> = moves.collect();
        let done: Vec<bool> =
            stream::iter(moves).buffer_unordered(self.parallel.max(1)).try_collect().await?;
        gone += done.iter().filter(|is_there| !**is_there).count();
        let folders: Vec<_> = places.iter().flat_map(Place::published).collect();
        sync_folders(&folders).await?;
        Ok(gone)
    }

    /// Publishes files of local folders for the first time, and gives how many are nowhere.
    async fn promote_here(&self, places: &[&Place<'_>]) -> Result<usize> {
        let files = places.iter().flat_map(|place| {
            let file_of = |file| Some((place.storages.first()?, file));
            place.files.iter().copied().filter_map(file_of)
        });
        let is_new =
            |(_, file): &(&Storage, &SinkFile)| !self.promoted.lock().contains(&file.published);
        let files: Vec<(&Storage, &SinkFile)> = files.filter(is_new).collect();
        let names = files
            .iter()
            .map(|(storage, file)| (*storage, file.prepared.as_str(), file.published.as_str()));
        let promoted = promote_local(&names.collect::<Vec<_>>()).await?;
        let (mut gone, mut first) = (0, None);
        for ((storage, file), promoted) in files.into_iter().zip(promoted) {
            match promoted {
                Ok(Promotion::There) => {
                    self.promoted.lock().insert(file.published.clone());
                }
                Ok(Promotion::Gone) => {
                    tell_gone(Some(storage), file);
                    gone += 1;
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(gone), Err)
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
        tell_gone(storages.first(), file);
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
    /// The final names of its files, in each of its storages.
    fn published(&self) -> Vec<(&Storage, Vec<String>)> {
        let names: Vec<String> = self.files.iter().map(|file| file.published.clone()).collect();
        self.storages.iter().map(|storage| (storage, names.clone())).collect()
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

fn tell_gone(storage: Option<&Storage>, file: &SinkFile) {
    let location = storage.map(Storage::location).unwrap_or_default();
    tracing::warn!(
        "{location}/{} is committed and is not there, nor is {location}/{}: it was published and \
         taken away since, or deleted by hand before it was published; the job goes on without it",
        file.published,
        file.prepared
    );
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
