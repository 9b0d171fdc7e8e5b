//! SQL `entropy(x)`: Shannon entropy of a column's values, in bits, exact.
//!
//! The formula is [`math::entropy_bits`]; this file counts distinct values of any type, which it
//! knows by their row encoding (arrow-row).
//!
//! ```text
//! update_batch  x: T                       count + 1 for each value that is not NULL
//! state         [List<T>, List<Int64>]     values, sorted by their encoding, and their counts
//! merge_batch   [List<T>, List<Int64>]     count + count for each value
//! evaluate      Float64                    from the sorted counts: no trace of the merging order
//! ```

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, IntervalUnit};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::aggregate_doc_sections::DOC_SECTION_STATISTICAL;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
};

use self::canonical::canonical;
use crate::arguments::check_count;
use crate::math;

mod canonical;

const USAGE: &str = "entropy(x)";

/// Aggregate `entropy(x)`: values of any type that can be compared in, bits as a double out.
///
/// `-sum(p * log2(p))` over the shares p of the distinct values (Shannon 1948). NULLs are ignored;
/// 0 for one distinct value, `log2(n)` for n equally frequent ones, NULL when there is no value.
/// Values are distinct as GROUP BY tells them apart: 0.0 and -0.0 are one value, and all NaN are.
/// `entropy(DISTINCT x)` is `log2(count(DISTINCT x))`.
///
/// Keeps one encoded copy of each distinct value; maps, unions and intervals are refused.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Entropy {
    signature: Signature,
}

impl Default for Entropy {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Entropy {
    fn name(&self) -> &str {
        "entropy"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(USAGE, types.len(), 1, 1)?;
        types.iter().map(counted_type).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = DataType::List(value_field(args.input_fields[0].data_type()));
        let counts = DataType::List(count_field());
        let field = |part, data_type| {
            Arc::new(Field::new(format_state_name(args.name, part), data_type, true))
        };
        Ok(vec![field("values", values), field("counts", counts)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let data_type = args.expr_fields[0].data_type();
        Ok(Box::new(EntropyAccumulator::new(data_type, args.is_distinct)?))
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
        "Shannon entropy, in bits, of the distribution of a column's values. NULLs are ignored; \
         0 when all values are equal.",
        USAGE,
    )
    .with_argument("x", "A value of any type but maps, unions and intervals")
    .build()
});

/// The type that values of `data_type` are counted and kept as: one that Parquet can hold.
fn counted_type(data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Null => Ok(DataType::Boolean),
        DataType::Dictionary(_, values) => counted_type(values),
        DataType::RunEndEncoded(_, values) => counted_type(values.data_type()),
        other if is_countable(other) => Ok(other.clone()),
        other => plan_err!(
            "{USAGE}: values of type {other} cannot be counted; give a column or a field of a \
             plain type, or CAST(... AS VARCHAR)"
        ),
    }
}

fn is_countable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) | DataType::Union(..) | DataType::ListView(_) => false,
        DataType::LargeListView(_) | DataType::RunEndEncoded(..) => false,
        DataType::Interval(unit) => *unit != IntervalUnit::MonthDayNano,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            is_countable(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_countable(field.data_type())),
        // arrow-row would give the values' type back, not the dictionary's.
        DataType::Dictionary(..) => false,
        _ => true,
    }
}

#[derive(Debug)]
struct EntropyAccumulator {
    data_type: DataType,
    rows: RowConverter,
    /// From a value's row encoding to how often it was seen, 1 or more.
    counts: HashMap<Box<[u8]>, i64>,
    /// Bytes of all keys, kept so that `size` need not visit them.
    key_bytes: usize,
    is_distinct: bool,
}

impl Accumulator for EntropyAccumulator {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let ones = std::iter::repeat(1);
        self.add(&columns[0], ones)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (Some(values), Some(counts)) =
            (states[0].as_list_opt::<i32>(), states[1].as_list_opt::<i32>())
        else {
            return internal_err!("entropy: a state is not a list of values and one of counts");
        };
        for (values, counts) in values.iter().zip(counts.iter()) {
            let (Some(values), Some(counts)) = (values, counts) else {
                continue;
            };
            let counts = counts.as_primitive::<Int64Type>();
            if values.len() != counts.len() {
                return internal_err!("entropy: a state has not one count for each value");
            }
            self.add(&values, counts.values().iter().copied())?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut entries: Vec<(Box<[u8]>, i64)> = self.counts.drain().collect();
        self.counts = HashMap::new();
        self.key_bytes = 0;
        entries.sort_unstable();
        let parser = self.rows.parser();
        let encoded = entries.iter().map(|(value, _)| parser.parse(value));
        let values = self.rows.convert_rows(encoded)?.swap_remove(0);
        let counts = entries.iter().map(|(_, count)| *count);
        let counts: Int64Array = counts.collect();
        Ok(vec![
            list_of(value_field(&self.data_type), values)?,
            list_of(count_field(), Arc::new(counts))?,
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let of_interest = |count: &i64| {
            if self.is_distinct { 1 } else { count.unsigned_abs() }
        };
        let mut counts: Vec<u64> = self.counts.values().map(of_interest).collect();
        Ok(ScalarValue::Float64(math::entropy_bits(&mut counts)))
    }

    fn size(&self) -> usize {
        // One byte of control for each slot beside the entry itself (hashbrown).
        let slot_bytes = size_of::<(Box<[u8]>, i64)>() + 1;
        let table_bytes = self.counts.capacity() * slot_bytes;
        let converter_bytes = self.rows.size() - size_of::<RowConverter>();
        size_of_val(self) + table_bytes + self.key_bytes + converter_bytes
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let minus_ones = std::iter::repeat(-1);
        self.add(&columns[0], minus_ones)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

impl EntropyAccumulator {
    fn new(data_type: &DataType, is_distinct: bool) -> Result<Self> {
        Ok(Self {
            data_type: data_type.clone(),
            rows: RowConverter::new(vec![SortField::new(data_type.clone())])?,
            counts: HashMap::new(),
            key_bytes: 0,
            is_distinct,
        })
    }

    /// Adds each change to its value's count; a value whose count falls to 0 is forgotten.
    fn add(&mut self, values: &ArrayRef, changes: impl Iterator<Item = i64>) -> Result<()> {
        let values = canonical(values);
        let nulls = values.logical_nulls();
        let rows = self.rows.convert_columns(&[values])?;
        for (index, (row, change)) in rows.iter().zip(changes).enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(index)) {
                continue;
            }
            self.add_one(row.as_ref(), change)?;
        }
        Ok(())
    }

    fn add_one(&mut self, value: &[u8], change: i64) -> Result<()> {
        let Some(count) = self.counts.get_mut(value) else {
            if change < 1 {
                return internal_err!("entropy: a value leaves a frame that it is not in");
            }
            self.key_bytes += value.len();
            self.counts.insert(value.into(), change);
            return Ok(());
        };
        match count.checked_add(change) {
            None => return exec_err!("entropy: more than {} equal values", i64::MAX),
            Some(changed) => *count = changed,
        }
        if *count < 1 {
            self.counts.remove(value);
            self.key_bytes -= value.len();
        }
        Ok(())
    }
}

/// A list of one row that holds all of `values`.
fn list_of(field: FieldRef, values: ArrayRef) -> Result<ScalarValue> {
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    let list = ListArray::try_new(field, offsets, values, None)?;
    Ok(ScalarValue::List(Arc::new(list)))
}

fn value_field(data_type: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type.clone(), true))
}

fn count_field() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Int64, true))
}

#[cfg(test)]
mod tests;
