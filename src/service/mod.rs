//! The service: several jobs in one process, and the doors to them: HTTP for operators, Flight SQL
//! for analysts.

pub mod flight;
mod jobs;

pub use jobs::{JobPhase, JobSnapshot, JobStatus, Jobs};
