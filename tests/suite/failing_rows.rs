//! Expressions that cannot be computed of some rows: those rows are left out, counted and named, and
//! the job goes on, below a window and above it, here and on workers.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegauge_commitlog::{FailedWhere, LogReader, Storage};

use super::harness::{published_rows, scratch, write_job};
use super::process::{self, Ended};
use super::worker_process::two_workers;

const ONCE: [&str; 2] = ["--once", "--drain"];

/// A job over rows of JSON, of the columns ts, host, n, d and t.
struct Case {
    folder: TempDir,
    path: PathBuf,
}

impl Case {
    fn new(rows: &[&str], sinks: &[&str], more: &str, sql: &str) -> Self {
        let folder = scratch();
        let place = folder.path().display();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let sinks: Vec<String> =
            sinks.iter().map(|sink| format!("  {sink}: {{location: {place}/{sink}/}}")).collect();
        let yaml = format!(
            "name: failing\nsources:\n  s:\n    location: {place}/in/\n    format: json\n    schema: \
             {{ts: TIMESTAMP, host: VARCHAR, n: BIGINT, d: BIGINT, t: VARCHAR}}\n    event_time: \
             {{column: ts, delay: 10s}}\nsinks:\n{}\nstate: {{location: {place}/_state/}}\n{more}",
            sinks.join("\n")
        );
        let path = write_job(folder.path(), &yaml, sql);
        let case = Self { folder, path };
        case.feed("a.json", rows);
        case
    }

    fn feed(&self, name: &str, rows: &[&str]) {
        let lines: Vec<String> = rows.iter().map(|row| line(row)).collect();
        std::fs::write(self.folder.path().join("in").join(name), lines.join("")).unwrap();
    }

    fn run(&self) -> Ended {
        process::run(&self.path, &vec![], &ONCE)
    }

    async fn rows(&self, sink: &str) -> Vec<String> {
        published_rows(&self.path, sink).await
    }

    /// What the records say of rows that failed: where, how many, and one of them.
    async fn failed(&self) -> Vec<(FailedWhere, u64, String)> {
        let state = self.folder.path().join("_state/failing");
        let log = LogReader::new(Storage::open(&state.display().to_string()).unwrap());
        let mut failed = Vec::new();
        let head = log.state().await.unwrap().epoch.unwrap();
        for epoch in 1..=head.0 {
            let record = record_of(&state, epoch);
            for one in record["failed"].as_array().into_iter().flatten() {
                let place = match one["place"].as_str().unwrap() {
                    "rows" => FailedWhere::Rows,
                    _ => FailedWhere::Results,
                };
                let text = one["example"].as_str().unwrap().to_owned();
                failed.push((place, one["rows"].as_u64().unwrap(), text));
            }
        }
        failed
    }
}

fn record_of(state: &Path, epoch: u64) -> serde_json::Value {
    let text = std::fs::read_to_string(state.join(format!("log/{epoch:020}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// `00:05 a 1 2 x`: the time in the first hour of 2026, then host, n, d and t.
fn line(row: &str) -> String {
    let parts: Vec<&str> = row.split(' ').collect();
    let [time, host, n, d, t] = parts.as_slice() else { panic!("{row}") };
    format!(
        "{{\"ts\": \"2026-01-01T00:{time}Z\", \"host\": \"{host}\", \"n\": {n}, \"d\": {d}, \"t\": \
         \"{t}\"}}\n"
    )
}

const MINUTES: &str = "FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, host";

#[tokio::test]
async fn a_window_whose_expression_fails_is_left_out_and_named() {
    let sql =
        format!("INSERT INTO out\nSELECT window_start, host, sum(n) / sum(d) AS rate {MINUTES}");
    let case =
        Case::new(&["00:05 a 10 1 x", "00:06 b 10 0 x", "03:05 a 10 1 x"], &["out"], "", &sql);
    let ended = case.run();
    let summary = ended.summary();
    assert_eq!((&summary["rows_used"], &summary["results_failed"]), (&3.into(), &1.into()));
    assert_eq!(
        case.rows("out").await,
        ["2026-01-01T00:00:00Z | a | 10", "2026-01-01T00:03:00Z | a | 10"]
    );
    let said = "division by zero: window 2026-01-01T00:00:00Z to 2026-01-01T00:01:00Z, host = b, \
                sum(n) = 10, sum(d) = 0";
    assert_eq!(case.failed().await, [(FailedWhere::Results, 1, said.to_owned())]);
    let place = format!("{}: line 1 of sql: the query into out", case.path.display());
    assert!(ended.stderr.contains(&place) && ended.stderr.contains(said), "{}", ended.stderr);
    // The job goes on.
    case.feed("b.json", &["30:00 c 8 2 x"]);
    assert_eq!(case.run().summary()["rows_out"]["out"], 1);
}

#[tokio::test]
async fn rows_that_fail_below_a_window_are_quarantined_but_for_the_queries_that_can() {
    let sql = format!(
        "INSERT INTO out SELECT window_start, host, sum(n / d) AS rate {MINUTES};\n\
         INSERT INTO other SELECT window_start, host, count(*) AS rows {MINUTES};\n\
         INSERT INTO plain SELECT ts, CAST(t AS BIGINT) AS number FROM s WHERE 100 / n > 0"
    );
    let rows =
        ["00:01 a 10 5 1", "00:02 a 10 0 2", "00:03 a 0 1 3", "00:04 b 6 3 none", "00:05 b 7 0 5"];
    let case = Case::new(&rows, &["out", "other", "plain"], "", &sql);
    let summary = case.run().summary();
    // Another query could use each of them.
    assert_eq!((&summary["rows_used"], &summary["rows_quarantined"]), (&5.into(), &0.into()));
    assert_eq!(
        case.rows("out").await,
        ["2026-01-01T00:00:00Z | a | 2", "2026-01-01T00:00:00Z | b | 2"]
    );
    assert_eq!(
        case.rows("other").await,
        ["2026-01-01T00:00:00Z | a | 3", "2026-01-01T00:00:00Z | b | 2"]
    );
    let plain: Vec<String> = case.rows("plain").await;
    assert_eq!(plain.len(), 3, "{plain:?}");
    let failed = case.failed().await;
    let told: Vec<(FailedWhere, u64)> =
        failed.iter().map(|(place, rows, _)| (*place, *rows)).collect();
    assert_eq!(told, [(FailedWhere::Rows, 2), (FailedWhere::Rows, 2)], "{failed:?}");
    assert!(failed[0].2.starts_with("division by zero: ") && failed[0].2.contains("a.json, ts = "));
}

#[tokio::test]
async fn rows_that_no_folder_can_be_called_by_are_left_out() {
    let (_workers, list) = two_workers();
    let long = "h".repeat(251);
    // HAVING drops the long ones of the third by itself: there is nothing to be told of them.
    let sql = format!(
        "INSERT INTO out SELECT window_start, host, count(*) AS rows {MINUTES};\n\
         INSERT INTO plain SELECT ts, host, n FROM s;\n\
         INSERT INTO few SELECT window_start, concat(host, '!') AS host, count(*) AS rows {MINUTES} \
         HAVING sum(n) = 2"
    );
    let rows = [
        &format!("00:01 {long} 1 1 x"),
        "00:02 a 2 1 x",
        &format!("00:03 {long}y 3 1 x"),
        "01:00 b 4 1 x",
    ];
    for more in [vec![], vec!["--workers", list.as_str()]] {
        let case = Case::new(&rows, &["out", "plain", "few"], "", &sql);
        let mut text = std::fs::read_to_string(&case.path).unwrap();
        for sink in ["out", "plain", "few"] {
            text =
                text.replace(&format!("/{sink}/}}"), &format!("/{sink}/, partition_by: [host]}}"));
        }
        std::fs::write(&case.path, text).unwrap();
        let run = || process::run(&case.path, &vec![], &[&ONCE[..], &more].concat()).summary();
        let summary = run();
        assert_eq!((&summary["rows_used"], &summary["results_failed"]), (&4.into(), &2.into()));
        let expected = serde_json::json!({"out": 2, "plain": 2, "few": 1});
        assert_eq!(summary["rows_out"], expected, "{more:?}");
        let failed = case.failed().await;
        let of_rows = failed.iter().filter(|one| one.0 == FailedWhere::Rows);
        assert_eq!(of_rows.map(|one| one.1).sum::<u64>(), 2, "{failed:?}");
        for (_, _, said) in &failed {
            assert!(
                said.contains("as the name of a folder, which may have 255; shorten"),
                "{said}"
            );
        }
        // The job goes on.
        case.feed("b.json", &["30:00 c 8 2 x"]);
        let expected = serde_json::json!({"out": 1, "plain": 1, "few": 0});
        assert_eq!(run()["rows_out"], expected, "{more:?}");
    }
}

#[tokio::test]
async fn a_row_that_no_query_can_use_is_quarantined() {
    let sql = format!("INSERT INTO out SELECT window_start, max(100 / d) AS rate {MINUTES}");
    let case = Case::new(&["00:01 a 1 5 x", "00:02 a 1 0 x", "00:03 a 1 0 x"], &["out"], "", &sql);
    let ended = case.run();
    let summary = ended.summary();
    assert_eq!((&summary["rows_used"], &summary["rows_quarantined"]), (&1.into(), &2.into()));
    assert_eq!(case.rows("out").await, ["2026-01-01T00:00:00Z | 20"]);
}

#[tokio::test]
async fn what_a_filter_leaves_out_is_not_computed() {
    let sql = format!(
        "INSERT INTO out SELECT window_start, sum(n / d) FILTER (WHERE d <> 0) AS rate, \
         sum(CASE WHEN d <> 0 THEN n / d END) AS other {MINUTES}"
    );
    let case = Case::new(&["00:01 a 10 5 x", "00:02 a 1 0 x"], &["out"], "", &sql);
    assert_eq!(case.run().summary()["rows_used"], 2);
    assert_eq!(case.rows("out").await, ["2026-01-01T00:00:00Z | 2 | 2"]);
    assert!(case.failed().await.is_empty());
}

#[tokio::test]
async fn all_kinds_of_windows_and_chains_leave_out_their_failing_rows() {
    let sql = "CREATE VIEW minutes AS SELECT window_time AS wt, host, \
               60 / sum(d) AS pace FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) \
               GROUP BY window_start, window_end, window_time, host;
INSERT INTO chained SELECT window_start, host, sum(120 / (pace - 10)) AS p FROM \
TABLE(TUMBLE(TABLE minutes, DESCRIPTOR(wt), INTERVAL '1' HOUR)) \
GROUP BY window_start, window_end, host;
INSERT INTO hops SELECT window_start, host, 60 / sum(d) AS p FROM \
TABLE(HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '2' MINUTES)) \
GROUP BY window_start, window_end, host;
INSERT INTO steps SELECT window_end, host, 60 / sum(d) AS p FROM \
TABLE(CUMULATE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '2' MINUTES)) \
GROUP BY window_start, window_end, host;
INSERT INTO visits SELECT window_start, host, 60 / sum(d) AS p FROM \
TABLE(SESSION(TABLE s PARTITION BY host, DESCRIPTOR(ts), INTERVAL '30' SECONDS)) \
GROUP BY window_start, window_end, host;
INSERT INTO ranked SELECT window_start, host, n FROM (SELECT window_start, host, n, \
row_number() OVER (PARTITION BY window_start ORDER BY 60 / d DESC, host) AS place FROM (SELECT \
window_start, window_end, host, sum(n) AS n, sum(d) AS d FROM \
TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) \
GROUP BY window_start, window_end, host)) WHERE place <= 1";
    let sinks = ["chained", "hops", "steps", "visits", "ranked"];
    let rows = ["00:01 a 1 2 x", "00:02 b 1 0 x", "00:03 c 1 6 x", "01:01 a 1 3 x"];
    let case = Case::new(&rows, &sinks, "", sql);
    let summary = case.run().summary();
    let day = |minute: u32, rest: &str| format!("2026-01-01T00:0{minute}:00Z | {rest}");
    // c's pace of 10 fails in the second window.
    assert_eq!(case.rows("chained").await, [day(0, "a | 18")]);
    let hops = case.rows("hops").await;
    let before = |rest: &str| format!("2025-12-31T23:59:00Z | {rest}");
    assert_eq!(
        hops,
        [before("a | 30"), before("c | 10"), day(0, "a | 12"), day(0, "c | 10"), day(1, "a | 20")]
    );
    let steps = case.rows("steps").await;
    assert_eq!(steps, [day(1, "a | 30"), day(1, "c | 10"), day(2, "a | 12"), day(2, "c | 10")]);
    assert_eq!(case.rows("visits").await.len(), 3);
    assert_eq!(case.rows("ranked").await, [day(0, "a | 1"), day(1, "a | 1")]);
    assert!(summary["results_failed"].as_u64().unwrap() >= 6, "{summary}");
}

/// Functions have other kinds of errors than of execution for what is wrong with a value.
#[tokio::test]
async fn a_value_costs_its_row_whatever_a_function_calls_it() {
    for (expression, said) in [
        ("regexp_replace(host, host, 'x')", "unclosed group"),
        ("regexp_like('a', 'A', CASE WHEN host = '(' THEN 'g' ELSE 'i' END)", "global"),
        ("array_length(array_resize(make_array(1, 2), sum(n)))", ""),
    ] {
        let sql = format!("INSERT INTO out SELECT window_start, host, {expression} AS v {MINUTES}");
        let case = Case::new(&["00:05 a 2 1 x", "00:06 ( -5 1 x"], &["out"], "", &sql);
        let summary = case.run().summary();
        assert_eq!(summary["results_failed"], 1, "{expression}: {summary}");
        let rows = case.rows("out").await;
        assert!(rows.len() == 1 && rows[0].contains(" | a | "), "{expression}: {rows:?}");
        let failed = case.failed().await;
        assert!(failed[0].2.contains(said) && !failed[0].2.contains('\n'), "{failed:?}");
    }
}

const PAIRS: &str = "CREATE VIEW minutes AS SELECT window_start AS ws, window_end AS we, host, sum(n) \
                     AS n, sum(d) AS d FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) \
                     GROUP BY window_start, window_end, host;";

/// A pair of which the condition fails does not match; a row that matches no other is still there.
#[tokio::test]
async fn a_pair_of_rows_whose_condition_fails_does_not_match() {
    let pairs = |join: &str| {
        format!(
            "SELECT x.ws, x.host, y.host AS other FROM minutes AS x {join} JOIN minutes AS y ON x.ws = \
             y.ws AND x.we = y.we AND x.n / y.d > 4"
        )
    };
    let sql =
        format!("{PAIRS}\nINSERT INTO inners {};\nINSERT INTO lefts {}", pairs(""), pairs("LEFT"));
    let rows = ["00:01 a 10 2 x", "00:02 b 3 0 x", "00:03 c 4 1 x"];
    let case = Case::new(&rows, &["inners", "lefts"], "", &sql);
    let ended = case.run();
    assert_eq!(ended.summary()["results_failed"], 6, "{ended:?}");
    let row = |rest: &str| format!("2026-01-01T00:00:00Z | {rest}");
    assert_eq!(case.rows("inners").await, [row("a | a"), row("a | c")]);
    let lefts = case.rows("lefts").await;
    assert_eq!(lefts, [row("a | a"), row("a | c"), row("b | NULL"), row("c | NULL")]);
    let failed = case.failed().await;
    assert!(failed[0].2.contains("division by zero in the condition of a JOIN: "), "{failed:?}");
    case.feed("b.json", &["30:00 c 9 1 x"]);
    assert_eq!(case.run().summary()["rows_out"]["inners"], 1);

    let case = Case::new(&rows, &["inners", "lefts"], "on_error: fail\n", &sql);
    let ended = case.run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the condition of a JOIN"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_sum_past_its_type_is_left_out_with_its_name_and_key() {
    let sql = format!("INSERT INTO out SELECT window_start, host, sum(n) AS total {MINUTES}");
    let max = i64::MAX;
    let rows = [
        format!("00:01 a {max} 1 x"),
        "00:02 a 1 1 x".to_owned(),
        format!("00:01 b {max} 1 x"),
        "00:02 b 1 1 x".to_owned(),
        "00:03 b -1 1 x".to_owned(),
    ];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let case = Case::new(&rows, &["out"], "", &sql);
    assert_eq!(case.run().summary()["results_failed"], 1);
    // What passes the end on the way and comes back is right.
    assert_eq!(case.rows("out").await, [format!("2026-01-01T00:00:00Z | b | {max}")]);
    let failed = case.failed().await;
    assert!(
        failed[0].2.contains("is 9223372036854775808, which a BIGINT cannot hold"),
        "{failed:?}"
    );
    assert!(failed[0].2.contains("host = a"), "{failed:?}");
}

#[tokio::test]
async fn a_job_may_fail_instead_and_says_where() {
    let sql = format!("INSERT INTO out SELECT window_start, host, 1 / sum(d) AS rate {MINUTES}");
    let rows = ["00:05 a 10 1 x", "00:06 b 10 0 x"];
    let case = Case::new(&rows, &["out"], "on_error: fail\n", &sql);
    let ended = case.run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for said in ["line 1 of sql: the query into out", "division by zero", "host = b", "window 2026"]
    {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let sql = format!("INSERT INTO out SELECT window_start, host, sum(1 / d) AS rate {MINUTES}");
    let case = Case::new(&rows, &["out"], "on_error: fail\n", &sql);
    let ended = case.run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for said in ["the query into out in line 1", "a.json", "d = 0", "on_error: skip"] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn workers_leave_out_the_same_rows() {
    let (_workers, list) = two_workers();
    let sql = format!(
        "CREATE VIEW minutes AS SELECT window_time AS wt, host, sum(n) / sum(d) \
         AS rate FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY \
         window_start, window_end, window_time, host;\n\
         INSERT INTO above SELECT window_start, host, sum(n) / sum(d) AS rate {MINUTES};\n\
         INSERT INTO below SELECT window_start, host, sum(n / d) AS rate {MINUTES};\n\
         INSERT INTO patterns SELECT window_start, host, regexp_replace(host, CASE WHEN host = 'h3' THEN \
         '(' ELSE host END, 'x') AS v {MINUTES};\n\
         INSERT INTO chained SELECT window_start, sum(rate) AS rate FROM TABLE(TUMBLE(TABLE minutes, \
         DESCRIPTOR(wt), INTERVAL '1' HOUR)) GROUP BY window_start, window_end;\n\
         {}\nINSERT INTO pairs SELECT x.ws, x.host, y.host AS other FROM pairs_of AS x JOIN pairs_of AS y \
         ON x.ws = y.ws AND x.we = y.we AND x.n / y.d > 4",
        PAIRS.replace("minutes", "pairs_of")
    );
    let sinks = ["above", "below", "patterns", "chained", "pairs"];
    let rows: Vec<String> = (0..60)
        .map(|at| format!("{:02}:{:02} h{} {at} {} x", at / 6, at % 6, at % 7, at % 3))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let run = |more: &[&str]| {
        let case = Case::new(&rows[..30], &sinks, "", &sql);
        case.feed("b.json", &rows[30..]);
        let ended = process::run(&case.path, &vec![], &[&ONCE[..], more].concat());
        (ended.summary(), case)
    };
    let ((alone, one), (spread, two)) = (run(&[]), run(&["--workers", list.as_str()]));
    for key in ["rows_used", "rows_quarantined", "results_failed", "rows_out"] {
        assert_eq!(alone[key], spread[key], "{key}");
    }
    assert!(alone["results_failed"].as_u64() > Some(0), "{alone}");
    for sink in sinks {
        assert_eq!(one.rows(sink).await, two.rows(sink).await, "{sink}");
    }
}
