//! One partition of one cut while it runs: chunks are fed to its plan and what the plan gives is
//! kept or written.
//!
//! The plan is polled by the task that decodes, chunk by chunk, so that a decoded chunk is handed
//! to each cut in turn while it is in the processor's cache and no queue can fill up or deadlock.

use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, future};

use super::state_buffer::{Buffered, StateBuffer};
use crate::error::{Result, from_datafusion};
use crate::operator::{ChunkQueue, FailedRow};
use crate::sink::SinkWriter;
use tidegauge_commitlog::SinkFile;

/// Where a cut's rows go.
#[derive(Debug)]
pub(super) enum CutOutput {
    State(Box<StateBuffer>),
    Sink(Box<SinkWriter>),
}

/// What a cut has written in the end.
#[derive(Debug)]
pub(super) enum CutResult {
    State(Buffered),
    Sink(Vec<SinkFile>),
}

/// A running partition of a cut.
pub(super) struct CutRun {
    stream: SendableRecordBatchStream,
    queue: Option<Arc<ChunkQueue>>,
    given: Vec<RecordBatch>,
    output: CutOutput,
    is_closing: bool,
    is_finished: bool,
}

impl CutRun {
    pub(super) fn new(
        stream: SendableRecordBatchStream,
        queue: Option<Arc<ChunkQueue>>,
        output: CutOutput,
    ) -> Self {
        Self { stream, queue, given: vec![], output, is_closing: false, is_finished: false }
    }

    /// Feeds a chunk and waits until the plan has taken it; gives the rows of it of which an
    /// expression cannot be computed.
    pub(super) async fn feed(&mut self, chunk: RecordBatch) -> Result<Vec<FailedRow>> {
        if let Some(queue) = &self.queue {
            queue.push(chunk);
        }
        self.run().await?;
        Ok(self.queue.as_ref().map(|queue| queue.take_failed()).unwrap_or_default())
    }

    /// Says that no chunk follows, and takes all that the plan still gives.
    pub(super) async fn finish(mut self) -> Result<CutResult> {
        self.is_closing = true;
        if let Some(queue) = &self.queue {
            queue.close();
        }
        while !self.is_finished {
            self.run().await?;
        }
        Ok(match self.output {
            CutOutput::State(buffer) => CutResult::State(buffer.finish()),
            CutOutput::Sink(writer) => CutResult::Sink(writer.finish().await?),
        })
    }

    async fn run(&mut self) -> Result<()> {
        future::poll_fn(|cx| self.poll(cx)).await?;
        for batch in std::mem::take(&mut self.given) {
            match &mut self.output {
                CutOutput::State(buffer) => buffer.push(batch).await?,
                CutOutput::Sink(writer) => writer.write(&batch).await?,
            }
        }
        Ok(())
    }

    /// Polls the plan until it has taken every chunk or, when closing, gives a batch or its end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            let is_drained = match &self.queue {
                Some(queue) => queue.poll_drained(cx).is_ready(),
                None => true,
            };
            let may_rest = if self.is_closing { !self.given.is_empty() } else { is_drained };
            if self.is_finished || may_rest {
                return Poll::Ready(Ok(()));
            }
            match self.stream.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => {
                    if batch.num_rows() > 0 {
                        self.given.push(batch);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(from_datafusion(error))),
                Poll::Ready(None) => self.is_finished = true,
                Poll::Pending => {
                    let taken = match &self.queue {
                        Some(queue) if !self.is_closing => queue.poll_drained(cx).is_ready(),
                        _ => false,
                    };
                    return if taken { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
        }
    }
}
