//! Flight SQL: results, open windows and the state of jobs, for analysts' tools.
//!
//! ```text
//!  client --> door ---> sql_service ---> queries ---------------> running ----> client
//!             (gRPC)    commands,        one snapshot of jobs,    one task a query:
//!                       prepared,        catalog, checked plan    deadline, memory,
//!                       metadata                                  slow clients
//!                                           |
//!                                             |  planner, in threads of its own (query_runtime)
//!                                             |  or in a process of its own (apart)
//!                          results_table  live_table  system_tables
//! ```
//!
//! It only reads: no statement but queries, no table but those of the catalog.

mod apart;
mod catalog;
mod door;
mod epochs_table;
mod error;
mod jobs_table;
mod keys;
mod layout;
mod live_scan;
mod live_table;
mod metadata;
mod parameters;
mod planner;
mod prepared;
mod presence;
mod pruning;
mod queries;
mod query_job;
mod query_runtime;
mod redacted;
mod results_table;
mod running;
mod server;
mod session;
mod settings;
mod sql_service;
mod statement;
mod stores;
mod wire;

pub use apart::{QueryProcesses, answer_queries, resident_bytes};
pub use server::serve;
pub use settings::{FlightSettings, QueryLimits, QueryProgram};
