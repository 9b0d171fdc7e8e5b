//! The bytes of one object, in order, as they arrive, and only of the version listed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::{GetOptions, GetResultPayload, ObjectStore};

use super::reader::InputFile;
use super::{SourceError, SourceResult};

/// Local files are read in pieces of this size.
const READ_BYTES: usize = 1 << 20;

/// A file being read.
pub(super) struct Fetch {
    display: String,
    /// Bytes that the listing promised and that have not come yet.
    remaining: u64,
    payload: Payload,
}

enum Payload {
    /// A local file; absent while a blocking thread has it.
    Local(Option<File>),
    Remote(BoxStream<'static, object_store::Result<Bytes>>),
}

/// Options that refuse any version of the object but the listed one.
pub(super) fn same_version(file: &InputFile) -> GetOptions {
    GetOptions { if_match: file.etag.clone(), ..GetOptions::default() }
}

impl Fetch {
    /// Asks for the file.
    pub(super) async fn open(store: &dyn ObjectStore, file: &InputFile) -> SourceResult<Self> {
        let result = store
            .get_opts(&file.location, same_version(file))
            .await
            .map_err(|error| SourceError::store(&file.display, error))?;
        let start = result.range.start;
        let payload = match result.payload {
            GetResultPayload::File(mut local, _) => {
                local
                    .seek(SeekFrom::Start(start))
                    .map_err(|error| unreadable(&file.display, error))?;
                Payload::Local(Some(local))
            }
            GetResultPayload::Stream(stream) => Payload::Remote(stream),
        };
        Ok(Self { display: file.display.clone(), remaining: file.size, payload })
    }

    /// The next bytes, or `None` at the end. An end before or after the listed size is an error.
    pub(super) async fn next(&mut self) -> SourceResult<Option<Bytes>> {
        let bytes = match &mut self.payload {
            Payload::Local(local) => read_local(local, &self.display).await?,
            Payload::Remote(stream) => stream
                .next()
                .await
                .transpose()
                .map_err(|error| SourceError::store(&self.display, error))?,
        };
        let length = bytes.as_ref().map_or(0, Bytes::len) as u64;
        if length > self.remaining || (bytes.is_none() && self.remaining > 0) {
            return Err(SourceError::Unavailable {
                file: self.display.clone(),
                message:
                    "changed its size while it was read; files of a source must not be rewritten"
                        .into(),
                source: None,
            });
        }
        self.remaining -= length;
        Ok(bytes)
    }
}

/// Reads on a thread that may block, and takes the file back from it.
async fn read_local(local: &mut Option<File>, display: &str) -> SourceResult<Option<Bytes>> {
    let Some(mut file) = local.take() else {
        return Ok(None);
    };
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        (&mut file).take(READ_BYTES as u64).read_to_end(&mut buffer).map(|_| (file, buffer))
    });
    let (file, buffer) = read
        .await
        .map_err(std::io::Error::other)
        .and_then(|result| result)
        .map_err(|error| unreadable(display, error))?;
    *local = Some(file);
    Ok((!buffer.is_empty()).then(|| Bytes::from(buffer)))
}

fn unreadable(display: &str, error: std::io::Error) -> SourceError {
    SourceError::Unavailable {
        file: display.to_owned(),
        message: format!("cannot be read: {error}"),
        source: Some(Box::new(error)),
    }
}
