//! The engine's error: one type whose kind says what to do, also after a trip through DataFusion.

use datafusion::common::DataFusionError;

pub use tidegauge_commitlog::{Error, ErrorKind, Result};

/// Recovers the engine's own error from one that DataFusion carried, or names DataFusion's.
pub fn from_datafusion(error: DataFusionError) -> Error {
    let root = error.find_root();
    if let DataFusionError::External(inner) = root
        && let Some(own) = inner.downcast_ref::<Error>()
    {
        return Error::new(own.kind(), own.message());
    }
    let kind = match root {
        DataFusionError::ResourcesExhausted(_) | DataFusionError::IoError(_) => {
            ErrorKind::Unavailable
        }
        DataFusionError::ObjectStore(_) => ErrorKind::Unavailable,
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        // What a query computes of a record's values: overflow, a cast, a division.
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => ErrorKind::BadRecord,
        DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) => ErrorKind::BadJob,
        _ => ErrorKind::Bug,
    };
    let message = match root {
        DataFusionError::ResourcesExhausted(message) => {
            format!("memory_max is too small for this job: {message}")
        }
        other => other.strip_backtrace(),
    };
    Error::new(kind, message).with_source(error)
}

/// What is at the bottom of an error: libraries wrap "connection refused" three times over.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.unwrap_or(error).to_string()
}

/// The engine's error as DataFusion carries it.
pub fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
