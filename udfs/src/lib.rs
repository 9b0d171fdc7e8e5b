//! SQL functions for anomaly detection, for DataFusion.
//!
//! Owns what detections are scored with: one file per SQL function, named as it, which knows
//! Arrow and DataFusion, over [`math`], which knows neither. Does not own windows, state files
//! or jobs: an aggregate's state is plain Arrow columns, and whoever runs the plan keeps them.
//!
//! ```text
//! SQL name      kind       answers                                        state
//! mad           aggregate  spread of a population, robust to outliers     List<Float64>
//! entropy       aggregate  how evenly a population's values are spread    List<T>, List<Int64>
//! robust_zscore scalar     distance of one member from its population     -
//! anomaly_grade scalar     that distance as a grade of 0 to 100           -
//! ```

pub mod anomaly_grade;
mod arguments;
pub mod entropy;
pub mod mad;
pub mod math;
pub mod robust_zscore;

#[cfg(test)]
mod testing;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// Version of the functions' results and states, for fingerprints: it grows when a function
/// answers differently for the same rows, or when a state of an older version cannot be merged.
pub const VERSION: &str = "1";

/// Adds every function of this crate to `context`, replacing functions of the same name.
pub fn register_all(context: &SessionContext) {
    for scalar in all_scalars() {
        context.register_udf(scalar);
    }
    for aggregate in all_aggregates() {
        context.register_udaf(aggregate);
    }
}

/// The scalar functions, for building a session state without a [`SessionContext`].
pub fn all_scalars() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::new_from_impl(anomaly_grade::AnomalyGrade::default()),
        ScalarUDF::new_from_impl(robust_zscore::RobustZscore::default()),
    ]
}

/// The aggregate functions; each can be used with GROUP BY, FILTER, DISTINCT and OVER.
pub fn all_aggregates() -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::new_from_impl(entropy::Entropy::default()),
        AggregateUDF::new_from_impl(mad::Mad::default()),
    ]
}
