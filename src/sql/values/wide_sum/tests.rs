//! Sums in any order and any cut, and what is said of those that do not fit.

use datafusion::arrow::array::{Decimal128Array, Decimal256Array, Int64Array};

use super::*;

const WIDE: DataType = DataType::Decimal128(38, 0);

fn groups() -> GroupSums<Int64Type, Decimal128Type> {
    GroupSums::new(&WIDE)
}

#[test]
fn a_sum_that_overflows_on_the_way_is_right_in_the_end() {
    let mut one = groups();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1, -1, i64::MAX]));
    one.update_batch(&[Arc::clone(&values)], &[0, 0, 0, 1], None, 2).unwrap();
    let state = one.state(EmitTo::All).unwrap();
    let mut other = groups();
    other.merge_batch(&state, &[1, 0], 2).unwrap();
    other.merge_batch(&state, &[2, 2], 3).unwrap();
    let sums = other.evaluate(EmitTo::All).unwrap();
    let sums = sums.as_primitive::<Decimal128Type>();
    let max = i128::from(i64::MAX);
    let wanted = [Some(max), Some(max), Some(2 * max)];
    assert_eq!(sums.iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn nulls_and_rows_outside_of_the_filter_are_not_added() {
    let mut sums = groups();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
    let filter = BooleanArray::from(vec![Some(true), Some(true), Some(false), None]);
    sums.update_batch(&[values], &[0, 1, 0, 2], Some(&filter), 3).unwrap();
    let sums = sums.evaluate(EmitTo::All).unwrap();
    let sums: Vec<_> = sums.as_primitive::<Decimal128Type>().iter().collect();
    assert_eq!(sums, [Some(1), None, None]);
}

#[test]
fn a_state_made_of_rows_merges_as_the_rows_do() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(7)]));
    let filter = BooleanArray::from(vec![true, true, false]);
    let state = groups().convert_to_state(&[values], Some(&filter)).unwrap();
    let mut sums = groups();
    sums.merge_batch(&state, &[0, 0, 0], 1).unwrap();
    let sums = sums.evaluate(EmitTo::All).unwrap();
    assert_eq!(sums.as_primitive::<Decimal128Type>().value(0), 5);
}

#[test]
fn a_sum_out_of_range_is_an_error_with_its_name_and_value() {
    let sum = i128::from(i64::MAX) + 1;
    let sums: ArrayRef = Arc::new(
        Decimal128Array::from(vec![Some(1), None, Some(sum)])
            .with_precision_and_scale(38, 0)
            .unwrap(),
    );
    let error = in_range(&sums, &DataType::Int64, "sum(bytes)").unwrap_err();
    let wanted = "sum(bytes) is 9223372036854775808, which a BIGINT cannot hold";
    assert!(error.to_string().contains(wanted), "{error}");
    let fits = in_range(&sums.slice(0, 2), &DataType::Int64, "sum(bytes)").unwrap();
    assert_eq!(fits.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None]);
}

#[test]
fn a_decimal_is_held_to_its_digits() {
    let sums = vec![i256::from_i128(99_999), i256::from_i128(-100_000)];
    let sums: ArrayRef =
        Arc::new(Decimal256Array::from(sums).with_precision_and_scale(76, 2).unwrap());
    let to = DataType::Decimal128(5, 2);
    assert!(in_range(&sums.slice(0, 1), &to, "s").is_ok());
    let error = in_range(&sums, &to, "s").unwrap_err().to_string();
    assert!(error.contains("s is -1000.00, which a DECIMAL(5, 2) cannot hold"), "{error}");
}

#[test]
fn a_distinct_sum_counts_each_value_once_also_across_states() {
    let values = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let mut one = DistinctSum::<Int64Type, Decimal128Type>::new(&WIDE);
    one.update_batch(&[values(&[i64::MAX, i64::MAX, 2])]).unwrap();
    let state = one.state().unwrap()[0].to_array().unwrap();
    let mut other = DistinctSum::<Int64Type, Decimal128Type>::new(&WIDE);
    other.update_batch(&[values(&[2, 3])]).unwrap();
    other.merge_batch(&[state]).unwrap();
    let ScalarValue::Decimal128(sum, 38, 0) = other.evaluate().unwrap() else { panic!() };
    assert_eq!(sum, Some(i128::from(i64::MAX) + 5));
}
