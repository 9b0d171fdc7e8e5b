//! Values at the ends of their types, in every encoding that other writers choose.

use datafusion::arrow::array::{
    Date32Array, Date64Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array,
    LargeListArray, ListViewArray, MapArray, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::i256;
use datafusion::parquet::data_type::{
    ByteArray, FixedLenByteArray, FixedLenByteArrayType, Int96, Int96Type,
};
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;

use super::*;

const DAY_US: i64 = 86_400_000_000;

/// One column as it is read: its values as text, and what is said of those that do not fit.
async fn fate(array: impl Array + 'static, declared: DataType) -> (Vec<String>, Vec<String>) {
    let decoded = read(vec![("c", Arc::new(array))], &[("c", declared)]).await.unwrap();
    told(&decoded)
}

fn told(decoded: &[Decoded]) -> (Vec<String>, Vec<String>) {
    let values = decoded.iter().flat_map(|part| {
        let column = part.batch.column(0);
        (0..column.len()).map(|row| array_value_to_string(column, row).unwrap()).collect::<Vec<_>>()
    });
    let rejects = decoded.iter().flat_map(|part| &part.rejects);
    (values.collect(), rejects.map(|reject| reject.spoken("f")).collect())
}

fn record(fields: &[(&str, DataType)]) -> DataType {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), true);
    DataType::Struct(fields.iter().map(field).collect())
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// Two structs, `{rdata, ttl}`, the second without a ttl.
fn answers() -> StructArray {
    StructArray::from(vec![
        (
            Arc::new(Field::new("rdata", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["192.0.2.1", "x"])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("ttl", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![Some(60), None])),
        ),
    ])
}

#[tokio::test]
async fn lists_of_every_layout_hold_structs_by_name() {
    let item = Arc::new(Field::new("item", answers().data_type().clone(), true));
    let values: ArrayRef = Arc::new(answers());
    let declared = list_of(record(&[
        ("rrname", DataType::Utf8View),
        ("TTL", DataType::Int64),
        ("ttl", DataType::Int32),
        ("rdata", DataType::Utf8View),
    ]));
    let expected = vec![
        "[{rrname: , TTL: , ttl: 60, rdata: 192.0.2.1}, {rrname: , TTL: , ttl: , rdata: x}]"
            .to_owned(),
    ];
    let whole = || values.clone();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0_i64, 2]));
    let large = LargeListArray::new(item.clone(), offsets, whole(), None);
    assert_eq!(fate(large, declared.clone()).await, (expected.clone(), vec![]));
    let fixed = FixedSizeListArray::new(item.clone(), 2, whole(), None);
    assert_eq!(fate(fixed, declared.clone()).await, (expected.clone(), vec![]));
    let view = ListViewArray::new(item, vec![0].into(), vec![2].into(), whole(), None);
    assert_eq!(fate(view, declared).await, (expected, vec![]));
}

fn map() -> MapArray {
    let keys = StringArray::from(vec!["a", "b", "a"]);
    let values = Int64Array::from(vec![Some(1), None, Some(300)]);
    let entries = StructArray::from(vec![
        (Arc::new(Field::new("keys", DataType::Utf8, false)), Arc::new(keys) as ArrayRef),
        (Arc::new(Field::new("values", DataType::Int64, true)), Arc::new(values)),
    ]);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 3, 3]));
    let nulls = vec![true, true, false].into();
    MapArray::new(field, offsets, entries, Some(nulls), false)
}

#[tokio::test]
async fn a_map_is_a_struct_by_its_keys_or_a_list_of_entries() {
    let by_keys = record(&[("b", DataType::Int64), ("a", DataType::Int64), ("c", DataType::Int64)]);
    let (values, rejects) = fate(map(), by_keys).await;
    assert_eq!(values, ["{b: , a: 1, c: }", "{b: , a: 300, c: }", ""]);
    assert_eq!(rejects, [""; 0]);
    let (values, rejects) = fate(map(), record(&[("a", DataType::Int8)])).await;
    assert_eq!(values, ["{a: 1}", ""]);
    assert_eq!(rejects, ["f: row 2, column c.a: \"300\" is out of the range of TINYINT"]);
    let entries = |key: &str, value: &str| {
        list_of(record(&[(value, DataType::Int64), (key, DataType::Utf8View)]))
    };
    let (values, _) = fate(map(), entries("key", "value")).await;
    assert_eq!(values, ["[{value: 1, key: a}, {value: , key: b}]", "[{value: 300, key: a}]", ""]);
    let (values, _) = fate(map(), entries("key_", "value_")).await;
    assert_eq!(values[1], "[{value_: , key_: }]", "nothing is filled by its position");
    let wrong = refused(map(), list_of(record(&[("key", DataType::Int64)]))).await;
    assert_eq!(wrong, "a.parquet: column c.key: is Utf8View in the file and BIGINT in the job");
}

#[tokio::test]
async fn whole_numbers_are_taken_where_they_fit_and_never_wrap() {
    let limits = [
        i128::from(i8::MIN),
        i128::from(i8::MAX),
        i128::from(i16::MAX),
        i128::from(i32::MIN),
        i128::from(i32::MAX),
        i128::from(i64::MIN),
        i128::from(i64::MAX),
        i128::from(u64::MAX),
        0,
    ];
    let values: Vec<i128> =
        limits.iter().flat_map(|limit| [limit - 1, *limit, limit + 1]).collect();
    let sources = [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Decimal128(38, 0),
        DataType::Decimal128(38, 3),
        DataType::Decimal256(76, 5),
    ];
    let targets = [
        (DataType::Int8, i128::from(i8::MIN)..=i128::from(i8::MAX)),
        (DataType::Int16, i128::from(i16::MIN)..=i128::from(i16::MAX)),
        (DataType::Int32, i128::from(i32::MIN)..=i128::from(i32::MAX)),
        (DataType::Int64, i128::from(i64::MIN)..=i128::from(i64::MAX)),
    ];
    let all: ArrayRef =
        Arc::new(Decimal128Array::from(values.clone()).with_precision_and_scale(38, 0).unwrap());
    for source in &sources {
        // What the source itself cannot hold is NULL here, and no longer asked.
        let held = cast(&all, source).unwrap();
        let held_as = |row: usize| held.is_valid(row).then_some(values[row]);
        for (target, limits) in &targets {
            let (read, rejects) = fate_of(held.clone(), target.clone()).await;
            let of_row = (0..held.len()).map(held_as);
            let fits = |value: &Option<i128>| value.is_none_or(|value| limits.contains(&value));
            let text = |value: Option<i128>| value.map_or(String::new(), |value| value.to_string());
            let expected: Vec<String> = of_row.filter(fits).map(text).collect();
            assert_eq!(read, expected, "{source} as {target}");
            assert_eq!(rejects.len() + read.len(), held.len(), "{source} as {target}: {rejects:?}");
        }
    }
}

async fn fate_of(array: ArrayRef, declared: DataType) -> (Vec<String>, Vec<String>) {
    told(&read(vec![("c", array)], &[("c", declared)]).await.unwrap())
}

#[tokio::test]
async fn floats_are_numbers_of_the_declared_type_or_rejects() {
    let doubles = vec![7.0, -0.0, 7.5, f64::NAN, f64::INFINITY, 9.3e18, -9.223372036854776e18];
    let (values, rejects) = fate(Float64Array::from(doubles), DataType::Int64).await;
    assert_eq!(values, ["7", "0", "-9223372036854775808"]);
    assert_eq!(rejects.len(), 4);
    assert_eq!(rejects[0], "f: row 3, column c: \"7.5\" has a fraction, which BIGINT cannot hold");
    let (values, rejects) =
        fate(Float64Array::from(vec![1e39, f64::NEG_INFINITY, 1e-50]), DataType::Float32).await;
    assert_eq!((values, rejects.len()), (vec!["-inf".to_owned(), "0.0".to_owned()], 1));
    let big =
        Decimal256Array::from(vec![i256::from_string(&format!("1{}", "0".repeat(60))).unwrap()]);
    let big = big.with_precision_and_scale(76, 0).unwrap();
    assert_eq!(fate(big, DataType::Float32).await.1.len(), 1);
    let wide: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
    let half = cast(&wide, &DataType::Float16).unwrap();
    assert_eq!(fate_of(half, DataType::Float64).await.0, ["1.5"]);
    let exact = Float32Array::from(vec![16_777_216.0]);
    assert_eq!(fate(exact, DataType::Int8).await.1.len(), 1);
}

#[tokio::test]
async fn times_are_of_the_years_1_to_9999() {
    let (first, last) = (-62_135_596_800_000_000, 253_402_300_799_999_999);
    let times = vec![i64::MAX, -i64::MAX, i64::MIN, first - 1, first, last, last + 1, 0];
    let expected = ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "1970-01-01T00:00:00"];
    for zone in [None, Some("UTC"), Some("+02:00")] {
        let times = TimestampMicrosecondArray::from(times.clone()).with_timezone_opt(zone);
        let (values, rejects) = fate(times, TIMESTAMP).await;
        assert_eq!(values, expected);
        let told = |row, value| {
            format!(
                "f: row {row}, column c: \"{value}\" is out of the range of TIMESTAMP, the years 1 to 9999"
            )
        };
        assert_eq!(rejects[..2], [told(1, "infinity"), told(2, "-infinity")]);
        assert_eq!(rejects.len(), 5);
    }
    let seconds = TimestampSecondArray::from(vec![i64::MAX, i64::MIN, first / 1_000_000, 1 << 40]);
    assert_eq!(fate(seconds, TIMESTAMP).await.0, expected[..1]);
    let days = vec![i32::MAX, i32::MIN, -719_163, -719_162, 2_932_896, 2_932_897];
    assert_eq!(fate(Date32Array::from(days.clone()), TIMESTAMP).await.1.len(), 4);
    let (values, rejects) = fate(Date32Array::from(days), DataType::Date32).await;
    assert_eq!(
        (values, rejects.len()),
        (vec!["0001-01-01".to_owned(), "9999-12-31".to_owned()], 4)
    );
    let millis = Date64Array::from(vec![i64::MAX, -1]);
    assert_eq!(fate(millis, DataType::Date32).await.0, ["1969-12-31"]);
    let instant = TimestampMicrosecondArray::from(vec![-1, i64::MAX]);
    let (values, rejects) = fate(instant, DataType::Date32).await;
    assert_eq!(values, ["1969-12-31"]);
    assert!(
        rejects[0].ends_with("is out of the range of DATE, the years 1 to 9999"),
        "{rejects:?}"
    );
    for numbers in [vec![i64::MAX, 0], vec![i64::MIN, 0]] {
        let (values, rejects) = fate(Int64Array::from(numbers), TIMESTAMP).await;
        assert_eq!(
            (values.last().map(String::as_str), values.len() + rejects.len()),
            (Some(expected[2]), 2)
        );
    }
    let (values, rejects) = fate(UInt64Array::from(vec![u64::MAX, 1]), TIMESTAMP).await;
    assert_eq!((values, rejects.len()), (vec!["1970-01-01T00:00:01".to_owned()], 1));
    let floats = Float64Array::from(vec![f64::NAN, f64::INFINITY, 1e300, 1.5]);
    assert_eq!(fate(floats, TIMESTAMP).await.0, ["1970-01-01T00:00:01.500"]);
    let seconds = Decimal128Array::from(vec![1_767_225_600_123_456_789]);
    let seconds = seconds.with_precision_and_scale(38, 9).unwrap();
    assert_eq!(fate(seconds, TIMESTAMP).await.0, ["2026-01-01T00:00:00.123456"]);
}

#[tokio::test]
async fn times_in_lists_and_structs_are_held_to_the_same_years() {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, i64::MAX, DAY_US]));
    let item = Arc::new(Field::new_list_field(TIMESTAMP, true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 3]));
    let list = ListArray::new(item, offsets, times, None);
    let (values, rejects) = fate(list, list_of(TIMESTAMP)).await;
    assert_eq!((values, rejects.len()), (vec!["[1970-01-02T00:00:00]".to_owned()], 1));
}

#[tokio::test]
async fn scalars_where_text_is_declared_are_their_text() {
    let view = DataType::Utf8View;
    assert_eq!(fate(Int8Array::from(vec![-5]), view.clone()).await.0, ["-5"]);
    assert_eq!(fate(BooleanArray::from(vec![true]), view.clone()).await.0, ["true"]);
    assert_eq!(fate(Float64Array::from(vec![1.5]), view.clone()).await.0, ["1.5"]);
    assert_eq!(fate(Date32Array::from(vec![0]), view.clone()).await.0, ["1970-01-01"]);
    let clock = Time64MicrosecondArray::from(vec![36_005_123_000]);
    assert_eq!(fate(clock, view.clone()).await.0, ["10:00:05.123"]);
    let instant = TimestampMicrosecondArray::from(vec![0]).with_timezone("Europe/Berlin");
    assert_eq!(fate(instant, view.clone()).await.0, ["1970-01-01T00:00:00"]);
    let bytes = BinaryArray::from(vec![&b"a"[..], &[0xff][..]]);
    let (values, rejects) = fate(bytes, view.clone()).await;
    assert_eq!(values, ["a"]);
    assert_eq!(rejects, ["f: row 2, column c: bytes that are not valid UTF-8"]);
    let fixed = FixedSizeBinaryArray::try_from_iter([b"abc", b"de\xff"].into_iter()).unwrap();
    assert_eq!(fate(fixed, view).await.0, ["abc"]);
}

#[tokio::test]
async fn what_is_nested_is_its_json_where_text_is_declared() {
    let view = || DataType::Utf8View;
    let structs = [r#"{"rdata":"192.0.2.1","ttl":60}"#, r#"{"rdata":"x","ttl":null}"#];
    assert_eq!(fate(answers(), view()).await.0, structs);
    assert_eq!(fate(map(), view()).await.0, [r#"{"a":1,"b":null}"#, r#"{"a":300}"#, ""]);
    let item = Arc::new(Field::new("item", answers().data_type().clone(), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0_i64, 2]));
    let large = LargeListArray::new(item, offsets, Arc::new(answers()), None);
    assert_eq!(fate(large, view()).await.0, [format!("[{}]", structs.join(","))]);
}

#[tokio::test]
async fn dictionaries_of_numbers_and_times_are_their_values() {
    let values: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(i64::MAX), None]));
    let keys = Int32Array::from(vec![Some(0), Some(1), None, Some(2), Some(0)]);
    let times = DictionaryArray::new(keys, values);
    let (values, rejects) = fate(times, TIMESTAMP).await;
    assert_eq!(values, ["1970-01-01T00:00:00", "", "", "1970-01-01T00:00:00"]);
    assert_eq!(rejects.len(), 1);
}

/// A file of one column `c` with this type, written value by value.
async fn raw<T: datafusion::parquet::data_type::DataType>(
    column: &str,
    values: &[T::T],
) -> (Arc<dyn ObjectStore>, InputFile) {
    let schema = Arc::new(parse_message_type(&format!("message m {{ {column} }}")).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut leaf = group.next_column().unwrap().unwrap();
    let levels = vec![1; values.len()];
    leaf.typed::<T>().write_batch(values, Some(&levels), None).unwrap();
    leaf.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let store = InMemory::new();
    let location = Path::from("raw.parquet");
    let size = bytes.len() as u64;
    store.put(&location, PutPayload::from(bytes)).await.unwrap();
    let display = "raw.parquet".into();
    (
        Arc::new(store),
        InputFile { location, size, etag: None, display, row_groups: None, part: None },
    )
}

/// Days and nanoseconds from 1970-01-01 as INT96 has them.
fn int96(day: i64, nanos: u64) -> Int96 {
    let mut value = Int96::new();
    let julian = i32::try_from(day + 2_440_588).unwrap();
    value.set_data(nanos as u32, (nanos >> 32) as u32, julian.cast_unsigned());
    value
}

#[tokio::test]
async fn int96_holds_every_day_from_the_year_1_to_9999() {
    let values = [
        int96(2_932_896, 86_399_999_999_999),
        int96(-719_162, 0),
        int96(-1, 86_399_999_999_000),
        int96(2_932_897, 0),
        int96(-719_163, 0),
        int96(100_000_000, 0),
    ];
    for column in ["optional int96 c;", "required group c { optional int96 t; }"] {
        let nested = column.contains("group");
        let declared = if nested { record(&[("t", TIMESTAMP)]) } else { TIMESTAMP };
        let (store, file) = raw::<Int96Type>(column, &values).await;
        let read = read_file(store, &file, settings(&[("c", declared)]));
        let (values, rejects) = told(&read.try_collect::<Vec<_>>().await.unwrap());
        if !nested {
            assert_eq!(
                values,
                ["9999-12-31T23:59:59.999999", "0001-01-01T00:00:00", "1969-12-31T23:59:59.999999"]
            );
        }
        assert_eq!((values.len(), rejects.len()), (3, 3), "{rejects:?}");
    }
}

#[tokio::test]
async fn uuids_are_written_as_uuids() {
    let bytes = FixedLenByteArray::from(ByteArray::from((0_u8..16).collect::<Vec<u8>>()));
    let (store, file) =
        raw::<FixedLenByteArrayType>("optional fixed_len_byte_array(16) c (UUID);", &[bytes]).await;
    let read = read_file(store, &file, settings(&[("c", DataType::Utf8View)]));
    let (values, _) = told(&read.try_collect::<Vec<_>>().await.unwrap());
    assert_eq!(values, ["00010203-0405-0607-0809-0a0b0c0d0e0f"]);
}
