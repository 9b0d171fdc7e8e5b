//! Every spelling of a window in FROM, and what is said of those that are wrong.

use super::super::fixture::windows_of;
use super::super::{WindowNode, WindowShape};
use super::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

async fn window(from: &str) -> WindowNode {
    let mut nodes = windows_of(from).await.unwrap_or_else(|error| panic!("{from}\n{error}"));
    assert_eq!(nodes.len(), 1, "{from}");
    nodes.remove(0)
}

/// Holds each spelling against windows over `flows.ts` without a partition.
async fn all_are(windows: Windows, spellings: &[&str]) {
    for from in spellings {
        let node = window(from).await;
        assert_eq!(node.windows, windows, "{from}");
        assert_eq!(node.time.name, "ts", "{from}");
        assert_eq!(node.partition, vec![], "{from}");
    }
}

/// Holds each spelling against sessions of five minutes over `ts` for each value of `columns`.
async fn all_partition_by(columns: &[&str], spellings: &[&str]) {
    for from in spellings {
        let node = window(from).await;
        assert_eq!(node.windows, sessions(5 * MINUTE), "{from}");
        assert_eq!(node.time.name, "ts", "{from}");
        let partition: Vec<&str> = node.partition.iter().map(|column| column.name()).collect();
        assert_eq!(partition, columns, "{from}");
        for column in &node.partition {
            assert!(node.input.schema().has_column(column), "{from}");
        }
    }
}

fn sessions(gap_us: i64) -> Windows {
    Windows::Session(SessionShape::new(gap_us).unwrap())
}

async fn refusal(from: &str) -> String {
    match windows_of(from).await {
        Ok(nodes) => panic!("{from}\nwas planned: {nodes:?}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn tumble_and_hop_in_every_dialect() {
    let minute = Windows::Aligned(WindowShape::tumble(MINUTE, 10 * SECOND).unwrap());
    all_are(
        minute,
        &[
            "TABLE(TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '10' SECOND))",
            "TUMBLE(flows, ts, INTERVAL '1 minute', INTERVAL '10 seconds')",
            "tumble(OFFSET => INTERVAL '10' SECOND, SIZE => INTERVAL '60' SECONDS, TIMECOL => ts, \
             DATA => TABLE flows)",
        ],
    )
    .await;
    let hop = Windows::Aligned(WindowShape::new(5 * MINUTE, 2 * MINUTE, 0).unwrap());
    all_are(
        hop,
        &[
            "TABLE(HOP(TABLE flows, DESCRIPTOR(ts), INTERVAL '2' MINUTES, INTERVAL '5' MINUTES))",
            "HOP(flows, ts, INTERVAL '2 minutes', INTERVAL '5 minutes')",
            "HOP(DATA => TABLE flows, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '2' MINUTE, \
             SIZE => INTERVAL '5' MINUTE)",
        ],
    )
    .await;
}

#[tokio::test]
async fn cumulate_in_every_dialect() {
    let hour =
        |offset| Windows::Aligned(WindowShape::cumulate(60 * MINUTE, MINUTE, offset).unwrap());
    all_are(
        hour(0),
        &[
            "TABLE(CUMULATE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR))",
            "CUMULATE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR)",
            "cumulate(flows, ts, INTERVAL '1 minute', INTERVAL '1 hour')",
            "TABLE(CUMULATE(DATA => TABLE flows, TIMECOL => DESCRIPTOR(ts), \
             STEP => INTERVAL '1' MINUTE, SIZE => INTERVAL '60' MINUTES))",
        ],
    )
    .await;
    all_are(
        hour(-30 * MINUTE),
        &[
            "CUMULATE(flows, ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR, INTERVAL '-30' MINUTE)",
            "CUMULATE(flows, ts, SIZE => INTERVAL '1' HOUR, STEP => INTERVAL '1' MINUTE, \
             OFFSET => -INTERVAL '30' MINUTE)",
        ],
    )
    .await;
}

#[tokio::test]
async fn session_without_a_partition() {
    all_are(
        sessions(5 * MINUTE),
        &[
            "TABLE(SESSION(TABLE flows, DESCRIPTOR(ts), INTERVAL '5' MINUTE))",
            "SESSION(TABLE flows, DESCRIPTOR(ts), INTERVAL '5' MINUTES)",
            "session(flows, ts, INTERVAL '5 minutes')",
            "SESSION(GAP => INTERVAL '5' MINUTES, TIMECOL => ts, DATA => TABLE flows)",
            "SESSION(TABLE (SELECT * FROM flows WHERE bytes > 1), ts, INTERVAL '5' MINUTE) AS s",
        ],
    )
    .await;
}

#[tokio::test]
async fn session_with_a_partition_in_every_dialect() {
    all_partition_by(
        &["src"],
        &[
            "TABLE(SESSION(TABLE flows PARTITION BY src, DESCRIPTOR(ts), INTERVAL '5' MINUTES))",
            "SESSION(TABLE flows PARTITION BY src, DESCRIPTOR(ts), INTERVAL '5' MINUTES)",
            "SESSION(TABLE flows PARTITION BY (src), DESCRIPTOR(ts), INTERVAL '5' MINUTES)",
            "session(flows partition by src, ts, INTERVAL '5 minutes') AS s",
            "SESSION(flows PARTITION BY flows.src, flows.ts, INTERVAL '5 minutes')",
            "TABLE(SESSION(DATA => TABLE flows PARTITION BY src, TIMECOL => DESCRIPTOR(ts), \
             GAP => INTERVAL '5' MINUTES))",
            "SESSION(GAP => INTERVAL '5' MINUTES, DATA => flows PARTITION BY src, TIMECOL => ts)",
            "SESSION(TIMECOL => ts, GAP => INTERVAL '5' MINUTES, DATA => flows PARTITION BY src)",
            "SESSION((SELECT ts, src FROM flows) PARTITION BY src, ts, INTERVAL '5' MINUTE)",
            "SESSION(TABLE (SELECT f.ts, f.src FROM flows f, flows g) PARTITION BY f.src, ts, \
             INTERVAL '5' MINUTE)",
            "SESSION(TABLE flows PARTITION BY src, src, DESCRIPTOR(ts), INTERVAL '5' MINUTES)",
        ],
    )
    .await;
}

#[tokio::test]
async fn commas_part_the_columns_of_a_partition_from_what_follows() {
    all_partition_by(
        &["src", "Dst"],
        &[
            "SESSION(TABLE flows PARTITION BY src, \"Dst\", DESCRIPTOR(ts), INTERVAL '5' MINUTE)",
            "SESSION(TABLE flows PARTITION BY (src, \"Dst\"), ts, INTERVAL '5' MINUTE)",
            "SESSION(flows PARTITION BY src, flows.\"Dst\", ts, INTERVAL '5' MINUTE)",
            "SESSION(flows PARTITION BY src, \"Dst\", ts, GAP => INTERVAL '5' MINUTE)",
            "SESSION(flows PARTITION BY src, \"Dst\", GAP => INTERVAL '5' MINUTE, TIMECOL => ts)",
            "SESSION(DATA => flows PARTITION BY src, \"Dst\", GAP => INTERVAL '5' MINUTE, \
             TIMECOL => ts)",
            "SESSION(flows /* (, */ PARTITION -- of\n BY src, -- and )\n \"Dst\" /*,*/, ts, \
             INTERVAL '5' MINUTE)",
        ],
    )
    .await;
    all_partition_by(
        &["src", "by", "bytes"],
        &[
            "SESSION(flows PARTITION BY src, \"by\", bytes, ts, INTERVAL '5' MINUTE)",
            "SESSION(flows PARTITION BY src, \"by\", bytes, DESCRIPTOR(ts), -(-INTERVAL '5' MINUTE))",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_session_in_the_table_of_a_session_keeps_its_own_partition() {
    let nodes = windows_of(
        "SESSION((SELECT ts AS t, src AS s FROM SESSION(TABLE flows PARTITION BY src, bytes, ts, \
         INTERVAL '1' MINUTE)) PARTITION BY s, t, INTERVAL '5' MINUTE)",
    )
    .await
    .unwrap();
    let seen: Vec<(&str, usize)> =
        nodes.iter().map(|node| (node.time.name(), node.partition.len())).collect();
    assert_eq!(seen, [("t", 1), ("ts", 2)]);
}

#[tokio::test]
async fn a_partition_of_over_is_left_alone() {
    let from = "(SELECT ts, rank() OVER (PARTITION BY src, bytes ORDER BY ts) AS n \
                FROM TUMBLE(flows, ts, INTERVAL '1' MINUTE)) AS ranked";
    assert!(window(from).await.partition.is_empty());
}

#[tokio::test]
async fn a_view_or_common_table_is_a_table_too() {
    let nodes = super::super::fixture::plan(
        "WITH big AS (SELECT ts, src FROM flows WHERE bytes > 9) \
         SELECT * FROM SESSION(TABLE big PARTITION BY big.src, DESCRIPTOR(ts), INTERVAL '1' HOUR)",
    )
    .await;
    assert!(nodes.unwrap().display_indent().to_string().contains("Window: big.ts"));
}

#[tokio::test]
async fn intervals_are_of_any_unit_and_any_number_of_digits() {
    for (interval, us) in [
        ("INTERVAL '1' MILLISECOND", 1_000),
        ("INTERVAL '250 milliseconds'", 250_000),
        ("INTERVAL '90' MINUTES", 90 * MINUTE),
        ("INTERVAL '2 minutes'", 2 * MINUTE),
        ("INTERVAL 5 MINUTE", 5 * MINUTE),
        ("INTERVAL '1000000' SECOND", 1_000_000 * SECOND),
        ("INTERVAL '1000' SECOND(4)", 1_000 * SECOND),
        ("INTERVAL '1 day 2 hours'", 26 * 60 * MINUTE),
        ("INTERVAL '1' WEEK", 7 * 24 * 60 * MINUTE),
        ("INTERVAL '2' DAYS", 2 * 24 * 60 * MINUTE),
    ] {
        all_are(sessions(us), &[&format!("SESSION(flows, ts, {interval})")]).await;
    }
    let offset = Windows::Aligned(WindowShape::tumble(5 * MINUTE, -90 * SECOND).unwrap());
    all_are(
        offset,
        &[
            "TUMBLE(flows, ts, INTERVAL '5' MINUTE, -INTERVAL '1 minute 30 seconds')",
            "TUMBLE(flows, ts, INTERVAL '5' MINUTE, INTERVAL '-90' SECOND)",
            "TUMBLE(flows, ts, INTERVAL '5' MINUTE, INTERVAL '-90 seconds')",
        ],
    )
    .await;
}

#[tokio::test]
async fn lengths_that_do_not_fit_are_refused_with_the_usage() {
    let tumble = "TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset])";
    let hop = "HOP(TABLE t, DESCRIPTOR(ts), slide, size [, offset])";
    let cumulate = "CUMULATE(TABLE t, DESCRIPTOR(ts), step, size [, offset])";
    let session = "SESSION(TABLE t [PARTITION BY k, ...], DESCRIPTOR(ts), gap)";
    for (from, why, usage) in [
        (
            "CUMULATE(flows, ts, INTERVAL '7' MINUTE, INTERVAL '1' HOUR)",
            "the window's size must be a multiple of its step",
            cumulate,
        ),
        (
            "CUMULATE(flows, ts, INTERVAL '0' MINUTE, INTERVAL '1' HOUR)",
            "the window's step must be at least one millisecond",
            cumulate,
        ),
        (
            "CUMULATE(flows, ts, INTERVAL '1' HOUR, INTERVAL '1' HOUR, INTERVAL '-1' HOUR)",
            "the window's offset must be smaller than its size",
            cumulate,
        ),
        (
            "HOP(flows, ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR, INTERVAL '1' MINUTE)",
            "the window's offset must be smaller than its slide",
            hop,
        ),
        (
            "TUMBLE(flows, ts, INTERVAL '1 month')",
            "size: months and years have no fixed length; write the interval in days or less",
            tumble,
        ),
        (
            "SESSION(flows, ts, INTERVAL '1' YEAR)",
            "gap: months and years have no fixed length; write the interval in days or less",
            session,
        ),
        (
            "SESSION(flows, ts, -INTERVAL '1' MINUTE)",
            "the session's gap must be at least one millisecond",
            session,
        ),
        (
            "SESSION(flows, ts, INTERVAL '999' MICROSECOND)",
            "the session's gap must be at least one millisecond",
            session,
        ),
        ("SESSION(flows, ts, 5)", "gap: 5 is not an interval; write INTERVAL '1' MINUTE", session),
    ] {
        assert_eq!(refusal(from).await, format!("line 2, column 15: {why}: {usage}"), "{from}");
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_at_the_call() {
    let session = "SESSION(TABLE t [PARTITION BY k, ...], DESCRIPTOR(ts), gap)";
    for (from, why) in [
        ("SESSION(flows, ts)", format!("gap is missing in {session}")),
        ("SESSION(flows PARTITION BY src, ts)", format!("gap is missing in {session}")),
        ("SESSION(flows PARTITION BY src, DESCRIPTOR(ts))", format!("gap is missing in {session}")),
        ("SESSION(flows PARTITION BY src)", format!("timecol is missing in {session}")),
        (
            "SESSION(flows, ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR)",
            format!("\"INTERVAL '1' HOUR\" does not fit {session}"),
        ),
        (
            "SESSION(DATA => flows, TIMECOL => ts, SIZE => INTERVAL '1' HOUR)",
            format!("size is no argument of {session}"),
        ),
        (
            "SESSION(flows PARTITION BY lower(src), ts, INTERVAL '1' HOUR)",
            "PARTITION BY takes columns of the table, and \"lower(src)\" is none; make it one in \
             a view"
                .to_owned(),
        ),
        (
            "SESSION(flows, src, INTERVAL '1' HOUR)",
            "flows.src is Utf8, not a timestamp; windows need one".to_owned(),
        ),
        (
            "SESSION(flows, ts + 1, INTERVAL '1' HOUR)",
            "\"ts + 1\" is not a column; write DESCRIPTOR(ts)".to_owned(),
        ),
        (
            "SESSION(flows, DESCRIPTOR(ts, src), INTERVAL '1' HOUR)",
            "DESCRIPTOR takes one column: DESCRIPTOR(ts)".to_owned(),
        ),
        (
            "SESSION('flows', ts, INTERVAL '1' HOUR)",
            "\"'flows'\" is not a table; write TABLE t".to_owned(),
        ),
    ] {
        assert_eq!(refusal(from).await, format!("line 2, column 15: {why}"), "{from}");
    }
}

#[tokio::test]
async fn a_name_that_is_unknown_is_refused_where_it_stands() {
    let said = refusal("SESSION(flows PARTITION BY source, ts, INTERVAL '1' HOUR)").await;
    assert!(said.starts_with("line 2, column 42: "), "{said}");
    assert!(said.contains("source"), "{said}");
    let said = refusal("SESSION(flows, time, INTERVAL '1' HOUR)").await;
    assert!(said.starts_with("line 2, column 15: "), "{said}");
    assert!(said.contains("time"), "{said}");
}

#[tokio::test]
async fn partition_by_is_refused_where_no_window_takes_it() {
    let only =
        "takes no PARTITION BY, for its windows are the same for all rows; only SESSION does";
    for (from, said) in [
        (
            "TUMBLE(TABLE flows PARTITION BY src, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
            format!("column 34: TUMBLE {only}: TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset])"),
        ),
        (
            "hop(flows PARTITION BY src, ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR)",
            format!("column 25: HOP {only}: HOP(TABLE t, DESCRIPTOR(ts), slide, size [, offset])"),
        ),
        (
            "CUMULATE(flows PARTITION BY src, ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR)",
            format!(
                "column 30: CUMULATE {only}: CUMULATE(TABLE t, DESCRIPTOR(ts), step, size \
                 [, offset])"
            ),
        ),
    ] {
        assert_eq!(refusal(from).await, format!("line 2, {said}"), "{from}");
    }
    for (from, column) in [
        ("SESSION(flows, ts PARTITION BY src, INTERVAL '1' MINUTE)", 33),
        ("SESSION(PARTITION BY src, flows, ts, INTERVAL '1' MINUTE)", 23),
        ("SESSION(DATA => PARTITION BY src, ts, INTERVAL '1' MINUTE)", 31),
        ("SESSION(flows PARTITION BY src PARTITION BY src, ts, INTERVAL '1' MINUTE)", 46),
    ] {
        let expected = format!(
            "line 2, column {column}: PARTITION BY follows the table, once: \
             SESSION(TABLE t [PARTITION BY k, ...], DESCRIPTOR(ts), gap)"
        );
        assert_eq!(refusal(from).await, expected, "{from}");
    }
}

#[tokio::test]
async fn what_follows_a_rewritten_call_keeps_its_place() {
    let from = "SESSION(TABLE flows PARTITION BY src, ts, INTERVAL '5' MINUTE) WHERE )";
    let said = refusal(from).await;
    let column = "SELECT * FROM ".len() + from.len();
    assert!(said.starts_with(&format!("line 2, column {column}: ")), "{said}");
    let from = "SESSION(TABLE flows PARTITION BY src +, ts, INTERVAL '5' MINUTE)";
    let said = refusal(from).await;
    // The parser tries what else the argument could be, and tells of the place of BY.
    assert!(said.starts_with("line 2, column 45: "), "{said}");
}

#[tokio::test]
async fn a_table_with_a_column_of_a_window_is_told_to_rename_it() {
    for name in ["window_start", "window_end", "window_time"] {
        let from = format!("SESSION((SELECT ts, src AS {name} FROM flows), ts, INTERVAL '1' HOUR)");
        let expected =
            format!("line 2, column 15: the window's input has a column {name} already; rename it");
        assert_eq!(refusal(&from).await, expected);
    }
}
