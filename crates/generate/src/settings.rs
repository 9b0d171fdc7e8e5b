//! What to generate: the settings, their defaults and their limits.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;

/// 2026-01-01T00:00:00Z, in microseconds since 1970.
const START_US: i64 = 1_767_225_600_000_000;
const ROWS_MAX: u64 = 100_000_000_000;
const ROWS_PER_ANOMALY_MIN: u64 = 50;
const HOSTS_MAX: u32 = 30_000;
const TENANTS_MAX: u32 = 200;
const FILES_MAX: u32 = 100_000;
const DURATION_MAX: Duration = Duration::from_secs(3660 * 86_400);

/// A kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Network flows: ts, tenant, src_ip, dst_ip, dst_port, proto, bytes_out, bytes_in, packets,
    /// action.
    Flows,
    /// DNS queries: ts, tenant, client_ip, query, qtype, rcode, answers, bytes.
    Dns,
    /// Logins: ts, tenant, user, src_ip, host, method, outcome.
    Auth,
}

impl Kind {
    /// The name in file names and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Dns => "dns",
            Self::Auth => "auth",
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Flows, Self::Dns, Self::Auth]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                Error::bad("kind", format!("{text:?} is not one; use flows, dns or auth"))
            })
    }
}

/// How the rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// One object a line; `ts` is RFC 3339 with milliseconds.
    Json,
    /// Compressed with zstd; `ts` is a timestamp in microseconds, UTC.
    Parquet,
}

impl OutputFormat {
    /// The name in arguments, and the end of file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }
}

impl FromStr for OutputFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Json, Self::Parquet].into_iter().find(|format| format.name() == text).ok_or_else(
            || Error::bad("format", format!("{text:?} is not one; use json or parquet")),
        )
    }
}

/// What to generate. Equal settings, but for `threads`, give equal files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The kind of telemetry.
    pub kind: Kind,
    /// The folder that the files go to; made if it is missing. It may hold nothing but files that
    /// this run writes itself, or files and folders beginning with `_` or `.`.
    pub out: PathBuf,
    /// How many rows in all, those of the anomalies among them.
    pub rows: u64,
    /// Equal seeds give equal rows.
    pub seed: u64,
    /// How many anomalies are among the rows; each needs 50 rows of `rows`, of which it takes at
    /// most a fifth.
    pub anomalies: u32,
    /// How the rows are written.
    pub format: OutputFormat,
    /// When the first row may arrive, in microseconds since 1970 (UTC).
    pub start_us: i64,
    /// The time that the rows arrive in, from `start_us` on.
    pub duration: Duration,
    /// How many files the duration is cut into, equally long; `None` for one a minute.
    pub files: Option<u32>,
    /// Where the labels go: a JSON array of [`crate::Label`].
    pub labels: PathBuf,
    /// How many hosts send the normal rows, all tenants together.
    pub hosts: u32,
    /// How many tenants the hosts belong to, each to one.
    pub tenants: u32,
    /// How many threads write files; what they write does not depend on it.
    pub threads: usize,
}

impl Settings {
    /// An hour from 2026-01-01T00:00:00Z as JSON, without anomalies, the labels in
    /// `out/_labels.json` (sources skip names that begin with `_`), on as many threads as there
    /// are processors.
    ///
    /// There is a host for every 2,000 rows, between 40 and 2,000 of them, so that a host and
    /// minute have some thirty rows, and a tenant for every 50 hosts, between 2 and 16 of them, so
    /// that a host has peers to be compared with.
    pub fn new(kind: Kind, out: impl Into<PathBuf>, rows: u64) -> Self {
        let out = out.into();
        let hosts = (rows / 2000).clamp(40, 2000) as u32;
        Self {
            kind,
            labels: out.join("_labels.json"),
            out,
            rows,
            seed: 1,
            anomalies: 0,
            format: OutputFormat::Json,
            start_us: START_US,
            duration: Duration::from_secs(3600),
            files: None,
            hosts,
            tenants: (hosts / 50).clamp(2, 16),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if !(1..=ROWS_MAX).contains(&self.rows) {
            let problem = format!("{} is not between 1 and {ROWS_MAX}", self.rows);
            return Err(Error::bad("rows", problem));
        }
        let anomalies_max = self.rows / ROWS_PER_ANOMALY_MIN;
        if u64::from(self.anomalies) > anomalies_max {
            let (rows, anomalies) = (self.rows, self.anomalies);
            return Err(Error::bad(
                "anomalies",
                format!(
                    "{anomalies} do not fit among {rows} rows: at most {anomalies_max}, or give \
                     {} rows",
                    u64::from(anomalies) * ROWS_PER_ANOMALY_MIN
                ),
            ));
        }
        within("tenants", self.tenants, 1, TENANTS_MAX)?;
        within("hosts", self.hosts, self.tenants, HOSTS_MAX)?;
        within("files", self.file_count(), 1, FILES_MAX)?;
        if self.duration < Duration::from_secs(1) || self.duration > DURATION_MAX {
            let problem = format!("{:?} is not between 1s and ten years", self.duration);
            return Err(Error::bad("duration", problem));
        }
        // The year is written with four digits.
        let years_1900_to_2200_us = -2_208_988_800_000_000..7_258_118_400_000_000;
        if !years_1900_to_2200_us.contains(&self.start_us) {
            let problem = format!("{} us is not between 1900 and 2200", self.start_us);
            return Err(Error::bad("start_us", problem));
        }
        Ok(())
    }

    pub(crate) fn file_count(&self) -> u32 {
        let minutes = self.duration.as_secs().div_ceil(60).max(1);
        self.files.unwrap_or_else(|| u32::try_from(minutes).unwrap_or(FILES_MAX).min(FILES_MAX))
    }

    pub(crate) fn duration_us(&self) -> i64 {
        i64::try_from(self.duration.as_micros()).unwrap_or(i64::MAX)
    }
}

fn within(setting: &'static str, value: u32, least: u32, most: u32) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::bad(setting, format!("{value} is not between {least} and {most}")))
}
