//! The commit log of a job: epochs that happen once, on object storage, whoever crashes when.
//!
//! ```text
//!            begin            commit                    publish             maintain
//!  Attempt <------- CommitLog ------> log/<epoch>.json ---------> sink/... ---------> checkpoint/
//!     |                 ^   (create only: it happened)  (copy or rename)              garbage
//!     | names for       |
//!     v                 | recover: newest checkpoint, then the records after it
//!  runs/, _prepared/    |
//!                   JobState: what all records so far say
//! ```
//!
//! This crate owns the order in which objects are written, believed and deleted, and nothing of
//! what is in them. The rules are in [`log`](CommitLog); the crash simulation that tries to break
//! them is in `sim`.

mod attempt;
mod checkpoint;
mod clock;
mod collect;
mod error;
mod leftovers;
mod log;
mod manifest;
mod plain;
mod publish;
mod reader;
mod record;
mod recover;
mod sabotage;
mod seen;
mod segments;
mod settings;
mod state;
mod storage;
mod wire;

pub mod names;

#[cfg(test)]
mod sim;

pub use attempt::Attempt;
pub use clock::{Clock, SystemClock, VirtualClock};
pub use collect::Collected;
pub use error::{Error, ErrorKind, Result};
pub use log::{CommitLog, CommitOutcome, Maintenance};
pub use manifest::Manifest;
pub use names::LATE_SINK;
pub use plain::plain;
pub use publish::PublishOutcome;
pub use reader::{LogReader, SegmentCache, read_committed};
pub use record::{
    CommitRecord, Epoch, FORMAT_VERSION, FailedRows, FailedWhere, ParkedFile, Revisions, Run,
    SeenFile, Segment, SegmentChange, SinkFile, SourceChange, SourceRows, StageChange, StageRows,
    Tail,
};
pub use seen::{FileHash, SeenFiles, Standing};
pub use segments::is_over;
pub use settings::LogSettings;
pub use state::{JobState, SourceState, StageState};
pub use storage::{Bucket, Creation, Promotion, Storage, is_missing_bucket, open_bucket};
pub use wire::files as sink_files;
