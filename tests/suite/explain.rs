//! `tidegauge explain`: its text, its JSON, its graph, and DataFusion's plans.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::{files_below, tidegauge};
use super::harness::scratch;

const STATELESS: &str = "INSERT INTO out\nSELECT src, bytes FROM flows WHERE bytes > 1000000;\n";
const TUMBLE: &str = "INSERT INTO out
SELECT date_trunc('minute', ts) AS minute, src, count(*) AS n, sum(bytes) AS bytes
FROM flows
GROUP BY date_trunc('minute', ts), src;
";
const CHAIN: &str = "CREATE VIEW minutes AS
SELECT window_time AS t, src, count(*) AS n, sum(bytes) AS bytes
FROM TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE)
GROUP BY window_time, src;
CREATE VIEW hours AS
SELECT window_time AS t, src, max(n) AS peak, avg(bytes) AS mean
FROM TUMBLE(TABLE minutes, DESCRIPTOR(t), INTERVAL '1' HOUR)
GROUP BY window_time, src;
INSERT INTO out
SELECT window_start, window_end, src, max(peak) AS peak, count(*) AS hours
FROM SESSION(TABLE hours PARTITION BY src, DESCRIPTOR(t), INTERVAL '2' HOUR)
GROUP BY window_start, window_end, src;
";
const JOIN: &str = "CREATE VIEW f AS
SELECT window_start, window_time, src, sum(bytes) AS bytes
FROM HOP(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)
GROUP BY window_start, window_time, src;
CREATE VIEW d AS
SELECT window_start, src, count(DISTINCT name) AS names
FROM HOP(TABLE dns, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)
GROUP BY window_start, src;
CREATE VIEW both_sides AS
SELECT f.window_time AS t, f.src, f.bytes, d.names
FROM f JOIN d ON f.window_start = d.window_start AND f.src = d.src;
INSERT INTO out SELECT src, bytes, names FROM both_sides;
INSERT INTO raw SELECT src, name FROM dns WHERE name LIKE '%.onion';
INSERT INTO days
SELECT window_start, window_end, sum(bytes) AS bytes
FROM CUMULATE(TABLE both_sides, DESCRIPTOR(t), INTERVAL '1' HOUR, INTERVAL '1' DAY)
GROUP BY window_start, window_end;
";

/// A folder with a job of `sql` into `sinks`.
fn folder_with(sql: &str, sinks: &[&str]) -> TempDir {
    let folder = scratch();
    let source = |name: &str, column: &str, delay: &str| {
        format!(
            "  {name}:\n    location: in/{name}/\n    format: json\n    schema: {{ts: TIMESTAMP, \
             src: VARCHAR, {column}}}\n    event_time: {{column: ts, delay: {delay}}}\n"
        )
    };
    let sinks: Vec<String> =
        sinks.iter().map(|sink| format!("  {sink}: {{location: {sink}/}}\n")).collect();
    let job = format!(
        "name: explained\nsources:\n{}{}sql: job.sql\nsinks:\n{}state: {{location: state/}}\n\
         partitions: 2\n",
        source("flows", "bytes: BIGINT, 'a \"b\\': VARCHAR", "10s"),
        source("dns", "name: VARCHAR", "1m30s"),
        sinks.concat()
    );
    std::fs::write(folder.path().join("job.yaml"), job).unwrap();
    std::fs::write(folder.path().join("job.sql"), sql).unwrap();
    folder
}

fn explain(sql: &str, sinks: &[&str], more: &[&str]) -> String {
    let folder = folder_with(sql, sinks);
    let said = tidegauge(folder.path(), &[&["explain", "job.yaml"], more].concat(), &[]).done();
    assert_eq!(files_below(folder.path()).len(), 2, "it has written something");
    said
}

/// The JSON with `"<id>"` for each identity, which are hashes.
fn explain_json(sql: &str, sinks: &[&str]) -> Value {
    let mut job: Value = serde_json::from_str(&explain(sql, sinks, &["--format", "json"])).unwrap();
    for stage in job["stages"].as_array_mut().unwrap() {
        let id = stage["id"].as_str().unwrap();
        assert!(id.len() == 12 && id.chars().all(|digit| digit.is_ascii_hexdigit()), "{id}");
        stage["id"] = json!("<id>");
    }
    job
}

#[test]
fn a_stateless_job_keeps_nothing() {
    assert_snapshot!(explain(STATELESS, &["out"], &[]), @r#"
    explained: 1 source, 1 query, no stage, so that nothing is kept
    source flows: event time ts, delay 10 seconds, idle after 1 minute
    sink out: the query of line 1, straight from flows, as rows come
    "#);
}

#[test]
fn a_tumbling_job_is_one_stage() {
    assert_snapshot!(explain(TUMBLE, &["out"], &[]), @r#"
    explained: 1 source, 1 query, 1 stage
    source flows: event time ts, delay 10 seconds, idle after 1 minute
    stage 1: TUMBLE 1 minute, by src
      reads      flows
      state      a row a window and key: count(*), sum(bytes)
      kept       until its window closes: 1 min 10 s at most
      watermark  latest ts of flows less 10 seconds
    sink out: the query of line 1, from the rows of stage 1
    Each read and each close runs in this process, or on workers with --workers.
    "#);
}

#[test]
fn a_chain_of_three_stages_fits_a_screen() {
    let text = explain(CHAIN, &["out"], &[]);
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_snapshot!(text, @r#"
    explained: 1 source, 1 query, 3 stages
    source flows: event time ts, delay 10 seconds, idle after 1 minute
    stage 1: TUMBLE 1 minute, by src
      reads      flows
      state      a row a window and key: count(*), sum(bytes)
      kept       until its window closes: 1 min 10 s at most
      watermark  latest ts of flows less 10 seconds
    stage 2: TUMBLE 1 hour, by src
      reads      the rows of stage 1, as they close, in the same epoch
      state      a row a window and key: max(n), avg(bytes)
      kept       until its window closes: 1 h 10 s at most
      watermark  least t that stage 1 may still emit
    stage 3: SESSION gap 2 hours of each src, by src
      reads      the rows of stage 2, as they close, in the same epoch
      state      pieces of sessions: max(peak), count(*)
      kept       until the gap after its last row has passed: 2 h 10 s at most
      watermark  least t that stage 2 may still emit
    sink out: the query of line 9, from the rows of stage 3
    Each read and each close runs in this process, or on workers with --workers.
    "#);
}

#[test]
fn joined_windows_wait_for_both_sources() {
    assert_snapshot!(explain(JOIN, &["out", "raw", "days"], &[]), @r#"
    explained: 2 sources, 3 queries, 3 stages
    source flows: event time ts, delay 10 seconds, idle after 1 minute
    source dns: event time ts, delay 1 min 30 s, idle after 1 minute
    stage 1: HOP 5 minutes every 1 minute, by src
      reads      dns, in one read with 1 other cut
      state      a row a pane of 1 minute and key: count(DISTINCT name)
      kept       until the last window that holds it closes: 6 min 30 s at most
      watermark  the least of:
                   latest ts of dns less 1 min 30 s
                   latest ts of flows less 10 seconds
    stage 2: HOP 5 minutes every 1 minute, by src
      reads      flows
      state      a row a pane of 1 minute and key: sum(bytes)
      kept       until the last window that holds it closes: 6 min 30 s at most
      watermark  the least of:
                   latest ts of dns less 1 min 30 s
                   latest ts of flows less 10 seconds
    stage 3: CUMULATE to 1 day by 1 hour
      reads      the rows of stages 1 and 2 joined, as they close, in the same epoch
      state      a row a pane of 1 hour: sum(bytes)
      kept       until the last window that holds it closes: 1 d 1 min 30 s at most
      watermark  least t that stages 1 and 2 may still emit
    sink out: the query of line 12, from the rows of stages 1 and 2 joined
    sink raw: the query of line 13, straight from dns, as rows come
    sink days: the query of line 14, from the rows of stage 3
    Each read and each close runs in this process, or on workers with --workers.
    "#);
}

#[test]
fn the_json_has_every_field_in_microseconds() {
    let job = explain_json(CHAIN, &["out"]);
    assert_eq!(job["job"], json!("explained"));
    assert_eq!(
        job["sources"],
        json!([{"name": "flows", "event_time": "ts", "delay_us": 10_000_000,
                "idle_after_us": 60_000_000, "cuts": 1}])
    );
    assert_eq!(
        job["stages"][0],
        json!({
            "number": 1, "id": "<id>",
            "reads": {"kind": "source", "source": "flows"}, "other_cuts": 0,
            "window": {"kind": "tumble", "size_us": 60_000_000, "offset_us": 0},
            "keys": ["src"], "aggregates": ["count(*)", "sum(bytes)"],
            "state": {"kind": "windows"}, "kept_us_max": 70_000_000,
            "allowed_lateness_us": 0,
            "watermark": [{"kind": "source", "source": "flows", "event_time": "ts",
                           "delay_us": 10_000_000}],
        })
    );
    assert_eq!(
        job["stages"][2],
        json!({
            "number": 3, "id": "<id>",
            "reads": {"kind": "stages", "stages": [2], "is_joined": false}, "other_cuts": 0,
            "window": {"kind": "session", "gap_us": 7_200_000_000_u64, "partition_by": ["src"]},
            "keys": ["src"], "aggregates": ["max(peak)", "count(*)"],
            "state": {"kind": "sessions"}, "kept_us_max": 7_210_000_000_u64,
            "allowed_lateness_us": 0,
            "watermark": [{"kind": "stages", "stages": [2], "event_time": "t"}],
        })
    );
    assert_eq!(
        job["sinks"],
        json!([{"sink": "out", "line": 9, "is_stateless": false,
                "reads": {"kind": "stages", "stages": [3], "is_joined": false}}])
    );
    assert_eq!(job.get("physical"), None);
}

#[test]
fn a_stage_says_how_long_its_windows_may_change_and_where_its_late_rows_are() {
    let folder = folder_with(TUMBLE, &["out"]);
    let path = folder.path().join("job.yaml");
    let job = std::fs::read_to_string(&path).unwrap();
    let job = job.replace("delay: 10s", "delay: 10s, allowed_lateness: 5m");
    std::fs::write(&path, job + "late: {location: late/}\n").unwrap();
    let said = tidegauge(folder.path(), &["explain", "job.yaml"], &[]).done();
    let line = |label: &str| said.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap();
    assert_eq!(
        line("kept").trim(),
        "until its window closes and 5 minutes more: 6 min 10 s at most"
    );
    let stage = line("late rows").trim().strip_prefix("late/").unwrap();
    assert!(stage.len() == 13 && stage.ends_with('/'), "{stage}");
}

#[test]
fn the_numbers_of_stages_follow_the_queries_and_not_their_identities() {
    let job = explain_json(JOIN, &["out", "raw", "days"]);
    let reads = |at: usize| job["stages"][at]["reads"].clone();
    assert_eq!(reads(0), json!({"kind": "source", "source": "dns"}));
    assert_eq!(reads(1), json!({"kind": "source", "source": "flows"}));
    assert_eq!(reads(2), json!({"kind": "stages", "stages": [1, 2], "is_joined": true}));
}

#[test]
fn the_graph_goes_from_sources_over_stages_to_sinks() {
    let graph = explain(CHAIN, &["out"], &["--format", "dot"]);
    check_graph(&graph);
    assert_snapshot!(graph, @r#"
    digraph "explained" {
      rankdir=LR;
      "source flows" [shape=cylinder, label="flows\ndelay 10 seconds"];
      "stage 1" [shape=box, label="stage 1\nTUMBLE 1 minute\nby src"];
      "stage 2" [shape=box, label="stage 2\nTUMBLE 1 hour\nby src"];
      "stage 3" [shape=box, label="stage 3\nSESSION gap 2 hours of each src\nby src"];
      "sink out" [shape=folder, label="out"];
      "source flows" -> "stage 1";
      "stage 1" -> "stage 2";
      "stage 2" -> "stage 3";
      "stage 3" -> "sink out" [label="line 9"];
    }
    "#);
}

#[test]
fn names_with_quotes_do_not_break_the_graph() {
    let sql = "INSERT INTO out SELECT date_trunc('minute', ts) AS m, \"a \"\"b\\\", count(*) AS n \
               FROM flows GROUP BY date_trunc('minute', ts), \"a \"\"b\\\";";
    let graph = explain(sql, &["out"], &["--format", "dot"]);
    assert!(graph.contains(r#"TUMBLE 1 minute\nby a \"b\\""#), "{graph}");
    check_graph(&graph);
}

#[test]
fn physical_adds_the_plans_of_each_step() {
    let text = explain(CHAIN, &["out"], &["--physical"]);
    let headings: Vec<&str> = text.lines().filter(|line| line.contains(" plan of ")).collect();
    assert_eq!(
        headings,
        [
            "ingest plan of stage 1",
            "close plan of stage 1 for the next",
            "ingest plan of stage 2",
            "close plan of stage 2 for the next",
            "ingest plan of stage 3",
            "close plan of the query of line 9, from stage 3",
        ]
    );
    for operator in ["  AggregateExec: mode=Partial", "ChunkScan: columns=", "StateScan: "] {
        assert!(text.contains(operator), "{operator}: {text}");
    }
    let json: Value =
        serde_json::from_str(&explain(STATELESS, &["out"], &["--format", "json", "--physical"]))
            .unwrap();
    assert_eq!(json["physical"][0]["step"], json!("ingest"));
    assert_eq!(json["physical"][0]["line"], json!(1));
    assert!(json["physical"][0]["plan"].as_str().unwrap().contains("ChunkScan"), "{json}");
}

#[test]
fn a_bad_job_is_refused_as_check_refuses_it() {
    let folder = folder_with("INSERT INTO out SELECT src FROM flows LIMIT 5", &["out"]);
    let said = |command: &str| tidegauge(folder.path(), &[command, "job.yaml"], &[]).failed(2);
    assert_eq!(said("explain"), said("check"));
    let arguments = ["explain", "job.yaml", "--physical", "--format", "dot"];
    let said = tidegauge(folder.path(), &arguments, &[]).failed(2);
    assert_snapshot!(said, @"error: a graph holds no physical plans; write --physical with --format text or json");
}

/// Panics where `graph` is not in the small part of Graphviz's language that it should be in.
fn check_graph(graph: &str) {
    let mut lines = graph.lines();
    let first = tokens(lines.next().unwrap());
    assert!(matches!(first.as_slice(), [word, name, open]
        if word == "digraph" && is_string(name) && open == "{"));
    let mut nodes = Vec::new();
    let mut last = String::new();
    for line in lines {
        let parts = tokens(line);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["rankdir", "=", "LR", ";"] => {}
            [id, "[", "shape", "=", _, ",", "label", "=", label, "]", ";"] => {
                assert!(is_string(id) && is_string(label), "{line}");
                nodes.push((*id).to_owned());
            }
            [from, "->", to, rest @ ..] => {
                assert!(nodes.iter().any(|node| node == from), "{line}");
                assert!(nodes.iter().any(|node| node == to), "{line}");
                assert!(
                    matches!(rest, [";"])
                        || matches!(rest, ["[", "label", "=", label, "]", ";"] if is_string(label)),
                    "{line}"
                );
            }
            ["}"] => {}
            other => panic!("{other:?}"),
        }
        last = line.to_owned();
    }
    assert_eq!(last, "}");
}

fn is_string(token: &str) -> bool {
    token.len() >= 2 && token.starts_with('"') && token.ends_with('"')
}

/// The strings, signs and words of a line.
fn tokens(line: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => {}
            '"' => {
                let mut string = String::from('"');
                loop {
                    let next = letters.next().expect("a string ends in its line");
                    string.push(next);
                    match next {
                        '"' => break,
                        '\\' => string.extend(letters.next()),
                        _ => {}
                    }
                }
                tokens.push(string);
            }
            '-' if letters.next_if_eq(&'>').is_some() => tokens.push("->".to_owned()),
            letter if letter.is_ascii_alphanumeric() => {
                let mut word = String::from(letter);
                while let Some(more) = letters.next_if(char::is_ascii_alphanumeric) {
                    word.push(more);
                }
                tokens.push(word);
            }
            sign => tokens.push(sign.to_string()),
        }
    }
    tokens
}
