//! A store that counts is the store it wraps: same answers, same refusals; and each request is
//! counted once, with the bytes of its body.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tidegauge::observe::{Telemetry, TelemetrySettings};

use super::prometheus_text::parse;

/// Requests by `kind outcome`, and bytes read and written.
fn counted(telemetry: &Telemetry) -> (BTreeMap<String, f64>, f64, f64) {
    let families = parse(&telemetry.prometheus_text());
    let requests = families["tidegauge_store_requests_total"]
        .samples
        .iter()
        .map(|((_, labels), count)| (format!("{} {}", labels["kind"], labels["outcome"]), *count))
        .collect();
    let total = |name: &str| families[name].samples.values().sum();
    let read = total("tidegauge_store_read_bytes_total");
    (requests, read, total("tidegauge_store_written_bytes_total"))
}

#[tokio::test]
async fn every_request_is_passed_through_and_counted() {
    let telemetry = Telemetry::start(TelemetrySettings::default().with_prometheus());
    let store = telemetry.metrics().job("j").store(Arc::new(InMemory::new()));
    let path = |name: &str| Path::from(name);
    let body = || PutPayload::from_static(b"0123456789");
    store.put_opts(&path("a"), body(), PutMode::Create.into()).await.unwrap();
    let again = store.put_opts(&path("a"), body(), PutMode::Create.into()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(store.get(&path("a")).await.unwrap().bytes().await.unwrap().len(), 10);
    let ranges = store.get_ranges(&path("a"), &[0..2, 4..5]).await.unwrap();
    assert_eq!(ranges.iter().map(|part| part.len()).sum::<usize>(), 3);
    assert_eq!(store.head(&path("a")).await.unwrap().size, 10);
    let absent = store.head(&path("b")).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");
    let stale = GetOptions::new().with_if_match(Some("other"));
    let refused = store.get_opts(&path("a"), stale).await;
    assert!(matches!(refused, Err(Error::Precondition { .. })), "{refused:?}");
    store.copy(&path("a"), &path("b")).await.unwrap();
    store.rename(&path("b"), &path("c")).await.unwrap();
    let mut upload = store.put_multipart(&path("d")).await.unwrap();
    upload.put_part(body()).await.unwrap();
    upload.complete().await.unwrap();
    store.put_multipart(&path("e")).await.unwrap().abort().await.unwrap();
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    let names: Vec<&str> = listed.iter().map(|meta| meta.location.as_ref()).collect();
    assert_eq!(names, ["a", "c", "d"]);
    let later: Vec<_> = store.list_with_offset(None, &path("a")).try_collect().await.unwrap();
    assert_eq!(later.len(), 2);
    assert_eq!(store.list_with_delimiter(None).await.unwrap().objects.len(), 3);
    let gone = futures::stream::iter([Ok(path("a")), Ok(path("c"))]).boxed();
    assert_eq!(store.delete_stream(gone).try_collect::<Vec<_>>().await.unwrap().len(), 2);

    let (requests, read, written) = counted(&telemetry);
    let expected = [
        ("copy ok", 1.0),
        ("delete ok", 2.0),
        ("get ok", 2.0),
        ("get refused", 1.0),
        ("head absent", 1.0),
        ("head ok", 1.0),
        ("list ok", 3.0),
        ("put ok", 1.0),
        ("put refused", 1.0),
        ("rename ok", 1.0),
        ("upload_abort ok", 1.0),
        ("upload_begin ok", 2.0),
        ("upload_complete ok", 1.0),
        ("upload_part ok", 1.0),
    ];
    assert_eq!(requests, expected.map(|(name, count)| (name.to_owned(), count)).into());
    assert_eq!((read, written), (13.0, 20.0));
}

#[tokio::test]
async fn without_metrics_a_store_stays_what_it_is() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let same = Telemetry::off().metrics().job("j").store(Arc::clone(&store));
    assert!(Arc::ptr_eq(&store, &same));
}
