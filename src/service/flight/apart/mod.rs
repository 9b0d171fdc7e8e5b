//! Queries in processes of their own, which die alone.
//!
//! ```text
//!  service                                          child, at a lower priority
//!  Queries --> Pool: a child for each query  ---->  answer_queries: one question after another
//!               |    (kept for the next one)  <----  messages of Flight, or an error
//!               v
//!             Keeper: a thread that looks at each child every few milliseconds, and ends those
//!                     that hold too much memory or are past their deadline
//! ```
//!
//! A child is sent all that it needs to know: the statement, the jobs of one moment and how each
//! fares. It ends when the service does, for then its socket closes.

mod child;
mod keeper;
mod message;
mod pool;

pub use child::answer_queries;
pub use keeper::{QueryProcesses, resident_bytes};
pub(super) use pool::{Asked, Pool};
