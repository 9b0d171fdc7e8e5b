//! What real logs give, against an outside engine's answer on the same files: every row.

use std::path::Path;

use tempfile::TempDir;

use super::binary::{python, repository, tidegauge};
use super::harness::scratch;

/// A job of the repository over real logs.
struct RealJob {
    name: &'static str,
    /// The variable that says where its source is.
    variable: &'static str,
    sink: &'static str,
    /// What the reference script calls it.
    reference: &'static str,
}

const CONN: RealJob =
    RealJob { name: "zeek_conn", variable: "CONN", sink: "host_traffic", reference: "conn" };
const DNS: RealJob =
    RealJob { name: "zeek_dns", variable: "DNS", sink: "client_minutes", reference: "dns" };

impl RealJob {
    /// Runs it over `location` with `settings` added to its file; its output is in the folder.
    fn run(&self, location: &Path, settings: &str) -> TempDir {
        let folder = scratch();
        let root = repository().display();
        let text = std::fs::read_to_string(format!("{root}/jobs/{}.yaml", self.name)).unwrap();
        let text = text.replace("sql: ../sql/", &format!("sql: {root}/sql/"));
        let job = folder.path().join("job.yaml");
        std::fs::write(&job, format!("{text}{settings}\n")).unwrap();
        let env = [(self.variable, location.to_str().unwrap())];
        let arguments = ["run", "job.yaml", "--once", "--drain", "--summary", "json"];
        let summary = tidegauge(folder.path(), &arguments, &env).done();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        assert_eq!(summary["rows_late"], 0, "{summary}");
        assert_eq!(summary["rows_used"], summary["rows_in"], "{summary}");
        folder
    }

    /// Exit code and words of the comparison with the reference's answer over `glob`.
    fn compare(&self, folder: &TempDir, glob: &str) -> Option<(i32, String)> {
        let sink = folder.path().join("out").join(self.name).join(self.sink);
        let compared =
            python("zeek_reference.py", &[self.reference, glob, sink.to_str().unwrap()])?;
        Some((compared.code, compared.stdout + &compared.stderr))
    }

    fn equals_the_reference(&self, location: &Path, glob: &str, settings: &str) {
        let folder = self.run(location, settings);
        if let Some((code, words)) = self.compare(&folder, glob) {
            assert_eq!(code, 0, "{} {settings}\n{words}", self.name);
            println!("{} over {glob} {settings}: {words}", self.name);
        }
    }
}

fn fixtures(name: &str) -> (std::path::PathBuf, String) {
    let folder = repository().join("tests/fixtures").join(name);
    let glob = format!("{}/**/*.gz", folder.display());
    (folder, glob)
}

#[test]
fn zeek_connections_are_what_duckdb_counts() {
    let (folder, glob) = fixtures("zeek_conn");
    CONN.equals_the_reference(&folder, &glob, "");
}

#[test]
fn zeek_connections_file_by_file_are_what_duckdb_counts() {
    let (folder, glob) = fixtures("zeek_conn");
    CONN.equals_the_reference(&folder, &glob, "epoch: {files_max: 1}\npartitions: 3");
}

#[test]
fn zeek_dns_is_what_duckdb_counts() {
    let (folder, glob) = fixtures("zeek_dns");
    DNS.equals_the_reference(&folder, &glob, "");
}

#[test]
fn a_whole_competition_of_zeek_dns_is_what_duckdb_counts() {
    let file = repository().join("../shared/data/zeek_plain/dns.json.gz");
    if !file.exists() {
        println!("skipped: there is no {}", file.display());
        return;
    }
    DNS.equals_the_reference(&file, file.to_str().unwrap(), "");
}

/// A comparison that cannot fail is worth nothing.
#[test]
fn the_comparison_tells_rows_that_differ() {
    let (folder, _) = fixtures("zeek_conn");
    let output = CONN.run(&folder, "");
    let part = format!("{}/*day2*/*.gz", folder.display());
    let Some((code, words)) = CONN.compare(&output, &part) else { return };
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("rows only in actual:\n  + 2020-04-30 00:02:00 |"), "{words}");
}

#[test]
fn pyarrow_reads_types_instants_and_partitions() {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let rows = [
        r#"{"ts": "2026-01-01T00:00:30.000001Z", "tenant": "a b/ü", "bytes": 7}"#,
        r#"{"ts": "2026-01-01T01:00:59+01:00", "tenant": "a b/ü", "bytes": 8}"#,
        r#"{"ts": "2026-01-01T00:01:00Z", "bytes": 9}"#,
    ];
    std::fs::write(folder.path().join("in/a.json"), rows.join("\n")).unwrap();
    let job = "name: arrow
sources:
  flows:
    location: in/
    format: json
    schema: {ts: TIMESTAMP, tenant: VARCHAR, bytes: BIGINT}
    event_time: {column: ts, delay: 1s}
sql: |
  INSERT INTO minutes
  SELECT window_start, tenant, sum(bytes) AS bytes, avg(bytes) AS mean, max(ts) AS last
  FROM TUMBLE(flows, ts, INTERVAL '1 minute') GROUP BY window_start, tenant
sinks:
  minutes: {location: out/minutes/, partition_by: [tenant]}
state: {location: out/_state/}
";
    std::fs::write(folder.path().join("job.yaml"), job).unwrap();
    tidegauge(folder.path(), &["run", "job.yaml", "--once", "--drain"], &[]).done();
    let sink = folder.path().join("out/minutes");
    let Some(read) = python("read_with_pyarrow.py", &[sink.to_str().unwrap()]) else { return };
    insta::assert_snapshot!(read.done(), @r"
    window_start: timestamp[us, tz=UTC]
    bytes: int64
    mean: double
    last: timestamp[us, tz=UTC]
    tenant: string
    tenant=__HIVE_DEFAULT_PARTITION__: columns window_start, bytes, mean, last
    tenant=a%20b%2F%C3%BC: columns window_start, bytes, mean, last
    2026-01-01T00:00:00+00:00 | 15 | 7.5 | 2026-01-01T00:00:59+00:00 | a b/ü
    2026-01-01T00:01:00+00:00 | 9 | 9.0 | 2026-01-01T00:01:00+00:00 | None
    ");
}
