//! The names of objects: made and parsed here only.
//!
//! ```text
//! log/<epoch>.json                                  one commit record
//! checkpoint/<epoch>.json                           the log folded up to and with that epoch
//! runs/<stage>/<epoch>-<attempt>-<task>.parquet     state
//! seen/<epoch>-<attempt>-<n>.bin                    hashes of processed files
//! manifest/<epoch>-<attempt>-<n>.json               committed sink files
//! published/<epoch>.json                            the epoch's sink files have their final names
//! _prepared/<job>/<incarnation>-<epoch>-<n>         a sink's file before it is published
//! k=v/<job>-<incarnation>-<epoch>-<n>.parquet       and after
//! ```
//!
//! `<n>` of a sink's file is `<attempt>-<task>-<counter>`: which try at the epoch it was in its
//! process, which task of that try wrote the file, and how many files the task had written. So no
//! two files have one name, however many there are. Builds before wrote a single number.
//!
//! Every name that a commit record can hold carries the number of the one epoch whose record may
//! *add* it. Garbage collection stands on that: see `collect`.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The folder of commit records.
pub const LOG: &str = "log";
/// The folder of checkpoints.
pub const CHECKPOINT: &str = "checkpoint";
/// The folder of state runs.
pub const RUNS: &str = "runs";
/// The folder of segments of processed files.
pub const SEEN: &str = "seen";
/// The folder of segments of committed sink files.
pub const MANIFEST: &str = "manifest";
/// The folder of markers that say that an epoch's files are published.
pub const PUBLISHED: &str = "published";
/// The folder, in a sink, of files that are not published yet. Listers skip it by its underscore.
pub const PREPARED: &str = "_prepared";

/// The sink name of the table of late rows: its files are prepared, committed and published as those
/// of a sink, and are no results.
pub const LATE_SINK: &str = "_late";

/// The folder value that stands for NULL, as in Hive.
pub const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// The number of an epoch, from 1 up without gaps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The first epoch of a job.
    pub const FIRST: Epoch = Epoch(1);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }

    /// The form used in object names: 20 digits, so that names sort as numbers do.
    pub fn padded(self) -> String {
        format!("{:020}", self.0)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the commit record of `epoch` is.
pub fn log_path(epoch: Epoch) -> String {
    format!("{LOG}/{}.json", epoch.padded())
}

/// Where the checkpoint at `epoch` is.
pub fn checkpoint_path(epoch: Epoch) -> String {
    format!("{CHECKPOINT}/{}.json", epoch.padded())
}

/// Where it is said that the files of `epoch` are published.
pub fn published_marker_path(epoch: Epoch) -> String {
    format!("{PUBLISHED}/{}.json", epoch.padded())
}

/// The epoch of `log/<epoch>.json`, `checkpoint/<epoch>.json` or `published/<epoch>.json`.
pub fn parse_numbered(path: &str) -> Option<Epoch> {
    let stem = file_name(path).strip_suffix(".json")?;
    parse_epoch(stem)
}

/// The name of a state run.
pub fn run_path(stage: &str, epoch: Epoch, attempt: &str, task: &str) -> String {
    format!("{RUNS}/{stage}/{}-{attempt}-{task}.parquet", epoch.padded())
}

/// The name of a segment in [`SEEN`] or [`MANIFEST`].
pub fn segment_path(folder: &str, epoch: Epoch, attempt: &str, n: u64) -> String {
    let extension = if folder == SEEN { "bin" } else { "json" };
    format!("{folder}/{}-{attempt}-{n}.{extension}", epoch.padded())
}

/// The epoch and the attempt of a run or a segment.
pub fn parse_attempted(path: &str) -> Option<(Epoch, &str)> {
    let mut parts = file_name(path).splitn(3, '-');
    let epoch = parse_epoch(parts.next()?)?;
    let attempt = parts.next()?;
    parts.next()?;
    Some((epoch, attempt))
}

/// The name of a sink's file before it is published, relative to the sink.
pub fn prepared_path(job: &str, name: &SinkName<'_>) -> String {
    format!("{PREPARED}/{job}/{name}")
}

/// The name of a sink's file once it is published, relative to the sink. `partition` is empty or
/// comes from [`partition_folder`].
pub fn published_path(partition: &str, job: &str, name: &SinkName<'_>, extension: &str) -> String {
    let slash = if partition.is_empty() || partition.ends_with('/') { "" } else { "/" };
    format!("{partition}{slash}{job}-{name}.{extension}")
}

/// What tells one sink file of a job from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SinkName<'a> {
    /// The coordinator's process that tried the epoch.
    pub incarnation: &'a str,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// How many tries at this epoch came before in that process.
    pub attempt: u32,
    /// The task of that try: letters, digits and `_`, unique among its tasks.
    pub task: &'a str,
    /// How many files the task had written before.
    pub n: u64,
}

impl std::fmt::Display for SinkName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SinkName { incarnation, epoch, attempt, task, n } = self;
        write!(f, "{incarnation}-{}-{attempt}-{task}-{n}", epoch.padded())
    }
}

/// What the name of a prepared file says.
pub fn parse_prepared<'a>(path: &'a str, job: &str) -> Option<SinkName<'a>> {
    let name =
        path.strip_prefix(PREPARED)?.strip_prefix('/')?.strip_prefix(job)?.strip_prefix('/')?;
    parse_sink_name(name)
}

/// What the name of a published file says; `None` for a file of another job or of no job.
pub fn parse_published<'a>(path: &'a str, job: &str) -> Option<SinkName<'a>> {
    let (stem, _extension) = file_name(path).split_once('.')?;
    parse_sink_name(stem.strip_prefix(job)?.strip_prefix('-')?)
}

fn parse_sink_name(name: &str) -> Option<SinkName<'_>> {
    let parts: Vec<&str> = name.split('-').collect();
    let (incarnation, epoch) = (*parts.first()?, parse_epoch(parts.get(1)?)?);
    if incarnation.is_empty() {
        return None;
    }
    let (attempt, task, n) = match parts[2..] {
        // As builds before wrote it: a block of numbers for each try.
        [n] => {
            let n: u64 = n.parse().ok()?;
            (u32::try_from(n >> 32).ok()?, "", n & u64::from(u32::MAX))
        }
        [attempt, task, n] if is_task(task) => (attempt.parse().ok()?, task, n.parse().ok()?),
        _ => return None,
    };
    Some(SinkName { incarnation, epoch, attempt, task, n })
}

/// Whether `task` can stand for a task in a name.
pub fn is_task(task: &str) -> bool {
    !task.is_empty() && task.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What file systems allow for one name.
pub const FOLDER_BYTES_MAX: usize = 255;

/// The folder of one partition, `a=1/b=x%2Fy`: values are URL-encoded, NULL has a name of its own.
pub fn partition_folder(columns: &[(&str, Option<&str>)]) -> String {
    let mut folder = String::new();
    for (column, value) in columns {
        if !folder.is_empty() {
            folder.push('/');
        }
        encode_into(&mut folder, column);
        folder.push('=');
        match value {
            None => folder.push_str(NULL_PARTITION),
            // Text that spells the name of NULL must not become NULL.
            Some(NULL_PARTITION) => {
                folder.push_str("%5F");
                folder.push_str(&NULL_PARTITION[1..]);
            }
            Some(value) => encode_into(&mut folder, value),
        }
    }
    folder
}

/// Keeps what no file system, S3 or URL gives a meaning to; everything else becomes `%XX`.
fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(out, "%{byte:02X}").ok();
        }
    }
}

fn parse_epoch(digits: &str) -> Option<Epoch> {
    // u64::from_str takes a leading plus sign, a name never has one.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Epoch)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn names_read_back_as_they_were_made() {
        let epoch = Epoch(42);
        assert_eq!(log_path(epoch), "log/00000000000000000042.json");
        assert_eq!(parse_numbered(&log_path(epoch)), Some(epoch));
        assert_eq!(parse_numbered(&checkpoint_path(epoch)), Some(epoch));
        let run = run_path("hosts", epoch, "ab12", "3");
        assert_eq!(run, "runs/hosts/00000000000000000042-ab12-3.parquet");
        assert_eq!(parse_attempted(&run), Some((epoch, "ab12")));
        let segment = segment_path(SEEN, epoch, "ab12", 0);
        assert_eq!(parse_attempted(&segment), Some((epoch, "ab12")));
    }

    #[test]
    fn a_job_may_have_dashes_in_its_name() {
        let name =
            SinkName { incarnation: "f00d", epoch: Epoch(7), attempt: 2, task: "1_3", n: 70_000 };
        let prepared = prepared_path("net-anomaly", &name);
        assert_eq!(parse_prepared(&prepared, "net-anomaly"), Some(name));
        assert_eq!(parse_prepared(&prepared, "net"), None);
        let published = published_path("tenant=a%2Fb", "net-anomaly", &name, "parquet");
        assert_eq!(
            published,
            "tenant=a%2Fb/net-anomaly-f00d-00000000000000000007-2-1_3-70000.parquet"
        );
        assert_eq!(parse_published(&published, "net-anomaly"), Some(name));
        assert_eq!(parse_published(&published, "net"), None);
    }

    #[test]
    fn names_of_builds_before_are_still_read() {
        let old = "_prepared/j/f00d-00000000000000000007-4294967305";
        let name = SinkName { incarnation: "f00d", epoch: Epoch(7), attempt: 1, task: "", n: 9 };
        assert_eq!(parse_prepared(old, "j"), Some(name));
        assert_eq!(
            parse_published("j-f00d-00000000000000000007-4294967305.parquet", "j"),
            Some(name)
        );
    }

    #[test]
    fn no_two_files_have_one_name_whatever_their_task_and_counter() {
        // The counters and tasks around which blocks of 65,536 numbers met.
        let edges = [0, 1, 65_535, 65_536, 65_537, 131_072, u64::from(u32::MAX), u64::MAX];
        let mut drawn: Vec<u64> = edges.to_vec();
        let mut rng = SmallRng::seed_from_u64(7);
        drawn.extend((0..200).map(|_| rng.random::<u64>() >> rng.random_range(0..64)));
        let mut names = std::collections::HashMap::new();
        for attempt in [0, 1, u32::MAX] {
            for task in ["0", "1_0", "1_1", "10_0", "1_00", "4096_15"] {
                for &n in &drawn {
                    let name = SinkName { incarnation: "ab", epoch: Epoch(3), attempt, task, n };
                    let text = prepared_path("j", &name);
                    let known = names.insert(text.clone(), name);
                    assert!(known.is_none_or(|known| known == name), "{text}");
                    assert_eq!(parse_prepared(&text, "j"), Some(name));
                }
            }
        }
    }

    #[test]
    fn foreign_names_are_not_taken_for_ours() {
        for name in ["log/x.json", "log/+1.json", "log/.json", "log/1.txt", ""] {
            assert_eq!(parse_numbered(name), None, "{name}");
        }
        assert_eq!(parse_attempted("runs/s/notes.txt"), None);
        assert_eq!(parse_attempted("runs/s/1-a.parquet"), None);
        assert_eq!(parse_prepared("_prepared/j/a-1", "j"), None);
        assert_eq!(parse_prepared("_prepared/j/-1-0-0-0", "j"), None);
        for name in ["j-a-1-2-3.parquet", "j-a-1-2--3.parquet", "j-a-1-2-x.y-3.parquet"] {
            assert_eq!(parse_published(name, "j"), None, "{name}");
        }
    }

    #[test]
    fn partition_values_are_encoded_and_null_is_not_text() {
        let folder = partition_folder(&[
            ("tenant", Some("a/b c%é")),
            ("date", None),
            ("x", Some("")),
            ("y", Some(NULL_PARTITION)),
        ]);
        assert_eq!(
            folder,
            "tenant=a%2Fb%20c%25%C3%A9/date=__HIVE_DEFAULT_PARTITION__/x=/y=%5F_HIVE_DEFAULT_PARTITION__"
        );
    }
}
