//! From a job's queries to what each epoch runs: the cut into stages, the ingest plan of each
//! source and the close plan of each query. It plans; it does no I/O.

mod blank;
mod cut;
mod explain;
mod feed;
mod fingerprint;
mod held_settings;
mod identity;
mod input;
mod isolate;
mod job_plan;
mod lift;
mod lineage;
mod nature;
mod nested_time;
mod nodes;
mod output;
mod physical;
mod query;
mod refuse;
mod rows_stage;
mod session_stage;
mod spoken;
mod stage;
mod stream;
mod subqueries;
mod template;
mod window_choice;
mod window_values;

pub use explain::{
    ClockOutline, Explanation, Reads, SinkOutline, SourceOutline, StageOutline, StateOutline,
    WindowOutline,
};
pub use feed::Feed;
pub use fingerprint::{Differences, differences, fingerprint, in_parts};
pub use held_settings::held_settings;
pub use input::Input;
pub use job_plan::{JobPlan, SinkTable, SourceTable, Unit};
pub use physical::{CutInput, CutTarget, IngestCut};
pub(crate) use query::REVISION;
pub use query::{Query, utc_type};
pub use stage::{SessionKeys, Stage};
