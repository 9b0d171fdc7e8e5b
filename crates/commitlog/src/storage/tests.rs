//! Storage over real local folders.

use super::*;
use crate::names;

fn text(bytes: Option<Bytes>) -> Option<String> {
    bytes.map(|b| String::from_utf8(b.to_vec()).unwrap())
}

#[tokio::test]
async fn encoded_partition_folders_come_back_exactly_as_given() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path().join("a b%20é").to_str().unwrap()).unwrap();
    let values = ["a/b", "a b", "100%", "naïve-日本", "#1", "a%2Fb", "x~y", "?*[]"];
    let mut given = Vec::new();
    for value in values {
        let folder = names::partition_folder(&[("tenant", Some(value))]);
        let published = format!("{folder}/f.parquet");
        let prepared = format!("_prepared/job/{}", given.len());
        storage.write(&prepared, Bytes::from(value)).await.unwrap();
        storage.promote(&prepared, &published, false).await.unwrap();
        given.push(published);
    }
    given.push("raw=日本 x%zz+&/f.parquet".into());
    storage.write(given.last().unwrap(), Bytes::from_static(b"x")).await.unwrap();
    for name in &given {
        assert!(storage.local_path(name).unwrap().is_file(), "{name}");
    }
    let mut listed: Vec<String> = storage
        .list("")
        .await
        .unwrap()
        .iter()
        .map(|meta| storage.relative(&meta.location).unwrap())
        .collect();
    listed.sort();
    given.sort();
    assert_eq!(listed, given);
    let mut folders: Vec<String> = std::fs::read_dir(dir.path().join("a b%20é"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('_'))
        .collect();
    folders.sort();
    let mut expected: Vec<String> =
        given.iter().map(|path| path.split('/').next().unwrap().to_owned()).collect();
    expected.sort();
    assert_eq!(folders, expected);
}

#[tokio::test]
async fn create_is_refused_where_something_is() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path().to_str().unwrap()).unwrap();
    let first = storage.create("log/1.json", Bytes::from_static(b"a")).await;
    assert_eq!(first.unwrap(), Creation::Created);
    let second = storage.create("log/1.json", Bytes::from_static(b"b")).await;
    assert_eq!(second.unwrap(), Creation::Exists);
    let found = storage.get("log/1.json").await.unwrap();
    assert_eq!(text(found).as_deref(), Some("a"));
    let names: Vec<_> = std::fs::read_dir(dir.path().join("log")).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[tokio::test]
async fn absent_things_are_empty_none_or_fine() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path().join("not/there").to_str().unwrap()).unwrap();
    assert!(storage.is_local());
    assert!(storage.list("").await.unwrap().is_empty());
    assert!(storage.list("log").await.unwrap().is_empty());
    assert_eq!(storage.get("log/1.json").await.unwrap(), None);
    storage.delete(&["a".into(), "b/c".into()]).await.unwrap();
    assert!(!dir.path().join("not").exists());
}

#[tokio::test]
async fn promote_can_be_repeated_and_a_lost_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path().to_str().unwrap()).unwrap();
    storage.write("_prepared/j/1", Bytes::from_static(b"x")).await.unwrap();
    storage.sync(&["_prepared/j/1".into()]).await.unwrap();
    for _ in 0..2 {
        storage.promote("_prepared/j/1", "k=v/1.parquet", false).await.unwrap();
    }
    storage.sync(&["k=v/1.parquet".into()]).await.unwrap();
    let lost = storage.promote("_prepared/j/2", "k=v/2.parquet", false).await;
    assert_eq!(lost.unwrap(), Promotion::Gone);
}

#[tokio::test]
async fn local_files_of_several_places_are_promoted_and_synced_together() {
    let folder = tempfile::tempdir().unwrap();
    let one = Storage::open(&folder.path().join("one").display().to_string()).unwrap();
    let two = Storage::open(&folder.path().join("two").display().to_string()).unwrap();
    one.write("_prepared/j/1", "a".into()).await.unwrap();
    two.write("_prepared/j/2", "b".into()).await.unwrap();
    let prepared = [(&one, vec!["_prepared/j/1".to_owned()]), (&two, vec!["_prepared/j/2".into()])];
    sync_all(&prepared).await.unwrap();
    let files = [
        (&one, "_prepared/j/1", "k=v/1.parquet"),
        (&one, "_prepared/j/3", "3.parquet"),
        (&two, "_prepared/j/2", "2.parquet"),
    ];
    for _ in 0..2 {
        let promoted = promote_local(&files).await.unwrap();
        let promoted: Vec<Promotion> = promoted.into_iter().map(Result::unwrap).collect();
        assert_eq!(promoted, [Promotion::There, Promotion::Gone, Promotion::There]);
    }
    // A file that was not there has no folder to be synced.
    let names = [(&one, vec!["k=v/1.parquet".to_owned(), "x=y/3.parquet".into()]), (&two, vec![])];
    sync_folders(&names).await.unwrap();
    assert_eq!(one.get("k=v/1.parquet").await.unwrap().unwrap(), "a");
    assert_eq!(two.get("2.parquet").await.unwrap().unwrap(), "b");
}

#[tokio::test]
async fn a_child_is_a_place_below() {
    let dir = tempfile::tempdir().unwrap();
    let root = Storage::open(&format!("file://{}/", dir.path().display())).unwrap();
    let child = root.child("job");
    child.write("log/1.json", Bytes::from_static(b"x")).await.unwrap();
    child.sync(&["log/1.json".into()]).await.unwrap();
    assert!(dir.path().join("job/log/1.json").is_file());
    assert!(root.exists("job/log/1.json").await.unwrap());
    assert_eq!(child.relative(&root.path("job/log/1.json")).as_deref(), Some("log/1.json"));
    assert_eq!(child.relative(&root.path("jobs/x")), None);
}

#[tokio::test]
async fn listing_after_a_name_is_sorted_and_starts_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path().to_str().unwrap()).unwrap();
    for n in [3, 1, 2, 10] {
        let path = names::log_path(names::Epoch(n));
        storage.write(&path, Bytes::new()).await.unwrap();
    }
    let after = names::log_path(names::Epoch(1));
    let found: Vec<_> = storage
        .list_after("log", &after)
        .await
        .unwrap()
        .iter()
        .filter_map(|meta| names::parse_numbered(meta.location.as_ref()))
        .collect();
    assert_eq!(found, [2, 3, 10].map(names::Epoch));
}

#[test]
fn locations_that_cannot_be_used_say_what_to_write() {
    for wrong in ["gs://bucket/x", "file://host/x", "s3://"] {
        let error = Storage::open(wrong).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::BadJob, "{wrong}");
        assert!(error.message().contains(wrong), "{error}");
    }
    let dotted = Storage::open("/a/b/../c/").unwrap();
    assert_eq!(dotted.location(), "/a/c");
}

#[tokio::test]
async fn a_write_that_fails_names_the_place_and_what_to_check() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"x").unwrap();
    let storage = Storage::open(dir.path().join("file").to_str().unwrap()).unwrap();
    let error = storage.write("x", Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Unavailable);
    assert!(error.message().contains("file/x"), "{error}");
    assert!(error.message().contains("check"), "{error}");
}
