//! Gives a committed epoch's files their final names.
//!
//! It needs no fencing: only files of a record that is in the log are published, the result is
//! the same whoever does it and however often, and a later epoch is committed only afterwards.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::names::LATE_SINK;
use crate::record::SinkFile;
use crate::storage::Storage;

/// What became of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The last epoch's files are all published; so many are in it.
    Published {
        /// Files of the epoch, whoever published them.
        files: usize,
    },
    /// Another coordinator has gone on from this epoch; stop.
    Fenced,
}

/// Publishes `files`, `parallel` at a time, makes that durable, and clears what was prepared.
pub(crate) async fn publish_files(
    files: &[SinkFile],
    sinks: &BTreeMap<String, Storage>,
    parallel: usize,
) -> Result<()> {
    let by_sink = group(files, sinks)?;
    for (sink, files) in &by_sink {
        let moves: Vec<_> = files.iter().map(|file| promote(sink, file)).collect();
        stream::iter(moves).buffer_unordered(parallel.max(1)).try_collect::<()>().await?;
    }
    for (sink, files) in &by_sink {
        let published: Vec<String> = files.iter().map(|file| file.published.clone()).collect();
        sink.sync(&published).await?;
    }
    for (sink, files) in &by_sink {
        let prepared: Vec<String> = files.iter().map(|file| file.prepared.clone()).collect();
        if let Err(error) = sink.delete(&prepared).await {
            tracing::warn!(%error, "prepared files are left to garbage collection");
        }
    }
    Ok(())
}

fn promote<'a>(sink: &'a Storage, file: &'a SinkFile) -> BoxFuture<'a, Result<()>> {
    sink.promote(&file.prepared, &file.published).boxed()
}

type BySink<'a> = Vec<(&'a Storage, Vec<&'a SinkFile>)>;

fn group<'a>(files: &'a [SinkFile], sinks: &'a BTreeMap<String, Storage>) -> Result<BySink<'a>> {
    let mut by_sink: BTreeMap<&str, (&Storage, Vec<&SinkFile>)> = BTreeMap::new();
    for file in files {
        let storage = storage_of(file, sinks)?;
        by_sink.entry(&file.sink).or_insert_with(|| (storage, Vec::new())).1.push(file);
    }
    Ok(by_sink.into_values().collect())
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
