//! The commit record: what one epoch changed, as it is written to the log.
//!
//! Records only *add to* and *remove from* the state that the records before them built; folding
//! them is [`JobState::apply`](crate::JobState::apply).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::names::Epoch;

/// The version of the record's form that this build writes, and the newest it reads.
///
/// 2: sink files are written short (see `wire`), and records say where their sinks were; keys of
/// source files are relative.
pub const FORMAT_VERSION: u32 = 2;

/// One epoch: everything that became true at once when this was written.
///
/// [`Attempt::record`](crate::Attempt::record) makes one with the identity filled in; the fields
/// marked *by the log* are filled in by [`CommitLog::commit`](crate::CommitLog::commit).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The epoch's number.
    pub epoch: Epoch,
    /// The coordinator's process that wrote it.
    pub incarnation: String,
    /// The attempt, as in the names of runs.
    pub attempt: String,
    /// Random per attempt: how a coordinator tells its own record from another's.
    pub writer: String,
    /// The writer of the record before; empty for the first. Records form a chain by it, so that
    /// one that landed late in a slot that was collected is told from the true one. *By the log.*
    #[serde(default)]
    pub parent: String,
    /// The epoch's committed clock, milliseconds since 1970: what `now()` was in it.
    pub clock_ms: i64,
    /// The last epoch whose files are all published: always the one before. *By the log.*
    pub published_through: u64,
    /// The job starts anew: progress, stages and watermarks before this record are forgotten.
    #[serde(default)]
    pub reset: bool,
    /// What the job was: stage logic, state schema, versions; by a name to show when it differs.
    #[serde(default)]
    pub fingerprint: BTreeMap<String, String>,
    /// What changed, by source.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceChange>,
    /// What changed, by stage.
    #[serde(default)]
    pub stages: BTreeMap<String, StageChange>,
    /// The epoch's sink files.
    #[serde(default, with = "crate::wire::files")]
    pub files: Vec<SinkFile>,
    /// Where the sinks of `files` were, by name: a job may give a sink another location before its
    /// last files are published. *By the log.*
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locations: BTreeMap<String, String>,
    /// Rows written, by sink: the sums over `files` but those of late rows. *By the log.*
    #[serde(default)]
    pub rows_out: BTreeMap<String, u64>,
    /// Segments of progress and of sink files that were written with this epoch. *By the log.*
    #[serde(default)]
    pub segments: SegmentChange,
    /// How often windows that had closed were emitted again: by query, and by the end of the
    /// window, microseconds since 1970. Those that may change no more are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revisions: Revisions,
    /// Rows that the epoch left out because an expression cannot be computed of them, by query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedRows>,
    /// How long each step took, milliseconds.
    #[serde(default)]
    pub timings_ms: BTreeMap<String, u64>,
}

/// How often windows were emitted again, by query and by the end of the window.
pub type Revisions = BTreeMap<String, BTreeMap<i64, u32>>;

/// Rows of which an expression of one query cannot be computed: a division by zero, a number that
/// its type cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRows {
    /// The sink that the query writes.
    pub query: String,
    /// The line of the SQL text where the query begins.
    pub line: u64,
    /// Which rows they are.
    pub place: FailedWhere,
    /// How many.
    pub rows: u64,
    /// One of them: its error, its window or file, and its values.
    pub example: String,
}

/// Which rows failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedWhere {
    /// Rows of a source or of a view, before they reach a stage or a sink.
    Rows,
    /// Rows of windows that close.
    Results,
}

/// What an epoch changed about a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceChange {
    /// Files that are now processed.
    #[serde(default)]
    pub added: Vec<SeenFile>,
    /// Files whose version is taken note of without being read: a known file that was changed and
    /// is left as it was read, or one that a build with absolute keys has processed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noted: Vec<SeenFile>,
    /// Files that could not be used: they are left out until they change, or until it is time to
    /// try again. Those that are parked already are here once more when they were tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<ParkedFile>,
    /// Keys that are parked no more: gone, or to be read in a new version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<String>,
    /// The root that keys are relative to, where another one than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Known files that were found changed, whatever `on_change` says of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_changed: u64,
    /// Files that were listed and gone before they were read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_gone: u64,
    /// The watermark after this epoch, microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// The latest event time so far that enough rows confirm, microseconds since 1970.
    pub max_event_time_us: Option<i64>,
    /// The source has been still and does not hold the watermark.
    #[serde(default)]
    pub idle: bool,
    /// It was silent for so long, or drained, that what is open of it closes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closing: bool,
    /// Rows that were further ahead than the delay bears and moved no watermark. They are in
    /// `rows` as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_ahead: u64,
    /// What became of its rows.
    #[serde(default)]
    pub rows: SourceRows,
}

impl SourceChange {
    /// The files that the set of processed files takes note of.
    pub fn taken_note_of(&self) -> impl Iterator<Item = &SeenFile> {
        self.added.iter().chain(&self.noted)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A processed file, as the listing showed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenFile {
    /// Its key, relative to the source's location.
    pub key: String,
    /// Its version: the ETag where the store has one, of a local file its time of change.
    pub etag: Option<String>,
    /// Its size in bytes, as stored.
    pub size: u64,
    /// Whether `key` is relative: in records of builds before form 2 it is absolute.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relative: bool,
    /// How far it was read, where that is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
}

impl SeenFile {
    /// A file that was read whole.
    pub fn new(key: impl Into<String>, etag: Option<&str>, size: u64) -> Self {
        let etag = etag.map(str::to_owned);
        Self { key: key.into(), etag, size, relative: true, tail: None }
    }
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Its bytes up to there: where files grow, to the end of the last whole line.
    pub bytes: u64,
    /// A hash of its first bytes, at most of those read, never 0: another one says that it is
    /// another file. Unknown of files that were read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<u32>,
}

/// A file that could not be used, and is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedFile {
    /// Its key, relative to the source's location.
    pub key: String,
    /// The version that could not be used.
    pub etag: Option<String>,
    /// The size of that version.
    pub size: u64,
    /// What errors call the file.
    pub file: String,
    /// What is wrong with it.
    pub error: String,
    /// The error's kind, in a word.
    pub kind: String,
    /// When it was first tried, milliseconds since 1970.
    pub first_ms: i64,
    /// When it was last tried, milliseconds since 1970.
    pub last_ms: i64,
    /// How often it was tried.
    pub tries: u32,
    /// Whether it may pass by itself, so that the same version is tried again.
    #[serde(default)]
    pub may_pass: bool,
}

/// What became of the rows of a source: `rows_in` is the sum of the others, each counted where
/// it happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRows {
    /// Rows read.
    pub rows_in: u64,
    /// Rows that some query used.
    pub used: u64,
    /// Rows that every query filtered out.
    pub filtered: u64,
    /// Rows that came after what they belong to had closed.
    pub late: u64,
    /// Rows that could not be read, whose event time cannot be right, or of which no query that
    /// wanted them could compute an expression.
    pub quarantined: u64,
    /// How many of those were quarantined for an expression: they had reached stages.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
}

impl SourceRows {
    /// Rows that were handed to the queries.
    pub fn handed_out(&self) -> u64 {
        self.rows_in - self.quarantined + self.failed
    }

    /// Whether every row is accounted for.
    pub fn adds_up(&self) -> bool {
        self.rows_in == self.used + self.filtered + self.late + self.quarantined
    }

    /// Adds `other` to each count.
    pub fn add(&mut self, other: &SourceRows) {
        self.rows_in += other.rows_in;
        self.used += other.used;
        self.filtered += other.filtered;
        self.late += other.late;
        self.quarantined += other.quarantined;
        self.failed += other.failed;
    }
}

/// What an epoch changed about a stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageChange {
    /// The watermark after this epoch, microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// State runs that this epoch wrote and keeps.
    #[serde(default)]
    pub runs_added: Vec<Run>,
    /// Paths of state runs that are no longer part of the state.
    #[serde(default)]
    pub runs_removed: Vec<String>,
    /// What became of the rows that reached the stage.
    #[serde(default)]
    pub rows: StageRows,
}

/// What became of the rows that reached a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRows {
    /// Rows that went into its state or its result.
    pub used: u64,
    /// Rows that the query filtered out, or that are in no window.
    pub filtered: u64,
    /// Rows that came after everything they belong to had closed.
    pub late: u64,
    /// Rows of which an expression cannot be computed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
}

impl StageRows {
    /// All rows that reached the stage.
    pub fn total(&self) -> u64 {
        self.used + self.filtered + self.late + self.failed
    }

    /// Adds `other` to each count.
    pub fn add(&mut self, other: &StageRows) {
        self.used += other.used;
        self.filtered += other.filtered;
        self.late += other.late;
        self.failed += other.failed;
    }
}

/// An immutable file of state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Relative to the job's state folder.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The start of its earliest pane, microseconds since 1970.
    pub pane_min_us: i64,
    /// The start of its latest pane, microseconds since 1970.
    pub pane_max_us: i64,
    /// For pieces of sessions, the time of the first row of any of them, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_min_us: Option<i64>,
    /// What its rows are merges of, where a stage keeps merges of panes beside the panes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// A file of results. A reader of the log opens `published`, or `prepared` while that is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkFile {
    /// The sink's name in the job.
    pub sink: String,
    /// Where it was written before the commit, relative to the sink's location.
    pub prepared: String,
    /// Its final name, relative to the sink's location.
    pub published: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The earliest event time in it, microseconds since 1970.
    pub time_min_us: Option<i64>,
    /// The latest event time in it, microseconds since 1970.
    pub time_max_us: Option<i64>,
    /// The column that those times are of. A later version of the job may have another first one,
    /// so that the times alone do not say what they bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_column: Option<String>,
}

/// Segments: the parts of the state that only grow, kept out of records and checkpoints.
///
/// They are named by records, as runs are, and not by checkpoints alone: so what a checkpoint
/// names follows from the log, whoever writes it and however late it arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentChange {
    /// With this epoch, everything pending went into segments.
    #[serde(default)]
    pub spilled: bool,
    /// New segments of processed files.
    #[serde(default)]
    pub seen_added: Vec<Segment>,
    /// Paths of segments of processed files that were merged into new ones.
    #[serde(default)]
    pub seen_removed: Vec<String>,
    /// New segments of committed sink files.
    #[serde(default)]
    pub manifest_added: Vec<Segment>,
    /// Paths of segments of committed sink files that were merged into new ones.
    #[serde(default)]
    pub manifest_removed: Vec<String>,
}

/// One immutable object that holds a part of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Relative to the job's state folder.
    pub path: String,
    /// How many members of the set it holds.
    pub entries: u64,
}
