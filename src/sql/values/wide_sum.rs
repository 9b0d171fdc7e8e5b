//! `__wide_sum(x)`: the exact sum of integers or decimals, in a type that no number of rows
//! overflows, and `__sum_in_range(sum, like, name)`, which holds it to the type that `sum` has.
//!
//! ```text
//! x                        sum and state        held to
//! Int64, UInt64            Decimal128(38, 0)    Int64, UInt64
//! Decimal32/64/128(p, s)   Decimal256(76, s)    Decimal32/64/128(min(p + 10, ...), s)
//! ```
//!
//! DataFusion's `sum` goes round at the end of its type without a word. To refuse the first sum on
//! the way that does not fit would make the answer depend on the order of rows: of 2^63 - 1, 1 and
//! -1 only some orders pass through 2^63. So the sum is exact, and its range is looked at once, above
//! the aggregate, where the row with its window and key can be named and left out.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, PrimitiveArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DecimalType, Field, FieldRef, Int64Type, UInt64Type, i256,
};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator,
    ReversedUDAF, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The name of the aggregate.
pub(super) const WIDE_SUM: &str = "__wide_sum";
/// The name of the function that holds a sum to its type.
pub(super) const SUM_IN_RANGE: &str = "__sum_in_range";

/// The aggregate, for the registry.
pub(super) fn sum_function() -> AggregateUDF {
    AggregateUDF::from(WideSum { signature: Signature::any(1, Volatility::Immutable) })
}

/// The function that holds a sum to its type, for the registry.
pub(super) fn range_function() -> ScalarUDF {
    ScalarUDF::from(SumInRange { signature: Signature::any(3, Volatility::Immutable) })
}

/// The type that holds every sum of values of `data_type`; none where `sum` is left as it is: floats
/// have infinities, and decimals of 76 digits have no wider type.
pub(super) fn wide_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int64 | DataType::UInt64 => Some(DataType::Decimal128(38, 0)),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => Some(DataType::Decimal256(76, *scale)),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WideSum {
    signature: Signature,
}

/// Calls `$with::<Input, Wide>(...)` with the types of an argument.
macro_rules! with_types {
    ($args:expr, $with:ident, $wide:expr) => {
        match $args.expr_fields.first().map(|field| field.data_type()) {
            Some(DataType::Int64) => Ok(Box::new($with::<Int64Type, Decimal128Type>::new($wide))),
            Some(DataType::UInt64) => Ok(Box::new($with::<UInt64Type, Decimal128Type>::new($wide))),
            Some(DataType::Decimal32(_, _)) => {
                Ok(Box::new($with::<Decimal32Type, Decimal256Type>::new($wide)))
            }
            Some(DataType::Decimal64(_, _)) => {
                Ok(Box::new($with::<Decimal64Type, Decimal256Type>::new($wide)))
            }
            Some(DataType::Decimal128(_, _)) => {
                Ok(Box::new($with::<Decimal128Type, Decimal256Type>::new($wide)))
            }
            other => not_impl_err!("{WIDE_SUM} of {other:?}"),
        }
    };
}

impl AggregateUDFImpl for WideSum {
    fn name(&self) -> &str {
        WIDE_SUM
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().and_then(wide_type) {
            Some(wide) => Ok(wide),
            None => plan_err!("{WIDE_SUM} takes integers or decimals, not {types:?}"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(input) = args.input_fields.first().filter(|_| args.is_distinct) else {
            let name = format_state_name(args.name, "sum");
            return Ok(vec![Arc::new(Field::new(name, args.return_type().clone(), true))]);
        };
        let name = format_state_name(args.name, "values");
        let item = Field::new_list_field(input.data_type().clone(), true);
        Ok(vec![Arc::new(Field::new_list(name, item, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let wide = args.return_field.data_type();
        if args.is_distinct {
            return with_types!(args, DistinctSum, wide);
        }
        with_types!(args, Sum, wide)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        with_types!(args, GroupSums, args.return_field.data_type())
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// A number as one of a wider type.
trait Widen<W: DecimalType>: Copy {
    fn widen(self) -> W::Native;
}

macro_rules! widen {
    ($($from:ty => $wide:ty: $with:expr,)*) => {
        $(impl Widen<$wide> for $from {
            fn widen(self) -> <$wide as ArrowPrimitiveType>::Native {
                let widen: fn($from) -> <$wide as ArrowPrimitiveType>::Native = $with;
                widen(self)
            }
        })*
    };
}

widen! {
    i64 => Decimal128Type: i128::from,
    u64 => Decimal128Type: i128::from,
    i128 => Decimal128Type: |value| value,
    i32 => Decimal256Type: |value| i256::from_i128(i128::from(value)),
    i64 => Decimal256Type: |value| i256::from_i128(i128::from(value)),
    i128 => Decimal256Type: i256::from_i128,
    i256 => Decimal256Type: |value| value,
}

fn wide_array<W: DecimalType>(
    sums: Vec<W::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> ArrayRef {
    let array = PrimitiveArray::<W>::new(ScalarBuffer::from(sums), nulls);
    Arc::new(array.with_data_type(data_type.clone()))
}

/// The sum of one group, and how many values are in it.
#[derive(Debug)]
struct Sum<I: ArrowPrimitiveType, W: DecimalType> {
    sum: W::Native,
    values: u64,
    data_type: DataType,
    input: PhantomData<fn() -> I>,
}

impl<I: ArrowPrimitiveType, W: DecimalType> Sum<I, W> {
    fn new(data_type: &DataType) -> Self {
        let sum = W::Native::default();
        Self { sum, values: 0, data_type: data_type.clone(), input: PhantomData }
    }

    fn scalar(&self) -> Result<ScalarValue> {
        if self.values == 0 {
            return ScalarValue::try_from(&self.data_type);
        }
        ScalarValue::try_from_array(&wide_array::<W>(vec![self.sum], None, &self.data_type), 0)
    }
}

impl<I, W> Accumulator for Sum<I, W>
where
    I: ArrowPrimitiveType<Native: Widen<W>> + Debug,
    W: DecimalType + Debug,
{
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in columns[0].as_primitive::<I>().iter().flatten() {
            self.sum = self.sum.add_wrapping(value.widen());
            self.values += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in columns[0].as_primitive::<I>().iter().flatten() {
            self.sum = self.sum.sub_wrapping(value.widen());
            self.values -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sum in states[0].as_primitive::<W>().iter().flatten() {
            self.sum = self.sum.add_wrapping(sum);
            self.values += 1;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.scalar()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.scalar()
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of the values of one group, each counted once.
#[derive(Debug)]
struct DistinctSum<I: ArrowPrimitiveType, W: DecimalType> {
    /// Each value, with how often it is in a frame that slides.
    values: HashMap<I::Native, u64>,
    input_type: Option<DataType>,
    data_type: DataType,
    wide: PhantomData<fn() -> W>,
}

impl<I: ArrowPrimitiveType, W: DecimalType> DistinctSum<I, W> {
    fn new(data_type: &DataType) -> Self {
        Self {
            values: HashMap::new(),
            input_type: None,
            data_type: data_type.clone(),
            wide: PhantomData,
        }
    }
}

impl<I, W> Accumulator for DistinctSum<I, W>
where
    I: ArrowPrimitiveType<Native: Widen<W> + Hash + Eq + Ord> + Debug,
    W: DecimalType + Debug,
{
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.input_type.get_or_insert_with(|| columns[0].data_type().clone());
        for value in columns[0].as_primitive::<I>().iter().flatten() {
            *self.values.entry(value).or_default() += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in columns[0].as_primitive::<I>().iter().flatten() {
            let Some(count) = self.values.get_mut(&value) else {
                return internal_err!("{WIDE_SUM}: a value leaves a frame that it is not in");
            };
            *count -= 1;
            if *count == 0 {
                self.values.remove(&value);
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut values: Vec<I::Native> = self.values.keys().copied().collect();
        values.sort_unstable();
        let input_type = self.input_type.clone().unwrap_or(match &self.data_type {
            DataType::Decimal256(_, scale) => match I::DATA_TYPE {
                DataType::Decimal32(precision, _) => DataType::Decimal32(precision, *scale),
                DataType::Decimal64(precision, _) => DataType::Decimal64(precision, *scale),
                _ => DataType::Decimal128(38, *scale),
            },
            _ => I::DATA_TYPE,
        });
        let values = PrimitiveArray::<I>::from_iter_values(values);
        let values = values.with_data_type(input_type.clone());
        let item = Arc::new(Field::new_list_field(input_type, true));
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        let list = ListArray::try_new(item, offsets, Arc::new(values), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = Sum::<I, W>::new(&self.data_type);
        for value in self.values.keys() {
            sum.sum = sum.sum.add_wrapping(value.widen());
            sum.values += 1;
        }
        sum.scalar()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * (size_of::<I::Native>() + size_of::<u64>())
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct GroupSums<I: ArrowPrimitiveType, W: DecimalType> {
    sums: Vec<W::Native>,
    /// Whether a group has any value; all have where this is absent, for a group comes with its
    /// first row.
    seen: Option<Vec<bool>>,
    data_type: DataType,
    input: PhantomData<fn() -> I>,
}

impl<I: ArrowPrimitiveType, W: DecimalType> GroupSums<I, W> {
    fn new(data_type: &DataType) -> Self {
        Self { sums: Vec::new(), seen: None, data_type: data_type.clone(), input: PhantomData }
    }

    fn add<T: ArrowPrimitiveType<Native: Widen<W>>>(
        &mut self,
        values: &PrimitiveArray<T>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) {
        let before = self.sums.len();
        self.sums.resize(total, W::Native::default());
        if values.null_count() == 0 && filter.is_none() && self.seen.is_none() {
            for (&group, &value) in groups.iter().zip(values.values()) {
                let sum = &mut self.sums[group];
                *sum = sum.add_wrapping(value.widen());
            }
            return;
        }
        let seen = self.seen.get_or_insert_with(|| vec![true; before]);
        seen.resize(total, false);
        for (row, (&group, &value)) in groups.iter().zip(values.values()).enumerate() {
            let is_wanted = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if is_wanted && values.is_valid(row) {
                self.sums[group] = self.sums[group].add_wrapping(value.widen());
                seen[group] = true;
            }
        }
    }

    fn emit(&mut self, emit_to: EmitTo) -> ArrayRef {
        let sums = emit_to.take_needed(&mut self.sums);
        let seen = self.seen.as_mut().map(|seen| emit_to.take_needed(seen));
        let nulls = seen.map(NullBuffer::from).filter(|nulls| nulls.null_count() > 0);
        if self.sums.is_empty() {
            self.seen = None;
        }
        wide_array::<W>(sums, nulls, &self.data_type)
    }
}

impl<I, W> GroupsAccumulator for GroupSums<I, W>
where
    I: ArrowPrimitiveType<Native: Widen<W>> + Debug,
    W: DecimalType<Native: Widen<W>> + Debug,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.add(values[0].as_primitive::<I>(), groups, filter, total);
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.add(values[0].as_primitive::<W>(), groups, None, total);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.emit(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<I>();
        let sums = values.values().iter().map(|value| value.widen()).collect();
        let wanted = filter.map(|filter| {
            let wanted = (0..filter.len()).map(|row| filter.is_valid(row) && filter.value(row));
            NullBuffer::from_iter(wanted)
        });
        let nulls = NullBuffer::union(values.nulls(), wanted.as_ref());
        Ok(vec![wide_array::<W>(sums, nulls, &self.data_type)])
    }

    fn size(&self) -> usize {
        let seen = self.seen.as_ref().map(Vec::capacity).unwrap_or_default();
        self.sums.capacity() * size_of::<W::Native>() + seen
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumInRange {
    signature: Signature,
}

impl ScalarUDFImpl for SumInRange {
    fn name(&self) -> &str {
        SUM_IN_RANGE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, like, _] => Ok(like.clone()),
            _ => plan_err!("{SUM_IN_RANGE} takes a sum, a NULL of its type, and its name"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [sum, like, ColumnarValue::Scalar(name)] = args.args.as_slice() else {
            return plan_err!("{SUM_IN_RANGE} takes a sum, a NULL of its type, and its name");
        };
        let (data_type, name) = (like.data_type(), name.try_as_str().flatten().unwrap_or("sum"));
        match sum {
            ColumnarValue::Array(sums) => {
                Ok(ColumnarValue::Array(in_range(sums, &data_type, name)?))
            }
            ColumnarValue::Scalar(sum) => {
                let held = in_range(&sum.to_array()?, &data_type, name)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&held, 0)?))
            }
        }
    }
}

/// `sums` as `data_type`, which must hold each of them.
fn in_range(sums: &ArrayRef, data_type: &DataType, name: &str) -> Result<ArrayRef> {
    match data_type {
        DataType::Int64 => {
            held::<Decimal128Type, Int64Type>(sums, data_type, name, |sum| i64::try_from(sum).ok())
        }
        DataType::UInt64 => {
            held::<Decimal128Type, UInt64Type>(sums, data_type, name, |sum| u64::try_from(sum).ok())
        }
        DataType::Decimal32(precision, _) => {
            let fits = digits::<Decimal32Type>(*precision, |sum| i32::try_from(sum).ok());
            held::<Decimal256Type, Decimal32Type>(sums, data_type, name, fits)
        }
        DataType::Decimal64(precision, _) => {
            let fits = digits::<Decimal64Type>(*precision, |sum| i64::try_from(sum).ok());
            held::<Decimal256Type, Decimal64Type>(sums, data_type, name, fits)
        }
        DataType::Decimal128(precision, _) => {
            let fits = digits::<Decimal128Type>(*precision, Some);
            held::<Decimal256Type, Decimal128Type>(sums, data_type, name, fits)
        }
        other => internal_err!("{SUM_IN_RANGE} cannot hold a sum to {other}"),
    }
}

/// The number of a decimal of at most `precision` digits.
fn digits<T: DecimalType>(
    precision: u8,
    narrow: impl Fn(i128) -> Option<T::Native>,
) -> impl Fn(i256) -> Option<T::Native> {
    move |sum| {
        let sum = narrow(sum.to_i128()?)?;
        T::is_valid_decimal_precision(sum, precision).then_some(sum)
    }
}

fn held<W: DecimalType, T: ArrowPrimitiveType>(
    sums: &ArrayRef,
    data_type: &DataType,
    name: &str,
    narrow: impl Fn(W::Native) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let Some(wide) = sums.as_primitive_opt::<W>() else {
        return internal_err!("{SUM_IN_RANGE} has no sums in {}", sums.data_type());
    };
    let mut values = Vec::with_capacity(wide.len());
    for (row, &sum) in wide.values().iter().enumerate() {
        values.push(match narrow(sum) {
            Some(value) => value,
            None if wide.is_null(row) => T::Native::default(),
            None => {
                let sum = wide.value_as_string(row);
                let spoken = spoken_type(data_type);
                return exec_err!("{name} is {sum}, which {spoken} cannot hold");
            }
        });
    }
    let values = PrimitiveArray::<T>::new(ScalarBuffer::from(values), wide.nulls().cloned());
    Ok(Arc::new(values.with_data_type(data_type.clone())))
}

fn spoken_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Int64 => "a BIGINT".to_owned(),
        DataType::UInt64 => "an unsigned BIGINT".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => format!("a DECIMAL({precision}, {scale})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
