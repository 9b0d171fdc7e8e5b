//! The logical node that stands for `TUMBLE(...)` and `HOP(...)` in FROM: its input's rows with
//! `window_start`, `window_end` and `window_time` beside them, once for each window.
//!
//! The planner of `plan/` replaces it when it cuts a query; it never reaches a physical plan.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ExprSchema, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::windows::Windows;

/// The name of the column that holds a window's first instant.
pub const WINDOW_START: &str = "window_start";
/// The name of the column that holds the first instant after a window.
pub const WINDOW_END: &str = "window_end";
/// The name of the column that holds a window's last millisecond, the event time of its rows.
pub const WINDOW_TIME: &str = "window_time";

/// The type of every event time and window boundary: microseconds, UTC by meaning.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Rows of `input`, assigned to windows by the time in `time`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowNode {
    /// The relation whose rows are assigned.
    pub input: LogicalPlan,
    /// The column of `input` that holds the event time.
    pub time: Column,
    /// The windows.
    pub windows: Windows,
    /// For sessions, the columns whose values have sessions of their own.
    pub partition: Vec<Column>,
    schema: DFSchemaRef,
}

impl WindowNode {
    /// Appends the three window columns to `input`.
    ///
    /// # Errors
    /// When `time` is not a timestamp of `input`, or `input` has a column of one of the names.
    pub fn try_new(
        input: LogicalPlan,
        time: Column,
        windows: Windows,
        partition: Vec<Column>,
    ) -> Result<Self> {
        let field = input.schema().field_from_column(&time)?;
        if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
            return plan_err!(
                "{} is {}, not a timestamp; windows need one",
                time,
                field.data_type()
            );
        }
        let mut fields: Vec<_> = input
            .schema()
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        for name in [WINDOW_START, WINDOW_END, WINDOW_TIME] {
            if fields.iter().any(|(_, field)| field.name() == name) {
                return plan_err!("the window's input has a column {name} already; rename it");
            }
            fields.push((None, Arc::new(Field::new(name, time_type(), false))));
        }
        let schema =
            DFSchema::new_with_metadata(fields, input.schema().inner().metadata().clone())?;
        Ok(Self { input, time, windows, partition, schema: Arc::new(schema) })
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.input, &self.time, &self.windows, &self.partition).partial_cmp(&(
            &other.input,
            &other.time,
            &other.windows,
            &other.partition,
        ))
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        std::iter::once(&self.time).chain(&self.partition).cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window: {} {:?}", self.time, self.windows)?;
        match self.partition.is_empty() {
            true => Ok(()),
            false => write!(f, " partition by {:?}", self.partition),
        }
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => plan_err!("a window takes columns, not {other}"),
        });
        let mut columns = columns.collect::<Result<Vec<Column>>>()?.into_iter();
        match (columns.next(), inputs.pop()) {
            (Some(time), Some(input)) => {
                Self::try_new(input, time, self.windows, columns.collect())
            }
            _ => plan_err!("a window takes one time column and one input"),
        }
    }
}
