//! Statements that take what no bound of an operator sees: memory in windows, texts and joins, and
//! time in steps that never yield.

/// Each takes more memory or more time than a query has, or nearly.
pub(super) const HOSTILE: [&str; 11] = [
    // Batches that a window keeps.
    "SELECT max(s) FROM (SELECT sum(x) OVER (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND \
     UNBOUNDED FOLLOWING) AS s FROM generate_series(1, 50000000) AS t(x))",
    "SELECT max(n) FROM (SELECT ntile(7) OVER (PARTITION BY x % 2 ORDER BY x) AS n FROM \
     generate_series(1, 50000000) AS t(x))",
    // Texts that double.
    "WITH a AS (SELECT 'abcdefgh' AS s FROM generate_series(1, 4000)), b AS (SELECT \
     s||s||s||s||s||s||s||s AS s FROM a), c AS (SELECT s||s||s||s||s||s||s||s AS s FROM b), d AS \
     (SELECT s||s||s||s||s||s||s||s AS s FROM c), e AS (SELECT s||s||s||s||s||s||s||s AS s FROM d) \
     SELECT max(length(s)) FROM e",
    "WITH a AS (SELECT replace(replace('aaaaaaaaaaaaaaaa', 'a', 'bbbbbbbbbbbbbbbb'), 'b', \
     'cccccccccccccccccccccccccccccccc') AS s FROM generate_series(1, 100000)) SELECT \
     max(length(replace(s, 'c', 'dddddddddddddddd'))) FROM a",
    // Joins whose batches multiply.
    "SELECT count(*) FROM generate_series(1, 1000000) AS a(x), generate_series(1, 1000000) AS b(y) \
     WHERE (x * y) % 7 = 3",
    "SELECT max(a.x + b.y + c.z) FROM generate_series(1, 3000) AS a(x), generate_series(1, 3000) AS \
     b(y), generate_series(1, 3000) AS c(z)",
    // States of aggregates.
    "SELECT length(string_agg(CAST(x AS VARCHAR), ',')) FROM generate_series(1, 50000000) AS t(x)",
    "SELECT array_length(array_agg(x)) FROM generate_series(1, 100000000) AS t(x)",
    "SELECT count(DISTINCT x) FROM generate_series(1, 100000000) AS t(x)",
    // No end.
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    // The open windows of a long hop.
    "SELECT count(*), max(bytes) FROM live.minutes",
];

/// As deep as is let through.
pub(super) fn deep() -> String {
    format!("SELECT {}1{}", "(1 + ".repeat(40), ")".repeat(40)) + &" + 1".repeat(450)
}

/// Planning that takes long.
pub(super) fn many_joins() -> String {
    let mut sql = "SELECT count(*) FROM system.jobs AS j0".to_owned();
    for at in 1..120 {
        sql += &format!(" JOIN system.jobs AS j{at} ON j{at}.name = j{}.name", at - 1);
    }
    sql
}
