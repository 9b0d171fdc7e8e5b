//! Planning a job in a thread of its own: with a stack that is large enough for what nests as deep
//! as a job may, and so that neither doors nor epochs wait for it.

use tidegauge_spec::{BadJob, JobSpec};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::runtime::CompiledJob;

/// Only what is used of a stack takes memory.
const STACK_BYTES: usize = 256 << 20;

/// The job of `spec`, or what is wrong with it.
///
/// # Errors
/// When there is no thread, or it ended early.
pub(super) async fn plan_apart(spec: JobSpec) -> Result<std::result::Result<CompiledJob, BadJob>> {
    let (sender, planned) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("no thread to plan the job in: {error}; submit it again"))
            .with_source(error)
    };
    let runtime = runtime.map_err(failed)?;
    let planning = std::thread::Builder::new()
        .name("planning".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            if sender.send(runtime.block_on(CompiledJob::new(spec))).is_err() {
                tracing::debug!("who submitted a job did not wait for its plan");
            }
        });
    planning.map_err(failed)?;
    planned.await.map_err(|gone| {
        Error::bug("the job could not be planned: its planning ended early").with_source(gone)
    })
}
