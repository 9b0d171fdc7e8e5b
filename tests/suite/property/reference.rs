//! The reference: plain SQL over tables, and rows joined with windows that `windows.rs` lists.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidegauge::sql::ValueRule;

use super::lateness::Lateness;
use super::windows::Family;

/// One table of the reference, made of those before it.
#[derive(Debug, Clone)]
pub enum Step {
    /// The answer of a query; `said` is the job's text of it, where that is plain SQL and another.
    Query { name: String, sql: String, said: Option<String> },
    /// The rows of a table once for each window that holds them.
    Windows {
        name: String,
        input: String,
        time: String,
        /// What is added to the time first.
        shift_us: i64,
        family: Family,
        partition: Vec<String>,
        /// The sources that the windows wait for, where a row of theirs may be late.
        waits_for: &'static [&'static str],
    },
}

/// Tables that grow step by step.
pub struct Reference {
    context: SessionContext,
    lateness: Lateness,
}

impl Reference {
    pub fn new(sources: Vec<(&str, RecordBatch)>, lateness: Lateness) -> Self {
        let config = SessionConfig::new().with_target_partitions(1);
        let mut state =
            SessionStateBuilder::new_with_default_features().with_config(config).build();
        // DataFusion's own answers about NaN and infinities depend on the order of rows.
        state.add_analyzer_rule(Arc::new(ValueRule::over_any()));
        let context = SessionContext::new_with_state(state);
        for function in tidegauge_udfs::all_scalars() {
            context.register_udf(function);
        }
        for function in tidegauge_udfs::all_aggregates() {
            context.register_udaf(function);
        }
        let reference = Self { context, lateness };
        for (name, batch) in sources {
            reference.register(name, batch);
        }
        reference
    }

    /// Makes the tables of `steps`, and gives them in their order.
    pub async fn run(&self, steps: &[Step]) -> Vec<RecordBatch> {
        let mut made = Vec::with_capacity(steps.len());
        for step in steps {
            let (name, rows) = match step {
                Step::Query { name, sql, .. } => (name, self.query(sql).await),
                Step::Windows { name, input, time, shift_us, family, partition, waits_for } => {
                    let rows = self.query(&format!("SELECT * FROM {input}")).await;
                    let mut times: Vec<i64> = column(&rows, time)
                        .as_primitive::<TimestampMicrosecondType>()
                        .values()
                        .to_vec();
                    times.iter_mut().for_each(|time| *time += shift_us);
                    let closed = self.closed(&rows, waits_for);
                    let windows = family.assign(&times, &groups(&rows, partition), &closed);
                    (name, expanded(&rows, &windows))
                }
            };
            self.register(name, rows.clone());
            made.push(rows);
        }
        made
    }

    /// The answer of `sql`, its times in UTC, as a sink has them.
    pub async fn answer(&self, sql: &str) -> RecordBatch {
        let rows = self.query(sql).await;
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let columns: Vec<ArrayRef> = rows
            .columns()
            .iter()
            .map(|column| match column.data_type() {
                DataType::Timestamp(_, None) => cast(column, &utc).unwrap(),
                _ => Arc::clone(column),
            })
            .collect();
        let fields: Vec<Field> = rows
            .schema()
            .fields()
            .iter()
            .zip(&columns)
            .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    /// Of `rows`, a sink's whose windows may have been written several times, those of each window's
    /// last time. Windows that `view`, the right answer, has no row of are left out: that all rows
    /// of a window have gone is not written.
    pub async fn last_revisions(
        &self,
        rows: RecordBatch,
        view: &str,
        window: &[&str],
    ) -> RecordBatch {
        let schema = rows.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let columns: Vec<&str> = names.filter(|name| *name != "_revision").collect();
        let sink = format!("{view}_written");
        self.register(&sink, rows);
        let same: Vec<String> =
            window.iter().map(|column| format!("a.{column} = w.{column}")).collect();
        self.answer(&format!(
            "SELECT {} FROM (SELECT *, max(_revision) OVER (PARTITION BY {}) AS last FROM {sink}) AS w \
             WHERE _revision = last AND EXISTS (SELECT 1 FROM {view} AS a WHERE {})",
            columns.join(", "),
            window.join(", "),
            same.join(" AND ")
        ))
        .await
    }

    async fn query(&self, sql: &str) -> RecordBatch {
        let frame = self.context.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let declared = Arc::new(frame.schema().as_arrow().clone());
        let rows = frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        // Types that were made to agree may be wider than those that the plan began with.
        let schema = rows.first().map_or(declared, RecordBatch::schema);
        concat_batches(&schema, &rows).unwrap()
    }

    fn register(&self, name: &str, batch: RecordBatch) {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        self.context.register_table(name, Arc::new(table)).unwrap();
    }

    fn closed(&self, rows: &RecordBatch, waits_for: &[&str]) -> Vec<i64> {
        if waits_for.is_empty() {
            return vec![i64::MIN; rows.num_rows()];
        }
        let ids = column(rows, "id").as_primitive::<Int64Type>().values();
        ids.iter().map(|id| self.lateness.closed_us(waits_for, *id)).collect()
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    rows.column_by_name(name).unwrap_or_else(|| panic!("{name} of {}", rows.schema()))
}

fn groups(rows: &RecordBatch, partition: &[String]) -> Vec<Vec<Option<String>>> {
    let options = FormatOptions::default();
    let columns: Vec<&ArrayRef> = partition.iter().map(|name| column(rows, name)).collect();
    let text = |column: &ArrayRef, row: usize| {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
        column.is_valid(row).then(|| formatter.value(row).to_string())
    };
    (0..rows.num_rows())
        .map(|row| columns.iter().map(|column| text(column, row)).collect())
        .collect()
}

fn expanded(rows: &RecordBatch, windows: &[(usize, i64, i64)]) -> RecordBatch {
    let positions: UInt32Array =
        windows.iter().map(|(row, ..)| u32::try_from(*row).unwrap()).collect::<Vec<_>>().into();
    let taken = take_record_batch(rows, &positions).unwrap();
    let times = |of: &dyn Fn(&(usize, i64, i64)) -> i64| -> ArrayRef {
        Arc::new(
            windows.iter().map(|window| Some(of(window))).collect::<TimestampMicrosecondArray>(),
        )
    };
    let mut fields: Vec<Arc<Field>> = taken.schema().fields().iter().cloned().collect();
    let mut columns = taken.columns().to_vec();
    for (name, values) in [
        ("window_start", times(&|window| window.1)),
        ("window_end", times(&|window| window.2)),
        ("window_time", times(&|window| window.2 - 1_000)),
    ] {
        fields.push(Arc::new(Field::new(name, values.data_type().clone(), true)));
        columns.push(values);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}
