//! Telemetry: the names of metrics, spans and logs, and the two ways out of the process.
//!
//! ```text
//!  engine, stores --> Metrics --> one set of instruments --+--> OTLP, pushed
//!                                                          +--> Prometheus text, asked for
//!  engine ----------> spans ------> tracing subscriber ----+--> OTLP, pushed
//!                                                          +--> stderr, as lines
//! ```
//!
//! It counts what the commit log says, so that metrics and records agree, and decides nothing.
//! Whoever does not ask for an exporter gets [`Metrics::off`], which counts nothing.

mod exporter;
mod gauges;
mod instruments;
mod job_metrics;
mod logs;
mod settings;
mod span;
mod store;
mod store_counts;
mod telemetry;
mod trace_context;

pub mod names;

pub use gauges::Gauges;
pub use instruments::Metrics;
pub use job_metrics::JobMetrics;
pub use settings::TelemetrySettings;
pub use span::{Step, TaskNode, count, count_epoch, count_files, count_runs, in_span};
pub use telemetry::Telemetry;
pub use trace_context::TraceContext;
