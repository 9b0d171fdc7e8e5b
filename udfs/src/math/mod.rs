//! The mathematics of the functions: plain Rust on `f64` and counts.
//!
//! Knows neither Arrow nor SQL. `None` stands for an answer that is not defined (SQL's NULL);
//! no function here fails or panics, whatever the numbers.

mod anomaly_grade;
mod entropy;
mod mad;
mod robust_zscore;

pub use anomaly_grade::anomaly_grade;
pub use entropy::entropy_bits;
pub use mad::{mad, median};
pub use robust_zscore::{CONSTANT_POPULATION_ZSCORE_MAX, robust_zscore};
