//! What is said of rows whose expressions cannot be computed: how many they are, and the first one
//! with its window, its columns as the query has them, and its error.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::Result;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, to_datafusion};
use crate::sql::WindowShape;

/// More of one value than this is not shown.
const VALUE_CHARS_MAX: usize = 80;
/// More columns than these are not shown.
const COLUMNS_MAX: usize = 16;

/// What becomes of rows that fail: YAML `on_error`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// They are left out, and counted.
    #[default]
    Skip,
    /// The epoch fails.
    Fail,
}

/// Rows that failed in the plans of one query.
#[derive(Debug, Clone, Default)]
pub struct RowReports(Arc<Mutex<Reported>>);

/// How many rows failed, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Rows that were left out.
    pub rows: u64,
    /// One of them, with its error.
    pub example: Option<String>,
}

impl RowReports {
    /// Takes in that `rows` failed, one of which `example` describes.
    ///
    /// # Errors
    /// Where such rows fail the epoch.
    pub fn add(&self, policy: Policy, rows: u64, example: impl FnOnce() -> String) -> Result<()> {
        if policy == Policy::Fail {
            return Err(to_datafusion(Error::bad_record(example())));
        }
        let mut reported = self.0.lock();
        reported.rows += rows;
        reported.example.get_or_insert_with(example);
        Ok(())
    }

    /// What was told so far; it is told anew from here on.
    pub fn take(&self) -> Reported {
        std::mem::take(&mut self.0.lock())
    }
}

impl Reported {
    /// Takes in what was told elsewhere.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.example = self.example.take().or(other.example);
    }
}

/// What the columns of a row are called; those that are not named here have their own names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowNames {
    /// By position.
    pub columns: Vec<ColumnName>,
}

/// What one column is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnName {
    /// By a text.
    Named(String),
    /// It is the mark of a window of this shape.
    Window(WindowShape),
}

impl RowNames {
    /// The row at `row` of `batch`: its window and its values.
    pub fn describe(&self, batch: &RecordBatch, row: usize) -> String {
        let schema = batch.schema();
        let columns = batch.columns().iter().zip(schema.fields()).enumerate();
        let mut parts: Vec<String> = columns
            .take(COLUMNS_MAX)
            .map(|(at, (column, field))| match self.columns.get(at) {
                Some(ColumnName::Window(shape)) => window_text(shape, column, row),
                Some(ColumnName::Named(name)) => format!("{name} = {}", value_text(column, row)),
                None => format!("{} = {}", field.name(), value_text(column, row)),
            })
            .collect();
        let more = batch.num_columns().saturating_sub(COLUMNS_MAX);
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        parts.join(", ")
    }
}

fn window_text(shape: &WindowShape, column: &ArrayRef, row: usize) -> String {
    let times = column.as_primitive_opt::<TimestampMicrosecondType>();
    let Some(mark_us) = times.filter(|times| times.is_valid(row)).map(|times| times.value(row))
    else {
        return "no window".to_owned();
    };
    let (start, end) = (time_text(shape.start_of(mark_us)), time_text(shape.end_of(mark_us)));
    format!("window {start} to {end}")
}

fn time_text(us: i64) -> String {
    match DateTime::from_timestamp_micros(us) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => us.to_string(),
    }
}

fn value_text(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    let text = array_value_to_string(column, row).unwrap_or_else(|error| error.to_string());
    // What came with a row must not drive a terminal.
    let mut shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if shown.chars().any(char::is_control) {
        shown = shown.escape_debug().to_string();
    }
    if text.chars().nth(VALUE_CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
