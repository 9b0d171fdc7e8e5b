//! Values as this project orders and adds them, where DataFusion answers otherwise.
//!
//! ```text
//!   floats    one NaN, greater than every number, and one zero: every float of a plan is canonical,
//!             so that Arrow's order of bits is the order of values, in comparisons, groups and joins
//!   min, max  of floats and of nested values by a key that orders as the values do
//!   sum       of integers and decimals in a type that is wide enough, held to its own at the end
//! ```
//!
//! `rule.rs` puts the functions of the other files into plans, after types were settled and before
//! anything else looks at them.

mod canonical;
mod order_key;
mod rule;
mod wide_sum;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use super::folder_value::FOLDER_VALUE;

pub use canonical::{canonical_batch, holds_float};
pub use rule::ValueRule;

/// The scalar functions that plans alone use, for the registry.
pub(super) fn value_functions() -> Vec<ScalarUDF> {
    vec![
        canonical::function(),
        order_key::key_function(),
        order_key::value_function(),
        wide_sum::range_function(),
    ]
}

/// The aggregate functions that plans alone use, for the registry.
pub(super) fn value_aggregates() -> Vec<AggregateUDF> {
    vec![wide_sum::sum_function()]
}

/// The name of a function as a query has it.
pub fn function_spoken(name: &str) -> &str {
    if name == wide_sum::WIDE_SUM { "sum" } else { name }
}

/// Whether a call of this function is spoken of as its first argument.
pub fn is_bare_function(name: &str) -> bool {
    let of_values = [
        canonical::CANONICAL,
        order_key::ORDER_KEY,
        order_key::ORDER_VALUE,
        wide_sum::SUM_IN_RANGE,
    ];
    name == FOLDER_VALUE || of_values.contains(&name)
}
