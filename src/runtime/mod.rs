//! The engine: a compiled job, its epochs one after another, and what it tells about itself.
//! It alone drives the order of commit.

mod ahead;
mod assign;
mod clocks;
mod close;
mod compile;
mod cut_run;
mod doubtful;
mod engine;
mod epoch_session;
mod failures;
mod ingest;
mod keep;
mod late;
mod merger;
mod pass;
mod pending;
mod physical_text;
mod progress;
mod remote;
mod revise;
mod round;
mod run;
mod silence;
mod split;
mod stack_work;
mod stage_work;
mod state_buffer;
mod summary;
mod view;
mod watermark;
mod work;

pub(crate) use ahead::LatestTimes;
pub use compile::{CompiledJob, runtime_env};
pub(crate) use doubtful::FileRows;
pub use engine::{Engine, OpenOptions};
pub(crate) use failures::{FailedIn, Failures};
pub(crate) use late::{LateTarget, late_schema};
pub(crate) use pass::{OutputTarget, PassCut, PassPlan, PassSource, SourceReceipt, StageReceipt};
pub use physical_text::PhysicalPlans;
pub use progress::Progress;
pub use remote::{Crew, Isolating, Remote, Written};
pub(crate) use state_buffer::{Buffered, RunTarget};
pub use summary::{Summary, rfc3339};
pub use view::JobView;
