//! The protocol over real local folders, without faults.

use super::*;
use crate::clock::SystemClock;
use crate::reader::LogReader;

fn is_send<T: Send>(future: T) -> T {
    future
}

/// A coordinator runs in a task of its own: its futures must be able to move between threads.
#[tokio::test]
async fn a_coordinator_can_run_in_a_task() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path().to_str().unwrap()).unwrap();
    let reader = LogReader::new(storage.clone());
    let clock = Arc::new(SystemClock);
    let settings = LogSettings::new("job");
    let sinks = BTreeMap::new();
    let open = CommitLog::open(storage, sinks, settings, clock, 1);
    let mut log = is_send(open).await.unwrap();
    let attempt = log.begin();
    is_send(log.commit(&attempt, attempt.record()))
        .await
        .unwrap();
    is_send(log.publish()).await.unwrap();
    is_send(log.maintain()).await.unwrap();
    is_send(log.discard(&attempt, &attempt.record()))
        .await
        .unwrap_err();
    assert!(is_send(reader.committed()).await.unwrap().is_empty());
    let state = is_send(reader.state_at(Epoch(1))).await.unwrap();
    assert_eq!(state.head(), 1);
}
