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
    // Sinks side by side: each of many takes as long as its storage.
    let moves = by_sink.iter().flat_map(|(sink, files)| files.iter().map(|file| (*sink, *file)));
    let moves: Vec<_> = moves.map(|(sink, file)| promote(sink, file)).collect();
    stream::iter(moves).buffer_unordered(parallel.max(1)).try_collect::<()>().await?;
    let syncs = by_sink.iter().map(|(sink, files)| synced(sink, files));
    let syncs: Vec<_> = syncs.collect();
    stream::iter(syncs).buffer_unordered(parallel.max(1)).try_collect::<()>().await?;
    let cleared = by_sink.iter().map(|(sink, files)| cleared(sink, files));
    let cleared: Vec<_> = cleared.collect();
    stream::iter(cleared).buffer_unordered(parallel.max(1)).collect::<()>().await;
    Ok(())
}

fn synced<'a>(sink: &'a Storage, files: &'a [&'a SinkFile]) -> BoxFuture<'a, Result<()>> {
    let published: Vec<String> = files.iter().map(|file| file.published.clone()).collect();
    async move { sink.sync(&published).await }.boxed()
}

fn cleared<'a>(sink: &'a Storage, files: &'a [&'a SinkFile]) -> BoxFuture<'a, ()> {
    let prepared: Vec<String> = files.iter().map(|file| file.prepared.clone()).collect();
    let clearing = async move {
        if let Err(error) = sink.delete(&prepared).await {
            tracing::warn!(%error, "prepared files are left to garbage collection");
        }
    };
    clearing.boxed()
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
