//! The physical aggregate of a stage, in its three modes.
//!
//! It is built from the stage's own expressions, never searched for in an optimised plan: there
//! the optimiser may have rewritten it, merged it or limited it. Columns are named by position
//! (`__pane`, `__k0`, `__s0`), so that renaming a column of a query keeps its state.

use std::sync::Arc;

use datafusion::arrow::datatypes::{IntervalMonthDayNano, SchemaRef};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::{Column, binary, lit};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::nodes::Keys;
use crate::state::{SESSION_FIRST, SESSION_LAST};

/// The name of the first key of every stage: the start of the pane.
pub(crate) const PANE: &str = "__pane";

/// The name of the column that holds the end of a session, beside its start in [`PANE`].
pub(crate) const SESSION_END: &str = "__end";

/// The name of the key at `position` among a stage's keys.
pub(crate) fn key_name(position: usize) -> String {
    match position {
        0 => PANE.to_owned(),
        _ => format!("__k{}", position - 1),
    }
}

/// The last aggregates of a stage of sessions: the times of a piece's first and last row, of a
/// column each in the state.
pub(crate) const SESSION_AGGREGATES: usize = 2;

/// The name of the aggregate at `position`.
pub(crate) fn aggregate_name(position: usize) -> String {
    format!("__a{position}")
}

/// A stage's aggregate over an input that is given later.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    groups: PhysicalGroupBy,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    input_schema: SchemaRef,
    gap_us: Option<i64>,
    state_schema: SchemaRef,
}

impl Template {
    /// Lowers keys and aggregates over rows of `input`; with a gap, of pieces of sessions.
    ///
    /// # Errors
    /// When an expression has no physical form.
    pub(crate) fn new(
        keys: &Keys,
        aggregates: &[Expr],
        gap_us: Option<i64>,
        input: &DFSchema,
    ) -> Result<Self> {
        let props = ExecutionProps::new();
        let context = PhysicalPlanningContext::default();
        let groups = physical_groups(keys, input, &props, &context)?;
        let mut lowered = Vec::with_capacity(aggregates.len());
        let mut filters = Vec::with_capacity(aggregates.len());
        for (position, aggregate) in aggregates.iter().enumerate() {
            let aggregate = ordered_once(aggregate);
            let one =
                LoweredAggregateBuilder::new(&aggregate, input, input.as_arrow(), &props, &context)
                    .with_name(aggregate_name(position))
                    .with_human_display(aggregate_name(position))
                    .build()?;
            lowered.push(one.aggregate);
            filters.push(one.filter);
        }
        let input_schema = Arc::clone(input.inner());
        let state_schema = Arc::clone(&input_schema);
        let aggregates = lowered;
        let mut template = Self { groups, aggregates, filters, input_schema, gap_us, state_schema };
        // Building the node may turn an aggregate around (FIRST_VALUE for LAST_VALUE); the later
        // modes must merge what the first one makes.
        let empty = Arc::new(EmptyExec::new(Arc::clone(&template.input_schema)));
        let partial = template.exec(AggregateMode::Partial, template.groups.clone(), empty)?;
        template.aggregates = partial.aggr_expr().to_vec();
        template.state_schema = template.named(partial)?.schema();
        Ok(template)
    }

    /// Raw rows to partial states.
    pub(crate) fn partial(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        self.named(self.exec(AggregateMode::Partial, self.groups.clone(), input)?)
    }

    /// Partial states to fewer of them.
    pub(crate) fn reduce(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        self.named(self.exec(AggregateMode::PartialReduce, self.groups.as_final(), input)?)
    }

    /// The aggregates and the number of keys, for whoever merges partial states by itself.
    pub(crate) fn states(&self) -> (Vec<Arc<AggregateFunctionExpr>>, usize) {
        (self.aggregates.clone(), self.groups.num_group_exprs())
    }

    /// Partial states, partitioned by the keys, to final values.
    pub(crate) fn last(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let groups = self.groups.as_final();
        Ok(Arc::new(self.exec(AggregateMode::FinalPartitioned, groups, input)?))
    }

    /// Partial states of closed sessions, each with its session's bounds, to final values by session
    /// and the keys at `grouped`.
    pub(crate) fn last_of_sessions(
        &self,
        grouped: &[usize],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = input.schema();
        let states = self.groups.num_group_exprs()..schema.fields().len() - SESSION_AGGREGATES;
        let column = |at: usize, name: &str| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(at).name(), at));
            (column, name.to_owned())
        };
        let bounds = [column(states.end, PANE), column(0, SESSION_END)];
        let kept =
            grouped.iter().copied().chain(states).map(|at| column(at, schema.field(at).name()));
        let columns: Vec<_> = bounds.into_iter().chain(kept).collect();
        let keys = columns.iter().take(2 + grouped.len()).enumerate().map(|(at, (_, name))| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, at));
            (column, name.clone())
        });
        let groups = PhysicalGroupBy::new_single(keys.collect());
        let own = self.aggregates.len() - SESSION_AGGREGATES;
        Ok(Arc::new(AggregateExec::try_new(
            AggregateMode::FinalPartitioned,
            groups,
            self.aggregates[..own].to_vec(),
            self.filters[..own].to_vec(),
            Arc::new(ProjectionExec::try_new(columns, input)?),
            Arc::clone(&self.input_schema),
        )?))
    }

    /// The schema of the final values of sessions.
    pub(crate) fn final_session_schema(&self, grouped: &[usize]) -> Result<SchemaRef> {
        let input = Arc::new(EmptyExec::new(self.state_schema()?));
        Ok(self.last_of_sessions(grouped, input)?.schema())
    }

    /// The schema of the partial states.
    pub(crate) fn state_schema(&self) -> Result<SchemaRef> {
        Ok(Arc::clone(&self.state_schema))
    }

    /// Names the columns of partial states by position: an aggregate's own names for them may
    /// come twice.
    fn named(&self, states: AggregateExec) -> Result<Arc<dyn ExecutionPlan>> {
        let keys = self.groups.num_group_exprs().max(self.groups.as_final().expr().len());
        let schema = states.schema();
        let columns = schema.fields().iter().enumerate().map(|(at, field)| {
            let bounds = self.gap_us.map(|_| schema.fields().len() - SESSION_AGGREGATES);
            let name = match at {
                key if key < keys => field.name().clone(),
                first if bounds == Some(first) => SESSION_FIRST.to_owned(),
                last if bounds.is_some_and(|first| last > first) => SESSION_LAST.to_owned(),
                state => format!("__s{}", state - keys),
            };
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
            (column, name)
        });
        let mut columns: Vec<(Arc<dyn PhysicalExpr>, String)> = columns.collect();
        if let (Some(gap_us), Some((last, field))) =
            (self.gap_us, schema.fields().iter().enumerate().next_back())
        {
            // The first column of a piece says when it closes.
            let last = Arc::new(Column::new(field.name(), last));
            let gap = IntervalMonthDayNano::new(0, 0, gap_us.saturating_mul(1_000));
            let gap = lit(ScalarValue::IntervalMonthDayNano(Some(gap)));
            columns[0].0 = binary(last, Operator::Plus, gap, &schema)?;
        }
        Ok(Arc::new(ProjectionExec::try_new(columns, Arc::new(states))?))
    }

    /// The schema of the final values.
    pub(crate) fn final_schema(&self) -> Result<SchemaRef> {
        let input = Arc::new(EmptyExec::new(self.state_schema()?));
        Ok(self.last(input)?.schema())
    }

    fn exec(
        &self,
        mode: AggregateMode,
        groups: PhysicalGroupBy,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<AggregateExec> {
        AggregateExec::try_new(
            mode,
            groups,
            self.aggregates.clone(),
            self.filters.clone(),
            input,
            Arc::clone(&self.input_schema),
        )
    }
}

/// `aggregate` without expressions of its ORDER BY that stand there already: its state would have
/// a column for each, and its merge expects one.
fn ordered_once(aggregate: &Expr) -> Expr {
    let mut aggregate = aggregate.clone();
    if let Expr::AggregateFunction(function) = &mut aggregate {
        let mut seen: Vec<Expr> = Vec::new();
        function.params.order_by.retain(|sort| {
            let is_new = !seen.contains(&sort.expr);
            seen.push(sort.expr.clone());
            is_new
        });
    }
    aggregate
}

fn physical_groups(
    keys: &Keys,
    input: &DFSchema,
    props: &ExecutionProps,
    context: &PhysicalPlanningContext,
) -> Result<PhysicalGroupBy> {
    let mut exprs = Vec::with_capacity(keys.exprs.len());
    let mut nulls = Vec::with_capacity(keys.exprs.len());
    for (position, key) in keys.exprs.iter().enumerate() {
        let expr = create_physical_expr(key, input, props, context)?;
        let null = ScalarValue::try_from(expr.data_type(input.as_arrow())?)?;
        nulls.push((lit(null), key_name(position)));
        exprs.push((expr, key_name(position)));
    }
    Ok(match &keys.sets {
        Some(sets) => PhysicalGroupBy::new(exprs, nulls, sets.clone(), true),
        None => PhysicalGroupBy::new_single(exprs),
    })
}
