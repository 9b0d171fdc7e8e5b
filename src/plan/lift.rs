//! Expressions that may fail, taken out of aggregates, window functions and sorts into a projection
//! below.
//!
//! ```text
//!   Aggregate  sum(a / b) FILTER (WHERE b > 0)     Aggregate  sum(__x0) FILTER (WHERE b > 0)
//!   input                                          Projection *, CASE WHEN b > 0 THEN a / b END AS __x0
//!                                                  input
//! ```
//!
//! Of a projection the rows that fail can be found and left out (`operator/isolate_exec.rs`); an
//! aggregate fails as a whole. And it computes its arguments of all rows, those that its FILTER leaves
//! out among them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Sort, Window, when,
};

use super::lineage::unaliased;
use super::nodes::Keys;
use crate::operator::expr_may_fail;

/// Expressions that a projection is to compute, over an input of a schema.
pub(super) struct Lift {
    schema: DFSchemaRef,
    /// In the order of their names.
    pub(super) computed: Vec<Expr>,
}

/// The name of the computed expression at `position`.
pub(super) fn lifted_name(position: usize) -> String {
    format!("__x{position}")
}

/// `plan`, which is over stages, with what may fail in projections.
pub(super) fn lifted_plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) => lifted_aggregate(aggregate),
        LogicalPlan::Window(window) => lifted_window(window),
        LogicalPlan::Sort(sort) => lifted_sort(sort),
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

/// `input`, keys and aggregates over it with what may fail in a projection, and what that computes.
pub(super) fn lifted_stage(
    input: LogicalPlan,
    keys: Keys,
    aggregates: &[Expr],
) -> Result<(LogicalPlan, Keys, Vec<Expr>, Vec<Expr>)> {
    let mut lift = Lift::over(&input);
    let exprs = keys.exprs.into_iter().map(|key| lift.taken(key)).collect::<Result<_>>()?;
    let aggregates =
        aggregates.iter().map(|call| lift.call(call)).collect::<Result<Vec<Expr>>>()?;
    let input = lift.applied(input)?;
    Ok((input, Keys { exprs, sets: keys.sets }, aggregates, lift.computed))
}

fn lifted_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut lift = Lift::over(&aggregate.input);
    let groups = aggregate.group_expr.iter().map(|group| match group {
        Expr::GroupingSet(_) => Ok(group.clone()),
        group => lift.taken(group.clone()),
    });
    let groups = groups.collect::<Result<Vec<Expr>>>()?;
    let calls = aggregate.aggr_expr.iter().map(|call| lift.call(call));
    let calls = calls.collect::<Result<Vec<Expr>>>()?;
    if lift.computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let before = Arc::clone(&aggregate.schema);
    let input = lift.applied(Arc::unwrap_or_clone(aggregate.input))?;
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), groups, calls)?);
    let places = 0..before.fields().len();
    restored(plan, places, &before).map(Transformed::yes)
}

fn lifted_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let mut lift = Lift::over(&window.input);
    let calls = window.window_expr.iter().map(|call| lift.call(call));
    let calls = calls.collect::<Result<Vec<Expr>>>()?;
    if lift.computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let (before, columns) = (Arc::clone(&window.schema), window.input.schema().fields().len());
    let input = lift.applied(Arc::unwrap_or_clone(window.input))?;
    let plan = LogicalPlan::Window(Window::try_new(calls, Arc::new(input))?);
    let (computed, all) = (lift.computed.len(), before.fields().len());
    let places = (0..columns).chain(columns + computed..all + computed);
    restored(plan, places, &before).map(Transformed::yes)
}

fn lifted_sort(sort: Sort) -> Result<Transformed<LogicalPlan>> {
    let mut lift = Lift::over(&sort.input);
    let keys = sort.expr.iter().map(|key| lift.sorted(key.clone()));
    let keys = keys.collect::<Result<Vec<SortExpr>>>()?;
    if lift.computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    }
    let before = Arc::clone(sort.input.schema());
    let input = Arc::new(lift.applied(Arc::unwrap_or_clone(sort.input))?);
    let plan = LogicalPlan::Sort(Sort { expr: keys, input, fetch: sort.fetch });
    restored(plan, 0..before.fields().len(), &before).map(Transformed::yes)
}

/// The columns of `plan` at `places`, as `schema` names them.
fn restored(
    plan: LogicalPlan,
    places: impl IntoIterator<Item = usize>,
    schema: &DFSchema,
) -> Result<LogicalPlan> {
    let columns = places.into_iter().zip(schema.iter()).map(|(at, (qualifier, field))| {
        let column = Column::from(plan.schema().qualified_field(at));
        match column.name == *field.name() && column.relation.as_ref() == qualifier {
            true => Expr::Column(column),
            false => Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

impl Lift {
    fn over(input: &LogicalPlan) -> Self {
        Self { schema: Arc::clone(input.schema()), computed: Vec::new() }
    }

    /// `input` with what was taken out as further columns.
    fn applied(&self, input: LogicalPlan) -> Result<LogicalPlan> {
        if self.computed.is_empty() {
            return Ok(input);
        }
        let kept = input.schema().columns().into_iter().map(Expr::Column);
        let computed = self.computed.iter().enumerate();
        let computed = computed.map(|(at, expr)| expr.clone().alias(lifted_name(at)));
        let exprs: Vec<Expr> = kept.chain(computed).collect();
        LogicalPlanBuilder::from(input).project(exprs)?.build()
    }

    /// `expr`, or the column that it is computed in.
    fn taken(&mut self, expr: Expr) -> Result<Expr> {
        let bare = unaliased(&expr);
        // What depends on no row fails for all of them, and some arguments must be literals.
        if bare.column_refs().is_empty() || !expr_may_fail(bare, &self.schema)? {
            return Ok(expr);
        }
        let known = self.computed.iter().position(|known| known == bare);
        let at = known.unwrap_or(self.computed.len());
        if known.is_none() {
            self.computed.push(bare.clone());
        }
        Ok(Expr::Column(Column::new_unqualified(lifted_name(at))))
    }

    fn sorted(&mut self, sort: SortExpr) -> Result<SortExpr> {
        Ok(SortExpr { expr: self.taken(sort.expr)?, ..sort })
    }

    fn all_sorted(&mut self, sorts: &mut Vec<SortExpr>) -> Result<()> {
        let taken = std::mem::take(sorts).into_iter().map(|sort| self.sorted(sort));
        *sorts = taken.collect::<Result<_>>()?;
        Ok(())
    }

    /// An aggregate or window function with what may fail of it taken out.
    fn call(&mut self, call: &Expr) -> Result<Expr> {
        let mut call = call.clone();
        let mut function = &mut call;
        while let Expr::Alias(alias) = function {
            function = &mut alias.expr;
        }
        match function {
            Expr::AggregateFunction(AggregateFunction { params, .. }) => {
                self.arguments(&mut params.args, params.filter.as_deref_mut())?;
                self.all_sorted(&mut params.order_by)?;
            }
            Expr::WindowFunction(window) => {
                let WindowFunction { params, .. } = window.as_mut();
                self.arguments(&mut params.args, params.filter.as_deref_mut())?;
                self.all_sorted(&mut params.order_by)?;
                for key in &mut params.partition_by {
                    *key = self.taken(std::mem::take(key))?;
                }
            }
            _ => {}
        }
        Ok(call)
    }

    fn arguments(&mut self, args: &mut [Expr], mut filter: Option<&mut Expr>) -> Result<()> {
        for arg in args {
            let bare = unaliased(arg);
            if bare.column_refs().is_empty() || !expr_may_fail(bare, &self.schema)? {
                continue;
            }
            let value = match filter.as_deref() {
                Some(filter) => when(filter.clone(), bare.clone()).end()?,
                None => bare.clone(),
            };
            // A CASE that is needless to the planner has the type of its value all the same.
            debug_assert_eq!(value.get_type(&self.schema)?, bare.get_type(&self.schema)?);
            *arg = self.taken(value)?;
        }
        if let Some(filter) = filter.as_mut() {
            **filter = self.taken(std::mem::take(filter))?;
        }
        Ok(())
    }
}
