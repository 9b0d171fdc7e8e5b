//! Drawn queries: the same question as a job asks it, in any of the window forms, and as plain
//! SQL over rows that were joined with a list of windows.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::table::DrawnTable;

/// How the job spells its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Flink,
    FlinkBare,
    FlinkNamed,
    RisingWave,
    Arroyo,
    DateTrunc,
    DateBin,
}

/// What stands above the aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Nothing,
    Having,
    TopN,
    Share,
    OrderBy,
    Again,
    Distinct,
    Joined,
    Union,
}

/// A question about the rows of each window.
#[derive(Debug, Clone)]
pub struct DrawnQuery {
    form: Form,
    size_s: i64,
    slide_s: i64,
    offset_s: i64,
    keys: Vec<&'static str>,
    sets: bool,
    aggregates: Vec<&'static str>,
    condition: Option<&'static str>,
    above: Above,
    /// Reads the window's columns in an aggregate, so that panes cannot be used.
    reads_window: bool,
}

const AGGREGATES: [&str; 26] = [
    "count(*)",
    "count(x)",
    "sum(x)",
    "min(x)",
    "max(d)",
    "avg(x)",
    "sum(f)",
    "avg(f)",
    "count(DISTINCT d)",
    "count(DISTINCT x)",
    "sum(DISTINCT x)",
    "median(x)",
    "median(f)",
    "bit_xor(x)",
    "bool_or(x > 2)",
    "approx_distinct(x)",
    "string_agg(d, ',' ORDER BY id)",
    "first_value(x ORDER BY ts, id)",
    "last_value(d ORDER BY ts DESC, id)",
    "array_to_string(array_agg(x ORDER BY id), ',')",
    "array_to_string(array_sort(array_agg(DISTINCT d)), ',')",
    "count(*) FILTER (WHERE x > 0)",
    "sum(f) FILTER (WHERE d = 'u' AND x IS NOT NULL)",
    // The offset keeps the rounding away from values that are halves in exact arithmetic, where
    // the last bit of a floating sum would decide.
    "CAST(round(var_pop(f) * 10000 + 0.123456789) AS BIGINT)",
    "mad(x)",
    "entropy(d)",
];

pub fn drawn_query() -> impl Strategy<Value = DrawnQuery> {
    let form = prop_oneof![
        Just(Form::Flink),
        Just(Form::FlinkBare),
        Just(Form::FlinkNamed),
        Just(Form::RisingWave),
        Just(Form::Arroyo),
        Just(Form::DateTrunc),
        Just(Form::DateBin),
    ];
    let sizes = prop_oneof![
        2 => Just((600_i64, 600_i64)),
        1 => Just((600, 120)),
        1 => Just((60, 60)),
        1 => Just((10, 10)),
        1 => Just((7, 7)),
        1 => Just((60, 20)),
        1 => Just((30, 10)),
        1 => Just((25, 10)),
        1 => Just((10, 25)),
        1 => Just((60, 7)),
    ];
    let keys = prop_oneof![
        Just(vec![]),
        Just(vec!["k"]),
        Just(vec!["k", "d"]),
        Just(vec!["x % 3"]),
        Just(vec!["upper(k)"]),
    ];
    let condition = prop_oneof![
        3 => Just(None),
        1 => Just(Some("x > 0")),
        1 => Just(Some("k = 'a' OR d IN ('u', 'v')")),
        1 => Just(Some("f < 0 AND x IS NOT NULL")),
        1 => Just(Some("1 = 0")),
    ];
    let above = prop_oneof![
        3 => Just(Above::Nothing),
        1 => Just(Above::Having),
        1 => Just(Above::TopN),
        1 => Just(Above::Share),
        1 => Just(Above::OrderBy),
        1 => Just(Above::Again),
        1 => Just(Above::Distinct),
        1 => Just(Above::Joined),
        1 => Just(Above::Union),
    ];
    let aggregates = proptest::sample::subsequence(AGGREGATES.to_vec(), 0..4);
    let flags = (proptest::bool::weighted(0.2), proptest::bool::weighted(0.2));
    (form, sizes, -6_i64..7, keys, aggregates, condition, above, flags).prop_map(
        |(form, (size_s, slide_s), offset_s, keys, aggregates, condition, above, flags)| {
            let (sets, reads_window) = flags;
            let query = DrawnQuery {
                form,
                size_s,
                slide_s,
                offset_s,
                sets: sets && keys.len() > 1,
                keys,
                aggregates,
                condition,
                above,
                reads_window,
            };
            query.consistent()
        },
    )
}

impl DrawnQuery {
    /// Takes back what the drawn form cannot say.
    fn consistent(mut self) -> Self {
        self.offset_s %= self.slide_s;
        match self.form {
            Form::RisingWave | Form::Arroyo => self.offset_s = 0,
            Form::DateTrunc => (self.size_s, self.slide_s, self.offset_s) = (60, 60, 0),
            Form::DateBin => self.slide_s = self.size_s,
            _ => {}
        }
        self.offset_s %= self.slide_s;
        self.reads_window &= self.is_table_function();
        self
    }

    fn is_table_function(&self) -> bool {
        matches!(self.form, Form::Flink | Form::FlinkBare | Form::FlinkNamed | Form::RisingWave)
    }

    /// The query as a job writes it.
    pub fn job_sql(&self) -> String {
        let relation = self.relation();
        let (start, end) = match self.form {
            Form::Arroyo => (self.arroyo(), None),
            Form::DateTrunc => ("date_trunc('minute', ts)".to_owned(), None),
            Form::DateBin => {
                let origin = chrono::DateTime::from_timestamp(self.offset_s, 0).unwrap();
                let origin = origin.format("%Y-%m-%d %H:%M:%S");
                let (size, zero) = (self.interval(self.size_s), "TIMESTAMP");
                (format!("date_bin({size}, ts, {zero} '{origin}')"), None)
            }
            _ => ("window_start".to_owned(), Some("window_end")),
        };
        let inner = self.grouped(&relation, &start, end);
        // An Arroyo window is a struct of which the start is compared.
        let inner = match self.form {
            Form::Arroyo => {
                let names = self.output_names().join(", ");
                format!(
                    "SELECT w.start AS w{names_sep}{names} FROM ({inner})",
                    names_sep = if names.is_empty() { "" } else { ", " }
                )
            }
            _ => inner,
        };
        format!("CREATE VIEW v AS {inner};\nINSERT INTO out {};", self.topped("v"))
    }

    /// The same question as plain SQL over the joined rows.
    pub fn reference_sql(&self) -> String {
        let relation = "(SELECT rows.*, windows.ws AS window_start, windows.we AS window_end \
                        FROM rows JOIN windows ON rows.ts >= windows.ws AND rows.ts < windows.we)";
        let end = self.is_table_function().then_some("window_end");
        let inner = self.grouped(relation, "window_start", end);
        // A job writes its timestamps in UTC.
        let sql = format!("WITH v AS ({inner}) {}", self.topped("v"));
        format!(
            "SELECT * REPLACE (arrow_cast(w, 'Timestamp(Microsecond, Some(\"UTC\"))') AS w) FROM ({sql})"
        )
    }

    /// Every window that may hold a row, found by counting.
    pub fn windows(&self, table: &DrawnTable) -> RecordBatch {
        let (size, slide) = (self.size_s * 1_000_000, self.slide_s * 1_000_000);
        let first = table.rows.iter().map(|row| row.ts_us).min().unwrap_or(0);
        let last = table.rows.iter().map(|row| row.ts_us).max().unwrap_or(0);
        let mut start = self.offset_s * 1_000_000;
        while start > first - size - slide {
            start -= slide;
        }
        while start + slide <= first - size {
            start += slide;
        }
        let mut starts = Vec::new();
        while start <= last {
            starts.push(start);
            start += slide;
        }
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema =
            Schema::new(vec![Field::new("ws", time.clone(), false), Field::new("we", time, false)]);
        let ends: Vec<i64> = starts.iter().map(|start| start + size).collect();
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(TimestampMicrosecondArray::from(starts)),
                Arc::new(TimestampMicrosecondArray::from(ends)),
            ],
        )
        .unwrap()
    }

    /// The aggregate: `w`, the keys `k0...`, the aggregates `a0...`.
    fn grouped(&self, relation: &str, start: &str, end: Option<&str>) -> String {
        let mut columns = vec![format!("{start} AS w")];
        columns.extend(self.keys.iter().enumerate().map(|(at, key)| format!("{key} AS k{at}")));
        columns.extend(
            self.aggregates
                .iter()
                .enumerate()
                .map(|(at, aggregate)| format!("{aggregate} AS a{at}")),
        );
        if self.sets {
            columns.push(format!("grouping({}) AS g", self.keys[0]));
        }
        if self.reads_window {
            columns.push(
                "count(*) FILTER (WHERE ts < window_start + INTERVAL '5' SECOND) AS r".to_owned(),
            );
        }
        let mut keys = vec![start.to_owned()];
        keys.extend(end.map(str::to_owned));
        let by = if self.sets {
            let window = keys.join(", ");
            let all = self.keys.join(", ");
            format!("GROUPING SETS (({window}, {all}), ({window}, {}), ({window}))", self.keys[0])
        } else {
            keys.extend(self.keys.iter().map(|key| (*key).to_owned()));
            keys.join(", ")
        };
        let condition =
            self.condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        format!("SELECT {} FROM {relation}{condition} GROUP BY {by}", columns.join(", "))
    }

    /// What stands above the aggregate `view`.
    fn topped(&self, view: &str) -> String {
        let names = self.output_names();
        let all = std::iter::once("w".to_owned()).chain(names.iter().cloned());
        let all = all.collect::<Vec<_>>().join(", ");
        let last = names.last().cloned().unwrap_or_else(|| "w".to_owned());
        match self.above {
            Above::Nothing => format!("SELECT {all} FROM {view}"),
            Above::Having => format!("SELECT {all} FROM {view} WHERE {last} IS NOT NULL"),
            Above::OrderBy => format!("SELECT {all} FROM {view} ORDER BY {last} DESC, w"),
            Above::Distinct if names.is_empty() => format!("SELECT DISTINCT w FROM {view}"),
            Above::Distinct => format!("SELECT DISTINCT w, {last} AS l FROM {view}"),
            Above::TopN => format!(
                "SELECT {all} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY w ORDER BY {all}) AS n \
                 FROM {view}) WHERE n <= 2"
            ),
            Above::Share => format!(
                "SELECT {all}, count(*) OVER (PARTITION BY w) AS of_all, \
                 rank() OVER (PARTITION BY w ORDER BY {last}) AS r1 FROM {view}"
            ),
            Above::Again => {
                format!(
                    "SELECT w, count(*) AS c, count(DISTINCT {last}) AS l FROM {view} GROUP BY w"
                )
            }
            Above::Joined => format!(
                "SELECT a.w, a.c, count(*) AS n FROM (SELECT w, count(*) AS c FROM {view} GROUP BY w) AS a \
                 JOIN {view} AS b ON a.w = b.w GROUP BY a.w, a.c"
            ),
            Above::Union => format!(
                "SELECT {all} FROM {view} UNION ALL SELECT {all} FROM {view} WHERE {last} IS NULL"
            ),
        }
    }

    fn output_names(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..self.keys.len()).map(|at| format!("k{at}")).collect();
        names.extend((0..self.aggregates.len()).map(|at| format!("a{at}")));
        names.extend(self.sets.then(|| "g".to_owned()));
        names.extend(self.reads_window.then(|| "r".to_owned()));
        names
    }

    fn relation(&self) -> String {
        let (size, slide) = (self.interval(self.size_s), self.interval(self.slide_s));
        let offset = self.interval(self.offset_s);
        let is_tumble = self.size_s == self.slide_s;
        match (self.form, is_tumble) {
            (Form::Flink, true) => {
                format!("TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), {size}, {offset}))")
            }
            (Form::Flink, false) => {
                format!("TABLE(HOP(TABLE t, DESCRIPTOR(ts), {slide}, {size}, {offset}))")
            }
            (Form::FlinkBare, true) => format!("TUMBLE(TABLE t, DESCRIPTOR(ts), {size}, {offset})"),
            (Form::FlinkBare, false) => {
                format!("HOP(TABLE t, DESCRIPTOR(ts), {slide}, {size}, {offset})")
            }
            (Form::FlinkNamed, true) => format!(
                "TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => {size}, `OFFSET` => {offset}))"
            ),
            (Form::FlinkNamed, false) => format!(
                "TABLE(HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => {size}, SLIDE => {slide}, `OFFSET` => {offset}))"
            ),
            (Form::RisingWave, true) => format!("TUMBLE(t, ts, {size})"),
            (Form::RisingWave, false) => format!("HOP(t, ts, {slide}, {size})"),
            _ => "t".to_owned(),
        }
    }

    fn arroyo(&self) -> String {
        let (size, slide) = (self.interval(self.size_s), self.interval(self.slide_s));
        match self.size_s == self.slide_s {
            true => format!("tumble({size})"),
            false => format!("hop({slide}, {size})"),
        }
    }

    fn interval(&self, seconds: i64) -> String {
        match self.form {
            Form::RisingWave => format!("INTERVAL '{seconds} seconds'"),
            _ => format!("INTERVAL '{seconds}' SECOND"),
        }
    }
}
