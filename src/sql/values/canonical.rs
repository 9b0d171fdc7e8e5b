//! `__canonical(x)`: the same value with the one NaN and the one zero, also inside of structs and
//! lists.
//!
//! Arrow orders and compares floats by their bits: a NaN with its sign set is less than every
//! number, and -0.0 is less than 0.0. Of canonical floats that order is the one of values, with NaN
//! greatest.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, GenericListArray, MapArray,
    OffsetSizeTrait, PrimitiveArray, RecordBatch, StructArray,
};
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Float16Type, Float32Type, Float64Type, Schema,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The function's name.
pub(super) const CANONICAL: &str = "__canonical";

/// The function, for the registry.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(Canonical { signature: Signature::any(1, Volatility::Immutable) })
}

/// Whether `data_type` is a float, or has one inside.
pub fn holds_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_float(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => holds_float(item.data_type()),
        DataType::Dictionary(_, value) => holds_float(value),
        _ => false,
    }
}

/// `batch` with canonical floats.
///
/// # Errors
/// When a column does not fit its own type, which is a defect.
pub fn canonical_batch(batch: RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let schema: &Schema = batch.schema_ref();
    if !schema.fields().iter().any(|field| holds_float(field.data_type())) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(canonical);
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    if columns.iter().zip(batch.columns()).all(|(now, before)| Arc::ptr_eq(now, before)) {
        return Ok(batch);
    }
    RecordBatch::try_new(batch.schema(), columns)
}

/// `array` with canonical floats; the same array where it has no others.
pub(super) fn canonical(array: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    if !holds_float(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        DataType::Float64 => floats::<Float64Type>(array, is_odd_64, |value| {
            if value.is_nan() { f64::NAN } else { value + 0.0 }
        }),
        DataType::Float32 => floats::<Float32Type>(array, is_odd_32, |value| {
            if value.is_nan() { f32::NAN } else { value + 0.0 }
        }),
        DataType::Float16 => {
            type Half = <Float16Type as ArrowPrimitiveType>::Native;
            let is_odd = |value: Half| {
                value.to_bits() == Half::NEG_ZERO.to_bits()
                    || (value.is_nan() && value.to_bits() != Half::NAN.to_bits())
            };
            floats::<Float16Type>(array, is_odd, |value| match value {
                value if value.is_nan() => Half::NAN,
                value if value == Half::ZERO => Half::ZERO,
                value => value,
            })
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(canonical);
            let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
            let (nulls, rows) = (array.nulls().cloned(), array.len());
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, rows)?)
        }
        DataType::List(item) => lists::<i32>(array, item)?,
        DataType::LargeList(item) => lists::<i64>(array, item)?,
        DataType::FixedSizeList(item, length) => {
            let values = canonical(array.as_fixed_size_list().values())?;
            let nulls = array.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *length, values, nulls)?)
        }
        DataType::Map(item, sorted) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = canonical(&entries)?.as_struct().clone();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(item), offsets, entries, nulls, *sorted)?)
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            dictionary.with_values(canonical(dictionary.values())?)
        }
        _ => Arc::clone(array),
    })
}

/// Whether a float has other bits than the canonical one of its value.
pub(super) fn is_odd_64(value: f64) -> bool {
    let bits = value.to_bits();
    (bits == (-0.0_f64).to_bits()) | (value.is_nan() & (bits != f64::NAN.to_bits()))
}

/// As [`is_odd_64`].
pub(super) fn is_odd_32(value: f32) -> bool {
    let bits = value.to_bits();
    (bits == (-0.0_f32).to_bits()) | (value.is_nan() & (bits != f32::NAN.to_bits()))
}

fn floats<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    is_odd: impl Fn(T::Native) -> bool,
    canonical: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let floats = array.as_primitive::<T>();
    // Without a way out of the loop, which the compiler makes wide.
    if !floats.values().iter().fold(false, |found, value| found | is_odd(*value)) {
        return Arc::clone(array);
    }
    let floats: PrimitiveArray<T> = floats.unary(canonical);
    Arc::new(floats)
}

fn lists<O: OffsetSizeTrait>(
    array: &ArrayRef,
    item: &FieldRef,
) -> std::result::Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let values = canonical(list.values())?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListArray::<O>::try_new(Arc::clone(item), offsets, values, nulls)?))
}

/// The scalar with canonical floats.
pub(super) fn canonical_scalar(value: &ScalarValue) -> Result<ScalarValue> {
    ScalarValue::try_from_array(&canonical(&value.to_array()?)?, 0)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Canonical {
    signature: Signature,
}

impl ScalarUDFImpl for Canonical {
    fn name(&self) -> &str {
        CANONICAL
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [one] => Ok(one.clone()),
            _ => plan_err!("{CANONICAL} takes one value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [one] => Ok(Arc::new(one.as_ref().clone().with_name(CANONICAL))),
            _ => plan_err!("{CANONICAL} takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(canonical(array)?)),
            [ColumnarValue::Scalar(value)] => Ok(ColumnarValue::Scalar(canonical_scalar(value)?)),
            _ => plan_err!("{CANONICAL} takes one value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float32Array, Float64Array, ListArray};
    use datafusion::arrow::datatypes::Field;

    fn bits(array: &ArrayRef) -> Vec<u64> {
        array.as_primitive::<Float64Type>().values().iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn every_nan_is_the_one_nan_and_both_zeros_are_zero() {
        let odd = [-f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), -0.0, -1.5, f64::INFINITY];
        let array: ArrayRef = Arc::new(Float64Array::from(odd.to_vec()));
        let wanted = [f64::NAN, f64::NAN, 0.0, -1.5, f64::INFINITY].map(f64::to_bits);
        assert_eq!(bits(&canonical(&array).unwrap()), wanted);
        let single: ArrayRef = Arc::new(Float32Array::from(vec![-0.0, -f32::NAN]));
        let single = canonical(&single).unwrap();
        let single = single.as_primitive::<Float32Type>().values();
        assert_eq!(single[0].to_bits(), 0);
        assert_eq!(single[1].to_bits(), f32::NAN.to_bits());
    }

    #[test]
    fn what_is_canonical_stays_the_same_array() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 0.0, -1.0]));
        assert!(Arc::ptr_eq(&array, &canonical(&array).unwrap()));
    }

    #[test]
    fn floats_inside_of_lists_and_structs_are_found() {
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(-0.0), None]),
            None,
            Some(vec![Some(-f64::NAN)]),
        ]);
        let field = Arc::new(Field::new("l", lists.data_type().clone(), true));
        let array: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::new(lists) as _)]));
        let values = canonical(&array).unwrap();
        let values = Arc::clone(values.as_struct().column(0).as_list::<i32>().values());
        assert_eq!(bits(&values)[0], 0);
        assert_eq!(bits(&values)[2], f64::NAN.to_bits());
        assert!(values.is_null(1));
    }
}
