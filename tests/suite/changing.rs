//! C2 and C4 while the files change under the job: those that it reads grow, are rewritten, are removed,
//! are damaged and mended, those that it published are taken away by a loader or are too old to be
//! kept, at random moments, and the process is killed at others. No row is counted twice, none of a
//! file that stays is lost, no file gives rows of two of its versions, and nothing is stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tidegauge_commitlog::Storage;

use super::harness::{scratch, sorted_text};
use super::process::{self, Env};
use super::s3_server::S3Server;

const JOB: &str = "name: changing
sources:
  logs:
    location: BASE/logs/
    format: json
    appended: true
    schema: {ts: TIMESTAMP, n: BIGINT}
    event_time: {column: ts, delay: 1s}
  whole:
    location: BASE/whole/
    format: json
    schema: {ts: TIMESTAMP, n: BIGINT}
    event_time: {column: ts, delay: 1s}
sql: |
  INSERT INTO lines SELECT ts, n FROM logs;
  INSERT INTO files SELECT ts, n FROM whole
sinks: {lines: {location: BASE/lines/, retention: 1d}, files: {location: BASE/files/}}
epoch: {interval: 20ms, files_max: 5}
state: {location: BASE/state/, checkpoint_every: 4, retain_epochs: 3, grace: 2s}
";

/// Where the job reads and writes, by names below it: a local folder, or a bucket.
struct Place {
    /// Holds the job file, and all else where it is local.
    folder: TempDir,
    storage: Storage,
    base: String,
    env: Env,
}

impl Place {
    fn local() -> Self {
        let folder = scratch();
        for name in ["logs", "whole"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let base = folder.path().to_str().unwrap().to_owned();
        Self { storage: Storage::open(&base).unwrap(), folder, base, env: vec![] }
    }

    fn s3(server: &S3Server) -> Self {
        let (folder, base) = (scratch(), "s3://tide/changing".to_owned());
        Self { folder, storage: server.storage("changing"), base, env: server.env() }
    }

    fn job(&self) -> PathBuf {
        self.folder.path().join("job.yaml")
    }

    async fn append(&self, name: &str, text: &str) {
        if let Some(path) = self.storage.local_path(name) {
            let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
            return file.write_all(text.as_bytes()).unwrap();
        }
        // Objects are written whole.
        let before = self.storage.get(name).await.unwrap().unwrap_or_default();
        self.write(name, [&before, text.as_bytes()].concat()).await;
    }

    /// In place, where it is local.
    async fn write(&self, name: &str, text: impl Into<Bytes>) {
        match self.storage.local_path(name) {
            Some(path) => std::fs::write(path, text.into()).unwrap(),
            None => self.storage.write(name, text.into()).await.unwrap(),
        }
    }

    /// By another file that takes its name.
    async fn replace(&self, name: &str, text: String) {
        let Some(path) = self.storage.local_path(name) else { return self.write(name, text).await };
        let aside = path.with_file_name("_aside");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, &path).unwrap();
    }

    /// Whether it was there.
    async fn remove(&self, name: &str) -> bool {
        let was_there = self.storage.exists(name).await.unwrap();
        self.storage.delete(&[name.to_owned()]).await.unwrap();
        was_there
    }

    /// The published files of a sink.
    async fn published(&self, sink: &str) -> Vec<String> {
        let listed = self.storage.list(sink).await.unwrap();
        let names = listed.iter().filter_map(|meta| self.storage.relative(&meta.location));
        names.filter(|name| name.ends_with(".parquet")).collect()
    }

    /// The second column of a file, which must be whole.
    async fn numbers(&self, name: &str) -> Vec<u64> {
        let bytes =
            self.storage.get(name).await.unwrap().unwrap_or_else(|| panic!("{name} is gone"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
        let rows = sorted_text(&batches).into_iter();
        rows.map(|row| row.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }
}

/// Lines of a file that is read whole: enough for a rewrite to meet a reading.
const WHOLE_LINES: u64 = 3_000;
/// The longest pause between two changes, in milliseconds.
const PAUSE_MAX_MS: u64 = 40;
/// On S3 a request takes milliseconds: files are smaller, and epochs longer.
const WHOLE_LINES_ON_S3: u64 = 300;
const PAUSE_MAX_MS_ON_S3: u64 = 250;

/// The files, and what must come of them.
struct Input {
    place: Place,
    whole_lines: u64,
    pause_max_ms: u64,
    rng: SmallRng,
    next: u64,
    /// Lines that must be published, once.
    must: BTreeSet<u64>,
    /// Lines that may be, once: their file was removed.
    may: BTreeSet<u64>,
    /// By file that is read whole: the versions that were there, each all or none.
    versions: BTreeMap<String, Vec<BTreeSet<u64>>>,
    /// Half a line that waits for its rest, by file.
    halves: BTreeMap<String, (u64, String)>,
    damaged: BTreeSet<String>,
    /// Files that are read whole and were removed, so that none of their versions must be there.
    removed: BTreeSet<String>,
    /// What the loader took away, by the name of the file: a name may come a second time.
    loaded: BTreeMap<String, Vec<u64>>,
}

fn line(n: u64) -> String {
    format!("{{\"ts\": \"2026-01-05T10:00:00Z\", \"n\": {n}}}\n")
}

impl Input {
    fn new(place: Place, seed: u64) -> Self {
        std::fs::write(place.job(), JOB.replace("BASE", &place.base)).unwrap();
        let (whole_lines, pause_max_ms) = match place.storage.is_local() {
            true => (WHOLE_LINES, PAUSE_MAX_MS),
            false => (WHOLE_LINES_ON_S3, PAUSE_MAX_MS_ON_S3),
        };
        Self {
            place,
            whole_lines,
            pause_max_ms,
            rng: SmallRng::seed_from_u64(seed),
            next: 0,
            must: BTreeSet::new(),
            may: BTreeSet::new(),
            versions: BTreeMap::new(),
            halves: BTreeMap::new(),
            damaged: BTreeSet::new(),
            removed: BTreeSet::new(),
            loaded: BTreeMap::new(),
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    async fn change(&mut self) {
        match self.rng.random_range(0..11) {
            0..4 => self.append().await,
            4..6 => self.rewrite().await,
            6 => self.damage().await,
            7 => self.mend().await,
            8 => self.remove_log().await,
            9 => self.remove_whole().await,
            _ => self.load().await,
        }
    }

    async fn append(&mut self) {
        let name = format!("logs/{}.json", self.rng.random_range(0..8));
        let mut text = String::new();
        let mut ended = BTreeSet::new();
        if let Some((n, rest)) = self.halves.remove(&name) {
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
            self.halves.insert(name.clone(), (n, rest.to_owned()));
        }
        self.place.append(&name, &text).await;
        self.must.extend(ended);
    }

    /// Some are rewritten in place, others replaced by a new file.
    async fn rewrite(&mut self) {
        let name = format!("whole/{}.json", self.rng.random_range(0..6));
        let numbers: BTreeSet<u64> = (0..self.whole_lines).map(|_| self.fresh()).collect();
        let text: String = numbers.iter().map(|n| line(*n)).collect();
        match self.rng.random() {
            true => self.place.write(&name, text).await,
            false => self.place.replace(&name, text).await,
        }
        self.removed.remove(&name);
        self.versions.entry(name).or_default().push(numbers);
    }

    async fn damage(&mut self) {
        let name = format!("whole/{}.json", self.rng.random_range(6..9));
        if !self.versions.contains_key(&name) {
            self.place.write(&name, line(0) + "no JSON\n").await;
            self.damaged.insert(name);
        }
    }

    async fn mend(&mut self) {
        if let Some(name) = self.damaged.pop_first() {
            let n = self.fresh();
            self.place.write(&name, line(n)).await;
            self.versions.entry(name).or_default().push(BTreeSet::from([n]));
        }
    }

    async fn remove_log(&mut self) {
        // Only one whose name does not come again: another file under it follows on_change.
        let name = format!("logs/gone-{}.json", self.next);
        let n = self.fresh();
        self.place.write(&name, line(n)).await;
        self.may.insert(n);
        std::thread::sleep(Duration::from_millis(self.rng.random_range(0..8)));
        self.place.remove(&name).await;
    }

    async fn remove_whole(&mut self) {
        let name = format!("whole/{}.json", self.rng.random_range(0..6));
        if self.place.remove(&name).await {
            self.removed.insert(name);
        }
    }

    /// A loader takes away what is published.
    async fn load(&mut self) {
        for sink in ["lines", "files"] {
            for name in self.place.published(sink).await {
                let numbers = self.place.numbers(&name).await;
                let known = self.loaded.insert(name.clone(), numbers.clone());
                assert!(
                    known.is_none_or(|known| known == numbers),
                    "{name} came again with others"
                );
                self.place.remove(&name).await;
            }
        }
    }

    /// What was published, each number as often as it was.
    fn published(&self, sink: &str) -> Vec<u64> {
        let files = self.loaded.iter().filter(|(name, _)| name.starts_with(&format!("{sink}/")));
        files.flat_map(|(_, numbers)| numbers).copied().collect()
    }

    async fn check(&mut self) {
        self.load().await;
        let lines = self.published("lines");
        let set: BTreeSet<u64> = lines.iter().copied().collect();
        assert_eq!(set.len(), lines.len(), "lines were counted twice");
        let lost: Vec<_> = self.must.difference(&set).collect();
        assert!(lost.is_empty(), "lines are lost: {lost:?}");
        assert!(set.iter().all(|n| self.must.contains(n) || self.may.contains(n)));
        let files = self.published("files");
        let set: BTreeSet<u64> = files.iter().copied().collect();
        assert_eq!(set.len(), files.len(), "rows of files were counted twice");
        for (name, versions) in &self.versions {
            let read: Vec<usize> = versions
                .iter()
                .map(|version| version.intersection(&set).count())
                .filter(|rows| *rows > 0)
                .collect();
            let is_whole = |rows: usize| versions.iter().any(|version| version.len() == rows);
            assert!(read.len() <= 1, "{name}: rows of {} versions: {read:?}", read.len());
            assert!(read.iter().all(|rows| is_whole(*rows)), "{name}: a part: {read:?}");
            assert!(!read.is_empty() || self.removed.contains(name), "{name} was never read");
        }
    }
}

#[tokio::test]
async fn whatever_becomes_of_files_no_row_is_lost_or_counted_twice() {
    kill_while_files_change(Place::local(), "CHANGING_KILLS", 25).await;
}

#[tokio::test]
async fn whatever_becomes_of_files_on_s3_no_row_is_lost_or_counted_twice() {
    let Some(server) = S3Server::start() else { return };
    kill_while_files_change(Place::s3(&server), "CHANGING_KILLS_S3", 8).await;
}

/// As often as the variable says, else `kills` times.
async fn kill_while_files_change(place: Place, variable: &str, kills: u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("CHANGING_SEED").unwrap_or_else(rand::random);
    eprintln!("CHANGING_SEED={seed}");
    let kills = number(variable).unwrap_or_else(|| kills.into());
    let mut input = Input::new(place, seed);
    for _ in 0..kills {
        let mut child = process::start(&input.place.job(), &input.place.env, &[]);
        for _ in 0..input.rng.random_range(2..14) {
            input.change().await;
            let pause = input.rng.random_range(0..input.pause_max_ms);
            std::thread::sleep(Duration::from_millis(pause));
        }
        let ended_by_itself = child.try_wait().unwrap();
        assert!(ended_by_itself.is_none(), "{:?}", process::wait(child, process::RUN_MAX));
        child.kill().unwrap();
        process::wait(child, process::RUN_MAX);
    }
    settle(&mut input).await;
    let ended = run_once(&input.place);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    input.check().await;
    println!(
        "{}: seed {seed}, {kills} kills, {} lines, {} versions of {} files, {} files loaded",
        input.place.base,
        input.must.len(),
        input.versions.values().map(Vec::len).sum::<usize>(),
        input.versions.len(),
        input.loaded.len(),
    );
    let again = run_once(&input.place).summary();
    assert_eq!((&again["files"], &again["files_parked"]), (&0.into(), &0.into()), "{again}");
}

/// Ends half lines and mends what is damaged: all that is left is good.
async fn settle(input: &mut Input) {
    while !input.damaged.is_empty() {
        input.mend().await;
    }
    for (name, (n, rest)) in std::mem::take(&mut input.halves) {
        input.place.append(&name, &rest).await;
        input.must.insert(n);
    }
}

fn run_once(place: &Place) -> process::Ended {
    process::run(&place.job(), &place.env, &["--once"])
}
