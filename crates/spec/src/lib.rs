//! Job files: YAML in, a validated [`JobSpec`] out.
//!
//! This crate owns what a job file may say, what is assumed where it says nothing, and how
//! its mistakes are told. It does not read SQL, list a location or look at data: whether the
//! SQL fits the sources is for the planner to say.
//!
//! ```text
//!  text --> yaml: tree of values, each with its line --> ${NAME} expanded in the values
//!                                                              |
//!               every problem of the file, in one go <-- job: sources, sql, sinks, settings
//!                                                              |
//!                                                           JobSpec, nothing below checks again
//! ```
//!
//! In values, `${NAME}` and `${NAME:-default}` stand for variables of the environment and
//! `$$` for a `$`, also in SQL that stands in the job file; files of SQL are taken as they are.
//!
//! ```
//! use std::path::Path;
//! use tidegauge_spec::JobSpec;
//!
//! let text = "
//! name: errors
//! sources:
//!   logs:
//!     location: ./logs/
//!     format: json
//!     schema: {ts: TIMESTAMP, level: VARCHAR}
//!     event_time: {column: ts, delay: 10s}
//! sql: INSERT INTO found SELECT * FROM logs WHERE level = 'error';
//! sinks:
//!   found: {location: ./out/found/}
//! state: {location: ./out/_state/}
//! ";
//! let job = JobSpec::parse(text, Path::new("errors.yaml"), &|_| None)?;
//! assert_eq!(job.sources[0].name, "logs");
//! # Ok::<(), tidegauge_spec::BadJob>(())
//! ```

mod advice;
mod bytes;
mod column;
mod duration;
mod epoch;
mod event_time;
mod format;
mod item;
mod job;
mod job_text;
mod late;
mod location;
mod name;
mod path_time;
mod problem;
mod report;
mod setting;
mod sink;
mod source;
mod sql;
mod state;
mod suggest;
mod yaml;

pub use bytes::parse_bytes;
pub use column::{Column, ColumnType};
pub use duration::{format_duration, parse_duration};
pub use epoch::EpochSpec;
pub use event_time::{EpochUnit, EventTimeSpec};
pub use format::{Compression, CsvOptions, Format, SinkFormat};
pub use job::{JobSpec, OnError, UsedLocation};
pub use job_text::JobText;
pub use late::LateSpec;
pub use location::Prefix;
pub use path_time::PathTime;
pub use problem::{BadJob, Problem};
pub use sink::SinkSpec;
pub use source::{DiscoveryOrder, OnChange, SourceSpec};
pub use sql::SqlText;
pub use state::StateSpec;
pub use suggest::nearest;
