//! Rows in any order and any memory: one file a value, with its rows in their order.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Int64Array, StringArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegauge_commitlog::{Attempt, Storage};

use super::*;
use crate::sink::{SinkWriter, read_all};

const WRITERS: usize = 3;

fn target(dir: &tempfile::TempDir, memory: usize) -> SinkTarget {
    let attempt: Attempt = serde_json::from_value(serde_json::json!({
        "epoch": 1, "id": "a", "incarnation": "ab", "started_ms": 0,
        "job": "j", "writer": "w", "ordinal": 0
    }))
    .unwrap();
    let pool = Arc::new(FairSpillPool::new(memory));
    let env = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    SinkTarget {
        sink: "out".to_owned(),
        storage: Storage::open(dir.path().to_str().unwrap()).unwrap(),
        folder: String::new(),
        partition_by: vec!["tenant".to_owned()],
        schema: Arc::new(Schema::new(vec![
            Field::new("tenant", DataType::Utf8, true),
            Field::new("writer", DataType::Int64, false),
            Field::new("at", DataType::Int64, false),
        ])),
        attempt,
        files: TaskFiles::new("0", env),
    }
}

/// Rows of drawn tenants, of a writer that counts them.
fn batch(
    target: &SinkTarget,
    rng: &mut SmallRng,
    tenants: u32,
    writer: usize,
    at: i64,
) -> RecordBatch {
    let rows = 700;
    let tenant: StringArray = (0..rows)
        .map(|_| match rng.random_range(0..tenants) {
            0 => None,
            tenant => Some(format!("t{tenant}")),
        })
        .collect();
    let writers = Int64Array::from_iter_values((0..rows).map(|_| writer as i64));
    let counted = Int64Array::from_iter_values((0..rows).map(|row| at * rows + row));
    let columns: Vec<ArrayRef> = vec![Arc::new(tenant), Arc::new(writers), Arc::new(counted)];
    RecordBatch::try_new(Arc::clone(&target.schema), columns).unwrap()
}

/// Writes drawn rows, publishes them, and checks that all are there, each value's in order. Gives the
/// files.
async fn written(memory: usize, tenants: u32, value_bytes_max: usize) -> (Vec<SinkFile>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let target = target(&dir, memory);
    let gather = target.files.gather(&target).unwrap();
    gather.gathered.lock().value_bytes_max = value_bytes_max;
    let mut writers: Vec<SinkWriter> =
        (0..WRITERS).map(|_| SinkWriter::new(target.clone()).unwrap()).collect();
    let mut rng = SmallRng::seed_from_u64(3);
    let mut expected: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for at in 0..40 {
        for (n, writer) in writers.iter_mut().enumerate() {
            let batch = batch(&target, &mut rng, tenants, n, at);
            for tenant in batch.column(0).as_string::<i32>() {
                *expected.entry(tenant.map(str::to_owned)).or_default() += 1;
            }
            writer.write(&batch).await.unwrap();
        }
    }
    for writer in writers {
        assert!(writer.finish().await.unwrap().is_empty());
    }
    let spills = gather.gathered.lock().spills.len();
    drop(gather);
    let files = target.files.finish().await.unwrap();
    for file in &files {
        target.storage.promote(&file.prepared, &file.published, true).await.unwrap();
    }
    check(&read_all(&target.storage).await.unwrap(), expected);
    (files, spills)
}

fn check(found: &[RecordBatch], expected: BTreeMap<Option<String>, usize>) {
    let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut all = std::collections::BTreeSet::new();
    for batch in found {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let tenants = column("tenant").as_string::<i32>();
        let writers = column("writer").as_primitive::<Int64Type>();
        let counted = column("at").as_primitive::<Int64Type>();
        let mut last = [-1; WRITERS];
        for row in 0..batch.num_rows() {
            let tenant = tenants.iter().nth(row).unwrap();
            *counts.entry(tenant.map(str::to_owned)).or_default() += 1;
            let (writer, at) = (writers.value(row), counted.value(row));
            assert!(all.insert((writer, at)), "a row is there twice");
            assert!(at > last[writer as usize], "rows of a value keep their order");
            last[writer as usize] = at;
        }
    }
    assert_eq!(counts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_gets_one_file_however_its_rows_arrive() {
    let (files, spills) = written(usize::MAX, 300, FILE_BYTES_MAX).await;
    assert_eq!((files.len(), spills), (300, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gets_one_file_where_memory_is_short_too() {
    let (files, spills) = written(256 * 1024, 300, FILE_BYTES_MAX).await;
    assert_eq!(files.len(), 300);
    assert!(spills > 3, "{spills}");
    let (files, _) = written(1, 20, FILE_BYTES_MAX).await;
    assert_eq!(files.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_more_than_a_file_is_written_before_the_end() {
    let (files, _) = written(usize::MAX, 2, 50 * 1024).await;
    assert!(files.len() > 4, "{}", files.len());
    let (files, _) = written(300 * 1024, 2, 20 * 1024).await;
    assert!(files.len() > 4, "{}", files.len());
}
