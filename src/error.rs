//! The engine's error: one type whose kind says what to do, also after a trip through DataFusion.

use datafusion::common::DataFusionError;

pub use tidegauge_commitlog::{Error, ErrorKind, Result, plain};

/// Recovers the engine's own error from one that DataFusion carried, or names DataFusion's.
pub fn from_datafusion(error: DataFusionError) -> Error {
    if let Some(own) = own_error(&error) {
        return Error::new(own.kind(), own.message());
    }
    let root = error.find_root();
    let kind = match root {
        DataFusionError::ResourcesExhausted(_) | DataFusionError::IoError(_) => {
            ErrorKind::Unavailable
        }
        DataFusionError::ObjectStore(_) => ErrorKind::Unavailable,
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        // The way to a worker, or a worker that is gone, says nothing of what to do.
        DataFusionError::External(_) => ErrorKind::Unavailable,
        DataFusionError::Execution(message) if is_of_the_way(message) => ErrorKind::Unavailable,
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

/// Whether memory was short, as far as its bound goes.
pub(crate) fn is_short_of_memory(error: &Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .filter_map(|error| error.downcast_ref::<DataFusionError>())
        .any(|error| matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)))
}

/// Whether the library that runs plans on workers says this of its connections.
fn is_of_the_way(message: &str) -> bool {
    ["Worker::execute_task timed-out", "Distributed DataFusion", "URLs available"]
        .iter()
        .any(|said| message.contains(said))
}

/// The engine's error inside `error`. It need not be the root: it may itself have come of one of
/// DataFusion's.
pub(crate) fn own_error(error: &DataFusionError) -> Option<&Error> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .find_map(|error| error.downcast_ref())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_came_of_datafusions_keeps_its_kind_through_it() {
        let lost = DataFusionError::External("connection reset".into());
        let own = Error::unavailable("a worker failed").with_source(lost);
        let carried = DataFusionError::Shared(std::sync::Arc::new(to_datafusion(own)));
        let back = from_datafusion(carried.context("a sink"));
        assert_eq!((back.kind(), back.message()), (ErrorKind::Unavailable, "a worker failed"));
    }
}
