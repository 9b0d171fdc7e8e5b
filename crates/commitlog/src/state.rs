//! The job's state as the log tells it: a fold of commit records, and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
use crate::record::{
    CommitRecord, Epoch, ParkedFile, Revisions, Run, SinkFile, SourceRows, StageRows,
};
use crate::seen::SeenFiles;

/// Everything that holds after an epoch. Folding the same records gives the same state, so a
/// checkpoint's content does not depend on who writes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobState {
    /// The last committed epoch; `None` before the first.
    pub epoch: Option<Epoch>,
    /// The process that committed it.
    pub incarnation: String,
    /// The writer of its record: the next record names it as its parent.
    pub writer: String,
    /// Its committed clock, milliseconds since 1970.
    pub clock_ms: i64,
    /// The last epoch whose files are known to be published; 0 when none is.
    pub published_through: u64,
    /// What the job was at that epoch.
    pub fingerprint: BTreeMap<String, String>,
    /// By name.
    pub sources: BTreeMap<String, SourceState>,
    /// By name.
    pub stages: BTreeMap<String, StageState>,
    /// The sink files of the last committed epoch, which may still have to be published.
    #[serde(with = "crate::wire::files")]
    pub files_last: Vec<SinkFile>,
    /// Where the sinks of those files were, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locations_last: BTreeMap<String, String>,
    /// Rows written since the job's first epoch, by sink. A reset does not forget them, because
    /// the files are still there.
    pub rows_out: BTreeMap<String, u64>,
    /// See [`CommitRecord::revisions`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revisions: Revisions,
    /// The files that are processed.
    pub seen: SeenFiles,
    /// Every sink file ever committed.
    pub manifest: Manifest,
    /// The epoch of the last record that wrote segments; 0 when none did.
    pub spilled_at: u64,
}

/// What holds of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// Microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// The latest that enough rows confirm, microseconds since 1970.
    pub max_event_time_us: Option<i64>,
    /// It does not hold the watermark.
    pub idle: bool,
    /// Rows that were further ahead than the delay bears, since the last reset.
    #[serde(default)]
    pub rows_ahead: u64,
    /// Files processed since the last reset.
    pub files: u64,
    /// What became of its rows since the last reset.
    pub totals: SourceRows,
    /// Files that could not be used and are left out, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parked: BTreeMap<String, ParkedFile>,
    /// The root that keys are relative to; unknown of builds before form 2 of records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The epoch of the record that named the root.
    #[serde(default)]
    pub based_at: u64,
    /// Known files that were found changed since the last reset.
    #[serde(default)]
    pub files_changed: u64,
    /// Files that were gone before they were read, since the last reset.
    #[serde(default)]
    pub files_gone: u64,
}

/// What holds of a stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageState {
    /// Microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// Its live runs, in the order they were added.
    pub runs: Vec<Run>,
    /// What became of the rows that reached it since the last reset.
    pub totals: StageRows,
}

impl JobState {
    /// The epoch that comes next.
    pub fn next_epoch(&self) -> Epoch {
        self.epoch.map_or(Epoch::FIRST, Epoch::next)
    }

    /// The number of the last committed epoch; 0 before the first.
    pub fn head(&self) -> u64 {
        self.epoch.map_or(0, |epoch| epoch.0)
    }

    /// Moves on by one record. The record must be the next one: whoever reads the log sees to it.
    pub fn apply(&mut self, record: &CommitRecord) {
        if record.reset {
            self.sources.clear();
            self.stages.clear();
            self.seen.clear();
        }
        self.epoch = Some(record.epoch);
        self.incarnation.clone_from(&record.incarnation);
        self.writer.clone_from(&record.writer);
        self.clock_ms = record.clock_ms;
        self.published_through = record.published_through;
        self.fingerprint.clone_from(&record.fingerprint);
        self.apply_sources(record);
        self.apply_stages(record);
        for (sink, rows) in &record.rows_out {
            *self.rows_out.entry(sink.clone()).or_default() += rows;
        }
        self.revisions.clone_from(&record.revisions);
        self.files_last.clone_from(&record.files);
        self.locations_last.clone_from(&record.locations);
        self.manifest.extend(record.epoch, &record.files);
        if record.segments.spilled {
            self.spilled_at = record.epoch.0;
            self.seen.spilled(&record.segments);
            self.manifest.spilled(&record.segments);
        }
    }

    /// Paths of everything in the state folder that this state is made of.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.stages
            .values()
            .flat_map(|stage| &stage.runs)
            .map(|run| run.path.as_str())
            .chain(self.seen.segments().iter().map(|s| s.path.as_str()))
            .chain(self.manifest.segments().iter().map(|s| s.path.as_str()))
    }

    fn apply_sources(&mut self, record: &CommitRecord) {
        for (name, change) in &record.sources {
            let source = self.sources.entry(name.clone()).or_default();
            source.watermark_us = change.watermark_us;
            source.max_event_time_us = change.max_event_time_us;
            source.idle = change.idle;
            source.rows_ahead += change.rows_ahead;
            source.files += change.added.len() as u64;
            source.totals.add(&change.rows);
            if let Some(base) = &change.base {
                source.base = Some(base.clone());
                source.based_at = record.epoch.0;
            }
            source.files_changed += change.files_changed;
            source.files_gone += change.files_gone;
            for key in change.released.iter().chain(change.added.iter().map(|file| &file.key)) {
                source.parked.remove(key);
            }
            for file in &change.parked {
                source.parked.insert(file.key.clone(), file.clone());
            }
            for file in change.taken_note_of() {
                self.seen.insert(name, file, record.epoch.0);
            }
        }
    }

    fn apply_stages(&mut self, record: &CommitRecord) {
        for (name, change) in &record.stages {
            let stage = self.stages.entry(name.clone()).or_default();
            stage.watermark_us = change.watermark_us;
            stage.totals.add(&change.rows);
            if !change.runs_removed.is_empty() {
                let removed: std::collections::HashSet<&str> =
                    change.runs_removed.iter().map(String::as_str).collect();
                stage.runs.retain(|run| !removed.contains(run.path.as_str()));
            }
            stage.runs.extend(change.runs_added.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SeenFile, SourceChange, StageChange};

    fn record(epoch: u64, key: &str) -> CommitRecord {
        let run = Run { path: format!("runs/s/{epoch}-a-0.parquet"), ..Run::default() };
        let added = vec![SeenFile::new(key, None, 1)];
        CommitRecord {
            epoch: Epoch(epoch),
            sources: [(
                "in".into(),
                SourceChange { added, watermark_us: Some(epoch as i64), ..Default::default() },
            )]
            .into(),
            stages: [("s".into(), StageChange { runs_added: vec![run], ..Default::default() })]
                .into(),
            rows_out: [("out".into(), 2)].into(),
            ..CommitRecord::default()
        }
    }

    #[test]
    fn records_fold_into_runs_progress_and_totals() {
        let mut state = JobState::default();
        assert_eq!(state.next_epoch(), Epoch(1));
        state.apply(&record(1, "a"));
        let mut second = record(2, "b");
        if let Some(stage) = second.stages.get_mut("s") {
            stage.runs_removed = vec!["runs/s/1-a-0.parquet".into()];
        }
        state.apply(&second);
        assert_eq!(state.stages["s"].runs.len(), 1);
        assert_eq!(state.stages["s"].runs[0].path, "runs/s/2-a-0.parquet");
        assert!(state.seen.contains("in", "a", None, 1));
        assert!(state.seen.contains("in", "b", None, 1));
        assert!(!state.seen.contains("in", "b", None, 2));
        assert_eq!(state.rows_out["out"], 4);
        assert_eq!(state.sources["in"].files, 2);
    }

    #[test]
    fn a_parked_file_leaves_when_it_is_processed_or_released() {
        let parked = |key: &str| ParkedFile { key: key.into(), ..ParkedFile::default() };
        let mut state = JobState::default();
        let mut first = record(1, "a");
        first.sources.get_mut("in").unwrap().parked = vec![parked("b"), parked("c"), parked("d")];
        state.apply(&first);
        let mut second = record(2, "b");
        let change = second.sources.get_mut("in").unwrap();
        (change.released, change.noted) = (vec!["c".into()], vec![SeenFile::new("a", None, 9)]);
        state.apply(&second);
        assert_eq!(state.sources["in"].parked.keys().collect::<Vec<_>>(), ["d"]);
        // What was taken note of is known, and no processed file.
        assert!(state.seen.contains("in", "a", None, 9));
        assert_eq!(state.sources["in"].files, 2);
    }

    #[test]
    fn a_reset_forgets_progress_but_not_what_was_written() {
        let mut state = JobState::default();
        state.apply(&record(1, "a"));
        let mut second = record(2, "b");
        second.reset = true;
        state.apply(&second);
        assert!(!state.seen.contains("in", "a", None, 1));
        assert!(state.seen.contains("in", "b", None, 1));
        assert_eq!(state.stages["s"].runs.len(), 1);
        assert_eq!(state.rows_out["out"], 4);
        assert_eq!(state.next_epoch(), Epoch(3));
    }
}
