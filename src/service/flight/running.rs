//! A query at work: a task of its own that ends with its rows, at its deadline, or when its client
//! goes away, whichever is first.
//!
//! ```text
//!  rows (threads or a process) --> task: at most WAITING_MAX messages wait --> Running --> client
//!                                    | ends at the deadline                      | answers then,
//!                                    v                                           v whatever the
//!                                  place and process are free                      task does
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;

use super::apart::Asked;
use super::error::QueryError;
use super::planner::Started;
use super::wire::to_wire;

/// Messages that wait for the client.
const WAITING_MAX: usize = 2;

/// A place among the queries that run.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

/// The messages of a query that runs.
pub(super) struct Running {
    events: mpsc::Receiver<Event>,
    deadline: (Instant, QueryError),
    timer: Pin<Box<Sleep>>,
    is_over: bool,
    /// Ends with this.
    task: JoinSet<()>,
}

/// What a query's task tells.
enum Event {
    Data(FlightData),
    Failed(Status),
    End,
}

impl Running {
    /// Begins to take the rows of a query in the threads that it runs in.
    pub(super) fn here(
        started: Started,
        threads: &Handle,
        permit: Permit,
        deadline: (Instant, QueryError),
    ) -> Self {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        let at = deadline.0;
        let mut task = JoinSet::new();
        let work = async move {
            // Dropped with the task, however it ends.
            let _permit = permit;
            if timeout_at(at, send_all(Box::pin(encoded(started)), &sender)).await.is_err() {
                tracing::debug!("a query was ended at its deadline");
            }
        };
        task.spawn_on(work, threads);
        Self::new(events, deadline, task)
    }

    /// Begins to take the rows of a query from the process that it runs in.
    pub(super) fn apart(asked: Asked, permit: Permit, deadline: (Instant, QueryError)) -> Self {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        let at = deadline.0;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _permit = permit;
            if timeout_at(at, send_all(Box::pin(asked.messages()), &sender)).await.is_err() {
                tracing::debug!("a query's process was ended at its deadline");
            }
        });
        Self::new(events, deadline, task)
    }

    fn new(
        events: mpsc::Receiver<Event>,
        deadline: (Instant, QueryError),
        task: JoinSet<()>,
    ) -> Self {
        let timer = Box::pin(sleep_until(deadline.0));
        Self { events, deadline, timer, is_over: false, task }
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
    type Item = Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let event = match self.events.poll_recv(context) {
            Poll::Ready(event) => event,
            Poll::Pending => {
                // The task may be where it cannot be stopped; its client is answered all the same.
                std::task::ready!(self.timer.as_mut().poll(context));
                self.task.abort_all();
                None
            }
        };
        self.is_over = !matches!(event, Some(Event::Data(_)));
        Poll::Ready(match event {
            Some(Event::Data(data)) => Some(Ok(data)),
            Some(Event::Failed(status)) => Some(Err(status)),
            Some(Event::End) => None,
            None => Some(Err(self.cut().into())),
        })
    }
}

/// The rows of a query as messages, the schema first.
pub(super) fn encoded(started: Started) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    let Started { rows, schema } = started;
    let wire = SchemaRef::clone(&schema);
    let rows = rows.filter_map(move |batch| {
        let sent = match batch {
            Ok(batch) if batch.num_rows() == 0 => None,
            Ok(batch) => Some(to_wire(&batch, &wire)),
            Err(error) => Some(Err(error)),
        };
        futures::future::ready(sent.map(|sent| {
            sent.map_err(|error| FlightError::from(Status::from(QueryError::from(error))))
        }))
    });
    FlightDataEncoderBuilder::new().with_schema(schema).build(rows).map_err(Status::from)
}

async fn send_all(
    mut messages: impl Stream<Item = Result<FlightData, Status>> + Unpin,
    sender: &mpsc::Sender<Event>,
) {
    loop {
        let event = match messages.next().await {
            None => Event::End,
            Some(Ok(data)) => Event::Data(data),
            Some(Err(status)) => Event::Failed(status),
        };
        let is_last = !matches!(event, Event::Data(_));
        // Nobody listens any more: then the task is about to be aborted.
        if sender.send(event).await.is_err() || is_last {
            return;
        }
    }
}
