//! What the project promises, tested from the outside.

mod bad_input;
mod binary;
mod changed_job;
mod command_line;
mod counted_store;
mod duckdb;
mod fencing;
mod formats;
mod harness;
mod kill;
mod otlp_receiver;
mod outage;
mod process;
mod prometheus_text;
mod property;
mod proxy;
mod s3;
mod s3_server;
mod service;
mod service_process;
mod stillness;
mod stopping;
mod storm;
mod telemetry;
mod watcher;
mod workers;
