//! Expressions around the event time in GROUP BY: what is taken for a window gives what the expression
//! gives row by row, and what is none is refused. Clocks change in Berlin in the night that the rows are
//! of, and some are of before 1970, where whole seconds are cut the other way.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::prelude::SessionContext;
use tidegauge::runtime::CompiledJob;
use tidegauge_spec::JobSpec;

use super::harness::{published_rows, run_drained, scratch, sorted_text, write_job};

const TIMES: [&str; 12] = [
    "1969-12-28T23:59:59.500000Z",
    "1969-12-31T23:59:59.500000Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2026-03-28T22:59:59.999999Z",
    "2026-03-28T23:00:00Z",
    "2026-03-29T00:59:59.999500Z",
    "2026-03-29T01:00:00Z",
    "2026-03-29T05:15:00.250000Z",
    "2026-03-29T21:59:59Z",
    "2026-03-29T22:00:00Z",
    "2026-03-30T00:00:00.000001Z",
];

/// What is said of a key.
enum Verdict {
    /// It is a window.
    Window,
    /// It is none, for a reason of these words.
    Refused(&'static str),
}
use Verdict::{Refused, Window};

const LOCAL: &str = "windows are of UTC, and a day or an hour of 'Europe/Berlin' is another";
const NEEDED: &str = "needs a window";

const KEYS: [(&str, Verdict); 27] = [
    ("date_trunc('day', ts)", Window),
    ("date_trunc('week', ts)", Window),
    ("date_trunc('second', ts)", Window),
    ("date_trunc('day', ts AT TIME ZONE 'UTC')", Window),
    ("date_trunc('hour', CAST(ts AS TIMESTAMP))", Window),
    ("date_trunc('hour', CAST(ts AS TIMESTAMP(6)))", Window),
    ("date_bin(INTERVAL '1 day', ts)", Window),
    ("date_bin(INTERVAL '1 day', ts, TIMESTAMP '2026-01-01T05:00:00')", Window),
    ("CAST(date_trunc('day', ts) AS TIMESTAMP(0))", Window),
    ("CAST(date_trunc('hour', ts) AS TIMESTAMP(3))", Window),
    ("date_trunc('day', ts) AT TIME ZONE 'UTC'", Window),
    ("date_trunc('day', ts AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')", Refused(LOCAL)),
    ("date_trunc('day', ts AT TIME ZONE 'Europe/Berlin')", Refused(LOCAL)),
    ("date_trunc('day', ts) AT TIME ZONE 'Europe/Berlin'", Refused(LOCAL)),
    ("date_trunc('day', ts AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'UTC')", Refused(LOCAL)),
    (
        "date_bin(INTERVAL '1 day', ts AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
        Refused(LOCAL),
    ),
    (
        "date_bin(INTERVAL '1 day', ts, TIMESTAMP '2026-01-01T00:00:00' AT TIME ZONE 'Europe/Berlin')",
        Refused("is no window, for windows are of UTC"),
    ),
    (
        "date_trunc('day', to_local_time(ts AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'))",
        Refused(LOCAL),
    ),
    (
        "date_trunc('minute', CAST(ts AS TIMESTAMP(0)))",
        Refused(
            "GROUP BY date_trunc('minute', CAST(ts AS TIMESTAMP(0))) over the stream t needs a window, for without one its groups are never complete; write GROUP BY date_trunc('minute', ts)",
        ),
    ),
    ("CAST(date_trunc('millisecond', ts) AS TIMESTAMP(0))", Refused(NEEDED)),
    ("date_trunc('minute', arrow_cast(ts, 'Timestamp(Second, None)'))", Refused(NEEDED)),
    ("date_trunc('minute', to_timestamp_seconds(ts))", Refused(NEEDED)),
    ("date_trunc('day', ts + INTERVAL '1' HOUR)", Refused(NEEDED)),
    ("date_trunc('week', CAST(ts AS DATE))", Refused(NEEDED)),
    ("date_trunc('hour', date_trunc('minute', ts))", Refused(NEEDED)),
    ("CAST(date_trunc('day', ts) AS DATE)", Refused(NEEDED)),
    // A window beside it makes a key of what is none.
    (
        "date_bin(INTERVAL '15 minutes', ts), date_trunc('day', ts AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
        Window,
    ),
];

/// The query, with the keys under names of their own.
fn query(key: &str) -> String {
    // A comma outside of brackets and quotes is between two keys.
    let keys: Vec<&str> = key.split(", date_trunc('day', ts AT TIME ZONE 'UTC' AT").collect();
    let named = match keys.as_slice() {
        [window, _] => format!("{window} AS w, {} AS l", &key[window.len() + 2..]),
        _ => format!("{key} AS w"),
    };
    format!("SELECT {named}, count(*) AS n, min(ts) AS first FROM t GROUP BY {key}")
}

/// What plain DataFusion answers over the rows.
async fn at_once(sql: &str) -> Vec<String> {
    let context = SessionContext::new();
    let times: TimestampMicrosecondArray = TIMES
        .iter()
        .map(|text| {
            let time: chrono::DateTime<chrono::Utc> = text.parse().unwrap();
            Some(time.timestamp_micros())
        })
        .collect();
    let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = Schema::new(vec![Field::new("ts", kind, true)]);
    let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(times)]).unwrap();
    context.register_batch("t", rows).unwrap();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut batches = Vec::new();
    for batch in context.sql(sql).await.unwrap().collect().await.unwrap() {
        let columns = batch.columns().iter().map(|column| match column.data_type() {
            DataType::Timestamp(..) => cast(column, &utc).unwrap(),
            _ => Arc::clone(column),
        });
        let columns: Vec<ArrayRef> = columns.collect();
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().clone()).zip(columns);
        batches.push(RecordBatch::try_from_iter(names).unwrap());
    }
    sorted_text(&batches)
}

#[tokio::test]
async fn a_key_around_the_event_time_is_its_window_or_refused() {
    let mut wrong = Vec::new();
    for (key, verdict) in KEYS {
        let sql = query(key);
        let folder = scratch();
        let place = folder.path().display();
        let yaml = format!(
            "name: local\nsources:\n  t:\n    location: {place}/t/\n    format: json\n    schema: {{ts: \
             TIMESTAMP}}\n    event_time: {{column: ts, delay: 1s, future_max: 36500d}}\nsinks:\n  out: \
             {{location: {place}/out/}}\nstate: {{location: {place}/state/}}"
        );
        let job = write_job(folder.path(), &yaml, &format!("INSERT INTO out {sql};"));
        let compiled = CompiledJob::new(JobSpec::load(&job, &|_| None).unwrap()).await;
        match (compiled, verdict) {
            (Ok(_), Window) => {
                std::fs::create_dir_all(folder.path().join("t")).unwrap();
                let rows = TIMES.map(|ts| format!("{{\"ts\": \"{ts}\"}}\n")).concat();
                std::fs::write(folder.path().join("t/a.json"), rows).unwrap();
                run_drained(&job).await;
                let (shown, right) = (published_rows(&job, "out").await, at_once(&sql).await);
                if shown != right {
                    wrong.push(format!("{key}\n  gives {shown:?}\n  not   {right:?}"));
                }
            }
            (Ok(_), Refused(_)) => wrong.push(format!("{key}\n  is taken for a window")),
            (Err(bad), Window) => wrong.push(format!("{key}\n  is refused: {bad}")),
            (Err(bad), Refused(words)) => {
                let said = bad.to_string();
                if !said.contains(words) {
                    wrong.push(format!("{key}\n  says  {said}\n  not   {words}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
