//! What the project promises, tested from the outside.

mod harness;
mod property;
