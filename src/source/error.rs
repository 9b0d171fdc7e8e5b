//! Errors of reading a source. Their kind says what to do; their text names the file.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use tidegauge_commitlog::is_missing_bucket;

use super::Reject;
use crate::error::{Error, ErrorKind};

/// The result of reading a source.
pub type SourceResult<T> = Result<T, SourceError>;

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The location as written cannot work: correct the job file.
    #[error("{location}: {message}")]
    BadJob {
        /// The location as the job has it.
        location: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A record does not fit the declared schema: correct the schema or the file.
    #[error("{file}: {}{message}", place(*.line, .field.as_deref()))]
    BadRecord {
        /// The file, as the operator knows it.
        file: String,
        /// The line, from 1 (in Parquet the row); 0 where it is not known.
        line: u64,
        /// The column, where one is at fault.
        field: Option<String>,
        /// What is wrong, with the value.
        message: String,
    },
    /// The storage did not answer, or the file is gone or has changed: try again.
    #[error("{file}: {message}")]
    Unavailable {
        /// The file or folder.
        file: String,
        /// What happened.
        message: String,
        /// What the storage said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The file is damaged or not of its format: nothing in it can be trusted.
    #[error("{file}: {message}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
        /// What found it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl SourceError {
    /// The error that a rejected record of `file` is, where rejects are not allowed.
    pub fn rejected(file: &str, reject: &Reject) -> Self {
        Self::BadRecord {
            file: file.to_owned(),
            line: reject.line,
            field: reject.field.clone(),
            message: reject.message.clone(),
        }
    }

    /// A damaged file.
    pub(super) fn corrupt(file: &str, message: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), message: message.into(), source: None }
    }

    /// What the operating system says of a file or a folder.
    pub(super) fn unreadable(file: &str, error: std::io::Error) -> Self {
        Self::Unavailable {
            file: file.to_owned(),
            message: format!("cannot be read: {error}"),
            source: Some(Box::new(error)),
        }
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadJob { .. } => ErrorKind::BadJob,
            Self::BadRecord { .. } => ErrorKind::BadRecord,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }

    /// What arrow found wrong while `file` was decoded.
    pub(super) fn arrow(file: &str, error: ArrowError) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            message: format!("cannot be decoded: {error}"),
            source: Some(Box::new(error)),
        }
    }

    /// What the storage answered about `file`.
    pub(super) fn store(file: &str, error: object_store::Error) -> Self {
        if is_missing_bucket(&error) {
            let message = "there is no such bucket; check that the bucket exists, its name, the \
                           region and AWS_ENDPOINT_URL";
            return Self::Unavailable {
                file: file.to_owned(),
                message: message.to_owned(),
                source: None,
            };
        }
        let message = match &error {
            object_store::Error::NotFound { .. } => "is not there".to_owned(),
            object_store::Error::Precondition { .. } => {
                "was changed after it was listed".to_owned()
            }
            other => format!("cannot be read: {other}"),
        };
        Self::Unavailable { file: file.to_owned(), message, source: Some(Box::new(error)) }
    }

    /// What the Parquet reader found, or what the storage under it answered.
    pub(super) fn parquet(file: &str, error: ParquetError) -> Self {
        let error = match error {
            ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
                Ok(store) => return Self::store(file, *store),
                Err(other) => ParquetError::External(other),
            },
            other => other,
        };
        Self::Corrupt {
            file: file.to_owned(),
            message: format!("cannot be read as Parquet: {error}"),
            source: Some(Box::new(error)),
        }
    }
}

impl From<SourceError> for DataFusionError {
    fn from(error: SourceError) -> Self {
        Self::External(Box::new(error))
    }
}

fn place(line: u64, field: Option<&str>) -> String {
    match (line, field) {
        (0, None) => String::new(),
        (0, Some(field)) => format!("column {field}: "),
        (line, None) => format!("line {line}: "),
        (line, Some(field)) => format!("line {line}, column {field}: "),
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        let message = error.to_string();
        Self::new(error.kind(), message).with_source(error)
    }
}
