//! The file of a job's cases.
//!
//! ```yaml
//! cases:
//!   - name: a port scan is found
//!     input:
//!       flows:
//!         - {ts: "2026-01-01T00:00:01Z", src_ip: 10.0.0.1, bytes_out: 10}
//!     expect:
//!       findings:
//!         - {src_ip: 10.0.0.1, score: 99.5}
//!     tolerance: 1e-6
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// All cases of one job.
#[derive(Debug, Clone)]
pub(super) struct TestFile {
    pub(super) cases: Vec<Case>,
}

/// Rows in, rows out.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) env: BTreeMap<String, String>,
    /// Each source's rows in order of arrival, a JSON object each.
    pub(super) input: BTreeMap<String, Vec<String>>,
    /// Each sink's rows; only the columns that they name are compared.
    pub(super) expect: BTreeMap<String, Vec<Row>>,
    /// How far a number may be off, relative to its size.
    pub(super) tolerance: f64,
}

/// A row by column.
pub(super) type Row = serde_json::Map<String, Value>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    cases: Vec<RawCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    input: BTreeMap<String, Vec<Row>>,
    expect: BTreeMap<String, Vec<Row>>,
    #[serde(default = "default_tolerance")]
    tolerance: f64,
}

fn default_tolerance() -> f64 {
    1e-9
}

impl TestFile {
    /// Reads the cases at `path`; the error names the file and the place in it.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: the cases cannot be read: {error}", path.display()))?;
        let raw: RawFile =
            serde_yaml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { cases: raw.cases.into_iter().map(Case::from).collect() })
    }
}

impl From<RawCase> for Case {
    fn from(raw: RawCase) -> Self {
        let lines =
            |rows: Vec<Row>| rows.into_iter().map(|row| Value::Object(row).to_string()).collect();
        Self {
            name: raw.name,
            env: raw.env,
            input: raw.input.into_iter().map(|(source, rows)| (source, lines(rows))).collect(),
            expect: raw.expect,
            tolerance: raw.tolerance,
        }
    }
}
