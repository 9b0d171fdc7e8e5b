//! What the project promises, tested from the outside.

mod bad_input;
mod binary;
mod changed_job;
mod command_line;
mod duckdb;
mod fencing;
mod flight;
mod formats;
mod harness;
mod kill;
mod outage;
mod process;
mod property;
mod proxy;
mod s3;
mod s3_server;
mod stillness;
mod stopping;
mod storm;
mod watcher;
