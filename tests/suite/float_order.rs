//! One order of floats everywhere: NaN greater than every number and equal to itself, one zero, and
//! infinities that are greater and less than every finite number; so that no answer depends on the
//! order of files, and a query over results gives what the job computes with.

use std::path::PathBuf;

use tempfile::TempDir;

use super::harness::{published_rows, run_drained, scratch, write_job};

/// The files in one order, and in the other.
const ORDERS: [[usize; 2]; 2] = [[0, 1], [1, 0]];

/// A job over CSV of the columns ts, host, x and y.
fn job(files: &[&[&str]; 2], order: [usize; 2], sinks: &[&str], sql: &str) -> (TempDir, PathBuf) {
    let folder = scratch();
    let place = folder.path().display();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    for (at, file) in order.iter().enumerate() {
        let rows: Vec<String> = files[*file]
            .iter()
            .enumerate()
            .map(|(second, row)| format!("2026-01-01T00:00:{second:02}Z,{row}\n"))
            .collect();
        let text = format!("ts,host,x,y\n{}", rows.concat());
        std::fs::write(folder.path().join(format!("in/{at}.csv")), text).unwrap();
    }
    let sinks: Vec<String> =
        sinks.iter().map(|sink| format!("  {sink}: {{location: {place}/{sink}/}}")).collect();
    let yaml = format!(
        "name: floats\nsources:\n  s:\n    location: {place}/in/\n    format: csv\n    schema: {{ts: \
         TIMESTAMP, host: VARCHAR, x: DOUBLE, y: DOUBLE}}\n    event_time: {{column: ts, delay: \
         10m}}\nsinks:\n{}\nepoch: {{files_max: 1}}\nstate: {{location: {place}/_state/}}\n",
        sinks.join("\n")
    );
    let path = write_job(folder.path(), &yaml, sql);
    (folder, path)
}

/// The rows of `out`, which are the same in whatever order the files come.
async fn rows_of(files: &[&[&str]; 2], sql: &str) -> Vec<String> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for order in ORDERS {
        let (_folder, path) = job(files, order, &["out"], sql);
        run_drained(&path).await;
        found.push(published_rows(&path, "out").await);
    }
    assert_eq!(found[0], found[1], "{sql}");
    found.remove(0)
}

const MINUTES: &str = "FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE))";

#[tokio::test]
async fn the_least_and_the_greatest_of_infinities_and_nan() {
    let files: [&[&str]; 2] = [
        &["a,Infinity,0", "b,1.0,0", "c,-Infinity,0", "d,NaN,0"],
        &["a,Infinity,0", "b,NaN,0", "d,NaN,0"],
    ];
    let sql = format!(
        "INSERT INTO out SELECT host, min(x) AS l, max(x) AS h, min(-x) AS nl, max(-x) AS nh \
         {MINUTES} GROUP BY window_start, window_end, host"
    );
    assert_eq!(
        rows_of(&files, &sql).await,
        [
            "a | inf | inf | -inf | -inf",
            "b | 1.0 | NaN | -1.0 | NaN",
            "c | -inf | -inf | inf | inf",
            "d | NaN | NaN | NaN | NaN",
        ]
    );
}

#[tokio::test]
async fn nan_is_one_value_and_zero_is_one_value_wherever_they_are_made() {
    // 0 / 0 has its sign set on many processors, and -1 * 0 is the other zero.
    let files: [&[&str]; 2] =
        [&["a,0,0", "a,NaN,1", "a,-0.0,1", "a,1,0"], &["a,-0.0,0", "a,NaN,0", "a,0.0,-1", "a,2,1"]];
    let sql = format!(
        "INSERT INTO out SELECT x / y AS q, count(*) AS n, count(DISTINCT x * -1) AS d \
         {MINUTES} GROUP BY window_start, window_end, x / y"
    );
    assert_eq!(
        rows_of(&files, &sql).await,
        ["0.0 | 2 | 1", "2.0 | 1 | 1", "NaN | 4 | 2", "inf | 1 | 1"]
    );
    let distinct =
        format!("INSERT INTO out SELECT DISTINCT window_start, x * 0 AS z {MINUTES} WHERE x = x");
    let zero = "2026-01-01T00:00:00Z";
    assert_eq!(
        rows_of(&files, &distinct).await,
        [format!("{zero} | 0.0"), format!("{zero} | NaN")]
    );
}

#[tokio::test]
async fn comparisons_hold_to_the_same_order() {
    let files: [&[&str]; 2] =
        [&["a,NaN,0", "a,-0.0,0", "a,6,0"], &["a,Infinity,0", "a,-Infinity,0"]];
    let sql = format!(
        "INSERT INTO out SELECT count(*) FILTER (WHERE x > 5) AS gt, \
         count(*) FILTER (WHERE -x > 5) AS neg, count(*) FILTER (WHERE x = 0) AS zero, \
         count(*) FILTER (WHERE x = x) AS same, count(*) FILTER (WHERE x BETWEEN 6 AND CAST('NaN' AS DOUBLE)) AS btw, \
         count(*) FILTER (WHERE x IN (0.0, CAST('NaN' AS DOUBLE))) AS inside, \
         count(*) FILTER (WHERE x * 0 - x * 0 > CAST('Infinity' AS DOUBLE)) AS made, \
         max(greatest(x, 7)) AS g, min(least(-x, 3)) AS l, \
         sum(CASE x WHEN 0.0 THEN 1 ELSE 0 END) AS c {MINUTES} GROUP BY window_start, window_end"
    );
    assert_eq!(rows_of(&files, &sql).await, ["3 | 2 | 1 | 5 | 3 | 2 | 3 | NaN | -inf | 1"]);
}

#[tokio::test]
async fn ranks_and_joins_hold_to_the_same_order() {
    let files: [&[&str]; 2] = [&["a,NaN,1", "b,Infinity,1", "c,-0.0,1"], &["d,0.0,1", "e,NaN,1"]];
    let view = format!(
        "CREATE VIEW v AS SELECT window_start, window_end, host, max(x * -1) AS m, sum(y) AS y {MINUTES} \
         GROUP BY window_start, window_end, host;\n"
    );
    let ranks = format!(
        "{view}INSERT INTO out SELECT host, rank() OVER (PARTITION BY window_start ORDER BY m DESC) AS r \
         FROM v"
    );
    assert_eq!(rows_of(&files, &ranks).await, ["a | 1", "b | 5", "c | 3", "d | 3", "e | 1"]);
    let joined = format!(
        "{view}INSERT INTO out SELECT a.host, b.host AS other FROM v a JOIN v b ON a.window_start = \
         b.window_start AND a.m = b.m * 1 AND a.host < b.host"
    );
    assert_eq!(rows_of(&files, &joined).await, ["a | e", "c | d"]);
}

#[tokio::test]
async fn structs_have_an_order_in_which_null_and_nan_are_last() {
    let files: [&[&str]; 2] = [&["a,1,5", "a,1,", "b,NaN,1", "c,,"], &["a,0,9", "b,2,1"]];
    let sql = format!(
        "INSERT INTO out SELECT host, max(named_struct('x', x, 'y', y)) AS h, \
         min(named_struct('x', x, 'y', y)) AS l, max(make_array(x, y)) AS a \
         {MINUTES} GROUP BY window_start, window_end, host"
    );
    assert_eq!(
        rows_of(&files, &sql).await,
        [
            "a | {x: 1.0, y: NULL} | {x: 0.0, y: 9.0} | [1.0, NULL]",
            "b | {x: NaN, y: 1.0} | {x: 2.0, y: 1.0} | [NaN, 1.0]",
            "c | {x: NULL, y: NULL} | {x: NULL, y: NULL} | [NULL, NULL]",
        ]
    );
}

#[tokio::test]
async fn frames_and_other_aggregates_take_nan_as_a_value() {
    let files: [&[&str]; 2] = [&["a,NaN,1", "b,Infinity,2"], &["c,-Infinity,3", "d,1,4"]];
    let view = format!(
        "CREATE VIEW v AS SELECT window_start, window_end, host, max(x) AS m {MINUTES} \
         GROUP BY window_start, window_end, host;\n"
    );
    let frame = "PARTITION BY window_start ORDER BY host ROWS BETWEEN 1 PRECEDING AND CURRENT ROW";
    let frames = format!(
        "{view}INSERT INTO out SELECT host, min(m) OVER ({frame}) AS l, max(m) OVER ({frame}) AS h FROM v"
    );
    assert_eq!(
        rows_of(&files, &frames).await,
        ["a | NaN | NaN", "b | inf | NaN", "c | -inf | inf", "d | -inf | 1.0"]
    );
    let others = format!(
        "INSERT INTO out SELECT median(x) AS m, first_value(x ORDER BY x DESC) AS f, \
         last_value(x ORDER BY x DESC) AS l, count(DISTINCT x) AS n, sum(x) AS s, avg(x) AS a, \
         array_agg(x ORDER BY x) AS every {MINUTES} GROUP BY window_start, window_end"
    );
    assert_eq!(
        rows_of(&files, &others).await,
        ["inf | NaN | -inf | 4 | NaN | NaN | [-inf, 1.0, inf, NaN]"]
    );
}
