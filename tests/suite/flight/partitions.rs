//! Sinks whose rows are in folders: whatever a value is, it comes back as it was, and a filter on
//! it finds it.

use std::fmt::Write as _;
use std::sync::Arc;

use tidegauge::service::flight::FlightSettings;

use super::super::harness::{scratch, write_job};
use super::service::{Server, TestJobs, ran_once, text};

const VALUES: [Option<&str>; 14] = [
    None,
    Some(""),
    Some(" "),
    Some("/"),
    Some("a/b=c"),
    Some("100%"),
    Some("%2F"),
    Some("."),
    Some(".."),
    Some("Zürich 東京"),
    Some("__HIVE_DEFAULT_PARTITION__"),
    Some("_hidden"),
    Some("it's"),
    Some("a\nb\\"),
];

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_folder_come_back_as_they_were() {
    let folder = scratch();
    let place = folder.path().display();
    std::fs::create_dir_all(folder.path().join("in")).unwrap();
    let mut rows = String::new();
    for (number, value) in VALUES.iter().enumerate() {
        let tenant = serde_json::to_string(value).unwrap();
        writeln!(rows, r#"{{"ts": "2026-01-01T00:00:00Z", "tenant": {tenant}, "n": {number}}}"#)
            .unwrap();
    }
    std::fs::write(folder.path().join("in/a.json"), rows).unwrap();
    let yaml = format!(
        "name: folders\nsources:\n  flows:\n    location: {place}/in/\n    format: json\n    \
         schema: {{ts: TIMESTAMP, tenant: VARCHAR, n: BIGINT}}\n    event_time: {{column: ts, \
         delay: 10s}}\nsinks:\n  texts: {{location: {place}/texts/, partition_by: [tenant]}}\n  \
         types: {{location: {place}/types/, partition_by: [day, even, n, half, at]}}\nstate: \
         {{location: {place}/state/}}"
    );
    let sql = "INSERT INTO texts SELECT tenant, n FROM flows;
        INSERT INTO types SELECT CASE WHEN n > 0 THEN CAST(ts AS DATE) END AS day, n % 2 = 0 AS even,
        n - 2 AS n, CAST(n AS DOUBLE) / 2 AS half, ts AS at, tenant AS value FROM flows WHERE n < 4";
    let job = ran_once(&write_job(folder.path(), &yaml, sql), false).await;
    let server = Server::start(Arc::new(TestJobs(vec![job])), FlightSettings::default()).await;
    let client = &mut server.client().await;
    for (number, value) in VALUES.iter().enumerate() {
        let wanted = match value {
            None => "tenant IS NULL".to_owned(),
            Some(value) => format!("tenant = '{}'", value.replace('\'', "''")),
        };
        let found = format!("SELECT n FROM texts WHERE {wanted}");
        assert_eq!(text(client, &found).await, [number.to_string()], "{value:?}");
    }
    assert_eq!(
        text(client, "SELECT day, even, n, half, at FROM types").await,
        [
            "2026-01-01 | false | -1 | 0.5 | 2026-01-01T00:00:00Z",
            "2026-01-01 | false | 1 | 1.5 | 2026-01-01T00:00:00Z",
            "2026-01-01 | true | 0 | 1.0 | 2026-01-01T00:00:00Z",
            "NULL | true | -2 | 0.0 | 2026-01-01T00:00:00Z",
        ]
    );
    for (wanted, count) in [
        ("day = DATE '2026-01-01'", "3"),
        ("day IS NULL", "1"),
        ("even", "2"),
        ("n < 0 AND NOT even", "1"),
        ("half BETWEEN 0.4 AND 1.2", "2"),
        ("at >= TIMESTAMP '2026-01-01T00:00:00Z'", "4"),
    ] {
        let counted = format!("SELECT count(*) FROM types WHERE {wanted}");
        assert_eq!(text(client, &counted).await, [count], "{wanted}");
    }
    server.finish().await;
}
