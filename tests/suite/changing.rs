//! C2 and C4 while the input changes under the job: files grow, are rewritten, are removed, are damaged
//! and mended, at random moments, and the process is killed at others. No row is counted twice, none
//! of a file that stays is lost, no file gives rows of two of its versions, and nothing is stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::harness::{published_rows, scratch};
use super::process;

const JOB: &str = "name: changing
sources:
  logs:
    location: FOLDER/logs/
    format: json
    appended: true
    schema: {ts: TIMESTAMP, n: BIGINT}
    event_time: {column: ts, delay: 1s}
  whole:
    location: FOLDER/whole/
    format: json
    schema: {ts: TIMESTAMP, n: BIGINT}
    event_time: {column: ts, delay: 1s}
sql: |
  INSERT INTO lines SELECT ts, n FROM logs;
  INSERT INTO files SELECT ts, n FROM whole
sinks: {lines: {location: FOLDER/lines/}, files: {location: FOLDER/files/}}
epoch: {interval: 20ms, files_max: 5}
state: {location: FOLDER/state/, checkpoint_every: 4}
";

/// Lines of a file that is read whole: enough for a rewrite to meet a reading.
const WHOLE_LINES: u64 = 3_000;

/// The input, and what must come of it.
struct Input {
    folder: TempDir,
    rng: SmallRng,
    next: u64,
    /// Lines that must be published, once.
    must: BTreeSet<u64>,
    /// Lines that may be, once: their file was removed.
    may: BTreeSet<u64>,
    /// By file that is read whole: the versions that were there, each all or none.
    versions: BTreeMap<PathBuf, Vec<BTreeSet<u64>>>,
    /// Half a line that waits for its rest, by file.
    halves: BTreeMap<PathBuf, (u64, String)>,
    /// The lines of each log.
    logs: BTreeMap<PathBuf, BTreeSet<u64>>,
    damaged: BTreeSet<PathBuf>,
    /// Files that are read whole and were removed, so that none of their versions must be there.
    removed: BTreeSet<PathBuf>,
}

fn line(n: u64) -> String {
    format!("{{\"ts\": \"2026-01-05T10:00:00Z\", \"n\": {n}}}\n")
}

impl Input {
    fn new(seed: u64) -> Self {
        let folder = scratch();
        for name in ["logs", "whole"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let job = JOB.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(folder.path().join("job.yaml"), job).unwrap();
        Self {
            folder,
            rng: SmallRng::seed_from_u64(seed),
            next: 0,
            must: BTreeSet::new(),
            may: BTreeSet::new(),
            versions: BTreeMap::new(),
            halves: BTreeMap::new(),
            logs: BTreeMap::new(),
            damaged: BTreeSet::new(),
            removed: BTreeSet::new(),
        }
    }

    fn job(&self) -> PathBuf {
        self.folder.path().join("job.yaml")
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn change(&mut self) {
        match self.rng.random_range(0..10) {
            0..4 => self.append(),
            4..6 => self.rewrite(),
            6 => self.damage(),
            7 => self.mend(),
            8 => self.remove_log(),
            _ => self.remove_whole(),
        }
    }

    fn append(&mut self) {
        let path = self.folder.path().join(format!("logs/{}.json", self.rng.random_range(0..8)));
        let mut text = String::new();
        let mut ended = BTreeSet::new();
        if let Some((n, rest)) = self.halves.remove(&path) {
            text += &rest;
            ended.insert(n);
        }
        for _ in 0..self.rng.random_range(0..6) {
            let n = self.fresh();
            text += &line(n);
            ended.insert(n);
        }
        if self.rng.random_range(0..3) == 0 {
            let n = self.fresh();
            let whole = line(n);
            let (half, rest) = whole.split_at(self.rng.random_range(1..whole.len()));
            text += half;
            self.halves.insert(path.clone(), (n, rest.to_owned()));
        }
        let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.must.extend(&ended);
        self.logs.entry(path).or_default().extend(ended);
    }

    /// Some are rewritten in place, others replaced by a new file.
    fn rewrite(&mut self) {
        let path = self.folder.path().join(format!("whole/{}.json", self.rng.random_range(0..6)));
        let numbers: BTreeSet<u64> = (0..WHOLE_LINES).map(|_| self.fresh()).collect();
        let text: String = numbers.iter().map(|n| line(*n)).collect();
        match self.rng.random() {
            true => std::fs::write(&path, text).unwrap(),
            false => {
                let aside = path.with_file_name("_aside");
                std::fs::write(&aside, text).unwrap();
                std::fs::rename(aside, &path).unwrap();
            }
        }
        self.damaged.remove(&path);
        self.removed.remove(&path);
        self.versions.entry(path).or_default().push(numbers);
    }

    fn damage(&mut self) {
        let path = self.folder.path().join(format!("whole/{}.json", self.rng.random_range(6..9)));
        if !self.versions.contains_key(&path) {
            std::fs::write(&path, line(0) + "no JSON\n").unwrap();
            self.damaged.insert(path);
        }
    }

    fn mend(&mut self) {
        if let Some(path) = self.damaged.pop_first() {
            let n = self.fresh();
            std::fs::write(&path, line(n)).unwrap();
            self.versions.entry(path).or_default().push(BTreeSet::from([n]));
        }
    }

    fn remove_log(&mut self) {
        // Only one whose name does not come again: another file under it follows on_change.
        let path = self.folder.path().join(format!("logs/gone-{}.json", self.next));
        let n = self.fresh();
        std::fs::write(&path, line(n)).unwrap();
        self.may.insert(n);
        std::thread::sleep(Duration::from_millis(self.rng.random_range(0..8)));
        std::fs::remove_file(path).unwrap();
    }

    fn remove_whole(&mut self) {
        let path = self.folder.path().join(format!("whole/{}.json", self.rng.random_range(0..6)));
        if std::fs::remove_file(&path).is_ok() {
            self.removed.insert(path);
        }
    }

    /// What is published, each number as often as it is there.
    async fn published(&self, sink: &str) -> Vec<u64> {
        if !self.folder.path().join(sink).is_dir() {
            return Vec::new();
        }
        let rows = published_rows(&self.job(), sink).await;
        rows.iter().map(|row| row.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    async fn check(&self) {
        let lines = self.published("lines").await;
        let set: BTreeSet<u64> = lines.iter().copied().collect();
        assert_eq!(set.len(), lines.len(), "lines were counted twice");
        let lost: Vec<_> = self.must.difference(&set).collect();
        assert!(lost.is_empty(), "lines are lost: {lost:?}");
        assert!(set.iter().all(|n| self.must.contains(n) || self.may.contains(n)));
        let files = self.published("files").await;
        let set: BTreeSet<u64> = files.iter().copied().collect();
        assert_eq!(set.len(), files.len(), "rows of files were counted twice");
        for (path, versions) in &self.versions {
            let read: Vec<usize> = versions
                .iter()
                .map(|version| version.intersection(&set).count())
                .filter(|rows| *rows > 0)
                .collect();
            let is_whole = |rows: usize| versions.iter().any(|version| version.len() == rows);
            let name = path.display();
            assert!(read.len() <= 1, "{name}: rows of {} versions: {read:?}", read.len());
            assert!(read.iter().all(|rows| is_whole(*rows)), "{name}: a part: {read:?}");
            assert!(!read.is_empty() || self.removed.contains(path), "{name} was never read");
        }
    }
}

#[tokio::test]
async fn whatever_becomes_of_files_no_row_is_lost_or_counted_twice() {
    let given = std::env::var("CHANGING_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    eprintln!("CHANGING_SEED={seed}");
    let kills: u32 =
        std::env::var("CHANGING_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    let mut input = Input::new(seed);
    let mut interrupted = 0;
    for _ in 0..kills {
        let mut child = process::start(&input.job(), &vec![], &[]);
        for _ in 0..input.rng.random_range(2..14) {
            input.change();
            let pause = input.rng.random_range(0..40);
            std::thread::sleep(Duration::from_millis(pause));
        }
        let ended_by_itself = child.try_wait().unwrap();
        assert!(ended_by_itself.is_none(), "{:?}", process::wait(child, process::RUN_MAX));
        child.kill().unwrap();
        process::wait(child, process::RUN_MAX);
        interrupted += 1;
    }
    settle(&mut input);
    let ended = run_once(&input.job());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    input.check().await;
    let rows = input.must.len();
    println!("seed {seed}: {interrupted} kills, {rows} lines, {} files", input.versions.len());
    let again = run_once(&input.job()).summary();
    assert_eq!((&again["files"], &again["files_parked"]), (&0.into(), &0.into()), "{again}");
}

/// Ends half lines and mends what is damaged: all that is left is good.
fn settle(input: &mut Input) {
    while !input.damaged.is_empty() {
        input.mend();
    }
    for (path, (n, rest)) in std::mem::take(&mut input.halves) {
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        file.write_all(rest.as_bytes()).unwrap();
        input.must.insert(n);
    }
}

fn run_once(job: &Path) -> process::Ended {
    process::wait(process::start(job, &vec![], &["--once"]), process::RUN_MAX)
}
