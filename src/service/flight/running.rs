//! A query at work: a task of its own that ends with its rows, at its deadline, or when its client
//! goes away, whichever is first. Its memory and its place among the queries are free at once.

use std::pin::Pin;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::error::QueryError;
use super::wire::to_wire;

/// Batches that wait for the client.
const WAITING_MAX: usize = 2;

/// The rows of a query that runs.
pub(super) struct Running {
    schema: SchemaRef,
    events: mpsc::Receiver<Event>,
    deadline: (Instant, QueryError),
    is_over: bool,
    /// Ends with this.
    _task: JoinSet<()>,
}

enum Event {
    Rows(RecordBatch),
    Failed(QueryError),
    End,
}

impl Running {
    /// Begins to take `rows`, which are sent with `schema`.
    pub(super) fn start(
        rows: SendableRecordBatchStream,
        schema: SchemaRef,
        permit: OwnedSemaphorePermit,
        deadline: (Instant, QueryError),
    ) -> Self {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        let (at, wire) = (deadline.0, SchemaRef::clone(&schema));
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Dropped with the task, however it ends.
            let _permit = permit;
            if timeout_at(at, send_all(rows, &wire, &sender)).await.is_err() {
                tracing::debug!("a query was ended at its deadline");
            }
        });
        Self { schema, events, deadline, is_over: false, _task: task }
    }

    /// The columns of its rows.
    pub(super) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// Why a task ended without saying so.
    fn cut(&self) -> QueryError {
        let (at, error) = &self.deadline;
        match Instant::now() >= *at {
            true => error.clone(),
            false => QueryError::internal(
                "the query stopped for a reason that is in the server's log; report it",
            ),
        }
    }
}

impl Stream for Running {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Poll::Ready(event) = self.events.poll_recv(context) else { return Poll::Pending };
        self.is_over = !matches!(event, Some(Event::Rows(_)));
        Poll::Ready(match event {
            Some(Event::Rows(rows)) => Some(Ok(rows)),
            Some(Event::Failed(error)) => Some(Err(error)),
            Some(Event::End) => None,
            None => Some(Err(self.cut())),
        })
    }
}

async fn send_all(
    mut rows: SendableRecordBatchStream,
    schema: &SchemaRef,
    sender: &mpsc::Sender<Event>,
) {
    loop {
        let event = match rows.next().await {
            None => Event::End,
            Some(Ok(batch)) if batch.num_rows() == 0 => continue,
            Some(batch) => match batch.and_then(|batch| to_wire(&batch, schema)) {
                Ok(batch) => Event::Rows(batch),
                Err(error) => Event::Failed(error.into()),
            },
        };
        let is_last = !matches!(event, Event::Rows(_));
        // Nobody listens any more: then the task is about to be aborted.
        if sender.send(event).await.is_err() || is_last {
            return;
        }
    }
}
