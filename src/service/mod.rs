//! The service: several jobs in one process, and the doors to them: HTTP for operators, Flight SQL
//! for analysts.
//!
//! ```text
//!  HTTP door ---> Host ---> Registry ---> a task a job: supervise ---> Engine
//!                  |           ^
//!                  v           | Jobs
//!             Submissions   Flight SQL door
//! ```

mod admission;
mod backoff;
mod host;
mod hosted;
mod jobs;
mod memory_watch;
mod planning;
mod registry;
mod standby;
mod submissions;
mod supervisor;

pub mod flight;
pub mod http;

pub use admission::{Ceilings, SubmitRules};
pub use backoff::Backoff;
pub use host::{Host, NotAccepted, NotReady};
pub use hosted::{Hosted, Origin};
pub use jobs::{JobPhase, JobSnapshot, JobStatus, Jobs};
pub use memory_watch::{MemoryBound, watch_memory};
pub use registry::{Refusal, Registry, Surroundings};
pub use submissions::Submissions;
