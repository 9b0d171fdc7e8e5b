//! Event time over several sources and stages: who holds whom, what standing still moves, and what
//! a late row may still change.

use std::path::{Path, PathBuf};

use super::harness::{compile, open, published_rows, run_drained, scratch, write_job};
use super::leaping::run_for;

fn job(folder: &Path, settings: &str, sql: &str) -> PathBuf {
    let place = folder.display();
    let source = |name: &str| {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        format!(
            "  {name}:\n    location: {place}/{name}/\n    format: json\n    schema: {{ts: \
             TIMESTAMP, k: VARCHAR, x: BIGINT}}\n    event_time: {{column: ts, delay: 0s, \
             idle_after: 20s{settings}}}\n"
        )
    };
    let yaml = format!(
        "name: times\nsources:\n{}{}sinks:\n  out: {{location: {place}/out/}}\nepoch: {{interval: \
         1s, files_max: 1}}\nstate: {{location: {place}/state/}}",
        source("a"),
        source("b"),
    );
    write_job(folder, &yaml, sql)
}

/// Each row is a time of 2026-01-01, a key and a value.
fn write_rows(folder: &Path, source: &str, file: &str, rows: &[(&str, &str, i64)]) {
    let line = |(time, k, x): &(&str, &str, i64)| {
        format!("{{\"ts\": \"2026-01-01T{time}Z\", \"k\": \"{k}\", \"x\": {x}}}\n")
    };
    let text: String = rows.iter().map(line).collect();
    std::fs::write(folder.join(source).join(file), text).unwrap();
}

const CLOSING: &str = ", close_when_idle: 30s";

const JOINED: &str = "CREATE VIEW va AS SELECT window_start AS w, count(*) AS n FROM TUMBLE(TABLE a, \
     DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start;\n\
     CREATE VIEW vb AS SELECT window_start AS w, sum(x) AS s FROM TUMBLE(TABLE b, \
     DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start;\n\
     INSERT INTO out SELECT va.w, va.n, vb.s FROM va JOIN vb ON va.w = vb.w;";

#[tokio::test]
async fn a_join_of_two_sources_waits_for_the_slower_one() {
    let folder = scratch();
    let path = job(folder.path(), "", JOINED);
    write_rows(folder.path(), "a", "1.json", &[("00:00:10", "k", 1), ("00:05:00", "k", 1)]);
    write_rows(folder.path(), "b", "1.json", &[("00:00:20", "k", 7)]);
    // Source a alone would have closed the first minute, and b's second file would be late.
    write_rows(folder.path(), "b", "2.json", &[("00:00:50", "k", 5), ("00:01:30", "k", 1)]);
    let summary = run_for(&path, 10).await;
    assert_eq!((summary.rows_late, summary.rows_used), (0, 5));
    assert_eq!(published_rows(&path, "out").await, ["2026-01-01T00:00:00Z | 1 | 12"]);
}

#[tokio::test]
async fn an_idle_source_holds_no_other_and_what_is_open_closes_where_that_is_set() {
    let folder = scratch();
    let path = job(folder.path(), CLOSING, JOINED);
    write_rows(folder.path(), "a", "1.json", &[("00:00:10", "k", 1), ("00:05:00", "k", 1)]);
    write_rows(folder.path(), "b", "1.json", &[("00:00:20", "k", 7), ("00:05:10", "k", 2)]);
    let summary = run_for(&path, 20).await;
    assert_eq!(summary.rows_out["out"], 1, "the sixth minute is open: {summary:?}");
    let summary = run_for(&path, 60).await;
    assert_eq!(summary.rows_out["out"], 1, "it closed when both were idle: {summary:?}");
    // What comes after the stillness is of later windows, and none of it is refused.
    write_rows(folder.path(), "a", "2.json", &[("00:06:00", "k", 1), ("00:08:00", "k", 1)]);
    write_rows(folder.path(), "b", "2.json", &[("00:06:30", "k", 3)]);
    let summary = run_for(&path, 20).await;
    assert_eq!((summary.rows_late, summary.rows_used), (0, 3));
    let summary = run_drained(&path).await;
    assert_eq!(summary.rows_late, 0);
    assert_eq!(
        published_rows(&path, "out").await,
        [
            "2026-01-01T00:00:00Z | 1 | 7",
            "2026-01-01T00:05:00Z | 1 | 2",
            "2026-01-01T00:06:00Z | 1 | 3"
        ]
    );
}

const TWO_LENGTHS: &str = "INSERT INTO out SELECT date_trunc('minute', ts) AS w, count(*) AS n \
     FROM a GROUP BY 1;\n\
     INSERT INTO out SELECT date_trunc('day', ts) AS w, count(*) AS n FROM a GROUP BY 1;";

#[tokio::test]
async fn what_one_query_closes_when_all_stand_still_refuses_no_row_of_another() {
    let folder = scratch();
    let path = job(folder.path(), CLOSING, TWO_LENGTHS);
    write_rows(folder.path(), "a", "1.json", &[("10:00:01", "k", 1), ("10:01:01", "k", 1)]);
    let summary = run_for(&path, 60).await;
    assert_eq!(summary.rows_out["out"], 3, "two minutes and the day: {summary:?}");
    // The day is over; of the minutes only those that were open.
    write_rows(folder.path(), "a", "2.json", &[("10:05:00", "k", 1), ("10:06:01", "k", 1)]);
    let summary = run_drained(&path).await;
    assert_eq!((summary.rows_used, summary.rows_late), (2, 0));
    assert_eq!(
        published_rows(&path, "out").await,
        [
            "2026-01-01T00:00:00Z | 2",
            "2026-01-01T10:00:00Z | 1",
            "2026-01-01T10:01:00Z | 1",
            "2026-01-01T10:05:00Z | 1",
            "2026-01-01T10:06:00Z | 1"
        ]
    );
}

#[tokio::test]
async fn windows_close_when_the_source_that_held_them_becomes_idle() {
    let folder = scratch();
    let sql = JOINED.replace("JOIN", "LEFT JOIN");
    let path = job(folder.path(), "", &sql);
    let yaml = std::fs::read_to_string(&path).unwrap();
    // The other one is never idle.
    std::fs::write(&path, yaml.replacen("idle_after: 20s", "idle_after: 1h", 1)).unwrap();
    write_rows(folder.path(), "a", "1.json", &[("00:00:01", "k", 1), ("00:01:05", "k", 1)]);
    write_rows(folder.path(), "b", "1.json", &[("00:00:02", "k", 7)]);
    let summary = run_for(&path, 60).await;
    assert_eq!(summary.rows_out["out"], 1, "{summary:?}");
    assert_eq!(published_rows(&path, "out").await, ["2026-01-01T00:00:00Z | 1 | 7"]);
}

#[tokio::test]
async fn what_a_second_stage_refuses_is_counted() {
    let folder = scratch();
    let sql = "CREATE VIEW m AS SELECT window_time AS t, count(*) AS n FROM TUMBLE(TABLE a, \
               DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_time;\n\
               INSERT INTO out SELECT window_end, sum(n) AS n FROM TUMBLE(TABLE m, \
               DESCRIPTOR(t), INTERVAL '5' MINUTE) GROUP BY window_end;";
    let path = job(folder.path(), "", sql);
    write_rows(folder.path(), "a", "1.json", &[("00:00:01", "k", 1)]);
    assert_eq!(run_drained(&path).await.results_late, 0);
    // The minute was not there yet; the five minutes were, and closed with the first run.
    write_rows(folder.path(), "a", "2.json", &[("00:01:01", "k", 1), ("00:01:02", "k", 1)]);
    let summary = run_drained(&path).await;
    assert_eq!((summary.rows_used, summary.rows_late, summary.results_late), (2, 0, 1));
    assert_eq!(published_rows(&path, "out").await, ["2026-01-01T00:05:00Z | 1"]);
}

#[tokio::test]
async fn the_start_of_a_session_that_is_over_holds_nothing_back() {
    let folder = scratch();
    let sql = "CREATE VIEW m AS SELECT window_start AS st, k, count(*) AS n FROM SESSION(TABLE a \
               PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND) GROUP BY window_start, \
               window_end, k;\n\
               INSERT INTO out SELECT window_start, k, sum(n) AS n FROM TUMBLE(TABLE m, \
               DESCRIPTOR(st), INTERVAL '1' MINUTE) GROUP BY window_start, k;";
    let path = job(folder.path(), "", sql);
    // Both sessions are in one file of state; one is over when it is written, one is not.
    write_rows(folder.path(), "a", "1.json", &[("00:00:01", "x", 1), ("00:03:20", "x", 1)]);
    let run = async || {
        let mut engine = open(compile(&path).await).await;
        engine.run_once(false).await.unwrap()
    };
    let summary = run().await;
    assert_eq!((summary.epochs, summary.rows_out["out"]), (1, 1), "{summary:?}");
    assert_eq!(published_rows(&path, "out").await, ["2026-01-01T00:00:00Z | x | 1"]);
    // With nothing new nothing is committed.
    assert_eq!(run().await.epochs, 0);
    // What began in the second minute is seen to be over without its file being written anew.
    write_rows(folder.path(), "a", "2.json", &[("00:03:30", "y", 1)]);
    write_rows(folder.path(), "a", "3.json", &[("00:05:00", "z", 1)]);
    assert_eq!(run().await.rows_out["out"], 2);
    assert_eq!(run().await.epochs, 0);
}

#[tokio::test]
async fn files_without_rows_do_not_keep_a_source_from_being_idle() {
    let folder = scratch();
    let sql =
        "INSERT INTO out SELECT date_trunc('minute', ts) AS w, count(*) AS n FROM a GROUP BY 1;";
    let path = job(folder.path(), CLOSING, sql);
    write_rows(folder.path(), "a", "1.json", &[("00:00:10", "k", 1)]);
    for second in 2..9 {
        write_rows(folder.path(), "a", &format!("{second}.json"), &[]);
    }
    let summary = run_for(&path, 45).await;
    assert_eq!(summary.rows_out["out"], 1, "{summary:?}");
}

#[tokio::test]
async fn an_hour_over_minutes_closes_with_its_last_minute() {
    let folder = scratch();
    let sql = "CREATE VIEW m AS SELECT window_time AS t, k, count(*) AS n FROM TUMBLE(TABLE a, \
               DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_time, k;\n\
               INSERT INTO out SELECT window_end, k, sum(n) AS n, count(*) AS minutes FROM \
               TUMBLE(TABLE m, DESCRIPTOR(t), INTERVAL '1' HOUR) GROUP BY window_end, k;";
    let path = job(folder.path(), "", sql);
    write_rows(folder.path(), "a", "1.json", &[("00:10:00", "k", 1), ("00:10:30", "k", 1)]);
    write_rows(folder.path(), "a", "2.json", &[("00:59:59", "k", 1), ("00:59:59", "j", 1)]);
    write_rows(folder.path(), "a", "3.json", &[("01:00:00", "k", 1)]);
    let summary = run_for(&path, 10).await;
    assert_eq!(summary.rows_late, 0);
    assert_eq!(
        published_rows(&path, "out").await,
        ["2026-01-01T01:00:00Z | j | 1 | 1", "2026-01-01T01:00:00Z | k | 3 | 2"]
    );
}

#[tokio::test]
async fn a_late_row_inside_allowed_lateness_writes_its_window_again() {
    let folder = scratch();
    let sql = "INSERT INTO out SELECT date_trunc('minute', ts) AS w, k, sum(x) AS s FROM a GROUP BY 1, k;";
    let path = job(folder.path(), ", allowed_lateness: 5m", sql);
    let files: [&[(&str, &str, i64)]; 5] = [
        &[("00:00:10", "k", 1), ("00:00:20", "j", 2), ("00:02:00", "k", 1)],
        &[("00:00:30", "k", 10)],
        &[("00:00:40", "k", 100), ("00:01:10", "k", 5)],
        &[("00:08:00", "k", 1)],
        // Five minutes after its end the first minute can change no more.
        &[("00:00:50", "k", 1000)],
    ];
    for (at, rows) in files.iter().enumerate() {
        write_rows(folder.path(), "a", &format!("{at}.json"), rows);
    }
    let summary = run_for(&path, 20).await;
    assert_eq!((summary.rows_late, summary.rows_used), (1, 7));
    assert_eq!(
        published_rows(&path, "out").await,
        [
            "2026-01-01T00:00:00Z | j | 2 | 0",
            "2026-01-01T00:00:00Z | j | 2 | 1",
            "2026-01-01T00:00:00Z | j | 2 | 2",
            "2026-01-01T00:00:00Z | k | 1 | 0",
            "2026-01-01T00:00:00Z | k | 11 | 1",
            "2026-01-01T00:00:00Z | k | 111 | 2",
            "2026-01-01T00:01:00Z | k | 5 | 1",
            "2026-01-01T00:02:00Z | k | 1 | 0"
        ]
    );
}

#[tokio::test]
async fn a_back_fill_closes_no_more_windows_at_once_than_its_bound_takes() {
    let sql = "INSERT INTO out SELECT date_trunc('minute', ts) AS w, count(DISTINCT k) AS n FROM a \
               GROUP BY date_trunc('minute', ts);";
    for (bound, in_rounds) in [("1B", true), ("64MiB", false)] {
        let folder = scratch();
        let path = job(folder.path(), "", sql);
        let yaml = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, yaml.replace("files_max: 1", &format!("close_max: {bound}")))
            .unwrap();
        // Three minutes, and one a year before: the year between is not gone through minute by
        // minute.
        let minutes: Vec<String> = (0..3).map(|minute| format!("00:{minute:02}:00")).collect();
        let rows: Vec<(&str, &str, i64)> =
            minutes.iter().flat_map(|time| [(time.as_str(), "k", 1), (time, "l", 1)]).collect();
        write_rows(folder.path(), "a", "1.json", &rows);
        let before = "{\"ts\": \"2025-01-01T00:00:00Z\", \"k\": \"k\", \"x\": 1}\n";
        std::fs::write(folder.path().join("a/0.json"), before).unwrap();
        let summary = run_drained(&path).await;
        assert_eq!((summary.epochs, summary.rows_out["out"]), (1, 4));
        assert_eq!(
            published_rows(&path, "out").await,
            [
                "2025-01-01T00:00:00Z | 1",
                "2026-01-01T00:00:00Z | 2",
                "2026-01-01T00:01:00Z | 2",
                "2026-01-01T00:02:00Z | 2"
            ]
        );
        let files = std::fs::read_dir(folder.path().join("out")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let files = names.filter(|name| name.ends_with(".parquet")).count();
        assert_eq!(files > 1, in_rounds, "{bound}: {files} files");
    }
}

#[tokio::test]
async fn sessions_that_end_together_take_no_more_memory_than_their_rows() {
    let sql = "INSERT INTO out SELECT window_start, k, count(*) AS n FROM SESSION(TABLE a PARTITION \
               BY k, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY window_start, window_end, k;";
    let folder = scratch();
    let path = job(folder.path(), "", sql);
    let yaml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{yaml}\nmemory_max: 64MiB\n")).unwrap();
    // Far more than a batch, so that they come as many slices of what they are in together.
    let keys: Vec<String> = (0..200_000).map(|key| format!("key {key}")).collect();
    let rows: Vec<(&str, &str, i64)> =
        keys.iter().map(|key| ("00:00:00", key.as_str(), 1)).collect();
    write_rows(folder.path(), "a", "1.json", &rows);
    let summary = run_drained(&path).await;
    assert_eq!((summary.rows_used, summary.rows_out["out"]), (200_000, 200_000));
}
