//! The bytes of one object, in order, as they arrive, and only of the version listed.
//!
//! ```text
//!  local file   one open file, read in pieces; after the last byte its version is asked again
//!  object       ranges, the next one on its way while one is decoded; each is a request of its own
//!               with If-Match, so that no request takes longer than the client allows
//! ```

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{GetOptions, GetResultPayload, ObjectStore, ObjectStoreExt};
use tokio::task::JoinSet;

use super::local_files::is_local_version;
use super::reader::InputFile;
use super::{SourceError, SourceResult};

/// Local files are read in pieces of this size.
const READ_BYTES: usize = 1 << 20;
/// Objects are read in ranges of this size: at a third of a megabyte a second one takes no longer
/// than the client's timeout.
pub(super) const RANGE_BYTES: u64 = 8 << 20;
/// A range that failed is asked for again in halves, down to this size.
const RANGE_BYTES_MIN: u64 = 256 << 10;

/// A file being read.
pub(super) struct Fetch {
    store: Arc<dyn ObjectStore>,
    file: InputFile,
    /// What has not come yet.
    rest: Range<u64>,
    payload: Payload,
}

enum Payload {
    /// A local file; absent while a blocking thread has it.
    Local(Option<File>),
    /// An object, and the range of it that is on its way: one at most.
    Remote(JoinSet<SourceResult<Bytes>>),
}

/// Options that refuse any version of the object but the listed one.
pub(super) fn same_version(file: &InputFile) -> GetOptions {
    GetOptions { if_match: file.etag.clone(), ..GetOptions::default() }
}

/// The bytes of a range of an object. One that fails on the way is asked for again in halves: a
/// connection that is slow delivers less in the time that one request may take.
pub(super) async fn fetch_range(
    store: &dyn ObjectStore,
    file: &InputFile,
    range: Range<u64>,
) -> object_store::Result<Bytes> {
    let (mut at, mut step) = (range.start, RANGE_BYTES);
    let mut parts: Vec<Bytes> = Vec::new();
    while at < range.end {
        let end = range.end.min(at.saturating_add(step));
        let options = GetOptions { range: Some((at..end).into()), ..same_version(file) };
        let result = store.get_opts(&file.location, options).await?;
        // Of a local file no piece takes too long.
        if matches!(result.payload, GetResultPayload::File(..)) && end < range.end {
            step = range.end - at;
            continue;
        }
        match result.bytes().await {
            Ok(bytes) => {
                at = end;
                parts.push(bytes);
            }
            Err(object_store::Error::Generic { .. }) if end - at > RANGE_BYTES_MIN => {
                step = (end - at) / 2;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(match parts.len() {
        1 => parts.swap_remove(0),
        _ => parts.concat().into(),
    })
}

impl Fetch {
    /// Asks for the file.
    pub(super) async fn open(store: Arc<dyn ObjectStore>, file: &InputFile) -> SourceResult<Self> {
        let rest = file.range();
        let first = rest.start..rest.end.min(rest.start.saturating_add(RANGE_BYTES));
        let options = GetOptions { range: Some(first.clone().into()), ..same_version(file) };
        let result = store
            .get_opts(&file.location, options)
            .await
            .map_err(|error| SourceError::store(&file.display, error))?;
        let is_listed = file.part.is_some() || result.meta.size == file.size;
        let mut fetch = Self { store, file: file.clone(), rest, payload: Payload::Local(None) };
        if !is_listed || result.meta.size < fetch.rest.end {
            return Err(fetch.changed_size());
        }
        match result.payload {
            GetResultPayload::File(mut local, _) => {
                local
                    .seek(SeekFrom::Start(first.start))
                    .map_err(|error| SourceError::unreadable(&file.display, error))?;
                fetch.payload = Payload::Local(Some(local));
            }
            GetResultPayload::Stream(_) => {
                let mut coming = JoinSet::new();
                match result.bytes().await {
                    Ok(bytes) => coming.spawn(async move { Ok(bytes) }),
                    Err(object_store::Error::Generic { .. }) => fetch.fetch(&mut coming, first),
                    Err(error) => return Err(SourceError::store(&file.display, error)),
                };
                fetch.payload = Payload::Remote(coming);
            }
        }
        Ok(fetch)
    }

    /// The next bytes, or `None` at the end. An end before or after the listed size is an error, as
    /// is a local file that is another one by then.
    pub(super) async fn next(&mut self) -> SourceResult<Option<Bytes>> {
        if self.rest.is_empty() {
            if matches!(self.payload, Payload::Local(_)) {
                check_version(&*self.store, &self.file).await?;
            }
            return Ok(None);
        }
        let wanted = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        let bytes = match &mut self.payload {
            Payload::Local(local) => {
                let most = wanted.min(READ_BYTES);
                read_local(local, &self.file.display, most).await?
            }
            Payload::Remote(coming) => match coming.join_next().await {
                Some(came) => Some(came.map_err(|error| {
                    SourceError::unreadable(&self.file.display, std::io::Error::other(error))
                })??),
                None => None,
            },
        };
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty() && bytes.len() <= wanted) else {
            return Err(self.changed_size());
        };
        self.rest.start += bytes.len() as u64;
        if matches!(self.payload, Payload::Remote(_)) && !self.rest.is_empty() {
            let next = self.rest.start..self.rest.end.min(self.rest.start + RANGE_BYTES);
            let mut coming = JoinSet::new();
            self.fetch(&mut coming, next);
            self.payload = Payload::Remote(coming);
        }
        Ok(Some(bytes))
    }

    /// Fetches while what came before is decoded.
    fn fetch(
        &self,
        coming: &mut JoinSet<SourceResult<Bytes>>,
        range: Range<u64>,
    ) -> tokio::task::AbortHandle {
        let (store, file) = (Arc::clone(&self.store), self.file.clone());
        coming.spawn(async move {
            let fetched = fetch_range(&*store, &file, range).await;
            fetched.map_err(|error| SourceError::store(&file.display, error))
        })
    }

    fn changed_size(&self) -> SourceError {
        SourceError::Unavailable {
            file: self.file.display.clone(),
            message: "changed its size while it was read".into(),
            source: None,
        }
    }
}

/// As [`check_version`], of a local file; each range of an object was asked for by its version.
pub(super) async fn check_local_version(
    store: &dyn ObjectStore,
    file: &InputFile,
) -> SourceResult<()> {
    match file.etag.as_deref().is_some_and(is_local_version) {
        true => check_version(store, file).await,
        false => Ok(()),
    }
}

/// Refuses a file that is not the one that was listed any more: one that was written to while it
/// was read may have given a piece of each version.
async fn check_version(store: &dyn ObjectStore, file: &InputFile) -> SourceResult<()> {
    let Some(etag) = &file.etag else { return Ok(()) };
    let meta = store.head(&file.location).await;
    let meta = meta.map_err(|error| SourceError::store(&file.display, error))?;
    match meta.e_tag.as_ref() == Some(etag) {
        true => Ok(()),
        false => Err(SourceError::Unavailable {
            file: file.display.clone(),
            message: "was changed while it was read".into(),
            source: None,
        }),
    }
}

/// Reads on a thread that may block, and takes the file back from it.
async fn read_local(
    local: &mut Option<File>,
    display: &str,
    most: usize,
) -> SourceResult<Option<Bytes>> {
    let Some(mut file) = local.take() else {
        return Ok(None);
    };
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = Vec::with_capacity(most);
        (&mut file).take(most as u64).read_to_end(&mut buffer).map(|_| (file, buffer))
    });
    let (file, buffer) = read
        .await
        .map_err(std::io::Error::other)
        .and_then(|result| result)
        .map_err(|error| SourceError::unreadable(display, error))?;
    *local = Some(file);
    Ok((!buffer.is_empty()).then(|| Bytes::from(buffer)))
}
