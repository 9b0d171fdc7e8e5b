//! Drawn tables: rows with event times around zero, in an order of arrival within the delay or, in
//! some tables, beyond it.

use std::fmt;
use std::ops::Range;
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
#[derive(Clone)]
pub struct DrawnTable {
    pub rows: Vec<Row>,
    pub cuts: Vec<usize>,
}

/// How much of what was drawn is taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub rows_max: usize,
    /// Whether some rows come later than the delay.
    pub lates: bool,
    /// The `id` of the first row.
    pub first_id: i64,
}

/// What a table is made of, once it is known how much of it is wanted.
#[derive(Debug, Clone)]
pub struct RawTable {
    begin_ms: i64,
    rows: Vec<RawRow>,
    cuts: Vec<usize>,
}

type RawRow = (
    (i64, i64, Option<i64>),
    (Option<&'static str>, Option<&'static str>, Option<i64>, Option<f64>),
);

fn drawn_row() -> impl Strategy<Value = RawRow> {
    let k = prop_oneof![Just(None), Just(Some("a")), Just(Some("b")), Just(Some(""))];
    let d =
        proptest::option::weighted(0.9, prop_oneof![Just("u"), Just("v"), Just("w"), Just("é")]);
    let x = proptest::option::weighted(0.9, -5_i64..6);
    // Dyadic numbers, so that sums are exact in any order, and what has an order of its own.
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    let f = prop_oneof![
        16 => (-64_i32..64).prop_map(|n| f64::from(n) / 8.0),
        1 => proptest::sample::select(odd.to_vec()),
    ];
    let f = proptest::option::weighted(0.9, f);
    // Whole seconds are drawn often, because the boundaries of windows are, and gaps of sessions.
    let step_ms =
        prop_oneof![Just(0_i64), 0_i64..500, Just(1_000), Just(10_000), Just(5_000), 0_i64..40_000];
    let late_ms = proptest::option::weighted(0.2, 0_i64..100_000);
    ((step_ms, 0..DELAY_MS, late_ms), (k, d, x, f))
}

/// Tables of up to eighty rows over a few minutes, beginning before 1970 or long after.
pub fn raw_table() -> impl Strategy<Value = RawTable> {
    let begin_ms =
        prop_oneof![Just(-120_000_i64), Just(0), Just(1_767_225_600_000), -90_000_i64..0];
    let rows = prop_oneof![
        2 => proptest::collection::vec(drawn_row(), 0..80),
        1 => proptest::collection::vec(drawn_row(), 0..12),
    ];
    let cuts = proptest::collection::vec(0_usize..80, 0..12);
    (begin_ms, rows, cuts).prop_map(|(begin_ms, rows, cuts)| RawTable { begin_ms, rows, cuts })
}

impl RawTable {
    /// Begins when `other` does.
    pub fn begin_with(&mut self, other: &Self) {
        self.begin_ms = other.begin_ms;
    }

    /// A row arrives at its event time and some part of the delay later.
    pub fn arranged(&self, limits: Limits) -> DrawnTable {
        let mut time_ms = self.begin_ms;
        let mut arrivals: Vec<(i64, Row)> = Vec::with_capacity(self.rows.len());
        let rows = (limits.first_id..).zip(self.rows.iter().take(limits.rows_max));
        for (id, ((step_ms, delay_ms, late_ms), (k, d, x, f))) in rows {
            time_ms += step_ms;
            let late_ms = late_ms.filter(|_| limits.lates).unwrap_or_default();
            let row = Row { ts_us: time_ms * 1_000, id, k: *k, d: *d, x: *x, f: *f };
            arrivals.push((time_ms + delay_ms + late_ms, row));
        }
        arrivals.sort_by_key(|(arrival, row)| (*arrival, row.id));
        let rows: Vec<Row> = arrivals.into_iter().map(|(_, row)| row).collect();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|cut| (*cut).min(rows.len())).collect();
        cuts.push(rows.len());
        cuts.sort_unstable();
        DrawnTable { rows, cuts }
    }
}

impl DrawnTable {
    /// How many files it is.
    pub fn files(&self) -> usize {
        self.cuts.len()
    }

    /// The files of the `portion`th of `portions` parts of the table.
    pub fn files_of(&self, portion: usize, portions: usize) -> Range<usize> {
        self.files() * portion / portions..self.files() * (portion + 1) / portions
    }

    pub fn rows_of(&self, file: usize) -> &[Row] {
        let from = if file == 0 { 0 } else { self.cuts[file - 1] };
        &self.rows[from..self.cuts[file]]
    }

    /// Writes some files of rows as JSON; some are empty.
    pub fn write_files(&self, folder: &Path, files: Range<usize>) {
        std::fs::create_dir_all(folder).unwrap();
        for file in files {
            let text: String = self.rows_of(file).iter().map(Row::json).collect();
            std::fs::write(folder.join(format!("{file:03}.json")), text).unwrap();
        }
    }

    /// Appends some files of rows to those that are there, a file to a file, in their order.
    pub fn append_files(&self, folder: &Path, files: Range<usize>) {
        use std::io::Write as _;
        std::fs::create_dir_all(folder).unwrap();
        for (at, file) in files.enumerate() {
            let text: String = self.rows_of(file).iter().map(Row::json).collect();
            let path = folder.join(format!("{at:03}.json"));
            let mut grown = std::fs::File::options().create(true).append(true).open(path).unwrap();
            grown.write_all(text.as_bytes()).unwrap();
        }
    }

    /// The same rows, those of each of `portions` parts a day after those of the part before, so
    /// that no window holds rows of two.
    pub fn a_day_apart(mut self, portions: usize) -> Self {
        for (portion, days_us) in (0..portions).zip((0..).step_by(86_400_000_000)) {
            for file in self.files_of(portion, portions) {
                let from = if file == 0 { 0 } else { self.cuts[file - 1] };
                let rows = &mut self.rows[from..self.cuts[file]];
                rows.iter_mut().for_each(|row| row.ts_us += days_us);
            }
        }
        self
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

/// The rows of each file, a file after the other.
impl fmt::Display for DrawnTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in 0..self.files() {
            writeln!(f, "file {file}")?;
            self.rows_of(file).iter().try_for_each(|row| write!(f, "{}", row.json()))?;
        }
        Ok(())
    }
}

impl Row {
    fn json(&self) -> String {
        let time = chrono::DateTime::from_timestamp_micros(self.ts_us).unwrap();
        let ts = time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        // JSON has no number for these.
        let f = match self.f {
            Some(f) if !f.is_finite() => serde_json::json!(f.to_string()),
            f => serde_json::json!(f),
        };
        let row = serde_json::json!({
            "ts": ts, "id": self.id, "k": self.k, "d": self.d, "x": self.x, "f": f,
        });
        format!("{row}\n")
    }
}
