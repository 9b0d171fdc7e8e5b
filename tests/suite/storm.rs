//! The job that the tests of crashes, rivals and outages run: a tumbling, a hopping and a
//! stateless query over many small files, in epochs of three files. It runs on local folders or
//! on S3, and is looked at from outside: by the log, and by merely listing its sinks.

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use tidegauge_commitlog::{Epoch, LogReader, SinkFile, Storage};
use tidegauge_generate::{Kind, Settings, generate};

use super::harness::{scratch, sorted_text};
use super::process::{self, Ended, Env};
use super::s3_server::S3Server;

pub(super) const SINKS: [&str; 3] = ["hopped", "large", "tumbled"];

const JOB: &str = r#"name: storm
sources:
  flows:
    location: "${IN}"
    format: json
    schema: {ts: TIMESTAMP, tenant: VARCHAR, src_ip: VARCHAR, dst_port: INT, bytes_out: BIGINT}
    event_time: {column: ts, delay: 10s}
sinks:
  tumbled: {location: "${OUT}/tumbled/", partition_by: [tenant]}
  hopped: {location: "${OUT}/hopped/"}
  large: {location: "${OUT}/large/"}
epoch: {interval: 50ms, files_max: 3, retry: 1}
state: {location: "${OUT}/_state/", checkpoint_every: 4, retain_epochs: 3, grace: "${GRACE:-10s}"}
sql: |
  INSERT INTO tumbled
  SELECT window_start, tenant, src_ip, count(*) AS flows, sum(bytes_out) AS bytes
  FROM TABLE(TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
  GROUP BY window_start, tenant, src_ip;
  INSERT INTO hopped
  SELECT window_start, window_end, tenant, count(DISTINCT dst_port) AS ports, max(bytes_out) AS peak
  FROM HOP(flows, ts, INTERVAL '1 minute', INTERVAL '5 minutes')
  GROUP BY window_start, window_end, tenant;
  INSERT INTO large SELECT ts, src_ip, dst_port, bytes_out FROM flows WHERE bytes_out > 10000;
"#;

/// Rows as text by sink, sorted.
pub(super) type Rows = BTreeMap<&'static str, Vec<String>>;

/// A job with its input, in a folder of its own.
#[derive(Debug)]
pub(super) struct Storm {
    folder: TempDir,
    env: Env,
    /// The location that holds input and outputs, as the job has it.
    base: String,
    storage: Storage,
}

/// Where one run of the job writes to.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) env: Env,
    /// The folder, where it is a local one.
    local: Option<PathBuf>,
    storage: Storage,
}

impl Storm {
    /// The job on local folders.
    ///
    /// They are on a disk, where a commit takes longer than in memory and is hit more often.
    pub(super) fn local(files: u32, rows: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_str().unwrap().to_owned();
        let storage = Storage::open(&base).unwrap();
        Self::new(folder, vec![], base, storage, files, rows)
    }

    /// The job on a server's bucket, below `prefix`.
    pub(super) async fn s3(server: &S3Server, prefix: &str, files: u32, rows: u64) -> Self {
        let folder = scratch();
        let base = format!("s3://tide/{prefix}");
        let storm = Self::new(folder, server.env(), base, server.storage(prefix), files, rows);
        for entry in std::fs::read_dir(storm.folder.path().join("in")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = Bytes::from(std::fs::read(&path).unwrap());
            storm.storage.write(&format!("in/{name}"), bytes).await.unwrap();
        }
        storm
    }

    fn new(
        folder: TempDir,
        env: Env,
        base: String,
        storage: Storage,
        files: u32,
        rows: u64,
    ) -> Self {
        let mut settings = Settings::new(Kind::Flows, folder.path().join("in"), rows);
        settings.files = Some(files);
        settings.tenants = 6;
        generate(&settings, &|_| {}).unwrap();
        std::fs::write(folder.path().join("job.yaml"), JOB).unwrap();
        Self { folder, env, base, storage }
    }

    /// The job file.
    pub(super) fn job(&self) -> PathBuf {
        self.folder.path().join("job.yaml")
    }

    /// The folder of the job file, and of the input where it is local.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A place of its own for one run.
    pub(super) fn outcome(&self, name: &str) -> Outcome {
        let mut env = self.env.clone();
        env.push(("IN".to_owned(), format!("{}/in/", self.base)));
        env.push(("OUT".to_owned(), format!("{}/{name}", self.base)));
        let local = self.storage.local_path(name);
        Outcome { env, local, storage: self.storage.child(name) }
    }

    /// Runs the job to its end with all windows closed.
    pub(super) fn run(&self, outcome: &Outcome) -> Ended {
        process::run(&self.job(), &outcome.env, &["--once", "--drain"])
    }

    /// The rows of an undisturbed run, and how long it took.
    pub(super) async fn undisturbed(&self) -> (Rows, Duration) {
        let outcome = self.outcome("undisturbed");
        let started = std::time::Instant::now();
        let ended = self.run(&outcome);
        let elapsed = started.elapsed();
        let summary = ended.summary();
        let rows = outcome.listed_rows().await;
        for sink in SINKS {
            assert!(!rows[sink].is_empty(), "{sink} has no rows");
            assert_eq!(summary["rows_out"][sink], rows[sink].len(), "{sink}");
        }
        assert_eq!(summary["rows_late"], 0, "{summary}");
        (rows, elapsed)
    }
}

impl Outcome {
    /// The same place, for runs with another variable set.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What merely listing `<sink>/**/*.parquet` shows, relative to the outcome.
    pub(super) async fn list(&self, sink: &str) -> Vec<String> {
        if let Some(local) = &self.local {
            let pattern = format!("{}/{sink}/**/*.parquet", local.display());
            return glob::glob(&pattern)
                .unwrap()
                .map(|path| path.unwrap().strip_prefix(local).unwrap().to_str().unwrap().to_owned())
                .collect();
        }
        let listed = self.storage.list(sink).await.unwrap();
        listed
            .iter()
            .map(|meta| self.storage.relative(&meta.location).unwrap())
            .filter(|path| path.ends_with(".parquet"))
            .collect()
    }

    /// The names in a folder that has no folders in it, quickly where it is local.
    pub(super) async fn names(&self, folder: &str) -> Vec<String> {
        if let Some(local) = &self.local {
            let entries = std::fs::read_dir(local.join(folder)).into_iter().flatten();
            let name = |entry: std::io::Result<DirEntry>| entry.unwrap().file_name();
            return entries.map(|entry| format!("{folder}/{}", name(entry).display())).collect();
        }
        let listed = self.storage.list(folder).await.unwrap();
        listed.iter().map(|meta| self.storage.relative(&meta.location).unwrap()).collect()
    }

    /// The rows of one published file, with its partition in front; it must be whole.
    pub(super) async fn read(&self, path: &str) -> Vec<String> {
        let bytes = self.storage.get(path).await.unwrap();
        let bytes = bytes.unwrap_or_else(|| panic!("{path} is gone"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap_or_else(|bad| panic!("{path} is not whole: {bad}"))
            .build()
            .unwrap();
        let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        sorted_text(&batches).into_iter().map(|row| format!("{folder} | {row}")).collect()
    }

    /// The rows that listing shows.
    pub(super) async fn listed_rows(&self) -> Rows {
        let mut rows = Rows::new();
        for sink in SINKS {
            let files = self.list(sink).await;
            rows.insert(sink, self.rows_of(&files).await);
        }
        rows
    }

    /// The rows that the log has committed.
    pub(super) async fn committed_rows(&self) -> Rows {
        let committed = self.committed().await;
        let mut rows = Rows::new();
        for sink in SINKS {
            let files: Vec<String> = committed
                .iter()
                .filter(|(_, file)| file.sink == sink)
                .map(|(_, file)| published(file))
                .collect();
            rows.insert(sink, self.rows_of(&files).await);
        }
        rows
    }

    async fn rows_of(&self, files: &[String]) -> Vec<String> {
        let mut rows = Vec::new();
        for file in files {
            rows.extend(self.read(file).await);
        }
        rows.sort();
        rows
    }

    /// The log of the job.
    pub(super) fn log(&self) -> LogReader {
        LogReader::new(self.storage.child("_state/storm"))
    }

    /// Every file that the log has committed.
    pub(super) async fn committed(&self) -> Vec<(Epoch, SinkFile)> {
        self.log().committed().await.unwrap()
    }

    /// How many epochs there were.
    pub(super) async fn epochs(&self) -> u64 {
        self.log().state().await.unwrap().epoch.map_or(0, |epoch| epoch.0)
    }

    /// That both ways to look show exactly `expected`.
    pub(super) async fn assert_shows(&self, expected: &Rows) {
        assert_same("the listing", &self.listed_rows().await, expected);
        assert_same("the log", &self.committed_rows().await, expected);
    }
}

/// The published name of a file, relative to the outcome.
pub(super) fn published(file: &SinkFile) -> String {
    format!("{}/{}", file.sink, file.published)
}

fn assert_same(what: &str, found: &Rows, expected: &Rows) {
    for sink in SINKS {
        let (found, expected) = (&found[sink], &expected[sink]);
        let first = found.iter().zip(expected).find(|(a, b)| a != b);
        assert!(
            found == expected,
            "{what} shows {} rows of {sink} for {}; they differ first at {first:?}",
            found.len(),
            expected.len()
        );
    }
}
