//! A statement and its parameters as they travel in handles and tickets. The server keeps nothing
//! of them between calls: what comes back is read and checked as if it were new.

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::ipc::writer::StreamWriter;
use prost::Message;

use super::error::QueryError;
use super::parameters::{one_row, split};

/// The longest list of values, as they travel.
pub(super) const PARAMETERS_BYTES_MAX: usize = 1 << 20;

/// A statement, with a row of parameters where they are bound.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) sql: String,
    pub(super) parameters: Option<RecordBatch>,
}

#[derive(Clone, PartialEq, Message)]
struct Handle {
    #[prost(string, tag = "1")]
    sql: String,
    #[prost(bytes = "bytes", tag = "2")]
    parameters: Bytes,
}

impl Question {
    /// A statement without values.
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), parameters: None }
    }

    /// The same statement with the one row of messages, each a header and a body.
    pub(super) fn bind(self, messages: &[(Bytes, Bytes)]) -> Result<Self, QueryError> {
        let messages: Vec<(&[u8], &[u8])> =
            messages.iter().map(|(header, body)| (header.as_ref(), body.as_ref())).collect();
        Ok(Self { parameters: Some(one_row(&messages)?), ..self })
    }

    /// As it travels.
    pub(super) fn encode(&self) -> Result<Bytes, QueryError> {
        let mut parameters = Vec::new();
        if let Some(row) = &self.parameters {
            let written =
                StreamWriter::try_new(&mut parameters, row.schema_ref()).and_then(|mut writer| {
                    writer.write(row)?;
                    writer.finish()
                });
            written.map_err(unreadable)?;
        }
        if parameters.len() > PARAMETERS_BYTES_MAX {
            return Err(too_long(parameters.len()));
        }
        let handle = Handle { sql: self.sql.clone(), parameters: parameters.into() };
        Ok(handle.encode_to_vec().into())
    }

    /// As it was before it travelled.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, QueryError> {
        let handle = Handle::decode(bytes).map_err(|_| {
            QueryError::invalid("the handle is not one of this server; prepare the statement again")
        })?;
        let question = Self::new(handle.sql);
        if handle.parameters.is_empty() {
            return Ok(question);
        }
        if handle.parameters.len() > PARAMETERS_BYTES_MAX {
            return Err(too_long(handle.parameters.len()));
        }
        let row = one_row(&split(&handle.parameters)?)?;
        Ok(Self { parameters: Some(row), ..question })
    }
}

/// That so many bytes of parameters are too many.
pub(super) fn too_long(bytes: usize) -> QueryError {
    QueryError::invalid(format!(
        "the parameters have {bytes} bytes; bind at most {PARAMETERS_BYTES_MAX}"
    ))
}

fn unreadable(error: datafusion::arrow::error::ArrowError) -> QueryError {
    QueryError::invalid(format!("the parameters cannot be read: {error}; bind them again"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_handle_holds_all_that_is_needed() {
        let plain = Question::new("SELECT 1");
        assert_eq!(Question::decode(&plain.encode().unwrap()).unwrap(), plain);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        let row =
            RecordBatch::try_from_iter_with_nullable([("a", numbers, true), ("b", texts, true)]);
        let bound = Question { parameters: Some(row.unwrap()), ..Question::new("SELECT $1, $2") };
        assert_eq!(Question::decode(&bound.encode().unwrap()).unwrap(), bound);
    }

    #[test]
    fn no_row_and_foreign_handles_are_refused() {
        let error = Question::new("SELECT $1").bind(&[]).unwrap_err();
        assert!(error.message().ends_with("bind one row for one execution"), "{error}");
        let error = Question::decode(b"\xff\xff").unwrap_err();
        assert!(error.message().contains("prepare the statement again"), "{error}");
    }
}
