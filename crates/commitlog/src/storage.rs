//! One place to keep objects: a local folder, an S3 prefix, or a simulated store.
//!
//! It hides what differs between them: local folders are synced and renamed into, S3 has
//! multipart uploads and copies on its side. It knows nothing of epochs.

mod local;
mod s3;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, WriteMultipart,
};

use self::local::LocalRoot;
use crate::error::{Error, Result};

pub use s3::{Bucket, is_missing_bucket, open_bucket};

/// Objects above this size are uploaded in parts of this size.
const PART_BYTES: usize = 8 * 1024 * 1024;
const PARTS_IN_FLIGHT: usize = 8;

/// What became of a create-only write that the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It is there now, and this call put it there.
    Created,
    /// Something is there already. It may be this very call's, if the client repeated it.
    Exists,
}

/// What became of a promotion that the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promotion {
    /// The object is at its new name, whoever has put it there.
    There,
    /// It is at neither of its names.
    Gone,
}

/// A store and a place in it; every path given to its methods is relative to that place.
#[derive(Debug, Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    local: Option<LocalRoot>,
    location: String,
}

impl Storage {
    /// Opens a local path (relative ones are taken from the working directory), a `file://` or an
    /// `s3://bucket/prefix` address. Nothing is created before the first write.
    ///
    /// S3 takes endpoint, region and credentials from the usual `AWS_` variables.
    pub fn open(location: &str) -> Result<Storage> {
        if location.starts_with("s3://") || location.starts_with("s3a://") {
            let (store, prefix) = s3::open(location)?;
            return Ok(Storage {
                store,
                prefix,
                local: None,
                location: location.trim_end_matches('/').to_owned(),
            });
        }
        let (local, store, prefix) = local::open(location)?;
        Ok(Storage {
            store,
            prefix,
            location: local.root().display().to_string(),
            local: Some(local),
        })
    }

    /// A place in a store of the caller's own, as in a simulation.
    pub fn from_parts(store: Arc<dyn ObjectStore>, prefix: Path) -> Storage {
        let location = format!("{store}/{prefix}");
        Storage { store, prefix, local: None, location }
    }

    /// The same place, reached through what `map` makes of its store, as to count or to slow down
    /// its requests. What a local folder does by itself, syncs and creations, does not go through
    /// a store.
    #[must_use]
    pub fn map_store(
        self,
        map: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Storage {
        Storage { store: map(self.store), ..self }
    }

    /// A place below this one, in the same store.
    #[must_use]
    pub fn child(&self, relative: &str) -> Storage {
        let relative = relative.trim_matches('/');
        Storage {
            store: Arc::clone(&self.store),
            prefix: self.path(relative),
            local: self.local.as_ref().map(|local| local.child(relative)),
            location: format!("{}/{relative}", self.location),
        }
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The place itself, as the store names it.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The store's path of a relative one. URL-encoded folders stay as they are given.
    pub fn path(&self, relative: &str) -> Path {
        let relative = relative.trim_matches('/');
        let joined = match (self.prefix.as_ref(), relative) {
            ("", relative) => relative.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, relative) => format!("{prefix}/{relative}"),
        };
        // What is no valid path (control characters, `..`) is encoded, never followed.
        Path::parse(&joined).unwrap_or_else(|_| Path::from(joined))
    }

    /// The relative path of a store's path; `None` when it lies elsewhere.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let rest = path.as_ref().strip_prefix(self.prefix.as_ref())?;
        match (self.prefix.as_ref(), rest) {
            ("", rest) => Some(rest.to_owned()),
            (_, rest) => rest.strip_prefix('/').map(str::to_owned),
        }
    }

    /// What to call this place in a message.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Whether it is a local folder.
    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// The local file of a relative path.
    pub fn local_path(&self, relative: &str) -> Option<PathBuf> {
        self.local.as_ref().map(|local| local.path(relative))
    }

    /// Everything below a folder, sorted by path. A missing local folder is empty; a missing
    /// bucket is an error that names it.
    pub async fn list(&self, relative_prefix: &str) -> Result<Vec<ObjectMeta>> {
        let prefix = self.path(relative_prefix);
        let stream = self.store.list(Some(&prefix));
        self.collect(relative_prefix, stream).await
    }

    /// As [`Storage::list`], only what sorts after the relative path `after`.
    pub async fn list_after(&self, relative_prefix: &str, after: &str) -> Result<Vec<ObjectMeta>> {
        let prefix = self.path(relative_prefix);
        let stream = self.store.list_with_offset(Some(&prefix), &self.path(after));
        self.collect(relative_prefix, stream).await
    }

    async fn collect(
        &self,
        relative: &str,
        stream: BoxStream<'static, object_store::Result<ObjectMeta>>,
    ) -> Result<Vec<ObjectMeta>> {
        let mut found: Vec<ObjectMeta> =
            stream.try_collect().await.map_err(|e| self.failed("list", relative, e))?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// The whole object, or `None` when it is absent.
    pub async fn get(&self, relative: &str) -> Result<Option<Bytes>> {
        let read = async { self.store.get(&self.path(relative)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("read", relative, e)),
        }
    }

    /// Whether the object is there.
    pub async fn exists(&self, relative: &str) -> Result<bool> {
        match self.store.head(&self.path(relative)).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed("look at", relative, e)),
        }
    }

    /// Writes an object only where there is none. Locally it is synced, with its folders, before
    /// it appears: what another process reads under this name is never torn and never vanishes.
    ///
    /// An error means that the outcome is unknown.
    pub async fn create(&self, relative: &str, bytes: Bytes) -> Result<Creation> {
        if let Some(local) = &self.local {
            return local.create(relative, bytes).await;
        }
        let put =
            self.store.put_opts(&self.path(relative), bytes.into(), PutMode::Create.into()).await;
        match put {
            Ok(_) => Ok(Creation::Created),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                Ok(Creation::Exists)
            }
            Err(e) => Err(self.failed("create", relative, e)),
        }
    }

    /// Writes an object under a name that nobody else uses, in parts when it is large.
    pub async fn write(&self, relative: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(relative);
        let done = if self.is_local() || bytes.len() <= PART_BYTES {
            self.store.put(&path, bytes.into()).await.map(drop)
        } else {
            self.write_parts(&path, bytes).await
        };
        done.map_err(|e| self.failed("write", relative, e))
    }

    async fn write_parts(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        let upload = self.store.put_multipart(path).await?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for start in (0..bytes.len()).step_by(PART_BYTES) {
            parts.wait_for_capacity(PARTS_IN_FLIGHT).await?;
            parts.put(bytes.slice(start..bytes.len().min(start + PART_BYTES)));
        }
        parts.finish().await.map(drop)
    }

    /// Makes the object at `from` appear at `to`, whole: locally by a rename, elsewhere by a copy
    /// on the store's side. Nothing happens when `to` is there already, so it can be repeated by
    /// anyone at any time. With `is_first`, nobody has tried before, and `to` is not looked up.
    pub async fn promote(&self, from: &str, to: &str, is_first: bool) -> Result<Promotion> {
        if !is_first && self.exists(to).await? {
            return Ok(Promotion::There);
        }
        let (source, target) = (self.path(from), self.path(to));
        let moved = if self.is_local() {
            self.store.rename(&source, &target).await
        } else {
            self.store.copy(&source, &target).await
        };
        match moved {
            Ok(()) => Ok(Promotion::There),
            // Somebody else may have promoted it between the two calls, and removed the source.
            Err(StoreError::NotFound { .. }) => Ok(match self.exists(to).await? {
                true => Promotion::There,
                false => Promotion::Gone,
            }),
            Err(e) => Err(self.failed("publish", to, e)),
        }
    }

    /// Deletes objects; those that are absent are fine.
    pub async fn delete(&self, relative: &[String]) -> Result<()> {
        let paths: Vec<_> = relative.iter().map(|path| Ok(self.path(path))).collect();
        let mut results = self.store.delete_stream(stream::iter(paths).boxed());
        while let Some(result) = results.next().await {
            match result {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(e) => {
                    let first = relative.first().map_or("", String::as_str);
                    return Err(self.failed("delete", first, e));
                }
            }
        }
        Ok(())
    }

    /// Makes local files and the folders that lead to them durable; S3 is so by itself.
    pub async fn sync(&self, relative: &[String]) -> Result<()> {
        sync_all(&[(self, relative.to_vec())]).await
    }

    /// Deletes what local writers have left half-written below a folder: names that the store
    /// writes under before it renames, which no listing shows. Only those that were last
    /// written to before `before_ms`, milliseconds since 1970, so that a writer that is at work is
    /// left alone.
    pub async fn delete_staged(&self, folder: &str, before_ms: i64) -> Result<u64> {
        match &self.local {
            Some(local) => local.delete_staged(folder, before_ms).await,
            None => Ok(0),
        }
    }

    fn failed(&self, operation: &str, relative: &str, source: StoreError) -> Error {
        let place = if relative.is_empty() {
            self.location.clone()
        } else {
            format!("{}/{relative}", self.location)
        };
        if is_missing_bucket(&source) {
            return Error::unavailable(format!(
                "cannot {operation} {place}: there is no such bucket; check that the bucket \
                 exists, its name, the region and AWS_ENDPOINT_URL"
            ));
        }
        let check = if self.is_local() {
            "check that the folder can be written to and that the disk is not full"
        } else {
            "check AWS_ENDPOINT_URL, the region, the credentials and the network"
        };
        Error::unavailable(format!("cannot {operation} {place}: {source}; {check}"))
            .with_source(source)
    }
}

/// Files of several storages.
pub(crate) type Places<'a> = [(&'a Storage, Vec<String>)];

/// As [`Storage::sync`] of files of several storages.
pub(crate) async fn sync_all(places: &Places<'_>) -> Result<()> {
    local::sync(&local_places(places)).await
}

/// Makes the names of local files durable, whose content is so already.
pub(crate) async fn sync_folders(places: &Places<'_>) -> Result<()> {
    local::sync_folders(&local_places(places)).await
}

fn local_places<'a>(places: &Places<'a>) -> Vec<(&'a LocalRoot, Vec<PathBuf>)> {
    let local = places.iter().filter_map(|(storage, files)| Some((storage.local.as_ref()?, files)));
    local
        .map(|(local, files)| (local, files.iter().map(|file| local.path(file)).collect()))
        .collect()
}

/// As [`Storage::promote`] of files that nobody has promoted before, from one name to another, where
/// their storage is local: what became of each. Renames do not go through the store, whose calls
/// would be handed to a thread each.
pub(crate) async fn promote_local(
    files: &[(&Storage, &str, &str)],
) -> Result<Vec<Result<Promotion>>> {
    let moves = files.iter().filter_map(|(storage, from, to)| {
        let local = storage.local.as_ref()?;
        Some((local.path(from), local.path(to)))
    });
    local::rename_all(moves.collect()).await
}

#[cfg(test)]
mod tests;
