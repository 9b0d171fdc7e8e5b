//! What a query's failure says to its client: a kind that gRPC knows and a sentence to read.

use datafusion::common::DataFusionError;
use tonic::{Code, Status};

use crate::error::{Error, ErrorKind, plain};
use crate::sql::planner_message;

/// A query that was not answered, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct QueryError {
    code: Code,
    message: String,
}

impl QueryError {
    /// What another process said.
    pub(super) fn new(code: Code, message: String) -> Self {
        Self { code, message }
    }

    /// The statement or its parameters are wrong.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { code: Code::InvalidArgument, message: message.into() }
    }

    /// It takes more than a query may.
    pub(super) fn exhausted(message: impl Into<String>) -> Self {
        Self { code: Code::ResourceExhausted, message: message.into() }
    }

    /// It takes longer than a query may.
    pub(super) fn deadline(message: impl Into<String>) -> Self {
        Self { code: Code::DeadlineExceeded, message: message.into() }
    }

    /// A defect.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { code: Code::Internal, message: message.into() }
    }

    /// Whether asking again may help.
    pub(super) fn is_unavailable(&self) -> bool {
        self.code == Code::Unavailable
    }

    /// The same with more to read.
    pub(super) fn with_hint(self, hint: &str) -> Self {
        Self { message: format!("{}; {hint}", self.message), ..self }
    }

    /// What it says.
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        Status::new(error.code, error.message)
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        let root = error.find_root();
        if let DataFusionError::External(inner) = root {
            if let Some(own) = inner.downcast_ref::<QueryError>() {
                return own.clone();
            }
            if let Some(own) = inner.downcast_ref::<Error>() {
                return Self { code: code_of(own.kind()), message: own.message().to_owned() };
            }
        }
        let code = match root {
            DataFusionError::ResourcesExhausted(_) => Code::ResourceExhausted,
            root if is_of_storage(root) => Code::Unavailable,
            DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::SQL(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Configuration(_)
            // What a query computes: a division, a cast, an overflow.
            | DataFusionError::Execution(_)
            | DataFusionError::ArrowError(..) => Code::InvalidArgument,
            _ => Code::Internal,
        };
        let message = match root {
            DataFusionError::ResourcesExhausted(what) => {
                format!("the query needs more memory than a query may have: {what}")
            }
            DataFusionError::SQL(parser, _) => parser.to_string(),
            root => planner_message(root),
        };
        let lines: Vec<&str> = message.lines().map(str::trim).collect();
        Self { code, message: plain(&lines.join(" ")).into_owned() }
    }
}

impl From<Error> for QueryError {
    fn from(error: Error) -> Self {
        Self { code: code_of(error.kind()), message: error.message().to_owned() }
    }
}

/// What DataFusion's Parquet reader leaves of a store's error: its text.
const STORE_TEXT: &str = "Object Store error: ";

/// Whether the storage is at the bottom of it, whichever reader it came through.
fn is_of_storage(error: &DataFusionError) -> bool {
    if matches!(error, DataFusionError::ParquetError(inner) if inner.to_string().contains(STORE_TEXT))
    {
        return true;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<object_store::Error>() || error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Fenced => Code::Unavailable,
        ErrorKind::BadRecord => Code::InvalidArgument,
        ErrorKind::BadJob | ErrorKind::Corrupt | ErrorKind::Bug => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_code_and_a_sentence() {
        let cases = [
            (DataFusionError::Plan("no such thing".into()), Code::InvalidArgument, "no such thing"),
            (
                DataFusionError::Execution("bad cast".into()).context("while reading"),
                Code::InvalidArgument,
                "bad cast",
            ),
            (
                DataFusionError::ResourcesExhausted("sort".into()),
                Code::ResourceExhausted,
                "the query needs more memory than a query may have: sort",
            ),
            (
                DataFusionError::External(Box::new(Error::unavailable("s3 is away"))),
                Code::Unavailable,
                "s3 is away",
            ),
            (
                DataFusionError::External(Box::new(QueryError::deadline("too long"))),
                Code::DeadlineExceeded,
                "too long",
            ),
        ];
        for (error, code, message) in cases {
            let error = QueryError::from(error);
            assert_eq!((error.code, error.message()), (code, message));
        }
    }
}
