//! A whole job: its sections put together, and checked against each other.

mod overlap;
mod places;
#[cfg(test)]
mod tests;

pub use places::UsedLocation;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::epoch::{EpochSpec, epoch};
use crate::item::{Fields, Item};
use crate::late::{LateSpec, check_late_names, late};
use crate::name::check_job_name;
use crate::problem::{BadJob, Problem};
use crate::report::{Report, quoted};
use crate::setting::{bytes, choice, count};
use crate::sink::{SinkSpec, sink};
use crate::source::{SourceSpec, source};
use crate::sql::{SqlFiles, SqlText, read_sql, sql};
use crate::state::{StateSpec, state};
use crate::yaml::{Env, Node, load};

const KEYS: [&str; 11] = [
    "name",
    "description",
    "sources",
    "sql",
    "sinks",
    "late",
    "on_error",
    "epoch",
    "state",
    "memory_max",
    "partitions",
];
const MEMORY_BYTES_MAX: u64 = 1 << 30;
const MEMORY_BYTES_MIN: u64 = 1 << 20;
const SKETCH: &str = "a job such as {name: ..., sources: ..., sql: ..., sinks: ..., state: ...}";

/// A job, validated: nothing that receives one needs to check it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobSpec {
    /// The job file.
    pub path: PathBuf,
    /// The name, part of the names of its files.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it reads, in the order of the job file; at least one.
    pub sources: Vec<SourceSpec>,
    /// What it does.
    pub sql: SqlText,
    /// What it writes, in the order of the job file; at least one.
    pub sinks: Vec<SinkSpec>,
    /// Where late rows go; they are counted and dropped if absent.
    pub late: Option<LateSpec>,
    /// What becomes of rows of which an expression cannot be computed; `skip`.
    pub on_error: OnError,
    /// How it is cut into epochs.
    pub epoch: EpochSpec,
    /// Where its state is.
    pub state: StateSpec,
    /// The most memory for its plans, which spill beyond; 1 GiB; YAML `memory_max`.
    pub memory_max_bytes: u64,
    /// Target partitions of its plans; as many as there are cores if absent.
    pub partitions: Option<usize>,
}

/// What becomes of a row of which an expression cannot be computed: a division by zero, a cast of
/// text that is no number, a sum past its type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is left out and counted, and the epoch goes on.
    #[default]
    Skip,
    /// The epoch fails.
    Fail,
}

impl JobSpec {
    /// Reads a job file; `env` gives the environment's variables.
    ///
    /// # Errors
    ///
    /// Every problem of the file, its SQL file included if that cannot be read.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<JobSpec, BadJob> {
        Self::parse(&read_job(path)?, path, env)
    }

    /// Reads the text of a job file; `path` is where it came from, to which a path of SQL is
    /// relative. Nothing but that SQL file is read.
    ///
    /// # Errors
    ///
    /// Every problem of the text, in the order of its lines.
    pub fn parse(
        text: &str,
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<JobSpec, BadJob> {
        Self::parse_with(text, path, env, &read_sql)
    }

    /// The keys that the mappings of a job file may hold, by their paths
    /// (`sources.flows.event_time.delay`), also those that are left out of it: what is read by
    /// [`JobSpec::parse`] is what is listed. Sections that are left out list no keys of their own.
    ///
    /// # Errors
    ///
    /// As [`JobSpec::parse`].
    pub fn keys(
        text: &str,
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<BTreeSet<String>, BadJob> {
        let report = Report::new(path);
        let job = load(text, env, &report).and_then(|node| job(&node, &report, &read_sql));
        let keys = report.keys();
        report.finish(job).map(|_| keys)
    }

    /// As [`JobSpec::parse`], with the text of a SQL file from `files`.
    pub(crate) fn parse_with(
        text: &str,
        path: &Path,
        env: Env<'_>,
        files: SqlFiles<'_>,
    ) -> Result<JobSpec, BadJob> {
        let report = Report::new(path);
        let job = match load(text, env, &report) {
            Some(node) => job(&node, &report, files),
            None => {
                // Either the text is not YAML, which is reported, or it holds no document.
                if report.is_empty() {
                    report.add(None, "", format!("the file is empty; write {SKETCH}"));
                }
                None
            }
        };
        report.finish(job)
    }
}

/// The text of a job file.
pub(crate) fn read_job(path: &Path) -> Result<String, BadJob> {
    let bytes = std::fs::read(path).map_err(|error| {
        let why = format!("cannot be read: {error}; write the path of a job file");
        whole_file(path, None, why)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        whole_file(path, Some(line), "not UTF-8; save the file as UTF-8".to_owned())
    })
}

fn whole_file(path: &Path, line: Option<usize>, message: String) -> BadJob {
    let problem = Problem { file: path.to_owned(), line, path: String::new(), message };
    BadJob { problems: vec![problem] }
}

fn job(node: &Node, report: &Report, files: SqlFiles<'_>) -> Option<JobSpec> {
    let root = Item::root(node, report);
    if root.is_null() {
        root.problem(format!("the file is empty; write {SKETCH}"));
        return None;
    }
    let fields = root.fields(&KEYS)?;
    let name = fields
        .required("name", "a name such as name: dns_tunnels")
        .and_then(|item| item.parsed("a name such as dns_tunnels", check_job_name));
    let description = fields.setting("description", None, |item| {
        item.text("a sentence, or remove the key").map(|text| Some(text.to_owned()))
    });
    let sources = named(&fields, "sources", "sources: {flows: {location: ./data/}}", source);
    let sql = fields
        .required("sql", "sql: ../sql/job.sql, or the SQL itself")
        .and_then(|item| sql(&item, files));
    let sinks = named(&fields, "sinks", "sinks: {findings: {location: ./out/}}", sink);
    let late = fields.setting("late", None, |item| late(item).map(Some));
    let on_error = fields.setting("on_error", OnError::Skip, |item| {
        let words = [("skip", OnError::Skip), ("fail", OnError::Fail)];
        choice(item, "what can be done with a row", &words)
    });
    let epoch = fields.setting("epoch", EpochSpec::default(), epoch);
    let state =
        fields.required("state", "state: {location: ./out/_state/}").and_then(|item| state(&item));
    let memory_max_bytes =
        fields.setting("memory_max", MEMORY_BYTES_MAX, |item| bytes(item, MEMORY_BYTES_MIN));
    let partitions = fields.setting("partitions", None, |item| count(item, 1..=1024).map(Some));
    check_shared_names(&fields);
    check_late_names(&fields);
    overlap::check(&fields);
    Some(JobSpec {
        path: report.file().to_owned(),
        name: name?,
        description: description?,
        sources: sources?,
        sql: sql?,
        sinks: sinks?,
        late: late?,
        on_error: on_error?,
        epoch: epoch?,
        state: state?,
        memory_max_bytes: memory_max_bytes?,
        partitions: partitions?,
    })
}

/// Reads the sources or the sinks, all of them even if one is not understood.
fn named<T>(
    fields: &Fields<'_>,
    key: &str,
    example: &str,
    read: impl Fn(&str, &Item<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let item = fields.required(key, &format!("at least one, such as {example}"))?;
    let entries = item.entries(&format!("them by their names, such as {example}"))?;
    if entries.is_empty() {
        item.problem(format!("is empty; write at least one, such as {example}"));
        return None;
    }
    let all: Vec<Option<T>> = entries.iter().map(|(name, item)| read(name, item)).collect();
    all.into_iter().collect()
}

/// SQL has one space of names for what it reads and what it writes.
fn check_shared_names(fields: &Fields<'_>) {
    let sources = fields.children("sources");
    for (name, sink) in fields.children("sinks") {
        if sources.iter().any(|(source, _)| *source == name) {
            let name = quoted(name);
            sink.problem(format!("{name} is also the name of a source; rename one of them"));
        }
    }
}
