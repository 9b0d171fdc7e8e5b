//! A statement and its parameters as they travel in handles and tickets. The server keeps nothing
//! of them between calls: what comes back is read and checked as if it were new.

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use prost::Message;

use super::error::QueryError;

/// The longest list of values, as they travel.
const PARAMETERS_BYTES_MAX: usize = 1 << 20;

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

    /// The same statement with the one row of `batches`.
    pub(super) fn bind(self, batches: &[RecordBatch]) -> Result<Self, QueryError> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let Some(first) = batches.first().filter(|_| rows == 1) else {
            return Err(QueryError::invalid(format!(
                "{rows} rows of parameters are bound; bind one row for one execution"
            )));
        };
        let row = concat_batches(&first.schema(), batches).map_err(unreadable)?;
        Ok(Self { parameters: Some(row), ..self })
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
            return Err(QueryError::invalid(format!(
                "the parameters have {} bytes; bind at most {PARAMETERS_BYTES_MAX}",
                parameters.len()
            )));
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
        let batches = StreamReader::try_new(handle.parameters.as_ref(), None)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?;
        question.bind(&batches)
    }
}

fn unreadable(error: datafusion::arrow::error::ArrowError) -> QueryError {
    QueryError::invalid(format!("the parameters cannot be read: {error}; bind them again"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn row(n: usize) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7; n]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; n]));
        RecordBatch::try_from_iter_with_nullable([("a", numbers, true), ("b", texts, true)])
            .unwrap()
    }

    #[test]
    fn a_handle_holds_all_that_is_needed() {
        let plain = Question::new("SELECT 1");
        assert_eq!(Question::decode(&plain.encode().unwrap()).unwrap(), plain);
        let bound = Question::new("SELECT $1, $2").bind(&[row(0), row(1)]).unwrap();
        assert_eq!(Question::decode(&bound.encode().unwrap()).unwrap(), bound);
    }

    #[test]
    fn more_than_one_row_and_foreign_handles_are_refused() {
        for batches in [vec![], vec![row(0)], vec![row(1), row(1)]] {
            let error = Question::new("SELECT $1").bind(&batches).unwrap_err();
            assert!(error.message().ends_with("bind one row for one execution"), "{error}");
        }
        let error = Question::decode(b"\xff\xff").unwrap_err();
        assert!(error.message().contains("prepare the statement again"), "{error}");
    }
}
