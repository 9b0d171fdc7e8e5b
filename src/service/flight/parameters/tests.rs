//! Rows that go through, and streams that were damaged at every byte.

use datafusion::arrow::array::StringViewArray;
use datafusion::arrow::ipc::writer::StreamWriter;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

fn row(values: &[ScalarValue]) -> RecordBatch {
    let columns = values
        .iter()
        .enumerate()
        .map(|(at, value)| (format!("p{at}"), value.to_array().unwrap(), true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, batch.schema_ref()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn decode(bytes: &[u8]) -> Decoded<RecordBatch> {
    one_row(&split(bytes)?)
}

fn flat() -> Vec<ScalarValue> {
    use ScalarValue as V;
    let long = "a text that is longer than twelve bytes".to_owned();
    vec![
        V::Boolean(Some(true)),
        V::Int8(Some(-1)),
        V::Int64(Some(i64::MIN)),
        V::UInt64(Some(u64::MAX)),
        V::Float32(Some(-0.5)),
        V::Float64(Some(f64::INFINITY)),
        V::Utf8(Some(String::new())),
        V::Utf8(Some(long.clone())),
        V::LargeUtf8(Some(long.clone())),
        V::Utf8View(Some("short".to_owned())),
        V::Utf8View(Some(long)),
        V::Binary(Some(vec![0, 255])),
        V::BinaryView(Some(vec![7; 40])),
        V::Decimal128(Some(-12_345), 10, 2),
        V::Date32(Some(20_000)),
        V::Time64Microsecond(Some(1)),
        V::TimestampMicrosecond(Some(-1), Some("UTC".into())),
        V::TimestampNanosecond(Some(1), None),
        V::DurationSecond(Some(3)),
        V::Null,
    ]
}

#[test]
fn flat_values_and_nulls_are_read_as_arrow_wrote_them() {
    let values = flat();
    let nulls: Vec<ScalarValue> =
        values.iter().map(|value| ScalarValue::try_from(&value.data_type()).unwrap()).collect();
    for values in [values, nulls] {
        let batch = row(&values);
        assert_eq!(decode(&stream(&batch)).unwrap(), batch);
    }
}

#[test]
fn a_part_of_longer_columns_is_read() {
    let values = (0..5).map(|at| Some(format!("a text of more than twelve bytes {at}")));
    let views: ArrayRef = Arc::new(values.clone().collect::<StringViewArray>());
    let texts: ArrayRef = Arc::new(values.collect::<datafusion::arrow::array::StringArray>());
    let batch =
        RecordBatch::try_from_iter_with_nullable([("v", views, true), ("t", texts, true)]).unwrap();
    let one = batch.slice(3, 1);
    assert_eq!(decode(&stream(&one)).unwrap(), one);
    for (from, rows) in [(0, 0), (0, 2)] {
        let error = decode(&stream(&batch.slice(from, rows))).unwrap_err();
        assert!(error.message().contains("bind one row for one execution"), "{error}");
    }
}

#[test]
fn what_is_not_flat_is_refused() {
    use datafusion::arrow::array::{DictionaryArray, ListArray, StructArray};
    use datafusion::arrow::datatypes::Int32Type;
    let dictionary: ArrayRef =
        Arc::new(vec!["x"].into_iter().collect::<DictionaryArray<Int32Type>>());
    let list: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]));
    let inner: ArrayRef = ScalarValue::Int64(Some(1)).to_array().unwrap();
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("a", DataType::Int64, true)),
        inner,
    )]));
    for column in [dictionary, list, nested] {
        let batch = RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap();
        let error = decode(&stream(&batch)).unwrap_err();
        assert!(error.message().contains("bind plain numbers"), "{error}");
    }
}

#[test]
fn a_damaged_stream_is_an_error_or_a_row_and_nothing_worse() {
    let good = stream(&row(&flat()));
    for cut in 0..good.len() {
        drop(decode(&good[..cut]));
    }
    let mut random = SmallRng::seed_from_u64(12);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bad.len());
            bad[at] = random.random();
        }
        refused += usize::from(decode(&bad).is_err());
    }
    assert!(refused > 1_000, "{refused}");
    // Lengths that are not there.
    for at in (0..good.len() - 8).step_by(4) {
        for huge in [i64::MAX, i64::MIN, 1 << 40, -1] {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            if let Ok(row) = decode(&bad) {
                assert!(row.get_array_memory_size() < 1 << 20);
            }
        }
    }
}
