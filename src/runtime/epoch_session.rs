//! The session that all plans of one attempt at an epoch are made and run in. To copy one takes as
//! long as a small plan, so that there is one.

use std::ops::Deref;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionState;

/// A session and what its plans run in; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct EpochSession {
    state: Arc<SessionState>,
    task: Arc<TaskContext>,
}

impl EpochSession {
    pub(super) fn new(state: SessionState) -> Self {
        let task = state.task_ctx();
        Self { state: Arc::new(state), task }
    }

    /// What plans run in.
    pub(super) fn task(&self) -> Arc<TaskContext> {
        Arc::clone(&self.task)
    }
}

impl Deref for EpochSession {
    type Target = SessionState;

    fn deref(&self) -> &SessionState {
        &self.state
    }
}
