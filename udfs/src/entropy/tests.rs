//! `entropy` through SQL, its states merged in any split, and its states through Parquet.

use bytes::Bytes;
use datafusion::arrow::array::{Float64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::Schema;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::*;
use crate::testing::{context, context_of, doubles_of, error_of};

const PORTS: &str = "(VALUES ('a', 80), ('a', 80), ('a', 443), ('b', 22), ('a', 443), ('b', 22), \
                     ('b', NULL), ('c', NULL)) t(k, port)";

fn accumulator(data_type: &DataType) -> EntropyAccumulator {
    EntropyAccumulator::new(data_type, false).unwrap()
}

fn strings(values: &[Option<String>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[tokio::test]
async fn plain_grouped_filtered_and_distinct_at_any_number_of_partitions() {
    let three_values = math::entropy_bits(&mut [2, 2, 2]);
    for partitions in [1, 2, 7] {
        let context = context_of(partitions);
        let all = doubles_of(&context, &format!("SELECT entropy(port) FROM {PORTS}")).await;
        assert_eq!(all, [three_values]);
        let sql = format!("SELECT k, entropy(port) FROM {PORTS} GROUP BY k ORDER BY k");
        assert_eq!(doubles_of(&context, &sql).await, [Some(1.0), Some(0.0), None]);
        let sql = format!("SELECT entropy(port) FILTER (WHERE port < 100) FROM {PORTS}");
        assert_eq!(doubles_of(&context, &sql).await, [Some(1.0)]);
        let sql = format!("SELECT count(*), entropy(DISTINCT port) FROM {PORTS}");
        assert_eq!(doubles_of(&context, &sql).await, [math::entropy_bits(&mut [1, 1, 1])]);
        let sql = format!("SELECT entropy(port) FROM {PORTS} WHERE port < 0");
        assert_eq!(doubles_of(&context, &sql).await, [None]);
    }
}

#[tokio::test]
async fn over_a_partition_a_growing_and_a_sliding_frame() {
    let context = context();
    let sql = format!("SELECT entropy(port) OVER (PARTITION BY k) FROM {PORTS} ORDER BY k");
    let whole = doubles_of(&context, &sql).await;
    assert_eq!(whole[..4], [Some(1.0); 4]);
    assert_eq!(whole[4..], [Some(0.0), Some(0.0), Some(0.0), None]);

    let letters = "(VALUES (1, 'x'), (2, 'y'), (3, 'y'), (4, 'y'), (5, NULL)) t(i, v)";
    let sql = format!("SELECT i, entropy(v) OVER (ORDER BY i) FROM {letters} ORDER BY i");
    let growing = doubles_of(&context, &sql).await;
    assert_eq!(growing[..2], [Some(0.0), Some(1.0)]);
    assert_eq!(growing[3], growing[4]);
    let frame = "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW";
    let sql = format!("SELECT i, entropy(v) OVER (ORDER BY i {frame}) FROM {letters} ORDER BY i");
    let sliding = doubles_of(&context, &sql).await;
    assert_eq!(sliding, [Some(0.0), Some(1.0), Some(0.0), Some(0.0), Some(0.0)]);
}

#[tokio::test]
async fn takes_any_type_that_can_be_compared() {
    let context = context();
    for value in [
        "'v' || i",
        "i > 2",
        "arrow_cast('v' || i, 'Utf8View')",
        "arrow_cast('v' || i, 'Dictionary(Int32, Utf8)')",
        "CAST(i AS DECIMAL(9, 2))",
        "to_timestamp(i)",
        "CAST(i AS DOUBLE)",
        "[i, i + 1]",
        "named_struct('a', i, 'b', 'x')",
    ] {
        let sql = format!(
            "SELECT entropy(v) FROM (SELECT {value} v FROM (VALUES (1), (2), (3), (4)) t(i))"
        );
        let bits = if value == "i > 2" { 1.0 } else { 2.0 };
        assert_eq!(doubles_of(&context, &sql).await, [Some(bits)], "{value}");
    }
    assert_eq!(doubles_of(&context, "SELECT entropy(NULL)").await, [None]);
}

#[tokio::test]
async fn refuses_what_cannot_be_counted_or_kept() {
    let context = context();
    let error = error_of(&context, "SELECT entropy(MAP {'a': 1})").await;
    assert!(error.contains("entropy(x): values of type Map"), "{error}");
    let error = error_of(&context, "SELECT entropy(INTERVAL '1 day')").await;
    assert!(error.contains("CAST(... AS VARCHAR)"), "{error}");
    let error = error_of(&context, "SELECT entropy()").await;
    assert!(error.contains("entropy"), "{error}");
}

#[test]
fn zeros_are_one_value_and_so_are_nans() {
    let mut entropy = accumulator(&DataType::Float64);
    let values: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
    entropy.update_batch(&[values]).unwrap();
    assert_eq!(entropy.evaluate().unwrap(), ScalarValue::Float64(Some(1.0)));
}

#[test]
fn evaluating_leaves_the_state_and_size_follows_what_is_kept() {
    let mut entropy = accumulator(&DataType::Utf8);
    let empty_bytes = entropy.size();
    let values = strings(&[Some("a".repeat(1000)), Some("b".into())]);
    entropy.update_batch(&[Arc::clone(&values)]).unwrap();
    assert_eq!(entropy.evaluate().unwrap(), ScalarValue::Float64(Some(1.0)));
    assert_eq!(entropy.evaluate().unwrap(), ScalarValue::Float64(Some(1.0)));
    assert!(entropy.size() > empty_bytes + 1000);
    entropy.retract_batch(&[Arc::clone(&values)]).unwrap();
    assert_eq!(entropy.evaluate().unwrap(), ScalarValue::Float64(None));
    assert_eq!(entropy.key_bytes, 0);
    assert!(entropy.retract_batch(&[values]).is_err());
}

#[test]
fn states_survive_parquet() {
    for data_type in [DataType::Utf8, DataType::Utf8View, DataType::Int16, DataType::Float64] {
        let values = strings(&["1", "2", "2", "3"].map(|v| Some(v.to_owned())));
        let values = cast(&values, &data_type).unwrap();
        let mut entropy = accumulator(&data_type);
        entropy.update_batch(&[values]).unwrap();
        let expected = entropy.evaluate().unwrap();

        let state = entropy.state().unwrap();
        let arrays: Vec<ArrayRef> = state.iter().map(|s| s.to_array().unwrap()).collect();
        let field = |i: usize| Field::new(format!("s{i}"), arrays[i].data_type().clone(), true);
        let schema = Arc::new(Schema::new(vec![field(0), field(1)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();

        let mut restored = accumulator(&data_type);
        for batch in reader.build().unwrap() {
            restored.merge_batch(batch.unwrap().columns()).unwrap();
        }
        assert_eq!(restored.evaluate().unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn merged_in_any_split_and_order_equals_one_shot(
        values in prop::collection::vec(prop::option::of("[a-d]{0,2}"), 0..80),
        cuts in prop::collection::vec(0usize..80, 0..6),
        rotation in 0usize..8,
    ) {
        let mut one_shot = accumulator(&DataType::Utf8);
        one_shot.update_batch(&[strings(&values)]).unwrap();

        let mut bounds: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        bounds.extend([0, values.len()]);
        bounds.sort_unstable();
        let mut states: Vec<Vec<ArrayRef>> = bounds
            .windows(2)
            .map(|bound| {
                let mut part = accumulator(&DataType::Utf8);
                part.update_batch(&[strings(&values[bound[0]..bound[1]])]).unwrap();
                let state = part.state().unwrap();
                state.iter().map(|s| s.to_array().unwrap()).collect()
            })
            .collect();
        let middle = rotation % states.len();
        states.rotate_left(middle);
        let mut merged = accumulator(&DataType::Utf8);
        for state in &states {
            merged.merge_batch(state).unwrap();
        }
        prop_assert_eq!(merged.evaluate().unwrap(), one_shot.evaluate().unwrap());
        prop_assert_eq!(merged.state().unwrap(), one_shot.state().unwrap());
    }
}
