//! SQL `mad(x)`: the median absolute deviation, exact.
//!
//! The mathematics is [`math::mad`]; this file keeps the values of a group until it is asked for.
//!
//! ```text
//! update_batch  x: Float64           append what is not NULL and not NaN, in order of arrival
//! state         [List<Float64>]      all of them: a list per group
//! merge_batch   [List<Float64>]      append every list
//! evaluate      Float64              of a copy, so that it can be asked again after more rows
//! ```

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::aggregate_doc_sections::DOC_SECTION_STATISTICAL;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
};

use crate::arguments::{check_count, coerce_to_doubles, double_column};
use crate::math;

const USAGE: &str = "mad(x)";

/// Aggregate `mad(x)`: any number in, a double in the same unit out.
///
/// `median(|x - median(x)|)` (Hampel 1974), raw: multiply by 1.4826 for the standard deviation of
/// normal values. The median of an even number of values is the mean of the two middle ones. NULL
/// and NaN are not values and are ignored; NULL when there is no value, and when the middle lies
/// between the two infinities. `mad(DISTINCT x)` counts each value once; 0.0 and -0.0 are one.
///
/// Keeps 8 bytes a value and takes O(n) to evaluate; over a frame that grows or slides by a row,
/// O(n) for each row.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Mad {
    signature: Signature,
}

impl Default for Mad {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Mad {
    fn name(&self) -> &str {
        "mad"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(USAGE, types.len(), 1, 1)?;
        coerce_to_doubles(USAGE, types)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "values");
        Ok(vec![Arc::new(Field::new(name, DataType::List(item_field()), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(MadAccumulator { values: Vec::new(), is_distinct: args.is_distinct }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_STATISTICAL,
        "Median absolute deviation, median(|x - median(x)|), exact and not scaled. NULL and NaN \
         are ignored.",
        USAGE,
    )
    .with_argument("x", "A number")
    .with_related_udf("robust_zscore")
    .build()
});

#[derive(Debug)]
struct MadAccumulator {
    /// Neither NaN nor -0.0, and in order of arrival: what leaves a sliding frame is then found
    /// at the front.
    values: Vec<f64>,
    is_distinct: bool,
}

impl Accumulator for MadAccumulator {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.append(&double_column(&columns[0])?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states[0].as_list_opt::<i32>() else {
            return internal_err!("mad: state is {}, not a list", states[0].data_type());
        };
        for list in lists.iter().flatten() {
            self.append(&double_column(&list)?)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.of_interest();
        self.values = Vec::new();
        let list = ListArray::try_new(
            item_field(),
            OffsetBuffer::from_lengths([values.len()]),
            Arc::new(Float64Array::from(values)),
            None,
        )?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(math::mad(&mut self.of_interest())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in numbers(&double_column(&columns[0])?) {
            let Some(index) = self.values.iter().position(|kept| *kept == value) else {
                return internal_err!("mad: {value} leaves a frame that it is not in");
            };
            self.values.remove(index);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

impl MadAccumulator {
    fn append(&mut self, column: &Float64Array) -> Result<()> {
        // A state's list has 32-bit offsets; refused here, before the memory is spent.
        if self.values.len() + column.len() > i32::MAX as usize {
            return exec_err!("mad: more than {} values in one group", i32::MAX);
        }
        self.values.extend(numbers(column));
        Ok(())
    }

    /// A copy of the values that count: each once if DISTINCT.
    fn of_interest(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        if self.is_distinct {
            values.sort_unstable_by(f64::total_cmp);
            values.dedup();
        }
        values
    }
}

/// What is neither NULL nor NaN, with -0.0 as 0.0.
fn numbers(column: &Float64Array) -> impl Iterator<Item = f64> {
    let is_number = |value: &f64| !value.is_nan();
    column.iter().flatten().filter(is_number).map(|value| value + 0.0)
}

fn item_field() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, true))
}

#[cfg(test)]
mod tests;
