//! Workers: an epoch's plans run on other machines through `datafusion-distributed`.
//!
//! ```text
//!  coordinator                                   worker 1              worker 2
//!  epoch -> Crew -- plan, cut into stages -----> IngestExec: files     IngestExec: other files
//!             ^                                      |   \-- runs ---------> state
//!             '------------ receipts ----------------'
//!  epoch -> Crew -------------------------------> StateScan -> shuffle -> aggregate -> SinkExec
//! ```
//!
//! A worker keeps nothing: what it writes is named in its receipt, and counts once the
//! coordinator has committed it. Losing one fails the attempt, and the epoch is tried again on
//! those that are left.

mod address;
mod channel;
mod codec;
mod crew;
mod ingest_exec;
mod leaf;
mod placement;
mod planner;
mod receipt;
mod sink_exec;
mod spec;
mod state_exec;
mod task;
mod worker;

pub use address::WorkerList;
pub use channel::{WorkerAccess, engine_version};
pub use crew::Cluster;
pub use worker::{WorkerSettings, serve};
