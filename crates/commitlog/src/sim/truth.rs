//! What has really happened: the first record to land in each slot, and what follows from it.
//!
//! Every effect on the store is checked against it, so a broken rule shows at the call that
//! breaks it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::actors::LINES;
use super::world::Object;
use crate::checkpoint;
use crate::names;
use crate::record::{CommitRecord, SinkFile};
use crate::state::JobState;

pub(super) const JOB: &str = "job";
pub(super) const STATE: &str = "state/job";
pub(super) const SINKS: [&str; 2] = ["a", "b"];
pub(super) const SOURCE: &str = "in";
pub(super) const STAGE: &str = "stage";

type Objects = BTreeMap<String, Object>;

/// The place of a sink's file in the store.
pub(super) fn sink_path(sink: &str, relative: &str) -> String {
    format!("out/{sink}/{relative}")
}

/// Row ids as a file holds them.
pub(super) fn encode_rows(rows: &[u64]) -> Bytes {
    Bytes::from(serde_json::to_vec(rows).unwrap())
}

pub(super) fn decode_rows(bytes: &[u8]) -> Vec<u64> {
    serde_json::from_slice(bytes).unwrap()
}

/// One decided epoch.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) files: Vec<SinkFile>,
    pub(super) checkpoint: Bytes,
    pub(super) live: HashSet<String>,
}

#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) decided: Vec<Decided>,
    pub(super) fold: JobState,
    pub(super) rows: BTreeSet<u64>,
    pub(super) violation: Option<String>,
    retain: u64,
    /// By place of the published file: what has to be in it.
    published: HashMap<String, Bytes>,
    /// By place of the prepared file: where it is published.
    prepared: HashMap<String, String>,
    /// What a loader has taken out of the sinks, by its place there: a loader knows a file by its
    /// name, so that one that comes again replaces what was taken.
    pub(super) taken: BTreeMap<String, Bytes>,
    /// The latest clock of any epoch.
    clock_ms_max: i64,
}

impl Truth {
    pub(super) fn new(retain: u64) -> Truth {
        Truth { retain, ..Truth::default() }
    }

    pub(super) fn head(&self) -> u64 {
        self.decided.len() as u64
    }

    /// What retention may have let go by now, `retention_ms` after its time.
    pub(super) fn may_be_over(&self, file: &SinkFile, retention_ms: Option<i64>) -> bool {
        let now_us = self.clock_ms_max.saturating_mul(1_000);
        let kept_us = retention_ms.map(|ms| ms.saturating_mul(1_000));
        kept_us.zip(file.time_max_us).is_some_and(|(kept_us, last_us)| last_us < now_us - kept_us)
    }

    /// The epochs whose state must be there, ascending.
    pub(super) fn retained(&self) -> std::ops::RangeInclusive<u64> {
        self.head().saturating_sub(self.retain).max(1)..=self.head()
    }

    pub(super) fn violate(&mut self, message: String) {
        self.violation.get_or_insert(message);
    }

    /// Whether `state`, held by some coordinator, is what really holds after its epoch.
    pub(super) fn check_state(&mut self, who: &str, state: &JobState) {
        let Some(epoch) = state.epoch else {
            return;
        };
        let content = checkpoint::encode(&mut state.clone()).unwrap();
        let real = self.decided.get(epoch.0 as usize - 1);
        if real.is_none_or(|real| real.checkpoint != content) {
            self.violate(format!("{who} holds a state at epoch {epoch} that is not real"));
        }
    }

    /// Checks a write that is about to happen; says what is special about it.
    pub(super) fn before_write(
        &mut self,
        path: &str,
        bytes: &Bytes,
        objects: &Objects,
    ) -> Option<&'static str> {
        let state_path = path.strip_prefix(STATE).and_then(|p| p.strip_prefix('/'));
        match state_path {
            Some(log) if log.starts_with(names::LOG) => self.before_record(bytes, objects),
            Some(checkpoint) if checkpoint.starts_with(names::CHECKPOINT) => {
                self.before_checkpoint(checkpoint, bytes);
                None
            }
            Some(marker) if marker.starts_with(names::PUBLISHED) => {
                self.before_marker(marker, objects);
                None
            }
            None if !path.contains(names::PREPARED) => {
                match self.published.get(path) {
                    None => self.violate(format!("{path} is published but not committed")),
                    Some(real) if real != bytes => {
                        self.violate(format!("{path} is published with other rows"));
                    }
                    Some(_) => {}
                }
                self.taken.contains_key(path).then_some("published again")
            }
            // A postponed write may land again, but never with something else in it.
            _ => {
                if objects.get(path).is_some_and(|old| old.bytes != *bytes) {
                    self.violate(format!("{path} is overwritten"));
                }
                None
            }
        }
    }

    fn before_checkpoint(&mut self, path: &str, bytes: &Bytes) {
        let epoch = names::parse_numbered(path).map_or(0, |epoch| epoch.0);
        let real = self.decided.get((epoch as usize).wrapping_sub(1));
        if real.is_none_or(|real| real.checkpoint != *bytes) {
            self.violate(format!("{path} is not what the log says"));
        }
    }

    /// What is said to be published has to be, whoever says so and however late.
    fn before_marker(&mut self, path: &str, objects: &Objects) {
        let epoch = names::parse_numbered(path).map_or(0, |epoch| epoch.0);
        let Some(decided) = self.decided.get((epoch as usize).wrapping_sub(1)) else {
            return self.violate(format!("{path} is not decided"));
        };
        let places = decided.files.iter().map(|file| sink_path(&file.sink, &file.published));
        let missing = places.into_iter().find(|place| !self.was_published(place, objects));
        if let Some(place) = missing {
            self.violate(format!("{path} is there before {place} is published"));
        }
    }

    fn was_published(&self, place: &str, objects: &Objects) -> bool {
        objects.contains_key(place) || self.taken.contains_key(place)
    }

    fn before_record(&mut self, bytes: &Bytes, objects: &Objects) -> Option<&'static str> {
        let record: CommitRecord = serde_json::from_slice(bytes).unwrap();
        let epoch = record.epoch.0;
        if epoch <= self.head() {
            return Some("impostor");
        }
        if epoch > self.head() + 1 {
            self.violate(format!("epoch {epoch} is decided after {}", self.head()));
            return None;
        }
        self.check_decided_is_published(epoch, objects);
        if record.parent != self.fold.writer {
            self.violate(format!("epoch {epoch} does not follow its parent"));
        }
        if record.published_through != epoch - 1 {
            self.violate(format!("epoch {epoch} says a wrong published_through"));
        }
        self.check_rows(&record, objects);
        self.clock_ms_max = self.clock_ms_max.max(record.clock_ms);
        self.fold.apply(&record);
        let live: HashSet<String> = self.fold.paths().map(str::to_owned).collect();
        for path in &live {
            if !objects.contains_key(&format!("{STATE}/{path}")) {
                self.violate(format!("epoch {epoch} names {path}, which is not there"));
            }
        }
        for file in &record.files {
            let place = sink_path(&file.sink, &file.prepared);
            let published = sink_path(&file.sink, &file.published);
            match objects.get(&place) {
                Some(object) => {
                    self.published.insert(published.clone(), object.bytes.clone());
                    self.prepared.insert(place, published);
                }
                None => self.violate(format!("epoch {epoch} names {place}, which is not there")),
            }
        }
        self.decided.push(Decided {
            files: record.files,
            checkpoint: checkpoint::encode(&mut self.fold).unwrap(),
            live,
        });
        Some("decided")
    }

    fn check_decided_is_published(&mut self, epoch: u64, objects: &Objects) {
        let missing = self.published.keys().find(|place| !self.was_published(place, objects));
        let missing = missing.cloned();
        if let Some(place) = missing {
            self.violate(format!("epoch {epoch} is decided before {place} is published"));
        }
    }

    /// The rows are those lines of the files that the record calls processed which were not read
    /// before, each new.
    fn check_rows(&mut self, record: &CommitRecord, objects: &Objects) {
        let mut named: Vec<u64> = Vec::new();
        for (source, change) in &record.sources {
            for file in &change.added {
                let at: u64 = file.key.parse().unwrap();
                let read = self.fold.seen.tail(source, &file.key).map_or(0, |tail| tail.bytes);
                named.extend((read..file.size).map(|line| at * LINES + line));
            }
        }
        let mut written: Vec<u64> = record
            .files
            .iter()
            .filter_map(|file| objects.get(&sink_path(&file.sink, &file.prepared)))
            .flat_map(|object| decode_rows(&object.bytes))
            .collect();
        named.sort_unstable();
        written.sort_unstable();
        if named != written {
            self.violate(format!("epoch {} has rows of other inputs", record.epoch));
        }
        for row in named {
            if !self.rows.insert(row) {
                self.violate(format!("epoch {} has row {row} again", record.epoch));
            }
        }
    }

    /// Checks a deletion that is about to happen.
    pub(super) fn before_delete(&mut self, path: &str, objects: &Objects) {
        let Some(state_path) = path.strip_prefix(STATE).and_then(|p| p.strip_prefix('/')) else {
            return self.before_delete_in_sink(path, objects);
        };
        let retained = self.retained();
        let checkpoints: Vec<u64> = objects
            .keys()
            .filter_map(|path| path.strip_prefix(STATE)?.strip_prefix("/checkpoint/"))
            .filter_map(|path| names::parse_numbered(path).map(|epoch| epoch.0))
            .collect();
        let allowed = |c: &u64| *c <= self.head().saturating_sub(self.retain);
        let epoch = names::parse_numbered(state_path).map(|epoch| epoch.0);
        let bad = match (state_path.split('/').next(), epoch) {
            (Some(names::LOG), Some(e)) => !checkpoints.iter().any(|c| *c >= e && allowed(c)),
            // A marker is looked for while its epoch is the last.
            (Some(names::PUBLISHED), Some(e)) => e >= self.head(),
            (Some(names::CHECKPOINT), Some(e)) => !checkpoints.iter().any(|c| *c > e && allowed(c)),
            _ => retained
                .clone()
                .filter_map(|e| self.decided.get(e as usize - 1))
                .any(|decided| decided.live.contains(state_path)),
        };
        if bad {
            self.violate(format!("{path} is deleted, but epochs {retained:?} need it"));
        }
    }

    fn before_delete_in_sink(&mut self, path: &str, objects: &Objects) {
        if !path.contains(names::PREPARED) {
            return self.violate(format!("{path} was published and is deleted"));
        }
        let published = self.prepared.get(path);
        if published.is_some_and(|published| !self.was_published(published, objects)) {
            self.violate(format!("{path} is deleted before it is published"));
        }
    }
}
