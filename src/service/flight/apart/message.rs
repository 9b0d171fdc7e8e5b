//! What a service and the process of a query tell each other: frames of a kind and a length, over
//! a socket that nobody else has.

use std::io::{self, Read, Write};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::convert::try_schema_from_ipc_buffer;
use datafusion::arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use serde::{Deserialize, Serialize};
use tidegauge_spec::JobText;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::error::QueryError;
use crate::runtime::JobView;
use crate::service::JobStatus;

/// Nothing that either side sends is longer; a batch is sent in parts of 2 MiB, but a row is never
/// cut.
const FRAME_BYTES_MAX: u32 = 256 << 20;
const HEAD_BYTES: usize = 5;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An [`Ask`], in JSON.
    Ask,
    /// The statement and its parameters, as in a handle.
    Question,
    /// A [`DeclaredFrame`], in JSON.
    Declared,
    /// A message of Flight.
    Data,
    /// A [`FailedFrame`], in JSON: nothing else follows.
    Failed,
    /// Nothing else follows.
    End,
}

const KINDS: [(Kind, u8); 6] = [
    (Kind::Ask, b'A'),
    (Kind::Question, b'Q'),
    (Kind::Declared, b'D'),
    (Kind::Data, b'F'),
    (Kind::Failed, b'E'),
    (Kind::End, b'Z'),
];

/// A frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Whether rows are wanted, or only what they would be.
    pub(super) runs: bool,
    pub(super) now_ms: i64,
    pub(super) memory_bytes_max: usize,
    pub(super) jobs: Vec<AskJob>,
}

/// A job at the moment of a question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskJob {
    pub(super) text: Arc<JobText>,
    pub(super) view: Arc<JobView>,
    pub(super) status: JobStatus,
    pub(super) was_open: bool,
    pub(super) outputs: Vec<AskOutput>,
}

/// A sink of a job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskOutput {
    pub(super) sink: String,
    pub(super) schema: SchemaBytes,
    pub(super) has_windows: bool,
}

/// What a statement gives and wants.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeclaredFrame {
    pub(super) rows: Option<SchemaBytes>,
    pub(super) parameters: SchemaBytes,
}

/// Why a question has no answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FailedFrame {
    pub(super) code: i32,
    pub(super) message: String,
}

/// A schema as Arrow writes it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SchemaBytes(Vec<u8>);

impl SchemaBytes {
    /// `schema`, to be sent.
    pub(super) fn new(schema: &Schema) -> Self {
        let (generator, options) = (IpcDataGenerator::default(), IpcWriteOptions::default());
        let mut tracker = DictionaryTracker::new(false);
        let message = generator
            .schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &options)
            .ipc_message;
        let mut bytes = u32::MAX.to_le_bytes().to_vec();
        bytes.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(message);
        Self(bytes)
    }

    /// The schema that was sent.
    pub(super) fn schema(&self) -> Result<SchemaRef, QueryError> {
        try_schema_from_ipc_buffer(&self.0).map(Arc::new).map_err(|error| {
            QueryError::internal(format!("a schema was lost between processes: {error}"))
        })
    }
}

impl Frame {
    /// `value` as JSON.
    pub(super) fn json(kind: Kind, value: &impl Serialize) -> Result<Self, QueryError> {
        let bytes = serde_json::to_vec(value).map_err(|error| {
            QueryError::internal(format!("a message between processes cannot be made: {error}"))
        })?;
        Ok(Self { kind, bytes })
    }

    /// What was made by [`Frame::json`].
    pub(super) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, QueryError> {
        serde_json::from_slice(&self.bytes).map_err(|error| {
            QueryError::internal(format!("a message between processes cannot be read: {error}"))
        })
    }

    fn head(&self) -> io::Result<[u8; HEAD_BYTES]> {
        let long = || io::Error::new(io::ErrorKind::InvalidData, "one row is too large to be sent");
        let length = u32::try_from(self.bytes.len()).ok().filter(|n| *n <= FRAME_BYTES_MAX);
        let [a, b, c, d] = length.ok_or_else(long)?.to_le_bytes();
        let letter = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or(0, |(_, l)| *l);
        Ok([letter, a, b, c, d])
    }

    fn from_head(head: [u8; HEAD_BYTES]) -> io::Result<Self> {
        let [letter, a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let kind = KINDS.iter().find(|(_, known)| *known == letter).map(|(kind, _)| *kind);
        match kind.filter(|_| length <= FRAME_BYTES_MAX) {
            Some(kind) => Ok(Self { kind, bytes: vec![0; length as usize] }),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "this is no frame")),
        }
    }

    /// Writes it in one go.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.head()?)?;
        to.write_all(&self.bytes)?;
        to.flush()
    }

    /// Reads the next one.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; HEAD_BYTES];
        from.read_exact(&mut head)?;
        let mut frame = Self::from_head(head)?;
        from.read_exact(&mut frame.bytes)?;
        Ok(frame)
    }

    /// As [`Frame::write`].
    pub(super) async fn send(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all(&self.head()?).await?;
        to.write_all(&self.bytes).await?;
        to.flush().await
    }

    /// As [`Frame::read`].
    pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut head = [0; HEAD_BYTES];
        from.read_exact(&mut head).await?;
        let mut frame = Self::from_head(head)?;
        from.read_exact(&mut frame.bytes).await?;
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        for (kind, _) in KINDS {
            Frame { kind, bytes: b"text".to_vec() }.write(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        for (kind, _) in KINDS {
            let frame = Frame::read(&mut rest).unwrap();
            assert_eq!((frame.kind, frame.bytes.as_slice()), (kind, b"text".as_slice()));
        }
        assert!(Frame::read(&mut rest).is_err());
        for wrong in [b"F\xff\xff\xff\xff".as_slice(), b"X\x00\x00\x00\x00", b"F\x04\x00\x00\x00ab"]
        {
            assert!(Frame::read(&mut &*wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_schema_is_the_same_afterwards() {
        let item = Field::new("item", DataType::Utf8View, true);
        let schema = Schema::new(vec![
            Field::new("a", DataType::List(Arc::new(item)), false),
            Field::new(
                "b",
                DataType::Timestamp(
                    datafusion::arrow::datatypes::TimeUnit::Microsecond,
                    Some("UTC".into()),
                ),
                true,
            ),
        ]);
        assert_eq!(SchemaBytes::new(&schema).schema().unwrap().as_ref(), &schema);
    }
}
