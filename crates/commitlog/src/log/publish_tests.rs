//! What becomes of files after their epoch: published once, taken away by their readers, prepared
//! by those who died, moved with their sink, let go by retention.

use std::time::Duration;

use super::tests::{Place, old_clock};
use super::*;
use crate::clock::{SystemClock, VirtualClock};
use crate::publish::PublishOutcome;
use crate::reader::LogReader;
use crate::record::SinkFile;

fn local(dir: &tempfile::TempDir) -> Place {
    Place::new(Storage::open(dir.path().to_str().unwrap()).unwrap(), old_clock())
}

/// A log over `place` whose last epoch is not published.
async fn opened(place: &Place, seed: u64) -> CommitLog {
    let (state, sinks) = (place.state.clone(), place.sinks.clone());
    let (settings, clock) = (place.settings.clone(), Arc::clone(&place.clock));
    CommitLog::open(state, sinks, settings, clock, seed).await.unwrap()
}

/// Takes everything away that is published.
async fn take(place: &Place) -> Vec<String> {
    let sink = &place.sinks["out"];
    let found = sink.list("").await.unwrap();
    let paths = found.iter().filter_map(|meta| sink.relative(&meta.location));
    let paths: Vec<String> = paths.filter(|path| !path.starts_with("_prepared")).collect();
    sink.delete(&paths).await.unwrap();
    paths
}

fn published(files: usize, gone: usize) -> PublishOutcome {
    PublishOutcome::Published { files, gone }
}

#[tokio::test]
async fn files_that_are_published_are_never_looked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..1).await;
    assert_eq!(take(&place).await.len(), 1);
    // As if clearing them away had failed, on S3.
    let prepared = log.state().files_last[0].prepared.clone();
    place.sinks["out"].write(&prepared, Bytes::from_static(b"x")).await.unwrap();
    drop(log);
    let mut log = opened(&place, 2).await;
    assert_eq!(log.state().published_through, 1, "the marker says so");
    assert_eq!(log.publish().await.unwrap(), published(1, 0));
    assert_eq!(place.published().await, 0);
    place.epochs(&mut log, 1..3).await;
    assert_eq!(place.published().await, 2);
}

#[tokio::test]
async fn without_a_marker_what_is_prepared_is_published_and_what_is_gone_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let place = local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..1).await;
    take(&place).await;
    place.state.delete(&[names::published_marker_path(Epoch(1))]).await.unwrap();
    let mut log = opened(&place, 2).await;
    assert_eq!(log.publish().await.unwrap(), published(1, 1));
    assert_eq!(log.publish().await.unwrap(), published(1, 0), "told once");
    place.epoch(&mut log, "y").await;
    drop(log);
    let mut log = opened(&place, 3).await;
    assert_eq!(log.publish().await.unwrap(), published(1, 0));
    assert_eq!(place.published().await, 1);
}

#[tokio::test]
async fn a_marker_of_another_record_says_nothing() {
    let place = Place::memory(old_clock());
    publish::mark(&place.state, Epoch(1), "an impostor").await.unwrap();
    let mut log = place.open(1).await.unwrap();
    place.epoch(&mut log, "x").await;
    drop(log);
    let mut log = opened(&place, 2).await;
    assert_eq!(log.state().published_through, 0);
    log.publish().await.unwrap();
    assert_eq!(place.published().await, 1);
}

#[tokio::test]
async fn files_of_a_sink_that_has_moved_are_published_where_they_were_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epoch(&mut log, "x").await;
    drop(log);
    let before = place.sinks["out"].clone();
    let moved = Storage::open(dir.path().join("out2").to_str().unwrap()).unwrap();
    place.sinks.insert("out".to_owned(), moved);
    let mut log = opened(&place, 2).await;
    assert_eq!(log.publish().await.unwrap(), published(1, 0));
    assert_eq!(before.list("").await.unwrap().len(), 1);
    place.epochs(&mut log, 1..2).await;
    assert_eq!(place.published().await, 1);
    assert_eq!(before.list("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn files_of_a_sink_whose_folder_was_moved_are_published_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epoch(&mut log, "x").await;
    drop(log);
    std::fs::rename(dir.path().join("out"), dir.path().join("out2")).unwrap();
    let moved = Storage::open(dir.path().join("out2").to_str().unwrap()).unwrap();
    place.sinks.insert("out".to_owned(), moved);
    assert_eq!(opened(&place, 2).await.publish().await.unwrap(), published(1, 0));
    assert_eq!(place.published().await, 1);
}

#[tokio::test]
async fn a_coordinator_that_lost_to_one_that_died_goes_on_when_it_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = local(&dir);
    let mut winner = place.open(1).await.unwrap();
    let mut loser = place.open(2).await.unwrap();
    let attempt = loser.begin();
    let record = place.process(&attempt, "x").await;
    // It dies between its commit and its publication.
    place.epoch(&mut winner, "x").await;
    drop(winner);
    let outcome = loser.commit(&attempt, record.clone()).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Lost { .. }));
    loser.discard(&attempt, &record).await.unwrap();
    assert_eq!(loser.publish().await.unwrap_err().kind(), ErrorKind::Fenced);
    drop(loser);
    let mut again = place.open(3).await.unwrap();
    place.epochs(&mut again, 1..3).await;
    assert_eq!(place.published().await, 3);
}

#[tokio::test]
async fn an_attempt_that_failed_leaves_nothing_whoever_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = local(&dir);
    let mut log = place.open(1).await.unwrap();
    let stages = ["s"];
    // The second failure clears away what came late from the first.
    for (key, written) in [("x", 3), ("y", 4)] {
        let attempt = log.begin();
        place.process(&attempt, key).await;
        let late = attempt.prepared_path("7_1", 70_000);
        place.sinks["out"].write(&late, Bytes::from_static(b"late")).await.unwrap();
        assert_eq!(log.abandon(&attempt, &stages).await.unwrap(), written);
        // A task that had not heard of it.
        place.sinks["out"].write(&late, Bytes::from_static(b"late")).await.unwrap();
    }
    let other = opened(&place, 2).await.begin();
    place.process(&other, "z").await;
    let attempt = log.begin();
    let record = place.process(&attempt, "x").await;
    assert_eq!(log.commit(&attempt, record).await.unwrap(), CommitOutcome::Committed);
    let error = log.abandon(&attempt, &stages).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug, "its record is in the log");
    log.publish().await.unwrap();
    assert_eq!(place.published().await, 1);
    assert_eq!(place.names("runs").await.len(), 2, "the other's is not touched");
}

#[tokio::test]
async fn a_start_collects_what_the_dead_left_and_nothing_younger() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = local(&dir);
    let mut dead = opened(&place, 9).await;
    let attempt = dead.begin();
    place.process(&attempt, "z").await;
    let folders = [("out/_prepared/job", "a-1#12"), ("state/job/runs/s", "b.parquet#3")];
    for (folder, name) in folders {
        std::fs::write(dir.path().join(folder).join(name), b"half").unwrap();
    }
    std::fs::write(dir.path().join("state/job/runs/s/notes#x"), b"no").unwrap();
    place.clock = Arc::new(SystemClock);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..1).await;
    assert_eq!(log.tidy().await.unwrap(), Collected::default(), "all of it is young");
    let now_ms = SystemClock.now_ms();
    let later = VirtualClock::starting_at(now_ms + 2 * 3600 * 1000);
    place.clock = Arc::new(later);
    let log = place.open(2).await.unwrap();
    let done = log.tidy().await.unwrap();
    assert_eq!((done.prepared, done.staged), (1, 2));
    assert_eq!(log.tidy().await.unwrap(), Collected::default());
    assert!(dir.path().join("state/job/runs/s/notes#x").exists());
}

#[tokio::test]
async fn a_record_that_names_a_file_twice_is_refused() {
    let place = Place::memory(old_clock());
    let mut log = place.open(1).await.unwrap();
    let attempt = log.begin();
    let good = place.process(&attempt, "x").await;
    let mut twice = good.clone();
    twice.files.push(good.files[0].clone());
    let mut run = good.clone();
    let runs = &mut run.stages.get_mut("s").unwrap().runs_added;
    runs.push(runs[0].clone());
    for record in [twice, run] {
        let error = log.commit(&attempt, record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug);
        assert!(error.message().contains("is there twice"), "{error}");
    }
    // More files than a task's block of numbers had, in two tasks.
    let mut many = attempt.record();
    for (task, n) in (0..66_000).flat_map(|n| [("1_0", n), ("1_1", n)]) {
        many.files.push(SinkFile {
            sink: "out".into(),
            prepared: attempt.prepared_path(task, n),
            published: attempt.published_path("k=1", task, n, "parquet"),
            ..SinkFile::default()
        });
    }
    attempt.check_names(&many).unwrap();
}

#[tokio::test]
async fn what_retention_lets_go_leaves_the_list_of_files() {
    let mut place = Place::memory(Arc::new(VirtualClock::starting_at(100_000)));
    place.settings.retention = [("out".to_owned(), Duration::from_secs(50))].into();
    let mut log = place.open(1).await.unwrap();
    for (key, time_s) in [("a", Some(10)), ("b", Some(90)), ("c", None), ("d", Some(20))] {
        let attempt = log.begin();
        let mut record = place.process(&attempt, key).await;
        record.files[0].time_max_us = time_s.map(|s| s * 1_000_000);
        assert_eq!(log.commit(&attempt, record).await.unwrap(), CommitOutcome::Committed);
        log.publish().await.unwrap();
        log.maintain().await.unwrap();
    }
    let listed = LogReader::new(place.state.clone()).committed().await.unwrap();
    let epochs: Vec<u64> = listed.iter().map(|(epoch, _)| epoch.0).collect();
    assert_eq!(epochs, [2, 3]);
    assert_eq!(place.published().await, 4, "what is published is not deleted");
}
