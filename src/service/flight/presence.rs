//! Which committed files of a sink are there. What is published is its readers' and may be taken
//! away by retention, a loader or a hand; a query answers from the rest, and says so.
//!
//! A few files are asked for one by one; for many the sink is listed, a request for a thousand of
//! them, and the list serves the queries of the next seconds: what is not in it, because it is newer or
//! gone, is asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tidegauge_commitlog::{SinkFile, Storage};

use crate::error::Result;

/// Up to so many files are asked for one by one.
const ASKED_MAX: usize = 64;
const ASKED_IN_FLIGHT: usize = 32;
/// How old a list may be. A file that vanishes meanwhile fails a query that reads it.
const LISTED_FOR: Duration = Duration::from_secs(5);
/// More names than this are not kept, and sinks of more files are listed by each query.
const KEPT_MAX: usize = 2_000_000;
/// Of more gone files than this it is not remembered that they were told of.
const TOLD_MAX: usize = 100_000;

/// What was seen of the sinks of a process.
#[derive(Debug, Default)]
pub(super) struct Presence {
    listed: Mutex<HashMap<String, Listed>>,
    told: Mutex<HashSet<String>>,
}

#[derive(Debug, Clone)]
struct Listed {
    at: Instant,
    names: Arc<HashSet<String>>,
}

impl Presence {
    /// Whether each of `files` is in `storage`.
    ///
    /// # Errors
    /// When the sink cannot be listed.
    pub(super) async fn of(&self, storage: &Storage, files: &[&SinkFile]) -> Result<Vec<bool>> {
        if files.len() <= ASKED_MAX {
            return Ok(ask(storage, files).await);
        }
        let (listed, is_new) = self.listed(storage).await?;
        let mut there: Vec<bool> =
            files.iter().map(|file| listed.contains(&file.published)).collect();
        let doubtful: Vec<usize> = (0..files.len()).filter(|at| !there[*at]).collect();
        if is_new || doubtful.is_empty() {
            return Ok(there);
        }
        if doubtful.len() > ASKED_MAX {
            let listed = self.list(storage).await?;
            return Ok(files.iter().map(|file| listed.contains(&file.published)).collect());
        }
        let asked: Vec<&SinkFile> = doubtful.iter().map(|at| files[*at]).collect();
        for (at, is_there) in doubtful.into_iter().zip(ask(storage, &asked).await) {
            there[at] = is_there;
        }
        Ok(there)
    }

    /// Those of the files at `paths` below `location` that nobody was told of yet.
    pub(super) fn untold<'a>(&self, location: &str, paths: &[&'a str]) -> Vec<&'a str> {
        let mut told = self.told.lock();
        if told.len() > TOLD_MAX {
            told.clear();
        }
        let is_new = |path: &&&str| told.insert(format!("{location}/{path}"));
        paths.iter().filter(is_new).copied().collect()
    }

    /// The names in a sink, and whether they were listed just now.
    async fn listed(&self, storage: &Storage) -> Result<(Arc<HashSet<String>>, bool)> {
        let known = self.listed.lock().get(storage.location()).cloned();
        if let Some(known) = known
            && known.at.elapsed() < LISTED_FOR
        {
            return Ok((known.names, false));
        }
        Ok((self.list(storage).await?, true))
    }

    async fn list(&self, storage: &Storage) -> Result<Arc<HashSet<String>>> {
        let found = storage.list("").await?;
        let names = found.iter().filter_map(|meta| storage.relative(&meta.location)).collect();
        let names: Arc<HashSet<String>> = Arc::new(names);
        let mut listed = self.listed.lock();
        listed.retain(|_, listed| listed.at.elapsed() < LISTED_FOR);
        let kept: usize = listed.values().map(|listed| listed.names.len()).sum();
        if kept + names.len() <= KEPT_MAX {
            let new = Listed { at: Instant::now(), names: Arc::clone(&names) };
            listed.insert(storage.location().to_owned(), new);
        }
        Ok(names)
    }
}

/// Asks for each file. One of which nobody knows is taken to be there: reading it says what is wrong.
async fn ask(storage: &Storage, files: &[&SinkFile]) -> Vec<bool> {
    stream::iter(files.iter().map(|file| file.published.clone()).collect::<Vec<_>>())
        .map(|path| async move { storage.exists(&path).await.unwrap_or(true) })
        .buffered(ASKED_IN_FLIGHT)
        .collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: usize) -> SinkFile {
        SinkFile { published: format!("k={n}/f.parquet"), ..SinkFile::default() }
    }

    #[tokio::test]
    async fn few_and_many_files_are_found_and_missed_alike() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap()).unwrap();
        let files: Vec<SinkFile> = (0..200).map(file).collect();
        for file in files.iter().skip(3) {
            storage.write(&file.published, "x".into()).await.unwrap();
        }
        let presence = Presence::default();
        for count in [10, 200] {
            let asked: Vec<&SinkFile> = files.iter().take(count).collect();
            for _ in 0..2 {
                let there = presence.of(&storage, &asked).await.unwrap();
                let expected: Vec<bool> = (0..count).map(|n| n >= 3).collect();
                assert_eq!(there, expected, "{count}");
            }
        }
        // Newer than the list.
        storage.write(&files[0].published, "x".into()).await.unwrap();
        let all: Vec<&SinkFile> = files.iter().collect();
        assert!(presence.of(&storage, &all).await.unwrap()[0]);
        assert_eq!(presence.untold("out", &["a", "b"]), ["a", "b"]);
        assert_eq!(presence.untold("out", &["a", "c"]), ["c"]);
    }
}
