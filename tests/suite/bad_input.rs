//! What is wrong with a job or a file is said where it is, and nothing of it is committed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use insta::assert_snapshot;
use tempfile::TempDir;

use super::binary::{files_below, tidegauge};
use super::harness::scratch;

const JOB: &str = "name: minutes
sources:
  flows:
    location: in/
    format: json
    schema: {ts: TIMESTAMP, src: VARCHAR, bytes: BIGINT}
    event_time: {column: ts, delay: 1s}
sql: job.sql
sinks:
  out: {location: out/}
state: {location: state/}
";
const MINUTES: &str = "INSERT INTO out
SELECT window_start, src, sum(bytes) AS bytes
FROM TUMBLE(flows, ts, INTERVAL '1 minute')
GROUP BY window_start, src
";

fn folder_with(job: &str, sql: &str) -> TempDir {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("job.yaml"), job).unwrap();
    std::fs::write(folder.path().join("job.sql"), sql).unwrap();
    folder
}

/// What `check` says of a job that it refuses.
fn refusal(job: &str, sql: &str) -> String {
    tidegauge(folder_with(job, sql).path(), &["check", "job.yaml"], &[]).failed(2)
}

#[test]
fn all_mistakes_of_a_job_are_named_in_one_go() {
    let job = r#"name: Five Mistakes
sources:
  flows:
    location: in/
    formt: json
    schema: {ts: TIMESTAMP, src: VARCHER, bytes: BIGINT}
    event_time: {column: time, delay: "10 sec"}
sql: job.sql
sinks:
  out: {location: out/, partition_by: src}
state: {location: state/}
"#;
    assert_snapshot!(refusal(job, MINUTES), @r#"
    job.yaml:1: name: "Five Mistakes" is not a name that SQL takes without quotes; write five_mistakes
    job.yaml:5: sources.flows.formt: "formt" is not a known key; write format
    job.yaml:6: sources.flows.schema.src: "VARCHER" is not a type; write VARCHAR
    job.yaml:7: sources.flows.event_time.column: "time" is not in the schema; write ts
    job.yaml:7: sources.flows.event_time.delay: "10 sec" is not a duration; write 10s
    job.yaml:10: sinks.out.partition_by: "src" is not a list; write the columns as a list, such as [tenant]
    "#);
}

#[test]
fn every_statement_that_cannot_be_planned_is_named() {
    let sql = "INSERT INTO nowhere SELECT src FROM flows;
INSERT INTO out SELECT nothing FROM flows;
INSERT INTO out
SELECT count(*) FROM flows";
    assert_snapshot!(refusal(JOB, sql), @r"
    job.sql:1: the job has no sink nowhere; it has out
    job.sql:2: column 24: No field named nothing.
    Valid fields are flows.ts, flows.src, flows.bytes
    job.sql:4: an aggregate over the stream flows needs a window, for without one its groups are never complete; write GROUP BY date_trunc('minute', ts)
    ");
}

#[test]
fn a_sql_error_points_at_line_and_column() {
    let sql = "INSERT INTO out\nSELECT src, count(*) AS n FORM flows GROUP BY src";
    assert_snapshot!(refusal(JOB, sql), @r#"job.sql:2: column 27: "FORM" does not belong here; end a statement with ;"#);
    let sql = "INSERT INTO out\nSELECT src,\n       bites FROM flows";
    assert_snapshot!(refusal(JOB, sql), @r"
    job.sql:3: column 8: No field named bites. Did you mean 'flows.bytes'?
    Valid fields are flows.ts, flows.src, flows.bytes
    ");
    let sql = "INSERT INTO out\nSELECT summ(bytes) AS n FROM flows GROUP BY src";
    assert_snapshot!(refusal(JOB, sql), @r"
    job.sql:2: column 8: Invalid function 'summ'.
    Did you mean 'sum'?
    ");
    let sql = "INSERT INTO out\nSELECT src FROM flows WHERE src = 'open";
    assert_snapshot!(refusal(JOB, sql), @"job.sql:2: column 35: Unterminated string literal");
}

#[test]
fn a_sql_error_in_the_job_file_points_into_the_text() {
    let job = JOB.replace("sql: job.sql", "sql: |\n  INSERT INTO out\n  SELECT bites FROM flows");
    assert_snapshot!(refusal(&job, ""), @r"
    job.yaml: sql: line 2, column 8: No field named bites. Did you mean 'flows.bytes'?
    Valid fields are flows.ts, flows.src, flows.bytes
    ");
}

#[test]
fn an_aggregate_without_a_window_is_refused_with_a_window() {
    let sql = "INSERT INTO out\nSELECT src, count(*) AS n FROM flows GROUP BY src";
    assert_snapshot!(refusal(JOB, sql), @"job.sql:2: GROUP BY src over the stream flows needs a window, for without one its groups are never complete; write GROUP BY date_trunc('minute', ts), src");
}

#[test]
fn what_would_need_all_rows_is_refused_with_the_bounded_form() {
    let over = "OVER (PARTITION BY window_start";
    for (query, expected) in [
        ("SELECT * FROM flows LIMIT 10", "ROW_NUMBER() OVER (PARTITION BY window_start"),
        ("SELECT * FROM flows ORDER BY bytes LIMIT 10", "LIMIT over a stream"),
        (
            "SELECT window_start, src, count(*) AS n FROM TUMBLE(flows, ts, INTERVAL '1 minute') \
             GROUP BY window_start, src ORDER BY n DESC LIMIT 10",
            "LIMIT over a stream",
        ),
        ("SELECT src, row_number() OVER () AS n FROM flows", over),
        ("SELECT src, row_number() OVER (PARTITION BY src ORDER BY ts) AS n FROM flows", over),
        (
            "SELECT window_start, src, rank() OVER (ORDER BY count(*)) AS n \
             FROM TUMBLE(flows, ts, INTERVAL '1 minute') GROUP BY window_start, src",
            over,
        ),
        ("SELECT DISTINCT src FROM flows", "SELECT DISTINCT date_trunc('minute', ts), src"),
        ("SELECT DISTINCT ON (src) src, bytes FROM flows", "DISTINCT ON over a stream"),
        (
            "SELECT count(*) AS n FROM TUMBLE(flows, ts, INTERVAL '1 month') GROUP BY window_start",
            "months and years have no fixed length",
        ),
    ] {
        let said = refusal(JOB, &format!("INSERT INTO out\n{query}"));
        assert!(said.contains(expected), "{query}\n{said}");
        assert!(said.starts_with("job.sql:"), "{query}\n{said}");
    }
}

/// A job that has committed an epoch and published a window, and then meets a bad file.
struct Committed {
    folder: TempDir,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

fn row(minute: u32, bytes: &str) -> String {
    format!("{{\"ts\": \"2026-01-01T00:0{minute}:00Z\", \"src\": \"a\", \"bytes\": {bytes}}}\n")
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl Committed {
    fn new() -> Self {
        let folder = folder_with(JOB, MINUTES);
        std::fs::write(folder.path().join("in/a.json"), row(0, "1") + &row(2, "2")).unwrap();
        tidegauge(folder.path(), &["run", "job.yaml", "--once"], &[]).done();
        let before = files_below(folder.path());
        let has = |place: &str| before.keys().any(|path| path.starts_with(place));
        assert!(has("out") && has("state"), "the first epoch published nothing: {before:?}");
        Self { folder, before }
    }

    /// What the run says that meets `bytes` in `name`; nothing of that file is published.
    fn meets(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.folder.path().join("in").join(name), bytes).unwrap();
        let arguments = ["run", "job.yaml", "--once", "--summary", "json"];
        let said = tidegauge(self.folder.path(), &arguments, &[]).left_out();
        let is_out = |(path, _): &(&PathBuf, &Vec<u8>)| path.starts_with("out");
        let after = files_below(self.folder.path());
        assert!(
            after.iter().filter(is_out).eq(self.before.iter().filter(is_out)),
            "something of the file is published: {:?}",
            after.keys()
        );
        std::fs::remove_file(self.folder.path().join("in").join(name)).unwrap();
        said
    }
}

#[test]
fn a_record_that_does_not_fit_is_named_with_file_line_and_field() {
    let job = Committed::new();
    let bad = |line: &str| job.meets("b.json", (row(3, "1") + line).as_bytes());
    assert_snapshot!(bad("this is not JSON\n"), @"error: in/b.json:2: not JSON: expected ident at byte 2 of the line (byte 55)");
    assert_snapshot!(bad(&row(3, "\"many\"")), @r#"error: in/b.json:2: field bytes: "many" is not BIGINT (byte 55)"#);
    assert_snapshot!(bad(&row(3, "12.5")), @r#"error: in/b.json:2: field bytes: "12.5" has a fraction, which BIGINT cannot hold (byte 55)"#);
    assert_snapshot!(bad("[1, 2]\n"), @r#"error: in/b.json:2: not a JSON object: "[1, 2]" (byte 55)"#);
    assert_snapshot!(bad(r#"{"ts": "yesterday", "src": "a"}"#), @r#"error: in/b.json:2: field ts: "yesterday" is not TIMESTAMP (byte 55)"#);
    assert_snapshot!(bad(r#"{"ts": "2026-01-01T00:03:00Z", "src"#), @"error: in/b.json:2: the line ends inside a JSON object; write one object a line (byte 55)");
}

#[test]
fn a_bad_record_deep_in_a_packed_file_is_named_with_its_line() {
    let job = Committed::new();
    let good: String = (0..50_000).map(|_| row(3, "1")).collect();
    let said = job.meets("b.json.gz", &packed(&(good + &row(3, "\"many\""))));
    assert_snapshot!(said, @r#"error: in/b.json.gz:50001: field bytes: "many" is not BIGINT (byte 2750000)"#);
}

#[test]
fn a_file_that_is_cut_off_or_not_packed_is_named() {
    let job = Committed::new();
    let good: String = (0..5_000).map(|n| row(3, &n.to_string())).collect();
    let whole = packed(&good);
    let said = job.meets("b.json.gz", &whole[..whole.len() / 2]);
    assert_snapshot!(said, @"error: in/b.json.gz: cannot be decompressed: it is cut off, or its checksum does not match");
    let said = job.meets("b.json.gz", good.as_bytes());
    assert_snapshot!(said, @"error: in/b.json.gz: cannot be decompressed: invalid gzip header");
}

#[test]
fn a_good_file_in_place_of_the_bad_one_is_all_that_it_takes() {
    let job = Committed::new();
    job.meets("b.json", b"bad\n");
    std::fs::write(job.folder.path().join("in/b.json"), row(3, "5")).unwrap();
    let arguments = ["run", "job.yaml", "--once", "--drain"];
    let said = tidegauge(job.folder.path(), &arguments, &[]).done();
    assert!(said.contains("minutes: 1 rows of 1 files in 1 epochs"), "{said}");
    assert!(said.contains("out: 2 rows"), "{said}");
}

#[test]
fn a_folder_that_is_missing_is_named_as_the_machine_knows_it() {
    let folder = folder_with(JOB, MINUTES);
    std::fs::remove_dir(folder.path().join("in")).unwrap();
    let said = tidegauge(folder.path(), &["run", "job.yaml", "--once"], &[]).failed(1);
    let expected = format!("error: in/: {}/in/ does not exist", folder.path().display());
    assert!(said.starts_with(&expected), "{said}");
    let left: Vec<PathBuf> = files_below(folder.path()).into_keys().collect();
    assert_eq!(left, ["job.sql", "job.yaml"].map(PathBuf::from));
}
