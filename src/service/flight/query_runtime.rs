//! The threads that statements are parsed, planned, run and dropped in where they have no process of
//! their own. Their stacks are large, so that what nests as deep as a statement may fits; doors and
//! jobs have other threads, so that a query that never yields holds up none of them.

use datafusion::common::DataFusionError;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

use super::error::QueryError;

/// Only what is used of a stack takes memory.
pub(super) const STACK_BYTES: usize = 256 << 20;
/// More threads than this do not make queries faster than they make jobs slower.
const THREADS_MAX: usize = 4;

/// Threads for queries.
#[derive(Debug)]
pub(super) struct QueryRuntime {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl QueryRuntime {
    /// Starts the threads.
    pub(super) fn new() -> Result<Self, QueryError> {
        let runtime = runtime()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs `work` there. It ends, where it yields at all, when this is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<T, QueryError> {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, &self.handle);
        match tasks.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => {
                tracing::error!(%error, "a query's task ended early");
                Err(QueryError::internal(
                    "the query stopped for a reason that is in the server's log; report it",
                ))
            }
            None => Err(QueryError::internal("the query was never begun; report it")),
        }
    }

    /// Where to run more of the same.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A thread that never yields is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// A runtime of threads with large stacks.
pub(super) fn runtime() -> Result<Runtime, QueryError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .thread_name("query")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| DataFusionError::IoError(error).into())
}
