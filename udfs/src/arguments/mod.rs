//! What the functions' arguments may be, and how a refusal reads.
//!
//! Shared by every function that takes numbers; owns no function of its own.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::ColumnarValue;

/// The types that numeric arguments are coerced to: a double each.
///
/// `usage` is how the function is called (`robust_zscore(x, median, mad)`); an argument that is
/// not numeric is refused with it, by position, naming the type found and the cast that would do.
pub(crate) fn coerce_to_doubles(usage: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    for (index, data_type) in types.iter().enumerate() {
        if !is_numeric(data_type) {
            let position = index + 1;
            return plan_err!(
                "{usage}: argument {position} is {data_type}, which is not a number; \
                 write CAST(... AS DOUBLE) if it holds one"
            );
        }
    }
    Ok(vec![DataType::Float64; types.len()])
}

/// Refuses a call whose number of arguments is not within `least` and `most`.
pub(crate) fn check_count(usage: &str, found: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
    plan_err!("{usage}: takes {wanted} arguments, not {found}")
}

/// The arguments as arrays of doubles, each of `rows` rows.
pub(crate) fn doubles(args: &[ColumnarValue], rows: usize) -> Result<Vec<Float64Array>> {
    args.iter().map(|arg| Ok(double_column(&arg.to_array(rows)?)?.clone())).collect()
}

/// `array` as doubles; it is cast when the caller's plan did not coerce it.
pub(crate) fn double_column(array: &ArrayRef) -> Result<PrimitiveArray<Float64Type>> {
    match array.as_primitive_opt::<Float64Type>() {
        Some(doubles) => Ok(doubles.clone()),
        None => Ok(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone()),
    }
}

/// `result` in the shape that constant folding wants: a scalar when every argument was one.
pub(crate) fn shaped_as(args: &[ColumnarValue], result: Float64Array) -> Result<ColumnarValue> {
    let all_scalars = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if all_scalars && !result.is_empty() {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
    }
    Ok(ColumnarValue::Array(Arc::new(result)))
}

fn is_numeric(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_numeric(values),
        other => other.is_numeric(),
    }
}
