//! The service: several jobs in one process, and the doors to them: HTTP for operators, Flight SQL
//! for analysts.

mod jobs;

pub use jobs::{JobPhase, JobSnapshot, JobStatus, Jobs};
