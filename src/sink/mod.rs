//! Sinks: the files that a job's rows go to. They are prepared here; that they count, and when
//! they get their final names, is the commit log's to say.

mod gather;
mod nan;
mod parquet;
mod partition;
mod read;
mod spread;
mod streams;
mod task_files;
mod writer;

pub(crate) use read::partition_values;
pub use read::{read_all, read_published};
pub use spread::spread;
pub use streams::write_streams;
pub use task_files::TaskFiles;
pub use writer::{SinkTarget, SinkWriter};
