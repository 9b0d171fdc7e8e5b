//! `mad` through SQL, and its states merged in any split.

use datafusion::physical_plan::displayable;
use proptest::prelude::*;

use super::*;
use crate::testing::{context, context_of, doubles_of, error_of};

const SEVEN: &str = "(VALUES ('a', 1), ('a', 1), ('a', 2), ('b', 2), ('a', NULL), ('b', 4), \
                     ('b', 6), ('a', 9), ('c', NULL)) t(k, x)";

fn accumulator(is_distinct: bool) -> MadAccumulator {
    MadAccumulator { values: Vec::new(), is_distinct }
}

fn column(values: &[Option<f64>]) -> Vec<ArrayRef> {
    vec![Arc::new(Float64Array::from(values.to_vec()))]
}

#[tokio::test]
async fn plain_grouped_filtered_and_distinct_at_any_number_of_partitions() {
    for partitions in [1, 2, 7] {
        let context = context_of(partitions);
        let all = doubles_of(&context, &format!("SELECT mad(x) FROM {SEVEN}")).await;
        assert_eq!(all, [Some(1.0)]);
        // a: 1 1 2 9, median 1.5, deviations 0.5 0.5 0.5 7.5; b: 2 4 6; c: nothing.
        let sql = format!("SELECT k, mad(x) FROM {SEVEN} GROUP BY k ORDER BY k");
        let grouped = doubles_of(&context, &sql).await;
        assert_eq!(grouped, [Some(0.5), Some(2.0), None]);
        let sql = format!("SELECT mad(x) FILTER (WHERE x < 3) FROM {SEVEN}");
        assert_eq!(doubles_of(&context, &sql).await, [Some(0.5)]);
        // Distinct: 1 2 4 6 9, median 4, deviations 3 2 0 2 5. With another aggregate beside it,
        // no rule of the optimizer takes DISTINCT out of it.
        let sql = format!("SELECT count(x), mad(DISTINCT x) FROM {SEVEN}");
        assert_eq!(doubles_of(&context, &sql).await, [Some(2.0)]);
        let sql = format!("SELECT mad(DISTINCT x) FROM {SEVEN}");
        assert_eq!(doubles_of(&context, &sql).await, [Some(2.0)]);
    }
}

#[tokio::test]
async fn several_partitions_mean_partial_and_final() {
    let sql = format!("SELECT k, mad(x) FROM {SEVEN} GROUP BY k");
    let plan = context_of(7).sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
    let plan = displayable(plan.as_ref()).indent(false).to_string();
    assert!(plan.contains("mode=Partial") && plan.contains("mode=Final"), "{plan}");
}

#[tokio::test]
async fn over_a_partition_a_growing_and_a_sliding_frame() {
    let context = context();
    let sql = format!("SELECT k, x, mad(x) OVER (PARTITION BY k) FROM {SEVEN} ORDER BY k, x");
    let whole = doubles_of(&context, &sql).await;
    assert_eq!(whole[..5], [Some(0.5); 5]);
    assert_eq!(whole[5..], [Some(2.0), Some(2.0), Some(2.0), None]);

    let numbers = "(VALUES (1, 1.0), (2, 5.0), (3, NULL), (4, 2.0), (5, 9.0)) t(i, x)";
    let sql = format!("SELECT i, mad(x) OVER (ORDER BY i) FROM {numbers} ORDER BY i");
    let growing = doubles_of(&context, &sql).await;
    assert_eq!(growing, [Some(0.0), Some(2.0), Some(2.0), Some(1.0), Some(2.0)]);
    let frame = "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW";
    let sql = format!("SELECT i, mad(x) OVER (ORDER BY i {frame}) FROM {numbers} ORDER BY i");
    let sliding = doubles_of(&context, &sql).await;
    assert_eq!(sliding, [Some(0.0), Some(2.0), Some(0.0), Some(0.0), Some(3.5)]);
}

#[tokio::test]
async fn no_value_gives_null_and_nan_is_no_value() {
    let context = context();
    let empty = format!("SELECT mad(x) FROM {SEVEN} WHERE x > 100");
    assert_eq!(doubles_of(&context, &empty).await, [None]);
    assert_eq!(doubles_of(&context, "SELECT mad(NULL)").await, [None]);
    let sql = "SELECT mad(CAST(x AS DOUBLE)) FROM (VALUES ('NaN'), ('1'), ('3'), ('-0')) t(x)";
    assert_eq!(doubles_of(&context, sql).await, [Some(1.0)]);
    let sql = "SELECT mad(CAST(x AS DECIMAL(9, 2))) FROM (VALUES (1.25), (1.75)) t(x)";
    assert_eq!(doubles_of(&context, sql).await, [Some(0.25)]);
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    let context = context();
    let error = error_of(&context, "SELECT mad(x) FROM (VALUES ('1')) t(x)").await;
    assert!(error.contains("mad(x): argument 1 is Utf8"), "{error}");
    assert!(error.contains("CAST(... AS DOUBLE)"), "{error}");
    let error = error_of(&context, "SELECT mad(1, 2)").await;
    assert!(error.contains("takes 1 arguments, not 2"), "{error}");
}

#[test]
fn evaluating_leaves_the_state_and_size_counts_what_is_kept() {
    let mut mad = accumulator(false);
    let empty_bytes = mad.size();
    mad.update_batch(&column(&[Some(4.0), None, Some(1.0), Some(f64::NAN)])).unwrap();
    assert_eq!(mad.evaluate().unwrap(), ScalarValue::Float64(Some(1.5)));
    assert_eq!(mad.evaluate().unwrap(), ScalarValue::Float64(Some(1.5)));
    mad.update_batch(&column(&[Some(2.0)])).unwrap();
    assert_eq!(mad.evaluate().unwrap(), ScalarValue::Float64(Some(1.0)));
    assert_eq!(mad.values, [4.0, 1.0, 2.0]);
    assert!(mad.size() >= empty_bytes + 3 * 8);
    mad.retract_batch(&column(&[Some(4.0), None, Some(f64::NAN)])).unwrap();
    assert_eq!(mad.values, [1.0, 2.0]);
    assert!(mad.retract_batch(&column(&[Some(4.0)])).is_err());
}

proptest! {
    #[test]
    fn merged_in_any_split_equals_one_shot(
        values in prop::collection::vec(prop::option::of(-50i32..50), 0..80),
        cuts in prop::collection::vec(0usize..80, 0..6),
        is_distinct: bool,
    ) {
        let values: Vec<Option<f64>> =
            values.into_iter().map(|x| x.map(|x| f64::from(x) / 4.0)).collect();
        let mut one_shot = accumulator(is_distinct);
        one_shot.update_batch(&column(&values)).unwrap();

        let mut bounds: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        bounds.extend([0, values.len()]);
        bounds.sort_unstable();
        let mut merged = accumulator(is_distinct);
        for bound in bounds.windows(2).rev() {
            let mut part = accumulator(is_distinct);
            part.update_batch(&column(&values[bound[0]..bound[1]])).unwrap();
            let state = part.state().unwrap();
            let arrays: Vec<ArrayRef> = state.iter().map(|s| s.to_array().unwrap()).collect();
            merged.merge_batch(&arrays).unwrap();
        }
        prop_assert_eq!(merged.evaluate().unwrap(), one_shot.evaluate().unwrap());
    }
}
