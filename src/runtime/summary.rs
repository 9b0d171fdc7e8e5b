//! What a run did, in numbers: the summary at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use tidegauge_commitlog::{CommitRecord, FailedWhere, LATE_SINK, SourceRows};
use tidegauge_spec::JobSpec;

use crate::plan::JobPlan;

/// The counts of a run's committed epochs.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    epochs: u64,
    files: u64,
    files_changed: u64,
    files_gone: u64,
    files_parked: u64,
    rows: SourceRows,
    rows_ahead: u64,
    /// The stages that are fed by others.
    fed: BTreeSet<String>,
    results_late: u64,
    results_failed: u64,
    rows_out: BTreeMap<String, u64>,
    watermarks_us: BTreeMap<String, Option<i64>>,
}

/// The summary of a run, as `--summary json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The job's name.
    pub job: String,
    /// Epochs that this run committed.
    pub epochs: u64,
    /// Files that they read.
    pub files: u64,
    /// Known files that were found changed, whatever `on_change` says of them.
    pub files_changed: u64,
    /// Files that were gone before they were read.
    pub files_gone: u64,
    /// Files that could not be used and were left out.
    pub files_parked: u64,
    /// Rows of sources that a query reads, each once.
    pub rows_in: u64,
    /// Rows that at least one query used.
    pub rows_used: u64,
    /// Rows that every query's filter dropped.
    pub rows_filtered: u64,
    /// Rows that came after their windows had closed.
    pub rows_late: u64,
    /// Rows that one stage emitted and another refused because its windows had closed.
    pub results_late: u64,
    /// Rows of closed windows of which an expression could not be computed.
    pub results_failed: u64,
    /// Rows without an event time, or with one of the future, or of which no query could compute an
    /// expression.
    pub rows_quarantined: u64,
    /// Rows, of those above, that were further ahead than the delay bears and moved no watermark.
    pub rows_ahead: u64,
    /// Rows written, by sink.
    pub rows_out: BTreeMap<String, u64>,
    /// The least watermark of the sources, RFC 3339.
    pub watermark: Option<String>,
    /// Seconds from the start of the run.
    pub elapsed_s: f64,
    /// `rows_in` by second.
    pub rows_per_s: f64,
}

impl Totals {
    pub(super) fn new(spec: &JobSpec, plan: &JobPlan) -> Self {
        let rows_out = spec.sinks.iter().map(|sink| (sink.name.clone(), 0)).collect();
        let fed = plan.stages.values().filter(|stage| stage.input.source().is_none());
        let fed = fed.map(|stage| stage.id.clone()).collect();
        Self { rows_out, fed, ..Self::default() }
    }

    pub(super) fn add(&mut self, record: &CommitRecord) {
        self.epochs += 1;
        for (name, source) in &record.sources {
            self.files += source.added.len() as u64;
            self.files_changed += source.files_changed;
            self.files_gone += source.files_gone;
            self.files_parked += source.parked.iter().filter(|file| file.tries == 1).count() as u64;
            self.rows.add(&source.rows);
            self.rows_ahead += source.rows_ahead;
            self.watermarks_us.insert(name.clone(), source.watermark_us);
        }
        let fed = record.stages.iter().filter(|(id, _)| self.fed.contains(*id));
        self.results_late += fed.map(|(_, stage)| stage.rows.late).sum::<u64>();
        let failed = record.failed.iter().filter(|one| one.place == FailedWhere::Results);
        self.results_failed += failed.map(|one| one.rows).sum::<u64>();
        for file in record.files.iter().filter(|file| file.sink != LATE_SINK) {
            *self.rows_out.entry(file.sink.clone()).or_default() += file.rows;
        }
    }

    pub(super) fn summary(&self, job: &str, elapsed: Duration) -> Summary {
        let seconds = elapsed.as_secs_f64();
        let watermark_us = self.watermarks_us.values().flatten().min().copied();
        Summary {
            job: job.to_owned(),
            epochs: self.epochs,
            files: self.files,
            files_changed: self.files_changed,
            files_gone: self.files_gone,
            files_parked: self.files_parked,
            rows_in: self.rows.rows_in,
            rows_used: self.rows.used,
            rows_filtered: self.rows.filtered,
            rows_late: self.rows.late,
            results_late: self.results_late,
            results_failed: self.results_failed,
            rows_quarantined: self.rows.quarantined,
            rows_ahead: self.rows_ahead,
            rows_out: self.rows_out.clone(),
            watermark: watermark_us.and_then(rfc3339),
            elapsed_s: (seconds * 1e3).round() / 1e3,
            rows_per_s: (self.rows.rows_in as f64 / seconds.max(1e-9)).round(),
        }
    }
}

/// A time in microseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(us: i64) -> Option<String> {
    DateTime::from_timestamp_micros(us)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
