//! Deterministic, realistic telemetry with labelled anomalies: flows, DNS queries, logins.
//!
//! Owns the rows, the files and the labels. Does not own detection: nothing here knows how its
//! anomalies would be found. All addresses are private or reserved for documentation and
//! benchmarks, all names end in `.example` or `.test`.
//!
//! ```text
//! Settings --> Plan:  population  hosts of tenants, weighted as Zipf has it
//!                     schedule    which rows arrive when, and in which file
//!                     anomalies   who misbehaves, how, from when to when
//!          \
//!           one file at a time, on each of a few threads, from (seed, file) alone:
//!                     normal rows of the file's minutes  \
//!                                                          merged by arrival --> JSON | Parquet
//!                     rows of the anomalies it meets     /
//! ```
//!
//! Because a file depends only on the settings and its own number, the bytes are the same
//! whatever the number of threads. Rows stand in order of arrival; an event is up to, and never
//! as much as, 10 s older than its arrival, so event times are out of order by less than 10 s.

mod anomaly;
mod error;
mod generate;
mod output;
mod population;
mod random;
mod schedule;
mod settings;
mod summary;
mod telemetry;
mod time;

pub use anomaly::Label;
pub use error::Error;
pub use generate::generate;
pub use settings::{Kind, OutputFormat, Settings};
pub use summary::Summary;

#[cfg(test)]
mod tests;
