//! Local folders: where they are, and how what is in them becomes durable.
//!
//! object_store's local store never syncs, and its create-only write can leave a torn file after
//! a power loss; both are done here instead.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind as IoKind, Write};
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::try_join_all;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::{Creation, Promotion};
use crate::error::{Error, Result};

/// Threads for the calls of one step, at most.
const THREADS_MAX: usize = 16;
/// So many renames one thread does, where there are as many: to hand one to a thread takes longer.
/// A sync waits for the disk; each has a thread while there are enough.
const RENAMES_OF_ONE: usize = 4;

/// A local folder, which may not exist yet.
#[derive(Debug, Clone)]
pub(super) struct LocalRoot {
    root: PathBuf,
    /// The folders above the root may be new too; they are synced once.
    above_synced: Arc<AtomicBool>,
}

/// The folder of `location`, the store that serves it, and where it is in that store.
pub(super) fn open(location: &str) -> Result<(LocalRoot, Arc<dyn ObjectStore>, Path)> {
    let root = absolute(location)?;
    let mut segments = Vec::new();
    for part in root.components() {
        if let Component::Normal(name) = part {
            segments.push(name.to_str().unwrap_or_default());
        }
    }
    let prefix = Path::parse(segments.join("/")).map_err(|e| {
        Error::bad_job(format!("{location:?} is not a usable path: {e}")).with_source(e)
    })?;
    let local = LocalRoot { root, above_synced: Arc::default() };
    Ok((local, Arc::new(LocalFileSystem::new()), prefix))
}

fn absolute(location: &str) -> Result<PathBuf> {
    let path = match location.strip_prefix("file://") {
        Some(_) => url::Url::parse(location)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .ok_or_else(|| {
                Error::bad_job(format!(
                    "{location:?} is not a local address; write file:///absolute/path"
                ))
            })?,
        None if location.contains("://") => {
            return Err(Error::bad_job(format!(
                "{location:?} is neither a local path nor file:// nor s3://"
            )));
        }
        None => PathBuf::from(location),
    };
    let path = std::path::absolute(&path).map_err(|e| {
        Error::bad_job(format!("{location:?} is not a usable path: {e}")).with_source(e)
    })?;
    // Store paths know no `..`.
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    Ok(normal)
}

impl LocalRoot {
    pub(super) fn root(&self) -> &FilePath {
        &self.root
    }

    pub(super) fn child(&self, relative: &str) -> LocalRoot {
        LocalRoot { root: self.path(relative), above_synced: Arc::default() }
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative.trim_matches('/'))
    }

    /// Writes aside, syncs, links to the name, syncs the folders.
    pub(super) async fn create(&self, relative: &str, bytes: Bytes) -> Result<Creation> {
        let target = self.path(relative);
        let shown = target.clone();
        let created = blocking(move || create_synced(&target, &bytes))
            .await?
            .map_err(|e| failed("create", &shown, e))?;
        sync_folders(&[(self, vec![shown])]).await?;
        Ok(created)
    }

    /// See `Storage::delete_staged`.
    pub(super) async fn delete_staged(&self, folder: &str, before_ms: i64) -> Result<u64> {
        let folder = self.path(folder);
        let shown = folder.clone();
        let since = Duration::from_millis(u64::try_from(before_ms).unwrap_or_default());
        let before = SystemTime::UNIX_EPOCH + since;
        blocking(move || remove_staged(&folder, before))
            .await?
            .map_err(|error| failed("clean up", &shown, error))
    }
}

/// Files by the folder that they are in.
pub(super) type Places<'a> = [(&'a LocalRoot, Vec<PathBuf>)];

/// Syncs files, then each folder on the way to them, once.
pub(super) async fn sync(places: &Places<'_>) -> Result<()> {
    let files: BTreeSet<&PathBuf> = places.iter().flat_map(|(_, files)| files).collect();
    let files = files.into_iter().cloned().collect();
    parallel(files, |path| File::open(path).and_then(|file| file.sync_all())).await?;
    sync_folders(places).await
}

/// Syncs each folder on the way to files, once. One that is not there holds none of them.
pub(super) async fn sync_folders(places: &Places<'_>) -> Result<()> {
    let mut folders = BTreeSet::new();
    let mut above = BTreeSet::new();
    let places = || places.iter().filter(|(_, files)| !files.is_empty());
    for (local, files) in places() {
        for file in files {
            let below =
                file.ancestors().skip(1).take_while(|folder| folder.starts_with(&local.root));
            folders.extend(below.map(FilePath::to_path_buf));
        }
        if !local.above_synced.load(Ordering::Acquire) {
            above.extend(local.root.ancestors().skip(1).map(FilePath::to_path_buf));
        }
    }
    parallel(folders.into_iter().collect(), |path| match File::open(path) {
        Ok(folder) => folder.sync_all(),
        Err(error) if error.kind() == IoKind::NotFound => Ok(()),
        Err(error) => Err(error),
    })
    .await?;
    // Folders above may belong to others and be unreadable; then they are not new.
    parallel(above.into_iter().collect(), |path| {
        File::open(path).and_then(|folder| folder.sync_all()).or(Ok(()))
    })
    .await?;
    for (local, _) in places() {
        local.above_synced.store(true, Ordering::Release);
    }
    Ok(())
}

/// Renames each `(from, to)`; what became of each, in their order.
pub(super) async fn rename_all(moves: Vec<(PathBuf, PathBuf)>) -> Result<Vec<Result<Promotion>>> {
    let renamed = shared(moves, RENAMES_OF_ONE, |(from, to)| {
        rename(from, to).map_err(|error| failed("publish", to, error))
    });
    renamed.await
}

fn rename(from: &FilePath, to: &FilePath) -> io::Result<Promotion> {
    let is_missing = |error: &io::Error| error.kind() == IoKind::NotFound;
    let moved = match std::fs::rename(from, to) {
        // It is not the file that is missing, but the folder that it goes to.
        Err(error) if is_missing(&error) && from.try_exists()? => {
            to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::rename(from, to)
        }
        moved => moved,
    };
    match moved {
        Ok(()) => Ok(Promotion::There),
        Err(error) if is_missing(&error) && to.try_exists()? => Ok(Promotion::There),
        Err(error) if is_missing(&error) => Ok(Promotion::Gone),
        Err(error) => Err(error),
    }
}

/// Removes staged files below `folder` that were last written to before `before`.
fn remove_staged(folder: &FilePath, before: SystemTime) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == IoKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let is_folder = entry.file_type()?.is_dir();
        if is_folder {
            removed += remove_staged(&entry.path(), before)?;
        } else if is_staged(&entry.file_name()) {
            // It may vanish in between, when its writer finishes.
            let written = entry.metadata().and_then(|meta| meta.modified());
            if written.is_ok_and(|at| at < before) && std::fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Whether the store, or a creation here, writes under this name before it gives the true one.
fn is_staged(name: &OsStr) -> bool {
    let suffix = name.to_str().and_then(|name| name.rsplit_once('#'));
    suffix.is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

fn create_synced(target: &FilePath, bytes: &[u8]) -> io::Result<Creation> {
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // The store's listing skips names that end in `#` and digits.
    let mut aside = target.as_os_str().to_owned();
    aside.push(format!("#{}", rand::random::<u64>()));
    let aside = PathBuf::from(aside);
    let written = File::create_new(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let linked = written.and_then(|()| std::fs::hard_link(&aside, target));
    // Best effort: a name left aside is skipped by every listing.
    std::fs::remove_file(&aside).ok();
    match linked {
        Ok(()) => Ok(Creation::Created),
        Err(e) if e.kind() == IoKind::AlreadyExists => Ok(Creation::Exists),
        Err(e) => Err(e),
    }
}

async fn parallel(paths: Vec<PathBuf>, act: fn(&FilePath) -> io::Result<()>) -> Result<()> {
    let synced =
        shared(paths, 1, move |path| act(path).map_err(|error| failed("sync", path, error)))
            .await?;
    synced.into_iter().collect()
}

/// What `act` gives of each of `items`, in their order, in a few threads, each of which does `least`
/// where there are as many.
async fn shared<T, R>(
    items: Vec<T>,
    least: usize,
    act: impl Fn(&T) -> R + Clone + Send + 'static,
) -> Result<Vec<R>>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let share = items.len().div_ceil(THREADS_MAX).max(least);
    let mut items = items.into_iter();
    let mut shares = Vec::new();
    loop {
        let own: Vec<T> = items.by_ref().take(share).collect();
        if own.is_empty() {
            break;
        }
        let act = act.clone();
        shares.push(blocking(move || own.iter().map(&act).collect::<Vec<R>>()));
    }
    Ok(try_join_all(shares).await?.into_iter().flatten().collect())
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act)
        .await
        .map_err(|e| Error::bug("a blocking file operation did not finish").with_source(e))
}

fn failed(operation: &str, path: &FilePath, source: io::Error) -> Error {
    Error::unavailable(format!(
        "cannot {operation} {}: {source}; check that the folder can be written to and that the \
         disk is not full",
        path.display()
    ))
    .with_source(source)
}
