//! The threads of the doors: what jobs and queries do holds up no answer and no probe.

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};

use super::failure::Failure;

/// They do little but pass on what others have made.
const THREADS: usize = 2;

/// Threads that answer and nothing else, until this is dropped.
pub(super) struct DoorThreads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl DoorThreads {
    pub(super) fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("door")
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The listener, watched by these threads and no others.
    pub(super) fn adopt(&self, listener: TcpListener) -> Result<TcpListener, Failure> {
        let listener = listener.into_std()?;
        let _entered = self.handle.enter();
        Ok(TcpListener::from_std(listener)?)
    }
}

impl Drop for DoorThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The process is about to end: nothing is waited for.
            runtime.shutdown_background();
        }
    }
}
