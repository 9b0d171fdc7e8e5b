//! The state of stages as tables: runs of partial aggregates, what a plan sees of them, and the
//! cache of recent ones. Which runs belong to a stage is decided by the commit log.

mod part;
mod run_cache;
mod run_file;
mod run_writer;
pub mod stacks;
mod state_view;
mod tiers;

pub use part::{KeyRange, PartSlice, StatePart};
pub use run_cache::RunCache;
pub use run_file::{
    SESSION_FIRST, SESSION_LAST, read_run, session_time_min, start_range, write_run,
};
pub use run_writer::RunWriter;
pub use state_view::{StateShape, StateView, starts_of};
pub use tiers::{RunSize, Tiers};
