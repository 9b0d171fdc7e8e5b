//! The functions that the planner puts into plans: the start of the pane (or window) that holds a
//! time, the marks of all windows that hold it, and the start of the window with a mark.
//!
//! Their lengths are literal arguments in microseconds, so that a plan that travels to a worker
//! needs nothing but their names.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, PrimitiveArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use super::window_node::time_type;
use super::window_shape::WindowShape;

/// The functions, for the registry.
pub fn pane_functions() -> Vec<ScalarUDF> {
    [Gives::Pane, Gives::Marks, Gives::StartOfMark]
        .map(|gives| ScalarUDF::from(Starts::new(gives)))
        .into()
}

/// The start of the pane of `shape` that holds `time`.
pub fn pane_start_expr(time: Expr, shape: &WindowShape) -> Expr {
    call(Gives::Pane, time, shape)
}

/// The list of the marks of all windows of `shape` that hold `time`.
pub fn window_starts_expr(time: Expr, shape: &WindowShape) -> Expr {
    call(Gives::Marks, time, shape)
}

/// The first instant of the window of `shape` with this mark.
pub fn start_of_mark_expr(mark: Expr, shape: &WindowShape) -> Expr {
    match shape.is_told_by_start() {
        true => mark,
        false => call(Gives::StartOfMark, mark, shape),
    }
}

fn call(gives: Gives, time: Expr, shape: &WindowShape) -> Expr {
    let args = vec![
        time,
        lit(shape.size_us()),
        lit(shape.slide_us()),
        lit(shape.offset_us()),
        lit(shape.cumulates()),
    ];
    let function = ScalarUDF::from(Starts::new(gives));
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), args))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gives {
    Pane,
    Marks,
    StartOfMark,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Starts {
    gives: Gives,
    signature: Signature,
}

impl Starts {
    fn new(gives: Gives) -> Self {
        let lengths = [DataType::Int64, DataType::Int64, DataType::Int64, DataType::Boolean];
        let args = std::iter::once(time_type()).chain(lengths).collect();
        Self { gives, signature: Signature::exact(args, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Starts {
    fn name(&self) -> &str {
        match self.gives {
            Gives::Pane => "__pane_start",
            Gives::Marks => "__window_starts",
            Gives::StartOfMark => "__start_of_window",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(match self.gives {
            Gives::Marks => DataType::List(start_field()),
            Gives::Pane | Gives::StartOfMark => time_type(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, size, slide, offset, cumulates] = args.args.as_slice() else {
            return plan_err!("{} takes a time and a window", self.name());
        };
        let (size, slide, offset) = (length(size)?, length(slide)?, length(offset)?);
        let shape = match cumulates {
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) => {
                WindowShape::cumulate(size, slide, offset)
            }
            _ => WindowShape::new(size, slide, offset),
        };
        let shape = shape.or_else(|why| plan_err!("{why}"))?;
        let time = time.to_array(args.number_rows)?;
        let time = time.as_primitive::<TimestampMicrosecondType>();
        let starts: ArrayRef = match self.gives {
            Gives::Marks => Arc::new(window_starts(time, &shape)?),
            Gives::Pane => Arc::new(pane_starts(time, &shape)),
            Gives::StartOfMark => {
                Arc::new(time.unary::<_, TimestampMicrosecondType>(|mark| shape.start_of(mark)))
            }
        };
        Ok(ColumnarValue::Array(starts))
    }
}

fn length(value: &ColumnarValue) -> Result<i64> {
    match value {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(us))) => Ok(*us),
        _ => plan_err!("a window's lengths must be literals"),
    }
}

fn start_field() -> FieldRef {
    Arc::new(Field::new_list_field(time_type(), true))
}

/// Telemetry arrives nearly in order, so the last row's pane is tried before dividing.
fn pane_starts(time: &TimestampMicrosecondArray, shape: &WindowShape) -> TimestampMicrosecondArray {
    let pane_us = shape.pane_us();
    let mut start = shape.pane_start(0);
    let starts: ScalarBuffer<i64> = time
        .values()
        .iter()
        .map(|&time_us| {
            let inside = time_us >= start && time_us - start < pane_us;
            if !inside {
                start = shape.pane_start(time_us);
            }
            start
        })
        .collect();
    PrimitiveArray::new(starts, time.nulls().cloned())
}

fn window_starts(time: &TimestampMicrosecondArray, shape: &WindowShape) -> Result<ListArray> {
    let mut values: Vec<i64> = Vec::with_capacity(time.len());
    let mut lengths: Vec<usize> = Vec::with_capacity(time.len());
    for row in 0..time.len() {
        let before = values.len();
        if time.is_valid(row) {
            values.extend(shape.starts(time.value(row)));
        }
        lengths.push(values.len() - before);
    }
    let values: ArrayRef = Arc::new(TimestampMicrosecondArray::from(values));
    let nulls: Option<NullBuffer> = time.nulls().cloned();
    Ok(ListArray::try_new(start_field(), OffsetBuffer::from_lengths(lengths), values, nulls)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_of_unordered_times_are_those_of_the_arithmetic() {
        let shape = WindowShape::new(5_000, 2_000, 1_000).unwrap();
        let times = vec![7_500, -1, 0, 999, 1_000, -5_000, 7_400];
        let starts = pane_starts(&TimestampMicrosecondArray::from(times.clone()), &shape);
        let expected: Vec<i64> = times.iter().map(|&us| shape.pane_start(us)).collect();
        assert_eq!(starts.values().to_vec(), expected);
    }

    #[test]
    fn a_time_in_a_gap_has_no_windows() {
        let shape = WindowShape::new(2_000, 5_000, 0).unwrap();
        let lists = window_starts(&TimestampMicrosecondArray::from(vec![1_000, 3_000]), &shape);
        let lists = lists.unwrap();
        assert_eq!((lists.value_length(0), lists.value_length(1)), (1, 0));
    }
}
