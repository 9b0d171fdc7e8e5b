//! Drawn tables: rows with event times around zero, in an order of arrival within the delay.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

/// The columns as a job declares them.
pub const SCHEMA: &str =
    "{ts: TIMESTAMP, id: BIGINT, k: VARCHAR, d: VARCHAR, x: BIGINT, f: DOUBLE}";
/// How far rows may come out of order.
pub const DELAY_MS: i64 = 10_000;

/// One row; `ts_us` is its event time.
#[derive(Debug, Clone)]
pub struct Row {
    pub ts_us: i64,
    pub id: i64,
    pub k: Option<&'static str>,
    pub d: Option<&'static str>,
    pub x: Option<i64>,
    pub f: Option<f64>,
}

/// Rows in order of arrival, and where the files are cut.
#[derive(Debug, Clone)]
pub struct DrawnTable {
    pub rows: Vec<Row>,
    pub cuts: Vec<usize>,
}

type RawRow = (i64, i64, Option<&'static str>, Option<&'static str>, Option<i64>, Option<f64>);

fn drawn_row() -> impl Strategy<Value = RawRow> {
    let k = prop_oneof![Just(None), Just(Some("a")), Just(Some("b")), Just(Some(""))];
    let d =
        proptest::option::weighted(0.9, prop_oneof![Just("u"), Just("v"), Just("w"), Just("é")]);
    let x = proptest::option::weighted(0.9, -5_i64..6);
    // Dyadic numbers, so that sums are exact in any order.
    let f = proptest::option::weighted(0.9, (-64_i32..64).prop_map(|n| f64::from(n) / 8.0));
    // Whole seconds are drawn often, because the boundaries of windows are.
    let step_ms = prop_oneof![Just(0_i64), 0_i64..500, Just(1_000), Just(10_000), 0_i64..40_000];
    (step_ms, 0..DELAY_MS, k, d, x, f)
}

/// Tables of up to eighty rows over a few minutes, beginning before 1970 or long after.
pub fn drawn_table() -> impl Strategy<Value = DrawnTable> {
    let begin_ms =
        prop_oneof![Just(-120_000_i64), Just(0), Just(1_767_225_600_000), -90_000_i64..0];
    let rows = proptest::collection::vec(drawn_row(), 0..80);
    let cuts = proptest::collection::vec(0_usize..80, 0..14);
    (begin_ms, rows, cuts).prop_map(|(begin_ms, rows, cuts)| arranged(begin_ms, &rows, cuts))
}

/// A row arrives at its event time and some part of the delay later.
fn arranged(begin_ms: i64, raw: &[RawRow], mut cuts: Vec<usize>) -> DrawnTable {
    let mut time_ms = begin_ms;
    let mut arrivals: Vec<(i64, Row)> = Vec::with_capacity(raw.len());
    for (id, (step_ms, late_ms, k, d, x, f)) in raw.iter().enumerate() {
        time_ms += step_ms;
        let id = i64::try_from(id).unwrap();
        let row = Row { ts_us: time_ms * 1_000, id, k: *k, d: *d, x: *x, f: *f };
        arrivals.push((time_ms + late_ms, row));
    }
    arrivals.sort_by_key(|(arrival, row)| (*arrival, row.id));
    let rows: Vec<Row> = arrivals.into_iter().map(|(_, row)| row).collect();
    cuts.iter_mut().for_each(|cut| *cut = (*cut).min(rows.len()));
    cuts.push(rows.len());
    cuts.sort_unstable();
    DrawnTable { rows, cuts }
}

impl DrawnTable {
    /// Writes the rows as JSON, a file for each cut; some files are empty.
    pub fn write_files(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let mut from = 0;
        for (at, &to) in self.cuts.iter().enumerate() {
            let text: String = self.rows[from..to].iter().map(Row::json).collect();
            std::fs::write(folder.join(format!("{at:03}.json")), text).unwrap();
            from = to;
        }
    }

    /// The rows as one batch.
    pub fn batch(&self) -> RecordBatch {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Schema::new(vec![
            Field::new("ts", time, true),
            Field::new("id", DataType::Int64, true),
            Field::new("k", DataType::Utf8, true),
            Field::new("d", DataType::Utf8, true),
            Field::new("x", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
        ]);
        let rows = &self.rows;
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(
                    rows.iter().map(|row| Some(row.ts_us)).collect::<TimestampMicrosecondArray>(),
                ),
                Arc::new(rows.iter().map(|row| Some(row.id)).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.k).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| row.d).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| row.x).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>()),
            ],
        )
        .unwrap()
    }
}

impl Row {
    fn json(&self) -> String {
        let time = chrono::DateTime::from_timestamp_micros(self.ts_us).unwrap();
        let ts = time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let row = serde_json::json!({
            "ts": ts, "id": self.id, "k": self.k, "d": self.d, "x": self.x, "f": self.f,
        });
        format!("{row}\n")
    }
}
