//! `__order_key(x)`: a value that orders as `x` does and that `min` and `max` order rightly, and
//! `__order_value(key, like)`, which makes `x` of it again; `like` is a NULL of `x`'s type.
//!
//! ```text
//! x                        key
//! Float16/32/64            Int16/32/64: the float's bits, those of negative ones turned round
//! Struct, List             Binary: Arrow's rows, which compare as bytes
//! ```
//!
//! DataFusion's `min` of floats begins with the greatest finite number, so that the least of only
//! infinities is finite, and keeps or leaves NaN by the order of rows. Its `min` of structs has no
//! order where a field is NULL. Here NaN and NULL in a field are greater than all others, as in
//! PostgreSQL.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, PrimitiveArray,
};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type,
};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::canonical::canonical;

/// The name of the function that makes keys.
pub(super) const ORDER_KEY: &str = "__order_key";
/// The name of the function that makes values of keys.
pub(super) const ORDER_VALUE: &str = "__order_value";

/// The function that makes keys, for the registry.
pub(super) fn key_function() -> ScalarUDF {
    ScalarUDF::from(OrderKey { signature: Signature::any(1, Volatility::Immutable) })
}

/// The function that makes values of keys, for the registry.
pub(super) fn value_function() -> ScalarUDF {
    ScalarUDF::from(OrderValue { signature: Signature::any(2, Volatility::Immutable) })
}

/// The type of the keys of `data_type`; none where `min` and `max` need none.
///
/// # Errors
/// When values of the type have no order.
pub(super) fn key_type(data_type: &DataType) -> Result<Option<DataType>> {
    Ok(match data_type {
        DataType::Float64 => Some(DataType::Int64),
        DataType::Float32 => Some(DataType::Int32),
        DataType::Float16 => Some(DataType::Int16),
        nested if nested.is_nested() => {
            if !RowConverter::supports_fields(&[sort_field(nested)]) {
                return plan_err!("values of the type {nested} have no order");
            }
            Some(DataType::Binary)
        }
        _ => None,
    })
}

fn sort_field(data_type: &DataType) -> SortField {
    SortField::new_with_options(
        data_type.clone(),
        SortOptions { descending: false, nulls_first: false },
    )
}

/// The bits of canonical floats as integers that order as they do; its own inverse.
fn turned_64(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn turned_32(bits: i32) -> i32 {
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

fn turned_16(bits: i16) -> i16 {
    bits ^ (((bits >> 15) as u16) >> 1) as i16
}

fn mapped<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
    array: &ArrayRef,
    to: impl Fn(A::Native) -> B::Native,
) -> ArrayRef
where
    A::Native: ArrowNativeTypeOp,
{
    let mapped: PrimitiveArray<B> = array.as_primitive::<A>().unary(to);
    Arc::new(mapped)
}

fn keys(array: &ArrayRef) -> Result<ArrayRef> {
    type Half = <Float16Type as ArrowPrimitiveType>::Native;
    let array = canonical(array)?;
    Ok(match array.data_type() {
        DataType::Float64 => mapped::<Float64Type, Int64Type>(&array, |value: f64| {
            turned_64(value.to_bits().cast_signed())
        }),
        DataType::Float32 => mapped::<Float32Type, Int32Type>(&array, |value: f32| {
            turned_32(value.to_bits().cast_signed())
        }),
        DataType::Float16 => mapped::<Float16Type, Int16Type>(&array, |value: Half| {
            turned_16(value.to_bits().cast_signed())
        }),
        nested => {
            let converter = RowConverter::new(vec![sort_field(nested)])?;
            let rows = converter.convert_columns(&[Arc::clone(&array)])?;
            let mut keys = BinaryBuilder::with_capacity(rows.num_rows(), rows.size());
            for (at, row) in rows.iter().enumerate() {
                match array.is_valid(at) {
                    true => keys.append_value(row.as_ref()),
                    false => keys.append_null(),
                }
            }
            Arc::new(keys.finish())
        }
    })
}

fn values(keys: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    type Half = <Float16Type as ArrowPrimitiveType>::Native;
    Ok(match data_type {
        DataType::Float64 => mapped::<Int64Type, Float64Type>(keys, |key: i64| {
            f64::from_bits(turned_64(key).cast_unsigned())
        }),
        DataType::Float32 => mapped::<Int32Type, Float32Type>(keys, |key: i32| {
            f32::from_bits(turned_32(key).cast_unsigned())
        }),
        DataType::Float16 => mapped::<Int16Type, Float16Type>(keys, |key: i16| {
            Half::from_bits(turned_16(key).cast_unsigned())
        }),
        nested => {
            let Some(keys) = keys.as_binary_opt::<i32>() else {
                return plan_err!("{ORDER_VALUE} has no keys of {nested}");
            };
            nested_values(keys, nested)?
        }
    })
}

fn nested_values(keys: &BinaryArray, data_type: &DataType) -> Result<ArrayRef> {
    let converter = RowConverter::new(vec![sort_field(data_type)])?;
    // A NULL has no row of its own: it becomes one that is NULL.
    let null = converter.convert_columns(&[ScalarValue::try_from(data_type)?.to_array()?])?;
    let parser = converter.parser();
    let null = null.row(0);
    let rows = keys.iter().map(|key| parser.parse(key.unwrap_or(null.as_ref())));
    let rows: Vec<_> = rows.collect();
    let mut columns = converter.convert_rows(rows)?;
    match columns.pop() {
        Some(column) => Ok(column),
        None => plan_err!("{ORDER_VALUE} has no column of {data_type}"),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderKey {
    signature: Signature,
}

impl ScalarUDFImpl for OrderKey {
    fn name(&self) -> &str {
        ORDER_KEY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().map(key_type) {
            Some(Ok(Some(key))) => Ok(key),
            _ => plan_err!("{ORDER_KEY} takes a float, a struct or a list"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(ORDER_KEY, self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(keys(array)?)),
            [ColumnarValue::Scalar(value)] => {
                let key = ScalarValue::try_from_array(&keys(&value.to_array()?)?, 0)?;
                Ok(ColumnarValue::Scalar(key))
            }
            _ => plan_err!("{ORDER_KEY} takes one value"),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderValue {
    signature: Signature,
}

impl ScalarUDFImpl for OrderValue {
    fn name(&self) -> &str {
        ORDER_VALUE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, like] => Ok(like.clone()),
            _ => plan_err!("{ORDER_VALUE} takes a key and a NULL of the value's type"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(keys), like] => {
                Ok(ColumnarValue::Array(values(keys, &like.data_type())?))
            }
            [ColumnarValue::Scalar(key), like] => {
                let value = values(&key.to_array()?, &like.data_type())?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
            _ => plan_err!("{ORDER_VALUE} takes a key and a NULL of the value's type"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, Int64Array, StructArray};
    use datafusion::arrow::datatypes::Fields;

    #[test]
    fn keys_of_floats_order_as_the_floats_do_and_turn_back() {
        let ordered =
            [f64::NEG_INFINITY, f64::MIN, -1.0, -5e-324, 0.0, 5e-324, f64::MAX, f64::INFINITY];
        let array: ArrayRef =
            Arc::new(Float64Array::from([ordered.as_slice(), &[f64::NAN]].concat()));
        let keys = keys(&array).unwrap();
        let held = keys.as_primitive::<Int64Type>().values();
        assert!(held.windows(2).all(|pair| pair[0] < pair[1]), "{held:?}");
        let back = values(&keys, &DataType::Float64).unwrap();
        let back = back.as_primitive::<Float64Type>();
        assert_eq!(back.values()[..8], ordered);
        assert!(back.value(8).is_nan());
    }

    #[test]
    fn keys_of_structs_put_null_last_and_turn_back() {
        let fields = Fields::from(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Float64, true),
        ]);
        let a = Int64Array::from(vec![Some(1), Some(1), None, Some(7)]);
        let b = Float64Array::from(vec![Some(-0.0), None, Some(1.0), Some(1.0)]);
        let nulls = Some(vec![true, true, true, false].into());
        let columns: Vec<ArrayRef> = vec![Arc::new(a), Arc::new(b)];
        let array: ArrayRef = Arc::new(StructArray::new(fields.clone(), columns, nulls));
        let keys = keys(&array).unwrap();
        let held: Vec<Option<&[u8]>> = keys.as_binary::<i32>().iter().collect();
        assert!(held[0] < held[1] && held[1] < held[2]);
        assert_eq!(held[3], None);
        let back = values(&keys, &DataType::Struct(fields)).unwrap();
        assert_eq!(&back, &canonical(&array).unwrap());
    }
}
