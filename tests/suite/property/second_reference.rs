//! DuckDB as a second reference: what the first, DataFusion, gives for each step of a case, held to
//! what DuckDB gives. Rules of an optimizer that are wrong are wrong on both sides of a comparison of
//! DataFusion with itself.
//!
//! One process of Python answers all cases of a run, a line each. It is given the source rows and, for
//! each window, the rows with the windows that hold them, as they were listed by counting; everything
//! else it computes itself, in the words of the job wherever those are plain SQL.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use serde_json::{Value, json};

use super::super::binary::{interpreter, repository};
use super::reference::Step;

/// A running DuckDB.
pub struct SecondReference {
    running: Mutex<Running>,
}

struct Running {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl SecondReference {
    /// Starts it; none, and the reason printed, where no Python has DuckDB.
    pub fn start() -> Option<Self> {
        let mut child = Command::new(interpreter()?)
            .arg(repository().join("tests/python/duckdb_steps.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { running: Mutex::new(Running { child, questions, answers }) })
    }

    /// How many steps DuckDB answers as they were answered, or how its first other answer differs.
    pub fn compare(
        &self,
        sources: &[(&str, RecordBatch)],
        steps: &[Step],
        answers: &[RecordBatch],
    ) -> Result<u64, String> {
        let given = sources.iter().map(|(name, rows)| table(name, None, rows));
        let asked = steps.iter().zip(answers).map(|(step, rows)| match step {
            Step::Query { name, sql, said } => {
                table(name, Some(said.as_ref().unwrap_or(sql)), rows)
            }
            Step::Windows { name, .. } => table(name, None, rows),
        });
        let steps: Vec<Value> = given.chain(asked).collect();
        let answer = self.ask(&json!({ "steps": steps }));
        match (answer["compared"].as_u64(), answer["differs"].as_str()) {
            (Some(compared), _) => Ok(compared),
            (None, Some(differs)) => Err(format!("DuckDB has another answer\n{differs}")),
            (None, None) => panic!("{answer}"),
        }
    }

    fn ask(&self, question: &Value) -> Value {
        let mut running = self.running.lock().unwrap();
        writeln!(running.questions, "{question}").unwrap();
        let mut line = String::new();
        running.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends by itself with its input; a test that failed need not wait for that.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("DuckDB did not end: {error}");
        }
    }
}

fn table(name: &str, sql: Option<&String>, rows: &RecordBatch) -> Value {
    let schema = rows.schema();
    let columns: Vec<(&str, Vec<Value>)> = rows.columns().iter().map(values).collect();
    let named: Vec<Value> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, (kind, _))| json!([field.name(), kind]))
        .collect();
    let rows: Vec<Vec<&Value>> = (0..rows.num_rows())
        .map(|row| columns.iter().map(|(_, values)| &values[row]).collect())
        .collect();
    let mut table = json!({ "name": name, "columns": named, "rows": rows });
    if let Some(sql) = sql {
        table["sql"] = json!(sql);
    }
    table
}

/// The type that the script knows, and the values as JSON.
fn values(column: &ArrayRef) -> (&'static str, Vec<Value>) {
    let of = |kind: &DataType| cast(column, kind).unwrap();
    let listed = |array: &dyn Array, value: &dyn Fn(usize) -> Value| -> Vec<Value> {
        (0..array.len())
            .map(|row| if array.is_null(row) { Value::Null } else { value(row) })
            .collect()
    };
    match column.data_type() {
        DataType::Timestamp(..) => {
            let array = of(&DataType::Timestamp(TimeUnit::Microsecond, None));
            let times = array.as_primitive::<TimestampMicrosecondType>();
            ("time", listed(times, &|row| json!(times.value(row))))
        }
        DataType::Float64 => {
            let floats = column.as_primitive::<Float64Type>();
            // As text, for JSON has neither infinity nor NaN.
            ("double", listed(floats, &|row| json!(floats.value(row).to_string())))
        }
        DataType::Boolean => {
            let booleans = column.as_boolean();
            ("boolean", listed(booleans, &|row| json!(booleans.value(row))))
        }
        // A BIGINT with an unsigned one.
        kind if kind.is_integer() || matches!(kind, DataType::Decimal128(_, 0)) => {
            let array = of(&DataType::Int64);
            let integers = array.as_primitive::<Int64Type>();
            ("bigint", listed(integers, &|row| json!(integers.value(row))))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let array = of(&DataType::Utf8);
            let texts = array.as_string::<i32>();
            ("varchar", listed(texts, &|row| json!(texts.value(row))))
        }
        other => panic!("the second reference has no {other}"),
    }
}
