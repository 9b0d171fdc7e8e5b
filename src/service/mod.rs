//! The service: several jobs in one process, and the doors to them: HTTP for operators, Flight SQL
//! for analysts.
//!
//! ```text
//!  HTTP door ---> Host ---> Registry ---> a task a job: supervise ---> Engine
//!                  |           ^
//!                  v           | Jobs
//!             Submissions   Flight SQL door
//! ```

mod backoff;
mod host;
mod hosted;
mod jobs;
mod registry;
mod standby;
mod submissions;
mod supervisor;

pub mod flight;
pub mod http;

pub use backoff::Backoff;
pub use host::{Host, NotAccepted, NotReady};
pub use hosted::{Hosted, Origin};
pub use jobs::{JobPhase, JobSnapshot, JobStatus, Jobs};
pub use registry::{Refusal, Registry, Surroundings};
pub use submissions::Submissions;
