//! Tidegauge: streaming anomaly detection in SQL. State is tables of immutable files, every epoch
//! is a savepoint, and the stream gives exactly what the batch query would.
//!
//! `use` points downward only: `cli -> service -> cluster -> access -> runtime -> plan -> (source | state |
//! operator | sink) -> sql`.

pub mod access;
pub mod cli;
pub mod cluster;
pub mod error;
pub mod observe;
pub mod operator;
mod packer;
pub mod plan;
pub mod runtime;
pub mod service;
pub mod sink;
pub mod source;
pub mod sql;
pub mod state;
