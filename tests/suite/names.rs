//! Names that are used again: nested queries that read alike, names of SELECT that columns of FROM have,
//! joins of relations whose columns are called the same. What DataFusion answers to some of them is
//! wrong; each case has the right answer, as DuckDB gives it.

use super::harness::{published_rows, run_drained, scratch, write_job};

/// A query of a job, and what its sink shows.
type Case = (&'static str, &'static [&'static str]);

const WINDOW: &str = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)";

/// Rows of one minute: n from 0 to 6, k is a where n is even and b where it is odd.
fn rows() -> String {
    let row = |n: i64| {
        let k = if n % 2 == 0 { "a" } else { "b" };
        format!("{{\"ts\": \"2026-01-05T10:00:0{n}Z\", \"k\": \"{k}\", \"n\": {n}}}\n")
    };
    (0..7).map(row).collect()
}

/// Runs all `cases` in one job, and compares what each sink shows.
async fn compare(cases: &[Case]) {
    let folder = scratch();
    let place = folder.path().display().to_string();
    std::fs::create_dir_all(folder.path().join("t")).unwrap();
    std::fs::write(folder.path().join("t/a.json"), rows()).unwrap();
    let sinks: String =
        (0..cases.len()).map(|at| format!("  out{at}: {{location: {place}/out{at}/}}\n")).collect();
    let yaml = format!(
        "name: names\nsources:\n  t:\n    location: {place}/t/\n    format: json\n    schema: {{ts: \
         TIMESTAMP, k: VARCHAR, n: BIGINT}}\n    event_time: {{column: ts, delay: 1s}}\nsinks:\n{sinks}\
         state: {{location: {place}/state/}}"
    );
    let inserts = cases.iter().enumerate().map(|(at, (sql, _))| {
        let sql = sql.replace("{WINDOW}", WINDOW);
        format!("INSERT INTO out{at} {sql};\n")
    });
    let counts = format!(
        "CREATE VIEW counts AS SELECT window_start AS w, k, count(*) AS n FROM {WINDOW} GROUP BY \
         window_start, k;\n"
    );
    let job = write_job(folder.path(), &yaml, &(counts + &inserts.collect::<String>()));
    run_drained(&job).await;
    let mut wrong = Vec::new();
    for (at, (sql, rows)) in cases.iter().enumerate() {
        let shown = published_rows(&job, &format!("out{at}")).await;
        if shown != *rows {
            wrong.push(format!("{sql}\n  gives {shown:?}\n  not   {rows:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn queries_inside_queries_that_read_alike_are_each_computed() {
    compare(&[
        (
            "SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT n AS x FROM t WHERE n > 5))",
            &["24"],
        ),
        (
            "SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT n AS x \
             FROM t WHERE n > 5)))",
            &["48"],
        ),
        (
            "SELECT a AS b, b AS a FROM (SELECT a AS b, b AS a FROM (SELECT n AS a, k AS b FROM t \
             WHERE n > 5))",
            &["a | 6"],
        ),
        // The middle query is taken into the outer one, which then reads as the inner one.
        (
            "SELECT y AS x FROM (SELECT x + x AS y FROM (SELECT x + x AS x FROM (SELECT n AS x FROM t \
             WHERE n > 5)))",
            &["24"],
        ),
        // Without what is not asked for, the two read alike.
        (
            "SELECT x + x AS x FROM (SELECT x + x AS x, k || k AS k FROM (SELECT n AS x, k FROM t)) \
             WHERE x > 10",
            &["24"],
        ),
        (
            "WITH a AS (SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT n AS x FROM t))) \
             SELECT x + x AS x FROM (SELECT x + x AS x FROM a) WHERE x > 44",
            &["96"],
        ),
        (
            "SELECT c + c AS c FROM (SELECT c + c AS c FROM (SELECT count(*) AS c FROM {WINDOW} GROUP \
             BY window_start, window_end))",
            &["28"],
        ),
        (
            "SELECT max(x) AS x FROM TUMBLE(TABLE (SELECT ts, x + x AS x FROM (SELECT ts, x + x AS x \
             FROM (SELECT ts, n AS x FROM t))), DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY \
             window_start",
            &["24"],
        ),
        // Between the two stands a window, which becomes a projection.
        (
            "SELECT x + x AS x, window_start AS w FROM TUMBLE(TABLE (SELECT ts, x + x AS x FROM (SELECT \
             ts, n AS x FROM t WHERE n > 5)), DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
            &["24 | 2026-01-05T10:00:00Z"],
        ),
        (
            "SELECT w, n + n AS n FROM (SELECT w, n + n AS n FROM (SELECT w, n FROM counts ORDER BY n \
             DESC) WHERE n > 3)",
            &["2026-01-05T10:00:00Z | 16"],
        ),
        (
            "SELECT w, n + n AS n FROM (SELECT w, n + n AS n FROM (SELECT DISTINCT w, n + n AS n FROM \
             (SELECT w, n + n AS n FROM counts)))",
            &["2026-01-05T10:00:00Z | 48", "2026-01-05T10:00:00Z | 64"],
        ),
        (
            "SELECT n + n AS n FROM (SELECT n + n AS n FROM (SELECT n FROM counts) UNION ALL SELECT n + \
             n AS n FROM (SELECT n FROM counts))",
            &["12", "12", "16", "16"],
        ),
        (
            "SELECT w, n + n AS n FROM (SELECT w, n + n AS n FROM (SELECT w, row_number() OVER \
             (PARTITION BY w ORDER BY k) AS n FROM counts))",
            &["2026-01-05T10:00:00Z | 4", "2026-01-05T10:00:00Z | 8"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_column_of_from_is_itself_whatever_select_calls_so() {
    compare(&[
        (
            "SELECT w, max(n) AS n FROM (SELECT w, n + 0 AS n FROM counts) GROUP BY w HAVING max(n) > 3",
            &["2026-01-05T10:00:00Z | 4"],
        ),
        (
            "SELECT w, n % 2 AS n, count(*) AS c FROM (SELECT w, n + 0 AS n FROM counts) GROUP BY w, n \
             % 2 HAVING max(n) >= 3",
            &["2026-01-05T10:00:00Z | 0 | 1", "2026-01-05T10:00:00Z | 1 | 1"],
        ),
        (
            "SELECT window_start, k, max(n) AS n, sum(n) FROM TUMBLE(TABLE (SELECT ts, k, n + 1 AS n \
             FROM t), DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start, k HAVING max(n) > 6",
            &["2026-01-05T10:00:00Z | a | 7 | 16"],
        ),
        (
            "SELECT w, n FROM (SELECT w, n + 0 AS n FROM counts) WHERE n IN (SELECT n FROM (SELECT n + \
             0 AS n, w AS v FROM counts WHERE k = 'a') AS b WHERE b.v = w)",
            &["2026-01-05T10:00:00Z | 4"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn joins_of_columns_of_one_name_ask_each_side_its_own() {
    // The rows of b are 3; those of a that are as many, none.
    compare(&[
        (
            "SELECT b.k, b.n FROM (SELECT w, k, n FROM counts WHERE n > 3) AS a RIGHT JOIN (SELECT w, k, \
             n FROM counts WHERE n < 4) AS b ON a.w = b.w AND a.k = b.k WHERE a.n IS NULL",
            &["b | 3"],
        ),
        (
            "SELECT a.k, a.n FROM (SELECT w, k, n FROM counts WHERE n < 4) AS a LEFT JOIN (SELECT w, k, \
             n FROM counts WHERE n > 3) AS b ON a.w = b.w AND a.k = b.k WHERE CASE WHEN b.n > 0 THEN 1 \
             ELSE 2 END = 2",
            &["b | 3"],
        ),
    ])
    .await;
}
