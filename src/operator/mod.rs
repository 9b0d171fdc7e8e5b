//! The engine's own nodes of physical plans: the leaf that a stream's chunks come through, the
//! leaf that reads a stage's state, what makes sessions of it, what merges it window by window, and
//! what leaves out rows, and pairs of rows, whose expressions cannot be computed.

mod chunk_queue;
mod chunk_scan;
mod compact;
mod fallible;
mod guarded_join;
mod isolate_exec;
mod key_ranges;
mod leaf;
mod order;
mod row_report;
mod running_exec;
mod session_exec;
mod state_scan;

pub use chunk_queue::{ChunkQueue, FailedRow};
pub use chunk_scan::{ChunkScan, StreamTable};
pub use compact::compacted_rows;
pub use fallible::expr_may_fail;
pub use guarded_join::GuardedJoinExec;
pub use isolate_exec::{
    BatchLeaf, IsolateExec, Isolation, error_text, is_of_values, isolated, isolated_over_chunks,
};
pub(crate) use leaf::{leaf_methods, no_expressions};
pub(crate) use order::{by_first_column, few_by_first_column};
pub use row_report::{ColumnName, Policy, Reported, RowNames, RowReports};
pub use running_exec::{RunningExec, RunningMerge};
pub use session_exec::{SessionExec, SessionLayout};
pub use state_scan::{StateInput, StateScan};
