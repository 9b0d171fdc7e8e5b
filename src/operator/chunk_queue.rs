//! The hand-over of decoded chunks from a source's scan to one cut: a queue of one producer and
//! one consumer that are polled by the same task, or by two.
//!
//! It holds the chunks of one decoded block at most, because the producer waits until every cut
//! has taken its own before it decodes the next.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use datafusion::arrow::array::RecordBatch;
use parking_lot::Mutex;

/// A row of a chunk whose expressions cannot be computed: its place, and why.
pub type FailedRow = (usize, String);

/// Chunks on their way to one partition of one cut.
#[derive(Debug, Default)]
pub struct ChunkQueue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<RecordBatch>,
    /// Whether a chunk was begun and is not done.
    begun: bool,
    failed: Vec<FailedRow>,
    closed: bool,
    consumer: Option<Waker>,
    producer: Option<Waker>,
}

impl ChunkQueue {
    /// Hands a chunk over.
    pub fn push(&self, chunk: RecordBatch) {
        let consumer = {
            let mut inner = self.inner.lock();
            inner.chunks.push_back(chunk);
            inner.consumer.take()
        };
        wake(consumer);
    }

    /// Says that no chunk comes after those that were pushed.
    pub fn close(&self) {
        let consumer = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            inner.consumer.take()
        };
        wake(consumer);
    }

    /// Whether every chunk was taken; otherwise the producer is woken when the last one is.
    pub fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.chunks.is_empty() && !inner.begun {
            return Poll::Ready(());
        }
        inner.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next chunk, or nothing after the last.
    pub fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<RecordBatch>> {
        let mut inner = self.inner.lock();
        let Some(chunk) = inner.chunks.pop_front() else {
            if inner.closed {
                return Poll::Ready(None);
            }
            inner.consumer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let producer = if inner.chunks.is_empty() { inner.producer.take() } else { None };
        drop(inner);
        wake(producer);
        Poll::Ready(Some(chunk))
    }
}

impl ChunkQueue {
    /// As [`ChunkQueue::poll_pop`], for a consumer that says when it is [`ChunkQueue::done`] with the
    /// chunk: the producer waits for that.
    pub fn poll_begin(&self, cx: &mut Context<'_>) -> Poll<Option<RecordBatch>> {
        let mut inner = self.inner.lock();
        let Some(chunk) = inner.chunks.pop_front() else {
            if inner.closed {
                return Poll::Ready(None);
            }
            inner.consumer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        inner.begun = true;
        Poll::Ready(Some(chunk))
    }

    /// Says that the chunk that was begun is taken, but for the rows of `failed`.
    pub fn done(&self, failed: Vec<FailedRow>) {
        let producer = {
            let mut inner = self.inner.lock();
            inner.begun = false;
            inner.failed.extend(failed);
            if inner.chunks.is_empty() { inner.producer.take() } else { None }
        };
        wake(producer);
    }

    /// The rows that failed since this was asked.
    pub fn take_failed(&self) -> Vec<FailedRow> {
        std::mem::take(&mut self.inner.lock().failed)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
