//! Files of other writers, read as the job declares them.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array,
    LargeStringArray, ListArray, StringArray, StructArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::{
    DataType, Field, Fields, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::*;
use crate::source::format::{Compression, EpochUnit, Format};
use crate::source::read_file;

mod edges;

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

async fn stored(
    columns: Vec<(&str, ArrayRef)>,
    group_rows: usize,
) -> (Arc<dyn ObjectStore>, InputFile) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let store = InMemory::new();
    let location = Path::from("a.parquet");
    store.put(&location, PutPayload::from(bytes)).await.unwrap();
    let meta = store.head(&location).await.unwrap();
    let file = InputFile {
        location,
        size: meta.size,
        etag: meta.e_tag,
        display: "a.parquet".into(),
        row_groups: None,
        part: None,
    };
    (Arc::new(store), file)
}

fn settings(columns: &[(&str, DataType)]) -> Arc<OpenSettings> {
    let fields: Fields =
        columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
    Arc::new(OpenSettings {
        projection: (0..fields.len()).collect(),
        time_column: None,
        schema: Arc::new(Schema::new(fields)),
        format: Format::Parquet,
        compression: Compression::Auto,
        unit: None,
        batch_rows: 8192,
        block_bytes: 1 << 20,
    })
}

async fn read(
    columns: Vec<(&str, ArrayRef)>,
    declared: &[(&str, DataType)],
) -> SourceResult<Vec<Decoded>> {
    let (store, file) = stored(columns, 1000).await;
    read_file(store, &file, settings(declared)).try_collect().await
}

/// One column of a file, as the declared type, as text.
async fn column(array: impl Array + 'static, declared: DataType) -> Vec<String> {
    let decoded = read(vec![("c", Arc::new(array))], &[("c", declared.clone())]).await.unwrap();
    assert_eq!((decoded.len(), &decoded[0].rejects), (1, &vec![]));
    let column = decoded[0].batch.column(0);
    assert_eq!(column.data_type(), &declared);
    (0..column.len()).map(|row| array_value_to_string(column, row).unwrap()).collect()
}

async fn refused(array: impl Array + 'static, declared: DataType) -> String {
    read(vec![("c", Arc::new(array))], &[("c", declared)]).await.unwrap_err().to_string()
}

#[tokio::test]
async fn strings_of_every_layout_are_text() {
    let view = DataType::Utf8View;
    assert_eq!(
        column(StringArray::from(vec!["a", "long enough not to be inlined"]), view.clone()).await
            [1]
        .len(),
        29
    );
    assert_eq!(
        column(LargeStringArray::from(vec![Some("a"), None]), view.clone()).await,
        ["a", ""]
    );
    let dictionary: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    assert_eq!(column(dictionary, view.clone()).await, ["a", "b", "a"]);
    assert_eq!(column(BinaryArray::from(vec![&b"a"[..]]), view).await, ["a"]);
}

#[tokio::test]
async fn times_of_every_unit_and_zone_are_microseconds() {
    let instant = ["2026-01-01T00:00:00.123"];
    let millis = TimestampMillisecondArray::from(vec![1_767_225_600_123]).with_timezone("+02:00");
    assert_eq!(column(millis, TIMESTAMP).await, instant);
    assert_eq!(
        column(TimestampNanosecondArray::from(vec![1_767_225_600_123_000_000]), TIMESTAMP).await,
        instant
    );
    assert_eq!(column(Int64Array::from(vec![1_767_225_600_123]), TIMESTAMP).await, instant);
    assert_eq!(column(Float64Array::from(vec![1_767_225_600.123]), TIMESTAMP).await, instant);
    assert_eq!(
        column(StringArray::from(vec!["2026-01-01 00:00:00.123"]), TIMESTAMP).await,
        instant
    );
    let decoded = read(
        vec![("c", Arc::new(TimestampNanosecondArray::from(vec![-1])) as ArrayRef)],
        &[("c", TIMESTAMP)],
    );
    assert_eq!(
        decoded.await.unwrap()[0]
            .batch
            .column(0)
            .as_primitive::<TimestampMicrosecondType>()
            .value(0),
        -1
    );
}

#[tokio::test]
async fn numbers_change_their_width_and_what_does_not_fit_is_a_reject() {
    assert_eq!(column(Int64Array::from(vec![Some(7), None]), DataType::Int16).await, ["7", ""]);
    assert_eq!(column(Int64Array::from(vec![7]), DataType::Float64).await, ["7.0"]);
    assert_eq!(column(Int64Array::from(vec![7]), DataType::Decimal128(10, 2)).await, ["7.00"]);
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..2500).map(|n| Some(if n == 1200 { 1 << 40 } else { n })),
    ));
    let decoded = read(vec![("c", numbers)], &[("c", DataType::Int32)]).await.unwrap();
    assert_eq!(decoded.iter().map(|d| d.batch.num_rows()).sum::<usize>(), 2499);
    let rejects: Vec<_> = decoded.iter().flat_map(|d| &d.rejects).collect();
    assert_eq!((rejects.len(), rejects[0].line), (1, 1201));
    assert_eq!(rejects[0].message, "\"1099511627776\" is out of the range of INT");
}

#[tokio::test]
async fn a_wrong_type_names_file_column_and_both_types() {
    assert_eq!(
        refused(StringArray::from(vec!["1"]), DataType::Int32).await,
        "a.parquet: column c: is Utf8View in the file and INT in the job"
    );
    assert_eq!(
        refused(BooleanArray::from(vec![true]), DataType::Int64).await,
        "a.parquet: column c: is Boolean in the file and BIGINT in the job"
    );
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)])]);
    assert!(refused(list, DataType::Int64).await.contains("and BIGINT in the job"));
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Boolean, true)),
        Arc::new(BooleanArray::from(vec![true])) as ArrayRef,
    )]);
    let declared = DataType::Struct(Fields::from(vec![Field::new("x", DataType::Int32, true)]));
    assert!(refused(inner, declared).await.starts_with("a.parquet: column c.x: is Boolean"));
}

#[tokio::test]
async fn structs_and_lists_are_rebuilt_by_name() {
    let inner = StructArray::from(vec![
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("a", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![1])) as ArrayRef,
        ),
    ]);
    let item = |kind| Arc::new(Field::new("item", kind, true));
    let declared = DataType::Struct(Fields::from(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8View, true),
        Field::new("missing", DataType::List(item(DataType::Int32)), true),
    ]));
    assert_eq!(column(inner, declared).await, ["{a: 1, b: x, missing: }"]);
    let list =
        ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    assert_eq!(column(list, DataType::List(item(DataType::Int8))).await, ["[1, ]", ""]);
}

#[tokio::test]
async fn columns_are_projected_missing_ones_null_and_rows_counted_without_any() {
    let columns = || {
        vec![
            ("a", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
            ("b", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef),
        ]
    };
    let decoded = read(
        columns(),
        &[("b", DataType::Utf8View), ("zzz", DataType::Int32), ("a", DataType::Int64)],
    )
    .await;
    let batch = &decoded.unwrap()[0].batch;
    assert_eq!(batch.column(0).as_string_view().value(1), "y");
    assert_eq!(
        (batch.column(1).null_count(), batch.column(2).as_primitive::<Int64Type>().value(1)),
        (2, 2)
    );
    assert_eq!(read(columns(), &[]).await.unwrap()[0].batch.num_rows(), 2);
    let foreign = read(columns(), &[("zzz", DataType::Int32)]).await.unwrap_err().to_string();
    assert!(foreign.contains("none of the declared columns"), "{foreign}");
}

#[tokio::test]
async fn row_groups_split_a_file_and_rows_keep_their_numbers() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2500));
    let (store, mut file) = stored(vec![("n", numbers)], 1000).await;
    assert_eq!(parquet_row_groups(store.clone(), &file).await.unwrap().len(), 3);
    let mut rows = Vec::new();
    let mut bad = Vec::new();
    for range in [0..1, 1..3] {
        file.row_groups = Some(range);
        let read = read_file(store.clone(), &file, settings(&[("n", DataType::Int8)]));
        let decoded: Vec<Decoded> = read.try_collect().await.unwrap();
        rows.push(decoded.iter().map(|d| d.batch.num_rows()).sum::<usize>());
        bad.extend(decoded.into_iter().flat_map(|d| d.rejects).map(|reject| reject.line));
    }
    assert_eq!(rows, [128, 0]);
    assert_eq!(bad, (129..=2500).collect::<Vec<u64>>());
    file.row_groups = Some(2..4);
    let read: SourceResult<Vec<Decoded>> =
        read_file(store, &file, settings(&[])).try_collect().await;
    assert!(read.unwrap_err().to_string().contains("has 3 row groups"));
}

#[tokio::test]
async fn files_that_are_no_parquet_or_another_version_are_named() {
    let (store, mut file) = stored(vec![("n", Arc::new(Int64Array::from(vec![1])))], 10).await;
    file.etag = Some("another".into());
    let read: SourceResult<Vec<Decoded>> =
        read_file(store.clone(), &file, settings(&[])).try_collect().await;
    assert!(matches!(read, Err(SourceError::Unavailable { .. })), "{read:?}");
    let location = Path::from("x");
    store.put(&location, PutPayload::from("not Parquet at all")).await.unwrap();
    let file = InputFile {
        location,
        size: 18,
        etag: None,
        display: "x".into(),
        row_groups: None,
        part: None,
    };
    let read: SourceResult<Vec<Decoded>> =
        read_file(store, &file, settings(&[])).try_collect().await;
    assert!(matches!(&read, Err(SourceError::Corrupt { .. })), "{read:?}");
}

/// What the footer of a file with this column says of its least time.
async fn least(column: ArrayRef, group_rows: usize, unit: Option<EpochUnit>) -> Option<i64> {
    let (store, file) = stored(vec![("ts", column)], group_rows).await;
    let field = Field::new("ts", TIMESTAMP, true);
    parquet_time_min(store, &file, &field, unit).await.unwrap()
}

#[tokio::test]
async fn a_footer_tells_the_earliest_time_of_its_file() {
    let millis = |times: &[Option<i64>]| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from(times.to_vec()))
    };
    let times = millis(&[Some(9), Some(7), None, Some(-8), None, None]);
    assert_eq!(least(times, 2, None).await, Some(-8_000), "in the unit of the engine");
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![9_999, 7_999]));
    assert_eq!(least(nanos, 1, None).await, Some(7), "cut off as a row's time is");
    assert_eq!(least(millis(&[None, None]), 2, None).await, None);
    let seconds = || -> ArrayRef { Arc::new(Int64Array::from(vec![60, 30])) };
    assert_eq!(least(seconds(), 2, Some(EpochUnit::Seconds)).await, Some(30_000_000));
    assert_eq!(least(seconds(), 2, None).await, None, "its unit depends on the value");
    let text: ArrayRef = Arc::new(StringArray::from(vec!["2026-01-01", "2025-01-01"]));
    assert_eq!(least(text, 2, None).await, None, "text has another order");
}

#[tokio::test]
async fn a_file_without_statistics_or_without_the_column_tells_nothing() {
    let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("ts", column)]).unwrap();
    let mut bytes = Vec::new();
    let properties =
        WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let store = InMemory::new();
    let location = Path::from("b.parquet");
    let size = bytes.len() as u64;
    store.put(&location, PutPayload::from(bytes)).await.unwrap();
    let display = "b.parquet".into();
    let file = InputFile { location, size, etag: None, display, row_groups: None, part: None };
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    for name in ["ts", "other"] {
        let field = Field::new(name, TIMESTAMP, true);
        let found = parquet_time_min(Arc::clone(&store), &file, &field, None).await;
        assert_eq!(found.unwrap(), None, "{name}");
    }
}
