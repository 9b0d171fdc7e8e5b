//! What the project promises, tested from the outside.

mod bad_input;
mod command_line;
mod duckdb;
mod harness;
mod process;
mod property;
