//! stub
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
/// stub
pub fn all_scalars() -> Vec<ScalarUDF> { vec![] }
/// stub
pub fn all_aggregates() -> Vec<AggregateUDF> { vec![] }
/// stub
pub const VERSION: &str = "0";
