//! Sinks: the files that a job's rows go to. They are prepared here; that they count, and when
//! they get their final names, is the commit log's to say.

mod parquet;
mod partition;

pub use parquet::{SinkTarget, SinkWriter};
