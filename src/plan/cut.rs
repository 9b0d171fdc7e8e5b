//! Cuts a query into its stages and the plan above them, and refuses what would need state
//! without bound.
//!
//! The walk is over the analysed plan, from the sources up. Below the first aggregate rows pass
//! as they arrive; an aggregate over them becomes a stage; above it every operator must stay
//! inside one window, because the windows of an epoch are all that its close plan sees.

use std::collections::BTreeMap;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, Join, LogicalPlan, Operator, Union, Window,
};
use std::sync::Arc;

use super::lineage::unaliased;
use super::nature::{Closed, Nature};
use super::stage::{Stage, cut_aggregate};
use crate::sql::{WindowNode, calls_window_function};

/// A query after the cut.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    /// The plan: over the source's rows where there is no stage, else over the stages.
    pub(super) plan: LogicalPlan,
    pub(super) nature: Nature,
    pub(super) stages: Vec<Stage>,
}

/// Cuts `plan`; `event_times` gives each source's event time column.
///
/// # Errors
/// A sentence that names the clause that needs unbounded state and shows the bounded form.
pub(super) fn cut(plan: &LogicalPlan, event_times: &BTreeMap<String, String>) -> Result<Cut> {
    let mut cutter = Cutter { event_times, stages: Vec::new() };
    let (plan, nature) = cutter.walk(plan)?;
    refuse_leftover_windows(&plan, &nature)?;
    Ok(Cut { plan, nature, stages: cutter.stages })
}

struct Cutter<'a> {
    event_times: &'a BTreeMap<String, String>,
    stages: Vec<Stage>,
}

type Walked = (LogicalPlan, Nature);

impl Cutter<'_> {
    fn walk(&mut self, plan: &LogicalPlan) -> Result<Walked> {
        self.refuse_stream_subqueries(plan)?;
        match plan {
            LogicalPlan::TableScan(scan) => {
                let source = scan.table_name.table().to_owned();
                let nature = match self.event_times.contains_key(&source) {
                    true => Nature::Rows { source },
                    false => Nature::Constant,
                };
                Ok((plan.clone(), nature))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let keys = input.schema().columns().into_iter().map(Expr::Column).collect();
                let distinct = Aggregate::try_new(Arc::clone(input), keys, vec![])?;
                self.aggregate(&distinct).map_err(|error| match error {
                    DataFusionError::Plan(why) => DataFusionError::Plan(format!(
                        "DISTINCT over a stream would remember every row for ever; SELECT \
                         DISTINCT the window as well, such as window_start ({why})"
                    )),
                    other => other,
                })
            }
            LogicalPlan::Distinct(Distinct::On(on)) => self.local(plan, |closed| {
                if closed.told_by(&on.on_expr) {
                    return Ok(closed.kept(plan));
                }
                plan_err!("DISTINCT ON over a stream needs the window among its expressions")
            }),
            LogicalPlan::Window(window) => self
                .local(plan, |closed| over_one_window(window, closed).map(|()| closed.kept(plan))),
            LogicalPlan::Limit(_) => self.local(plan, |_| refuse_limit()),
            LogicalPlan::Sort(sort) => match (sort.fetch, self.walk(&sort.input)?) {
                (Some(_), (_, nature)) if nature != Nature::Constant => refuse_limit(),
                // The rows of a sink have no order, and rows that pass as they arrive get none.
                (_, (input, nature @ Nature::Rows { .. })) => Ok((input, nature)),
                (_, (input, nature)) => Ok((rebuilt(plan, vec![input])?, nature)),
            },
            LogicalPlan::Join(join) => self.join(plan, join),
            LogicalPlan::Union(union) => self.union(plan, union),
            LogicalPlan::Extension(extension) if extension.node.as_any().is::<WindowNode>() => {
                match self.walk(extension.node.inputs()[0])? {
                    (_, Nature::Closed(_)) => {
                        plan_err!("a window over the rows of another window is not supported yet")
                    }
                    (input, nature) => Ok((rebuilt(plan, vec![input])?, nature)),
                }
            }
            _ => self.pass(plan),
        }
    }

    /// Operators that look at one row at a time.
    fn pass(&mut self, plan: &LogicalPlan) -> Result<Walked> {
        let inputs = plan.inputs();
        let [input] = inputs.as_slice() else {
            return match inputs.is_empty() {
                true => Ok((plan.clone(), Nature::Constant)),
                false => self.refuse_streams_in(plan),
            };
        };
        let (input, nature) = self.walk(input)?;
        let plan = rebuilt(plan, vec![input])?;
        let nature = match (&plan, nature) {
            (LogicalPlan::Projection(projection), Nature::Closed(closed)) => {
                Nature::Closed(closed.projected(projection))
            }
            (LogicalPlan::SubqueryAlias(alias), Nature::Closed(closed)) => {
                Nature::Closed(closed.aliased(alias))
            }
            (plan, Nature::Closed(closed)) => Nature::Closed(closed.kept(plan)),
            (_, nature) => nature,
        };
        Ok((plan, nature))
    }

    /// Operators that must stay inside one window.
    fn local(
        &mut self,
        plan: &LogicalPlan,
        check: impl Fn(&Closed) -> Result<Closed>,
    ) -> Result<Walked> {
        let inputs = plan.inputs().into_iter().map(|input| self.walk(input));
        let (inputs, natures): (Vec<_>, Vec<_>) =
            inputs.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let nature = match natures.into_iter().next() {
            Some(Nature::Closed(closed)) => Nature::Closed(check(&closed)?),
            Some(Nature::Rows { source }) => {
                check(&Closed::default())?;
                return plan_err!(
                    "this needs all rows of the stream {source} at once; aggregate them by a \
                     window first"
                );
            }
            _ => Nature::Constant,
        };
        Ok((rebuilt(plan, inputs)?, nature))
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Walked> {
        let (input, nature) = self.walk(&aggregate.input)?;
        match nature {
            Nature::Rows { source } => {
                let event_time = self.event_times.get(&source).cloned().unwrap_or_default();
                let over = Aggregate::try_new_with_schema(
                    Arc::new(input),
                    aggregate.group_expr.clone(),
                    aggregate.aggr_expr.clone(),
                    Arc::clone(&aggregate.schema),
                )?;
                let cut = cut_aggregate(&over, &source, &event_time)?;
                let shape = cut.stage.shape;
                self.add(cut.stage);
                let windows =
                    cut.windows.into_iter().map(|(column, value)| (column, (shape, value)));
                let closed = Closed { sources: [source].into(), windows: windows.collect() };
                Ok((cut.above, Nature::Closed(closed)))
            }
            Nature::Closed(closed) => {
                let keys = grouping_set_to_exprlist(&aggregate.group_expr)?;
                let plan = LogicalPlan::Aggregate(aggregate.clone());
                if !closed.told_by(&keys.iter().map(|key| (*key).clone()).collect::<Vec<_>>()) {
                    return plan_err!(
                        "an aggregate over the rows of closed windows must group by the window, \
                         else it would never be complete; add window_start to GROUP BY"
                    );
                }
                let nature = Nature::Closed(closed.grouped(&keys, &plan));
                Ok((rebuilt(&plan, vec![input])?, nature))
            }
            Nature::Constant => {
                Ok((rebuilt(&LogicalPlan::Aggregate(aggregate.clone()), vec![input])?, nature))
            }
        }
    }

    fn join(&mut self, plan: &LogicalPlan, join: &Join) -> Result<Walked> {
        let (left, left_nature) = self.walk(&join.left)?;
        let (right, right_nature) = self.walk(&join.right)?;
        let nature = match (left_nature, right_nature) {
            (Nature::Constant, Nature::Constant) => Nature::Constant,
            (Nature::Closed(left), Nature::Closed(right)) => {
                Nature::Closed(left.joined(&right, &equalities(join), join.join_type)?)
            }
            _ => {
                return plan_err!(
                    "a join with a stream's rows is not supported yet; join views that are \
                 aggregated by the same window"
                );
            }
        };
        Ok((rebuilt(plan, vec![left, right])?, nature))
    }

    fn union(&mut self, plan: &LogicalPlan, union: &Union) -> Result<Walked> {
        let mut inputs = Vec::with_capacity(union.inputs.len());
        let mut parts = Vec::with_capacity(union.inputs.len());
        let mut natures = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let (input, nature) = self.walk(input)?;
            if let Nature::Closed(closed) = &nature {
                parts.push((closed.clone(), input.schema().columns()));
            }
            inputs.push(input);
            natures.push(nature);
        }
        let nature = if natures.iter().all(|nature| *nature == Nature::Constant) {
            Nature::Constant
        } else if parts.len() == natures.len() {
            Nature::Closed(Closed::union(&parts, &union.schema.columns()))
        } else {
            return plan_err!(
                "UNION of a stream's rows is not supported yet; write one INSERT INTO for each \
                 part, or aggregate each part by the window first"
            );
        };
        Ok((rebuilt(plan, inputs)?, nature))
    }

    /// Equal stages of several queries are one.
    fn add(&mut self, stage: Stage) {
        if !self.stages.iter().any(|known| known.id == stage.id) {
            self.stages.push(stage);
        }
    }

    fn refuse_streams_in(&mut self, plan: &LogicalPlan) -> Result<Walked> {
        for input in plan.inputs() {
            if self.walk(input)?.1 != Nature::Constant {
                return plan_err!("{} over a stream is not supported yet", plan.display());
            }
        }
        Ok((plan.clone(), Nature::Constant))
    }

    fn refuse_stream_subqueries(&self, plan: &LogicalPlan) -> Result<()> {
        let mut found = false;
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                let subquery = match expr {
                    Expr::ScalarSubquery(subquery) => Some(subquery),
                    Expr::InSubquery(inside) => Some(&inside.subquery),
                    Expr::Exists(exists) => Some(&exists.subquery),
                    _ => None,
                };
                if let Some(subquery) = subquery {
                    subquery.subquery.apply(|inner| {
                        found |= matches!(inner, LogicalPlan::TableScan(scan)
                            if self.event_times.contains_key(scan.table_name.table()));
                        Ok(TreeNodeRecursion::Continue)
                    })?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if found {
            return plan_err!("a subquery over a stream is not supported yet; join two views");
        }
        Ok(())
    }
}

fn refuse_limit<T>() -> Result<T> {
    plan_err!(
        "LIMIT over a stream never knows its rows; number them inside the window: \
         SELECT ... FROM (SELECT ..., ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY x \
         DESC) AS n FROM ...) WHERE n <= 10"
    )
}

fn over_one_window(window: &Window, closed: &Closed) -> Result<()> {
    for expr in &window.window_expr {
        let Expr::WindowFunction(function) = unaliased(expr) else { continue };
        let WindowFunction { params, fun } = function.as_ref();
        if !closed.told_by(&params.partition_by) {
            return plan_err!(
                "{fun}() OVER (...) over a stream needs the window in PARTITION BY, else it \
                 would need all rows at once; write OVER (PARTITION BY window_start ...)"
            );
        }
    }
    Ok(())
}

/// The pairs of expressions that a join holds equal, whether they were recognised as keys yet.
fn equalities(join: &Join) -> Vec<(Expr, Expr)> {
    let mut pairs = join.on.clone();
    for part in join.filter.iter().flat_map(split_conjunction) {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part {
            pairs.push((left.as_ref().clone(), right.as_ref().clone()));
            pairs.push((right.as_ref().clone(), left.as_ref().clone()));
        }
    }
    pairs
}

fn rebuilt(plan: &LogicalPlan, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    plan.with_new_exprs(plan.expressions(), inputs)
}

/// `tumble()` and `hop()` give a window in GROUP BY; anything else that is left of them has none.
fn refuse_leftover_windows(plan: &LogicalPlan, nature: &Nature) -> Result<()> {
    let mut leftover = false;
    let mut volatile = false;
    plan.apply(|plan| {
        plan.apply_expressions(|expr| {
            leftover |= calls_window_function(expr);
            volatile |= matches!(nature, Nature::Closed(_)) && expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if leftover {
        return plan_err!(
            "tumble() and hop() stand in GROUP BY only, of an aggregate over a stream"
        );
    }
    if volatile {
        return plan_err!(
            "random() and uuid() above a window would give other rows when an epoch is tried \
             again; compute them below the aggregate or leave them out"
        );
    }
    Ok(())
}
