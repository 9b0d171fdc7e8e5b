//! Local files as a store: any name, and versions that a move leaves as they are.
//!
//! `object_store`'s own local store takes no name that is not UTF-8 or has a line break, hides those
//! that end in `#` and digits, since its uploads are staged under such, and puts the inode into a
//! version, so that a folder that was copied is another one.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::address::key_at;

/// The local file system from `/` on; see the module. It only reads: everything else is
/// `object_store`'s.
#[derive(Debug, Default)]
pub(super) struct LocalFiles {
    inner: LocalFileSystem,
}

/// The version of a local file: when it was changed, and its size.
pub(super) fn version(metadata: &Metadata) -> String {
    version_of(metadata.mtime(), metadata.mtime_nsec(), metadata.len())
}

pub(super) fn version_of(mtime_s: i64, mtime_nsec: i64, size: u64) -> String {
    format!("{mtime_s:x}.{mtime_nsec:x}-{size:x}")
}

/// Whether a version is one of these: ETags of S3 have no dot.
pub(super) fn is_local_version(etag: &str) -> bool {
    etag.contains('.')
}

/// When a file was last changed.
pub(super) fn modified(mtime_s: i64, mtime_nsec: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(mtime_s, u32::try_from(mtime_nsec).unwrap_or_default())
        .unwrap_or_default()
}

/// Where the file at an address is.
pub(super) fn path_of(address: &Path) -> PathBuf {
    let mut bytes = vec![b'/'];
    bytes.extend_from_slice(&key_at(address));
    PathBuf::from(OsStr::from_bytes(&bytes))
}

impl fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalFiles")
    }
}

fn open(location: Path, options: &GetOptions) -> Result<GetResult> {
    let path = path_of(&location);
    let failed = |error: io::Error| failure(&path, error);
    let file = File::open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    let size = metadata.len();
    let meta = ObjectMeta {
        location,
        last_modified: modified(metadata.mtime(), metadata.mtime_nsec()),
        size,
        e_tag: Some(version(&metadata)),
        version: None,
    };
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        Some(range) => range
            .as_range(size)
            .map_err(|error| Error::Generic { store: "LocalFiles", source: Box::new(error) })?,
        None => 0..size,
    };
    let payload = GetResultPayload::File(file, path);
    Ok(GetResult { payload, meta, range, attributes: Default::default() })
}

fn failure(path: &std::path::Path, error: io::Error) -> Error {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::NotFound { path, source: Box::new(error) }
        }
        io::ErrorKind::PermissionDenied => {
            Error::PermissionDenied { path, source: Box::new(error) }
        }
        _ => Error::Generic { store: "LocalFiles", source: Box::new(error) },
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let location = location.clone();
        let opened = tokio::task::spawn_blocking(move || open(location, &options)).await;
        opened.map_err(|source| Error::JoinError { source })?
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
