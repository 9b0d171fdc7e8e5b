//! A feed: what the stages of a view emit, as the stream of the next stage.
//!
//! ```text
//!   query:   sink <- Aggregate by hour <- window <- projection <- Stage (minutes)
//!   cut:     sink <- Stage (hours)     Partial <- feed     feed: projection <- Stage (minutes)
//! ```
//!
//! In each epoch the close plan of the feed runs first, and its rows go through the ingest plans of
//! the stages above as a source's rows do: judged late, filtered or used, and counted.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{Column, Result, TableReference, plan_err};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use super::identity::identity;
use super::lift::lifted_plan;
use super::nature::{Closed, Told};
use super::query::Prepared;
use super::refuse;
use super::window_values::{Bounds, window_value};
use crate::operator::StreamTable;
use crate::sql::{WindowValue, Windows, time_type};

/// The column that a feed has in addition where none of the view's is its event time.
const FEED_TIME: &str = "__time";

/// What stages emit, as a stream.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Its identity: a hash of its logic.
    pub id: String,
    /// The stages that its rows come from, all closed up to the same watermark.
    pub stages: BTreeSet<String>,
    /// Its columns.
    pub schema: SchemaRef,
    /// The column that is its event time.
    pub event_time: String,
    /// What the event time is to the windows of its rows.
    pub(crate) told: Told,
    pub(crate) prepared: Prepared,
}

impl Feed {
    /// Whether its rows tell when sessions began: one that is open may have begun long ago.
    pub fn waits_for_open_sessions(&self) -> bool {
        matches!(self.told.windows, Windows::Session(_)) && self.told.value == WindowValue::Start
    }

    /// The position of the event time among its columns.
    pub fn time_column(&self) -> usize {
        self.schema.index_of(&self.event_time).unwrap_or_default()
    }
}

/// Makes a feed of `plan`, rows of closed windows, with the event time in `time`, or in whatever
/// column tells the window's time where none is named; and the scan that stands for it, with the
/// columns of `plan`.
///
/// # Errors
/// When `time` is no time of the windows.
pub(super) fn feed_of(
    state: &SessionState,
    plan: LogicalPlan,
    closed: &Closed,
    time: Option<&Column>,
) -> Result<(Feed, LogicalPlan)> {
    let (plan, time, told) = match time {
        Some(time) => match closed.windows.get(time) {
            Some(told) if told.value != WindowValue::Struct => (plan, time.clone(), *told),
            _ => return refuse::no_time_of_windows(&plan, closed, time),
        },
        None => with_time(plan, closed)?,
    };
    let outer: Vec<_> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| (qualifier.cloned(), field.name().clone()))
        .collect();
    let mut names = HashSet::new();
    let inner: Vec<String> = outer
        .iter()
        .enumerate()
        .map(|(at, (_, name))| match names.insert(name.clone()) {
            true => name.clone(),
            false => format!("{name}__{at}"),
        })
        .collect();
    let at = plan.schema().index_of_column(&time)?;
    let event_time = inner[at].clone();
    let columns = plan.schema().columns().into_iter().zip(&inner).enumerate();
    let exprs = columns.map(|(position, (column, name))| {
        let column = Expr::Column(column);
        let is_time = position == at;
        if is_time { cast(column, time_type()).alias(name) } else { column.alias(name) }
    });
    let plan =
        LogicalPlanBuilder::from(plan.clone()).project(exprs.collect::<Vec<_>>())?.build()?;
    let schema = Arc::clone(plan.schema().inner());
    let id = identity(&format!("{event_time}\n{}", plan.display_indent()));
    let scan = scan_of(&id, &schema, &inner, &outer)?;
    let prepared = Prepared::new(state, lifted_plan(plan)?)?;
    let stages = closed.stages.clone();
    Ok((Feed { id, stages, schema, event_time, told, prepared }, scan))
}

/// The column that holds the time of the windows, added where there is none.
fn with_time(plan: LogicalPlan, closed: &Closed) -> Result<(LogicalPlan, Column, Told)> {
    let columns = plan.schema().columns();
    let told = |wanted: WindowValue| {
        let is_wanted = |told: &Told| match wanted {
            WindowValue::Start => told.value == wanted && told.windows.is_told_by_start(),
            _ => told.value == wanted,
        };
        columns.iter().find_map(|column| {
            let told = closed.windows.get(column).filter(|told| is_wanted(told))?;
            Some((column.clone(), *told))
        })
    };
    if let Some((column, told)) = told(WindowValue::Time) {
        return Ok((plan, column, told));
    }
    let values = [WindowValue::End, WindowValue::Struct, WindowValue::Start];
    let Some((column, told)) = values.into_iter().find_map(told) else {
        return plan_err!(
            "the view's columns do not tell when its windows end; select window_time in the view"
        );
    };
    let bounds = Bounds::told(Expr::Column(column), &told);
    let time = cast(window_value(&bounds, WindowValue::Time), time_type()).alias(FEED_TIME);
    let exprs: Vec<Expr> = columns.into_iter().map(Expr::Column).chain([time]).collect();
    let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
    let told = Told { value: WindowValue::Time, ..told };
    Ok((plan, Column::new_unqualified(FEED_TIME), told))
}

fn scan_of(
    id: &str,
    schema: &SchemaRef,
    inner: &[String],
    outer: &[(Option<TableReference>, String)],
) -> Result<LogicalPlan> {
    let table = provider_as_source(Arc::new(StreamTable::new(Arc::clone(schema))));
    let reference = TableReference::bare(id.to_owned());
    let scan = LogicalPlanBuilder::scan(reference.clone(), table, None)?;
    let exprs = inner.iter().zip(outer).map(|(inner, (qualifier, name))| {
        let column = Expr::Column(Column::new(Some(reference.clone()), inner));
        column.alias_qualified(qualifier.clone(), name)
    });
    scan.project(exprs.collect::<Vec<_>>())?.build()
}
