//! Rows that an epoch leaves out because an expression cannot be computed of them: gathered from
//! every plan, for the commit record and for the log.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::{FailedRows, FailedWhere};
use tidegauge_spec::OnError;

use super::compile::CompiledJob;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::{Policy, Reported};
use crate::plan::{Feed, Query};

/// The query that a row fails in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedIn {
    /// The sink that it writes.
    pub(crate) query: String,
    /// The line of the SQL text where it begins.
    pub(crate) line: u64,
}

/// The rows that failed so far, an entry a query and kind of rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failures(Vec<FailedRows>);

/// The rows that fail in one attempt at an epoch, wherever its plans run.
#[derive(Debug, Clone, Default)]
pub(super) struct FailureList(Arc<Mutex<Failures>>);

impl FailureList {
    /// Takes in what failed.
    pub(super) fn add(&self, failures: Failures) {
        self.0.lock().add(failures);
    }

    /// Takes in what the plans of a query told.
    pub(super) fn report(&self, of: &FailedIn, place: FailedWhere, reported: Reported) {
        self.0.lock().report(of, place, reported);
    }

    /// All of it.
    pub(super) fn take(&self) -> Failures {
        std::mem::take(&mut self.0.lock())
    }
}

impl FailedIn {
    pub(super) fn of(query: &Query) -> Self {
        Self { query: query.sink.clone(), line: query.line }
    }

    /// The first query that reads `feed`, also through views.
    pub(super) fn of_feed(job: &CompiledJob, feed: &Feed) -> Result<Self> {
        match feed.stages.first() {
            Some(stage) => Self::of_stage(job, stage),
            None => Err(Error::bug(format!("the feed {} reads no stage", feed.id))),
        }
    }

    /// `error` with its place, where it is one of the query's expressions.
    pub(super) fn blamed(&self, job: &CompiledJob, error: Error) -> Error {
        if error.kind() != ErrorKind::BadRecord {
            return error;
        }
        let place = job.sql_place(self.line);
        let message = format!("{place}: the query into {}: {}", self.query, error.message());
        Error::bad_record(message).with_source(error)
    }

    /// The first query that reads the stage `id`, also through views; the first of the job where a
    /// stage is left over that none reads.
    pub(super) fn of_stage(job: &CompiledJob, id: &str) -> Result<Self> {
        let reads = |stages: &[String]| job.plan.all_stages(stages).contains(id);
        let mut queries = job.plan.queries.iter();
        let reader = queries.clone().find(|query| reads(&query.stages));
        match reader.or_else(|| queries.next()) {
            Some(query) => Ok(Self::of(query)),
            None => Err(Error::bug(format!("no query reads the stage {id}"))),
        }
    }
}

impl Failures {
    /// Takes in what the plans of a query told.
    pub(super) fn report(&mut self, of: &FailedIn, place: FailedWhere, reported: Reported) {
        if reported.rows == 0 {
            return;
        }
        self.insert(FailedRows {
            query: of.query.clone(),
            line: of.line,
            place,
            rows: reported.rows,
            example: reported.example.unwrap_or_default(),
        });
    }

    /// Takes in what failed elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        for failed in other.0 {
            self.insert(failed);
        }
    }

    fn insert(&mut self, failed: FailedRows) {
        let key = |of: &FailedRows| (of.query.clone(), of.line, of.place);
        match self.0.iter_mut().find(|known| key(known) == key(&failed)) {
            Some(known) => known.rows += failed.rows,
            None => self.0.push(failed),
        }
    }

    /// All of them, for a record.
    pub(super) fn into_rows(mut self) -> Vec<FailedRows> {
        self.0.sort_by(|a, b| (a.line, &a.query, a.place).cmp(&(b.line, &b.query, b.place)));
        self.0
    }
}

/// Says of a committed epoch which rows it left out.
pub(super) fn warn(job: &CompiledJob, epoch: u64, failed: &[FailedRows]) {
    for FailedRows { query, line, place, rows, example } in failed {
        let what = match place {
            FailedWhere::Rows => "rows of its source, quarantined",
            FailedWhere::Results => "rows of closed windows, which it does not write",
        };
        tracing::warn!(
            epoch,
            rows,
            "{}: the query into {query} cannot compute {what}; one of them: {example}",
            job.sql_place(*line)
        );
    }
}

impl CompiledJob {
    /// What becomes of rows of which an expression cannot be computed.
    pub(super) fn on_error(&self) -> Policy {
        match self.spec.on_error {
            OnError::Skip => Policy::Skip,
            OnError::Fail => Policy::Fail,
        }
    }

    /// Where the statement at `line` of the SQL text is.
    pub(crate) fn sql_place(&self, line: u64) -> String {
        match &self.spec.sql.path {
            Some(path) => format!("{}:{line}", path.display()),
            None => format!("{}: line {line} of sql", self.spec.path.display()),
        }
    }
}
