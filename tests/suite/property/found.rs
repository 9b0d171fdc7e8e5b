//! What drawn cases have found, each as the least case that shows it.

use std::path::Path;

use super::super::harness::{published_rows, run_drained, scratch, write_job};

/// Runs `sql` over files of rows `(seconds, key)`, an epoch each, and gives what the sink shows.
async fn shown(files: &[&[(i64, &str)]], sql: &str) -> Vec<String> {
    let folder = scratch();
    write_rows(&folder.path().join("t"), files);
    let place = folder.path().display();
    let yaml = format!(
        "name: found\nsources:\n  t:\n    location: {place}/t/\n    format: json\n    schema: {{ts: \
         TIMESTAMP, k: VARCHAR}}\n    event_time: {{column: ts, delay: 1s}}\nsinks:\n  out: \
         {{location: {place}/out/}}\nepoch: {{files_max: 1}}\nstate: {{location: {place}/state/}}"
    );
    let job = write_job(folder.path(), &yaml, sql);
    run_drained(&job).await;
    published_rows(&job, "out").await
}

fn write_rows(folder: &Path, files: &[&[(i64, &str)]]) {
    std::fs::create_dir_all(folder).unwrap();
    for (at, rows) in files.iter().enumerate() {
        let rows: String = rows
            .iter()
            .map(|(second, k)| format!("{{\"ts\": {second}, \"k\": \"{k}\"}}\n"))
            .collect();
        std::fs::write(folder.join(format!("{at}.json")), rows).unwrap();
    }
}

#[tokio::test]
async fn sessions_of_two_keys_that_end_together_are_one_group_of_that_end() {
    let rows: &[(i64, &str)] = &[(0, "a"), (5, "a"), (3, "b"), (5, "b")];
    let sql = "INSERT INTO out SELECT window_end, count(*) AS n FROM SESSION(TABLE t PARTITION BY k, \
               DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_end;";
    assert_eq!(shown(&[rows], sql).await, ["1970-01-01T00:00:15Z | 4"]);
}

#[tokio::test]
async fn a_window_of_group_by_stands_beside_two_columns_of_one_aggregate() {
    let rows: &[(i64, &str)] = &[(0, "a"), (5, "b")];
    let sql = "INSERT INTO out SELECT w.start AS s, low, k FROM (SELECT tumble(INTERVAL '10' SECOND) \
               AS w, min(k) AS low, min(k) AS k FROM t GROUP BY tumble(INTERVAL '10' SECOND));";
    assert_eq!(shown(&[rows], sql).await, ["1970-01-01T00:00:00Z | a | a"]);
}

#[tokio::test]
async fn sessions_are_formed_of_the_rows_of_a_view() {
    let files: [&[(i64, &str)]; 2] = [&[(0, "a"), (5, "b")], &[(10, "a"), (20, "a")]];
    let sql = "CREATE VIEW some AS SELECT * FROM t WHERE k = 'a';\nINSERT INTO out SELECT \
               window_start, window_end, count(*) AS n FROM SESSION(TABLE some, DESCRIPTOR(ts), \
               INTERVAL '10' SECOND) GROUP BY window_start, window_end;";
    assert_eq!(shown(&files, sql).await, ["1970-01-01T00:00:00Z | 1970-01-01T00:00:30Z | 3"]);
}

#[tokio::test]
async fn a_session_holds_back_windows_over_its_start_until_its_last_piece_closes() {
    // By itself the first piece of `a` closes in the third epoch; its session goes on in the second.
    let files: [&[(i64, &str)]; 4] =
        [&[(6, "a")], &[(12, "b"), (14, "a")], &[(20, "b")], &[(21, "b")]];
    let sql = "CREATE VIEW s AS SELECT window_start AS ws, window_end AS we, k, count(*) AS n FROM \
               SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY \
               window_start, window_end, k;\nINSERT INTO out SELECT window_start, k, sum(n) AS n FROM \
               TUMBLE(TABLE s, DESCRIPTOR(ws), INTERVAL '10' SECOND) GROUP BY window_start, k;";
    assert_eq!(
        shown(&files, sql).await,
        ["1970-01-01T00:00:00Z | a | 2", "1970-01-01T00:00:10Z | b | 3"]
    );
}
