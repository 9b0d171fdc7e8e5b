//! The protocol over real local folders, without faults.

use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;

use super::*;
use crate::clock::{SystemClock, VirtualClock};
use crate::reader::LogReader;
use crate::record::{Run, SeenFile, SinkFile, SourceChange, SourceRows, StageChange};

pub(super) struct Place {
    pub(super) state: Storage,
    pub(super) sinks: BTreeMap<String, Storage>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: LogSettings,
}

impl Place {
    fn local(dir: &tempfile::TempDir) -> Place {
        let root = Storage::open(dir.path().to_str().unwrap()).unwrap();
        Place::new(root, old_clock())
    }

    pub(super) fn memory(clock: Arc<dyn Clock>) -> Place {
        let root = Storage::from_parts(Arc::new(InMemory::new()), Path::default());
        Place::new(root, clock)
    }

    pub(super) fn new(root: Storage, clock: Arc<dyn Clock>) -> Place {
        Place {
            state: root.child("state/job"),
            sinks: [("out".to_owned(), root.child("out"))].into(),
            clock,
            settings: LogSettings {
                checkpoint_every: 2,
                retain_epochs: 2,
                grace: Duration::from_secs(3600),
                ..LogSettings::new("job")
            },
        }
    }

    pub(super) async fn open(&self, seed: u64) -> Result<CommitLog> {
        let (state, sinks) = (self.state.clone(), self.sinks.clone());
        let (settings, clock) = (self.settings.clone(), Arc::clone(&self.clock));
        let mut log = CommitLog::open(state, sinks, settings, clock, seed).await?;
        log.publish().await?;
        Ok(log)
    }

    /// Writes one input's row into a sink file and a run.
    pub(super) async fn process(&self, attempt: &Attempt, key: &str) -> CommitRecord {
        let mut record = attempt.record();
        let file = SinkFile {
            sink: "out".into(),
            prepared: attempt.prepared_path("0", 0),
            published: attempt.published_path("tenant=a%2Fb", "0", 0, "parquet"),
            rows: 1,
            ..SinkFile::default()
        };
        let body = Bytes::copy_from_slice(key.as_bytes());
        let out = &self.sinks["out"];
        out.write(&file.prepared, body.clone()).await.unwrap();
        record.files.push(file);
        let run = Run { path: attempt.run_path("s", "0"), ..Run::default() };
        self.state.write(&run.path, body).await.unwrap();
        let stage = StageChange { runs_added: vec![run], ..StageChange::default() };
        record.stages.insert("s".into(), stage);
        let source = SourceChange {
            added: vec![SeenFile::new(key, None, 1)],
            rows: SourceRows { rows_in: 1, used: 1, ..SourceRows::default() },
            ..SourceChange::default()
        };
        record.sources.insert("in".into(), source);
        record
    }

    pub(super) async fn epoch(&self, log: &mut CommitLog, key: &str) -> CommitOutcome {
        let attempt = log.begin();
        let mut record = self.process(&attempt, key).await;
        if let (Some(stage), Some(old)) = (record.stages.get_mut("s"), log.state.stages.get("s")) {
            stage.runs_removed = old.runs.iter().map(|run| run.path.clone()).collect();
        }
        log.commit(&attempt, record).await.unwrap()
    }

    pub(super) async fn epochs(&self, log: &mut CommitLog, keys: std::ops::Range<u32>) {
        for key in keys {
            let outcome = self.epoch(log, &key.to_string()).await;
            assert_eq!(outcome, CommitOutcome::Committed);
            log.publish().await.unwrap();
            log.maintain().await.unwrap();
        }
    }

    pub(super) async fn names(&self, folder: &str) -> Vec<String> {
        let found = self.state.list(folder).await.unwrap();
        found.iter().filter_map(|meta| self.state.relative(&meta.location)).collect()
    }

    pub(super) async fn published(&self) -> usize {
        let found = self.sinks["out"].list("tenant=a%2Fb").await.unwrap();
        found.len()
    }
}

/// Shows a time so late that everything written is older than the grace period.
pub(super) fn old_clock() -> Arc<dyn Clock> {
    Arc::new(VirtualClock::starting_at(SystemClock.now_ms() + 7_200_000))
}

fn is_send<T: Send>(future: T) -> T {
    future
}

#[tokio::test]
async fn a_coordinator_can_run_in_a_task() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let reader = LogReader::new(place.state.clone());
    let mut log = is_send(place.open(1)).await.unwrap();
    let attempt = log.begin();
    let outcome = is_send(log.commit(&attempt, attempt.record())).await;
    assert_eq!(outcome.unwrap(), CommitOutcome::Committed);
    is_send(log.publish()).await.unwrap();
    is_send(log.maintain()).await.unwrap();
    is_send(log.discard(&attempt, &attempt.record())).await.unwrap_err();
    assert!(is_send(reader.committed()).await.unwrap().is_empty());
    let state = is_send(reader.state_at(Epoch(1))).await.unwrap();
    assert_eq!(state.head(), 1);
}

#[tokio::test]
async fn a_long_local_run_is_folded_collected_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..41).await;
    assert_eq!(place.published().await, 41);
    assert!(place.names("log").await.len() <= 5);
    assert!(place.names("checkpoint").await.len() <= 3);
    assert!(place.names("runs").await.len() <= 6);
    assert!(place.names("seen").await.len() <= 20);
    assert!(place.sinks["out"].list("_prepared").await.unwrap().is_empty());
    let committed = LogReader::new(place.state.clone()).committed().await.unwrap();
    let epochs: Vec<u64> = committed.iter().map(|(epoch, _)| epoch.0).collect();
    assert_eq!(epochs, (1..=41).collect::<Vec<_>>());
    let again = place.open(2).await.unwrap();
    assert_eq!(again.state(), log.state());
    for key in 0..41 {
        assert!(again.state().seen.contains("in", &key.to_string(), None, 1));
    }
    assert_eq!(again.state().rows_out["out"], 41);
    assert_ne!(again.incarnation(), log.incarnation());
}

#[tokio::test]
async fn retained_epochs_can_be_opened_and_older_ones_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..9).await;
    let reader = LogReader::new(place.state.clone());
    for epoch in 7..=9 {
        let state = reader.state_at(Epoch(epoch)).await.unwrap();
        assert_eq!(state.head(), epoch);
        for path in state.paths() {
            assert!(place.state.exists(path).await.unwrap(), "{path}");
        }
    }
    for epoch in [1, 10] {
        let error = reader.state_at(Epoch(epoch)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadJob, "{error}");
    }
}

#[tokio::test]
async fn retained_records_are_read_back_and_strays_are_not() {
    let place = Place::memory(old_clock());
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..9).await;
    let reader = LogReader::new(place.state.clone());
    let epochs = |records: &[CommitRecord]| -> Vec<u64> {
        records.iter().map(|record| record.epoch.0).collect()
    };
    let records = reader.records(Epoch(9), 100).await.unwrap();
    assert_eq!(epochs(&records), [7, 8, 9]);
    assert_eq!(records[2].rows_out["out"], 1);
    assert_eq!(epochs(&reader.records(Epoch(9), 2).await.unwrap()), [8, 9]);
    assert_eq!(epochs(&reader.records(Epoch(8), 100).await.unwrap()), [7, 8]);
    // A coordinator that slept wakes up and creates a record in a slot that was emptied.
    let stray = CommitRecord { epoch: Epoch(6), ..records[0].clone() };
    let bytes = serde_json::to_vec(&stray).unwrap();
    place.state.write(&names::log_path(Epoch(6)), bytes.into()).await.unwrap();
    assert_eq!(epochs(&reader.records(Epoch(9), 100).await.unwrap()), [7, 8, 9]);
    assert!(reader.records(Epoch(12), 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cache_spares_reading_segments_again() {
    let place = Place::memory(old_clock());
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..9).await;
    let manifest = log.state().manifest.clone();
    assert!(!manifest.segments().is_empty());
    let reader = LogReader::new(place.state.clone());
    let cached = reader.clone().with_cache(Arc::default());
    let files = cached.files_of(&manifest).await.unwrap();
    assert_eq!(files.len(), 9);
    let paths: Vec<String> = manifest.segments().iter().map(|s| s.path.clone()).collect();
    place.state.delete(&paths).await.unwrap();
    assert_eq!(cached.files_of(&manifest).await.unwrap(), files);
    let error = reader.files_of(&manifest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn of_two_coordinators_one_commits_and_the_other_stops() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut first = place.open(1).await.unwrap();
    let mut second = place.open(2).await.unwrap();
    let attempt = second.begin();
    let record = place.process(&attempt, "x").await;
    place.epochs(&mut first, 0..1).await;
    let outcome = second.commit(&attempt, record.clone()).await.unwrap();
    let winner = first.incarnation().to_owned();
    assert_eq!(outcome, CommitOutcome::Lost { winner });
    second.discard(&attempt, &record).await.unwrap();
    assert_eq!(place.names("runs").await.len(), 1);
    assert_eq!(place.published().await, 1);
    let error = second.publish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    place.epochs(&mut first, 1..3).await;
    assert_eq!(place.published().await, 3);
}

#[tokio::test]
async fn what_a_crash_left_unpublished_is_published_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epoch(&mut log, "x").await;
    assert_eq!(place.published().await, 0);
    let attempt = log.begin();
    let error = log.commit(&attempt, attempt.record()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Bug);
    drop(log);
    let log = place.open(2).await.unwrap();
    assert_eq!(log.state().published_through, 1);
    assert_eq!(place.published().await, 1);
}

#[tokio::test]
async fn a_sink_that_the_job_has_lost_is_named_where_its_place_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epoch(&mut log, "x").await;
    let out = place.sinks.remove("out").unwrap();
    // As builds before wrote it.
    let record = dir.path().join("state/job").join(names::log_path(Epoch(1)));
    let known = std::fs::read_to_string(&record).unwrap();
    let mut old: serde_json::Value = serde_json::from_str(&known).unwrap();
    old.as_object_mut().unwrap().remove("locations").unwrap();
    std::fs::write(&record, old.to_string()).unwrap();
    let error = place.open(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadJob);
    assert!(error.message().contains("sinks.out"), "{error}");
    std::fs::write(&record, known).unwrap();
    place.open(2).await.unwrap();
    let folder = "tenant=a%2Fb";
    assert_eq!(out.list(folder).await.unwrap().len(), 1, "published where it was prepared");
}

#[tokio::test]
async fn records_that_break_a_rule_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    let foreign = log.begin();
    let attempt = log.begin();
    let good = place.process(&attempt, "x").await;
    let mut wrong = Vec::new();
    wrong.push(place.process(&foreign, "y").await);
    let mut record = good.clone();
    record.sources.get_mut("in").unwrap().rows.late = 1;
    wrong.push(record);
    let mut record = good.clone();
    record.stages.get_mut("s").unwrap().runs_removed = vec!["runs/s/none".into()];
    wrong.push(record);
    for record in wrong {
        let error = log.commit(&attempt, record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug);
    }
    assert!(place.names("log").await.is_empty());
    let outcome = log.commit(&attempt, good).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed);
}

#[tokio::test]
async fn a_file_that_a_record_names_but_is_not_there_stops_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    let attempt = log.begin();
    let record = place.process(&attempt, "x").await;
    place.sinks["out"].delete(&[record.files[0].prepared.clone()]).await.unwrap();
    assert!(log.commit(&attempt, record).await.is_err());
    assert!(place.names("log").await.is_empty());
}

#[tokio::test]
async fn a_reset_starts_anew_in_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..5).await;
    let attempt = log.begin();
    let mut record = place.process(&attempt, "0").await;
    record.reset = true;
    log.commit(&attempt, record).await.unwrap();
    log.publish().await.unwrap();
    place.epochs(&mut log, 10..13).await;
    let again = place.open(2).await.unwrap();
    assert_eq!(again.state(), log.state());
    assert_eq!(again.state().seen.len(), 4);
    assert_eq!(again.state().head(), 9);
    let committed = LogReader::new(place.state.clone()).committed().await;
    assert_eq!(committed.unwrap().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_took_too_long_is_abandoned() {
    let clock = Arc::new(VirtualClock::starting_at(1_000_000));
    let mut place = Place::memory(Arc::clone(&clock) as Arc<dyn Clock>);
    place.settings.grace = Duration::from_secs(60);
    let mut log = place.open(1).await.unwrap();
    let attempt = log.begin();
    let record = place.process(&attempt, "x").await;
    clock.advance(Duration::from_secs(31));
    let outcome = log.commit(&attempt, record.clone()).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Abandoned);
    log.discard(&attempt, &record).await.unwrap();
    assert!(place.names("runs").await.is_empty());
    assert_eq!(place.epoch(&mut log, "x").await, CommitOutcome::Committed);
}

#[tokio::test]
async fn damage_is_told_apart_from_absence() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..6).await;
    let checkpoint = "checkpoint/00000000000000000006.json";
    let path = place.state.local_path(checkpoint).unwrap();
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    let error = place.open(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(checkpoint), "{error}");
    std::fs::write(&path, &good).unwrap();
    let segments = place.names("seen").await;
    place.state.delete(&segments).await.unwrap();
    let error = place.open(3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let newer = String::from_utf8(good).unwrap().replacen(":2", ":9", 1);
    std::fs::write(&path, newer).unwrap();
    let error = place.open(4).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadJob, "{error}");
}

#[tokio::test]
async fn a_hole_in_the_log_is_not_taken_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::local(&dir);
    let mut log = place.open(1).await.unwrap();
    place.epochs(&mut log, 0..1).await;
    let first = names::log_path(Epoch(1));
    let kept = place.state.get(&first).await.unwrap().unwrap();
    let third = String::from_utf8(kept.to_vec()).unwrap();
    let third = third.replace("\"epoch\":1", "\"epoch\":3");
    let path = names::log_path(Epoch(3));
    place.state.write(&path, third.into()).await.unwrap();
    let error = place.open(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let second = names::log_path(Epoch(2));
    assert!(error.message().contains(&second), "{error}");
}
