//! What the engine needs of S3, of a real server over HTTP: create-only writes, multipart uploads,
//! listing, copies, and an error that names a bucket that is not there.

use bytes::Bytes;
use futures::future::join_all;
use tidegauge_commitlog::{Creation, Promotion};
use tokio::task::JoinSet;

use super::process;
use super::s3_server::S3Server;
use super::storm::Storm;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_create_an_object_at_once_one_does() {
    let Some(server) = S3Server::start() else { return };
    let storage = server.storage("create");
    for round in 0..30 {
        let path = format!("log/{round}.json");
        let creations = (0..8).map(|n| {
            let (storage, path) = (storage.clone(), path.clone());
            async move { (n, storage.create(&path, Bytes::from(n.to_string())).await.unwrap()) }
        });
        let mut tasks: JoinSet<(i32, Creation)> = creations.collect();
        let mut answers = Vec::new();
        while let Some(answer) = tasks.join_next().await {
            answers.push(answer.unwrap());
        }
        let created: Vec<i32> = answers
            .into_iter()
            .filter(|(_, creation)| *creation == Creation::Created)
            .map(|(n, _)| n)
            .collect();
        assert_eq!(created.len(), 1, "{path}: {created:?} each think they were first");
        let found = storage.get(&path).await.unwrap().unwrap();
        assert_eq!(found, created[0].to_string().as_bytes(), "{path}");
    }
}

#[tokio::test]
async fn an_object_of_many_parts_arrives_whole_and_is_promoted_by_a_copy() {
    let Some(server) = S3Server::start() else { return };
    let storage = server.storage("parts");
    for bytes in [8 << 20, (8 << 20) + 1, (21 << 20) + 17] {
        let content: Vec<u8> = (0..bytes).map(|at: u32| (at ^ (at >> 11)) as u8).collect();
        let content = Bytes::from(content);
        let (prepared, published) = (format!("_prepared/{bytes}"), format!("{bytes}.parquet"));
        storage.write(&prepared, content.clone()).await.unwrap();
        storage.promote(&prepared, &published, false).await.unwrap();
        storage.promote(&prepared, &published, false).await.unwrap();
        storage.delete(std::slice::from_ref(&prepared)).await.unwrap();
        storage.promote(&prepared, &published, false).await.unwrap();
        assert!(!storage.exists(&prepared).await.unwrap());
        assert!(storage.get(&published).await.unwrap() == Some(content), "{bytes} bytes");
    }
    let lost = storage.promote("_prepared/none", "none.parquet", false).await.unwrap();
    assert_eq!(lost, Promotion::Gone);
}

#[tokio::test]
async fn a_listing_of_more_than_one_page_is_complete_and_in_order() {
    let Some(server) = S3Server::start() else { return };
    let storage = server.storage("pages");
    let names: Vec<String> = (0..1_100).map(|n| format!("t=a%2Fb/{n:04}.parquet")).collect();
    for some in names.chunks(50) {
        let writes = some.iter().map(|name| storage.write(name, Bytes::from_static(b"x")));
        join_all(writes).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    }
    let listed = storage.list("").await.unwrap();
    let found: Vec<String> =
        listed.iter().map(|meta| storage.relative(&meta.location).unwrap()).collect();
    assert_eq!(found, names);
    let after = storage.list_after("", &names[1_097]).await.unwrap();
    assert_eq!(after.len(), 2);
    storage.delete(&names).await.unwrap();
    assert!(storage.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_missing_bucket_is_named_and_nothing_is_committed() {
    let Some(server) = S3Server::start() else { return };
    let storm = Storm::s3(&server, "missing", 3, 150).await;
    let good = storm.outcome("out");
    let source = good.clone().with("IN", "s3://no-such-source/in/");
    let sinks = good.clone().with("OUT", "s3://no-such-sink/out");
    for (outcome, bucket) in [(source, "no-such-source"), (sinks, "no-such-sink")] {
        let ended = process::run(&storm.job(), &outcome.env, &["--once"]);
        println!("{}", ended.stderr.trim());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(bucket), "{ended:?}");
        assert!(ended.stderr.contains("check that the bucket exists"), "{ended:?}");
    }
    assert_eq!(good.epochs().await, 0);
    assert!(good.names("").await.is_empty(), "something was written");
}
