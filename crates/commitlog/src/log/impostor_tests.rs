//! Collected slots that are created again by sleepers: too rare for dice, so played step by step,
//! each with the rule in place and with the rule broken.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use tokio::sync::Notify;

use super::tests::{Place, old_clock};
use super::*;
use crate::reader::LogReader;

/// A store that holds up one read.
#[derive(Debug)]
struct Stalling {
    inner: InMemory,
    path: String,
    is_armed: AtomicBool,
    reached: Notify,
    go_on: Notify,
}

impl fmt::Display for Stalling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stalling")
    }
}

#[async_trait]
impl ObjectStore for Stalling {
    async fn put_opts(&self, p: &Path, b: PutPayload, o: PutOptions) -> StoreResult<PutResult> {
        self.inner.put_opts(p, b, o).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if path.as_ref().ends_with(&self.path) && self.is_armed.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Commits an epoch that keeps all runs of those before.
async fn epoch(place: &Place, log: &mut CommitLog, key: u32) {
    let attempt = log.begin();
    let record = place.process(&attempt, &key.to_string()).await;
    let outcome = log.commit(&attempt, record).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed);
    log.publish().await.unwrap();
}

/// A coordinator stops in the middle of a collection. Others go on, collect the very records that
/// it is about to read, and sleepers create those again. Says how many live runs are gone then.
async fn collect_among_impostors(sabotage: Option<Sabotage>) -> usize {
    let stalling = Arc::new(Stalling {
        inner: InMemory::new(),
        path: names::log_path(Epoch(5)),
        is_armed: AtomicBool::new(false),
        reached: Notify::new(),
        go_on: Notify::new(),
    });
    let store: Arc<dyn ObjectStore> = Arc::clone(&stalling) as _;
    let root = Storage::from_parts(store, Path::default());
    let mut place = Place::new(root, old_clock());
    place.settings.sabotage = sabotage;
    let mut old = place.open(1).await.unwrap();
    let mut sleepers = Vec::new();
    for key in 0..6 {
        if key >= 4 {
            let mut sleeper = place.open(10 + u64::from(key)).await.unwrap();
            let attempt = sleeper.begin();
            let record = place.process(&attempt, "x").await;
            sleepers.push((sleeper, attempt, record));
        }
        epoch(&place, &mut old, key).await;
        if key < 4 {
            old.maintain().await.unwrap();
        }
    }
    stalling.is_armed.store(true, Ordering::SeqCst);
    let mut new = None;
    let collecting = old.maintain();
    let meanwhile = async {
        stalling.reached.notified().await;
        let mut log = place.open(2).await.unwrap();
        for key in 6..16 {
            epoch(&place, &mut log, key).await;
            log.maintain().await.unwrap();
        }
        assert!(!place.state.exists(&names::log_path(Epoch(6))).await.unwrap());
        for (sleeper, attempt, record) in &mut sleepers {
            let outcome = sleeper.commit(attempt, record.clone()).await.unwrap();
            assert_eq!(outcome, CommitOutcome::Fenced);
        }
        new = Some(log);
        stalling.go_on.notify_one();
    };
    let (collected, ()) = futures::join!(collecting, meanwhile);
    collected.unwrap();
    let log = new.unwrap();
    let mut gone = 0;
    for path in log.state().paths() {
        gone += usize::from(!place.state.exists(path).await.unwrap());
    }
    gone
}

#[tokio::test]
async fn a_collection_that_slept_is_not_led_astray() {
    assert_eq!(collect_among_impostors(None).await, 0);
    let broken = Some(Sabotage::CollectByImpostor);
    assert!(collect_among_impostors(broken).await > 0);
}

/// Two sleepers wake long after their epoch was decided, published and collected. The first puts
/// its record into the empty slot; the second finds it there.
async fn wake_two_sleepers(sabotage: Option<Sabotage>) -> Vec<CommitOutcome> {
    let mut place = Place::memory(old_clock());
    place.settings.sabotage = sabotage;
    let slot = names::log_path(Epoch(1));
    let mut sleepers = [place.open(1).await.unwrap(), place.open(2).await.unwrap()];
    let mut tried = Vec::new();
    for sleeper in &mut sleepers {
        let attempt = sleeper.begin();
        let record = place.process(&attempt, "0").await;
        tried.push((attempt, record));
    }
    let mut log = place.open(3).await.unwrap();
    place.epochs(&mut log, 0..9).await;
    assert!(!place.state.exists(&slot).await.unwrap());
    let mut outcomes = Vec::new();
    for (sleeper, (attempt, record)) in sleepers.iter_mut().zip(tried) {
        let outcome = sleeper.commit(&attempt, record.clone()).await.unwrap();
        let discarded = sleeper.discard(&attempt, &record).await;
        assert_eq!(discarded.is_err(), outcome == CommitOutcome::Fenced);
        outcomes.push(outcome);
        assert!(place.state.exists(&slot).await.unwrap());
    }
    assert_eq!(place.published().await, 9);
    let state = LogReader::new(place.state.clone()).state().await.unwrap();
    assert_eq!(state.head(), 9);
    place.epochs(&mut log, 9..11).await;
    assert!(!place.state.exists(&slot).await.unwrap());
    outcomes
}

#[tokio::test]
async fn an_impostor_in_a_collected_slot_is_nobodys_epoch() {
    let outcomes = wake_two_sleepers(None).await;
    assert_eq!(outcomes, [CommitOutcome::Fenced, CommitOutcome::Fenced]);
    let outcomes = wake_two_sleepers(Some(Sabotage::LoseToImpostor)).await;
    assert!(matches!(outcomes[1], CommitOutcome::Lost { .. }));
}
