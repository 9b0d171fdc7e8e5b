//! Files as streams: compression, blocks, versions, and how fast.

use std::io::Write;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};

use super::*;

fn settings(format: Format, block_bytes: usize, batch_rows: usize) -> Arc<OpenSettings> {
    Arc::new(OpenSettings {
        schema: Arc::new(Schema::new(vec![
            Field::new("unused", DataType::Utf8View, true),
            Field::new("n", DataType::Int64, true),
        ])),
        projection: vec![1],
        time_column: None,
        format,
        compression: Compression::Auto,
        unit: None,
        batch_rows,
        block_bytes,
    })
}

fn lines(rows: i64) -> Vec<u8> {
    (0..rows)
        .flat_map(|n| {
            format!("{{\"n\":{n},\"unused\":\"{}\"}}\n", "x".repeat((n % 50) as usize)).into_bytes()
        })
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn stored(store: &dyn ObjectStore, name: &str, bytes: Vec<u8>) -> InputFile {
    let location = Path::from(name);
    store.put(&location, PutPayload::from(bytes)).await.unwrap();
    let meta = store.head(&location).await.unwrap();
    InputFile {
        location,
        size: meta.size,
        etag: meta.e_tag,
        display: format!("mem/{name}"),
        row_groups: None,
        part: None,
    }
}

async fn read(
    store: &Arc<dyn ObjectStore>,
    file: &InputFile,
    settings: &Arc<OpenSettings>,
) -> SourceResult<Vec<Decoded>> {
    read_file(store.clone(), file, settings.clone()).try_collect().await
}

fn numbers(decoded: &[Decoded]) -> Vec<i64> {
    decoded
        .iter()
        .flat_map(|d| d.batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

#[tokio::test]
async fn every_compression_and_block_size_gives_the_same_rows() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let text = lines(3_000);
    let expected: Vec<i64> = (0..3_000).collect();
    for (name, bytes) in [
        ("a.json", text.clone()),
        ("a.json.gz", [gzip(&text[..1000]), gzip(&text[1000..])].concat()),
        ("a.json.zst", zstd::encode_all(&text[..], 1).unwrap()),
        ("no-ending-gzip", gzip(&text)),
        ("no-ending-zstd", zstd::encode_all(&text[..], 1).unwrap()),
    ] {
        let file = stored(&*store, name, bytes).await;
        for block_bytes in [1, 100, 4096, 1 << 20] {
            let decoded =
                read(&store, &file, &settings(Format::Json, block_bytes, 1000)).await.unwrap();
            assert!(numbers(&decoded) == expected, "{name} {block_bytes}");
            assert!(decoded.iter().all(|d| d.batch.num_rows() <= 1250), "{name} {block_bytes}");
            assert!(decoded.len() <= 15, "{name} {block_bytes}: {} batches", decoded.len());
        }
    }
}

#[tokio::test]
async fn a_local_file_is_read_too_and_a_changed_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> =
        Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let mut text = lines(60_000);
    text.extend(b"{\"n\":60000}");
    let mut file = stored(&*store, "a.json", text).await;
    let settings = settings(Format::Json, 1 << 20, 8192);
    assert_eq!(
        numbers(&read(&store, &file, &settings).await.unwrap()),
        (0..=60_000).collect::<Vec<i64>>()
    );

    store.put(&file.location, PutPayload::from("{\"n\":1}\n")).await.unwrap();
    let error = read(&store, &file, &settings).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
    assert!(
        error.to_string().starts_with("mem/a.json: was changed after it was listed"),
        "{error}"
    );

    file.etag = None;
    assert!(
        read(&store, &file, &settings).await.unwrap_err().to_string().contains("changed its size")
    );
    file.location = Path::from("gone.json");
    assert!(read(&store, &file, &settings).await.unwrap_err().to_string().contains("is not there"));
}

#[tokio::test]
async fn rejects_come_with_the_place_in_the_file() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut text = lines(100);
    let offset = text.len() as u64;
    text.extend(b"{\"n\":1.5}\n");
    text.extend(lines(100));
    let file = stored(&*store, "a.json.gz", gzip(&text)).await;
    for block_bytes in [64, 1 << 20] {
        let decoded = read(&store, &file, &settings(Format::Json, block_bytes, 10)).await.unwrap();
        assert_eq!(numbers(&decoded).len(), 200);
        let rejects: Vec<_> = decoded.into_iter().flat_map(|d| d.rejects).collect();
        assert_eq!((rejects.len(), rejects[0].line, rejects[0].byte_offset), (1, 101, offset));
        let error = SourceError::rejected(&file.display, &rejects[0]).to_string();
        assert_eq!(
            error,
            "mem/a.json.gz: line 101, column n: \"1.5\" has a fraction, which BIGINT cannot hold"
        );
    }
}

#[tokio::test]
async fn damaged_files_are_errors_that_name_them() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let packed = gzip(&lines(5_000));
    let settings = settings(Format::Json, 1 << 20, 8192);
    let file = stored(&*store, "cut.gz", packed[..packed.len() - 9].to_vec()).await;
    let error = read(&store, &file, &settings).await.unwrap_err();
    assert!(
        matches!(error, SourceError::Corrupt { .. })
            && error.to_string().starts_with("mem/cut.gz: "),
        "{error}"
    );
    let file =
        stored(&*store, "cut.zst", zstd::encode_all(&b"{}\n{}\n"[..], 1).unwrap()[..10].to_vec())
            .await;
    assert_eq!(
        read(&store, &file, &settings).await.unwrap_err().to_string(),
        "mem/cut.zst: is cut off: its compressed data has no end"
    );
}

#[tokio::test]
async fn an_empty_file_has_no_rows_and_is_not_even_asked_for() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let file = InputFile {
        location: Path::from("none"),
        size: 0,
        etag: None,
        display: "none".into(),
        row_groups: None,
        part: None,
    };
    for format in [Format::Json, Format::Csv(Default::default()), Format::Parquet] {
        assert!(read(&store, &file, &settings(format, 1 << 20, 8192)).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_record_without_an_end_is_refused_before_it_fills_the_memory() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let bomb = gzip(&vec![b' '; RECORD_BYTES_MAX + (4 << 20)]);
    let file = stored(&*store, "bomb.gz", bomb).await;
    let error = read(&store, &file, &settings(Format::Json, 1 << 20, 8192)).await.unwrap_err();
    assert!(error.to_string().contains("more than 64 MiB"), "{error}");
}
