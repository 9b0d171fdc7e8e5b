//! What a task tells its coordinator: one row with what it wrote, or with the error and its kind,
//! which would not survive the way as an error.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result as PlanResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Future, StreamExt, stream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::{Run, SinkFile, SourceRows, StageRows};

use crate::error::{Error, ErrorKind, Result, to_datafusion};
use crate::operator::Reported;
use crate::runtime::{Failures, FileRows, LatestTimes};

static SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("receipt", DataType::Utf8, false)])));

#[derive(Debug, Serialize, Deserialize)]
enum Receipt<T> {
    Done(T),
    Failed { kind: ErrorKind, message: String, causes: Vec<String> },
}

/// What one task of a pass gave.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct IngestReceipt {
    pub(super) rows: SourceRows,
    pub(super) times: LatestTimes,
    pub(super) file_rows: FileRows,
    /// By stage.
    pub(super) stages: Vec<(String, StageRows, Vec<Run>)>,
    #[serde(with = "tidegauge_commitlog::sink_files")]
    pub(super) files: Vec<SinkFile>,
    /// The rows that the pass left out.
    pub(super) failed: Failures,
    /// The rows that the plan of a feed left out.
    pub(super) reported: Reported,
}

/// The schema of receipts.
pub(super) fn receipt_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The stream of a node that does `work` and gives its receipt.
pub(super) fn receipt_stream<T: Serialize>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> SendableRecordBatchStream {
    let row = stream::once(async move { encode(work.await) });
    Box::pin(RecordBatchStreamAdapter::new(receipt_schema(), row))
}

fn encode<T: Serialize>(done: Result<T>) -> PlanResult<RecordBatch> {
    let receipt = match done {
        Ok(done) => Receipt::Done(done),
        Err(error) => Receipt::Failed {
            kind: error.kind(),
            message: error.message().to_owned(),
            causes: causes(&error),
        },
    };
    let text = serde_json::to_string(&receipt)
        .map_err(|error| to_datafusion(Error::bug("a receipt is no JSON").with_source(error)))?;
    Ok(RecordBatch::try_new(receipt_schema(), vec![Arc::new(StringArray::from(vec![text]))])?)
}

fn causes(error: &Error) -> Vec<String> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source()).map(ToString::to_string).collect()
}

/// All receipts of a plan; the first failure among them is the failure of the whole.
pub(super) async fn collect<T: DeserializeOwned>(
    mut rows: SendableRecordBatchStream,
) -> Result<Vec<T>> {
    let mut receipts = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(crate::error::from_datafusion)?;
        let texts = batch.column(0).as_string::<i32>();
        for text in texts.iter().flatten() {
            receipts.push(decode(text)?);
        }
    }
    Ok(receipts)
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T> {
    let receipt: Receipt<T> = serde_json::from_str(text)
        .map_err(|error| Error::bug("a worker's receipt cannot be read").with_source(error))?;
    match receipt {
        Receipt::Done(done) => Ok(done),
        Receipt::Failed { kind, message, causes } => {
            let error = Error::new(kind, message);
            Err(match causes.is_empty() {
                true => error,
                false => error.with_source(causes.join(": ")),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_keeps_its_kind_message_and_cause() {
        let failed = async {
            let cause = std::io::Error::other("disk is gone");
            Err::<IngestReceipt, _>(Error::bad_record("a.json:3: no number").with_source(cause))
        };
        let error = collect::<IngestReceipt>(receipt_stream(failed)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord);
        assert_eq!(error.message(), "a.json:3: no number");
        assert_eq!(causes(&error), ["disk is gone"]);
    }
}
