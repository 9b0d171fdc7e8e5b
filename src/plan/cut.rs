//! Cuts a query into its stages and the plan above them, and refuses what would need state
//! without bound.
//!
//! The walk is over the analysed plan, from the sources up. Below the first aggregate rows pass
//! as they arrive; an aggregate over them becomes a stage; above it every operator must stay
//! inside one window, because the windows of an epoch are all that its close plan sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, plan_err};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, DistinctOn, Expr, Extension, Join, LogicalPlan, Operator,
    Union, Window,
};

use super::feed::{Feed, feed_of};
use super::input::Input;
use super::lineage::unaliased;
use super::nature::{Closed, Nature};
use super::nested_time::over_time_column;
use super::nodes::StageNode;
use super::refuse::{self, blamed, blamed_on, blamed_on_join};
use super::rows_stage::cut_rows;
use super::session_stage::suits_partial_sessions;
use super::stage::{Grouping, Stage, cut_aggregate};
use super::stream::Stream;
use super::subqueries::refuse_left;
use super::window_choice::{check_time, choose_window, window_nodes};
use super::window_values::replace_window_node;
use crate::sql::{Clause, WindowNode, Windows, function_spoken, window_key};

/// A query after the cut.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    /// The plan: over a stream's rows where there is no stage, else over the stages.
    pub(super) plan: LogicalPlan,
    pub(super) nature: Nature,
    /// All stages below it, those of feeds among them.
    pub(super) stages: Vec<Stage>,
    /// The feeds below it.
    pub(super) feeds: Vec<Feed>,
}

/// Cuts `plan`; `event_times` gives each source's event time column.
///
/// # Errors
/// A sentence that names the clause that needs unbounded state and shows the bounded form.
pub(super) fn cut(
    state: &SessionState,
    plan: &LogicalPlan,
    event_times: &BTreeMap<String, Vec<String>>,
) -> Result<Cut> {
    let mut cutter = Cutter {
        state,
        event_times,
        made: BTreeMap::new(),
        stages: BTreeMap::new(),
        feeds: BTreeMap::new(),
    };
    let (plan, nature) = cutter.walk(plan)?;
    let (plan, nature) = cutter.whole(plan, nature)?;
    refuse::leftover_windows(&plan, &nature)?;
    // Of a stage the plan holds the leaf only.
    for stage in cutter.stages.values() {
        refuse::leftover_windows(&stage.ingest_plan(), &Nature::Rows(stage.input.clone()))?;
    }
    Ok(Cut {
        plan,
        nature,
        stages: cutter.stages.into_values().collect(),
        feeds: cutter.feeds.into_values().collect(),
    })
}

struct Cutter<'a> {
    state: &'a SessionState,
    event_times: &'a BTreeMap<String, Vec<String>>,
    /// Every stage that was cut, by identity.
    made: BTreeMap<String, Stage>,
    /// Those that the plans read, waiting for what they wait for.
    stages: BTreeMap<String, Stage>,
    feeds: BTreeMap<String, Feed>,
}

type Walked = (LogicalPlan, Nature);

impl Cutter<'_> {
    fn walk(&mut self, plan: &LogicalPlan) -> Result<Walked> {
        refuse_left(plan, self.event_times)?;
        match plan {
            LogicalPlan::TableScan(scan) => {
                let source = scan.table_name.table().to_owned();
                let nature = match self.event_times.contains_key(&source) {
                    true => Nature::Rows(Input::Source(source)),
                    false => Nature::Constant,
                };
                Ok((plan.clone(), nature))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let keys = input.schema().columns().into_iter().map(Expr::Column).collect();
                let distinct = Aggregate::try_new(Arc::clone(input), keys, vec![])?;
                let walked = self.walk(input)?;
                self.refuse_endless_distinct(&distinct, &walked)?;
                self.aggregate_over(&distinct, walked)
            }
            LogicalPlan::Distinct(Distinct::On(on)) => self.local(plan, |closed| {
                if closed.told_by(&on.on_expr) {
                    return Ok(closed.grouped(&Vec::from_iter(&on.select_expr), plan));
                }
                refuse::endless_distinct_on(on, closed)
            }),
            LogicalPlan::Window(window) => self
                .local(plan, |closed| over_one_window(window, closed).map(|()| closed.kept(plan))),
            LogicalPlan::Limit(_) => self.local(plan, |_| refuse::limit()),
            LogicalPlan::Sort(sort) => match (sort.fetch, self.walk(&sort.input)?) {
                (Some(_), (_, nature)) if nature != Nature::Constant => refuse::limit(),
                // The rows of a sink have no order, and rows that pass as they arrive get none.
                (_, (input, nature @ Nature::Rows(_))) => Ok((input, nature)),
                (_, (input, nature)) => Ok((rebuilt(plan, vec![input])?, nature)),
            },
            LogicalPlan::Join(join) => self.join(plan, join),
            LogicalPlan::Union(union) => self.union(plan, union),
            LogicalPlan::Extension(extension) => {
                match extension.node.as_any().downcast_ref::<WindowNode>() {
                    Some(node) => self.window(node),
                    None => self.pass(plan),
                }
            }
            _ => self.pass(plan),
        }
    }

    /// A window of FROM: over rows of closed windows it makes them the rows of a stream.
    fn window(&mut self, node: &WindowNode) -> Result<Walked> {
        let walked = self.walk(&node.input)?;
        let (input, nature) = match self.closed(walked)? {
            (input, Nature::Closed(closed)) => {
                let fed = self.feed(input, &closed, Some(&node.time));
                let time = Expr::Column(node.time.clone());
                let fed = blamed(fed, Clause::Window, &[&time], Some(&node.time.name))?;
                (fed.0, Nature::Rows(fed.1.input))
            }
            walked => walked,
        };
        let node =
            WindowNode::try_new(input, node.time.clone(), node.windows, node.partition.clone())?;
        Ok((LogicalPlan::Extension(Extension { node: Arc::new(node) }), nature))
    }

    /// The rows of `plan` as a stream.
    fn feed(
        &mut self,
        plan: LogicalPlan,
        closed: &Closed,
        time: Option<&Column>,
    ) -> Result<(LogicalPlan, Stream)> {
        let (plan, closed) = self.in_step(plan, closed)?;
        refuse::leftover_windows(&plan, &Nature::Closed(closed.clone()))?;
        let (feed, scan) = feed_of(self.state, plan, &closed, time)?;
        let stream = Stream {
            input: Input::Feed(feed.id.clone()),
            event_time: vec![feed.event_time.clone()],
        };
        self.feeds.insert(feed.id.clone(), feed);
        Ok((scan, stream))
    }

    /// The stream that rows come from.
    fn stream(&self, input: &Input) -> Stream {
        let event_time = match input {
            Input::Source(name) => self.event_times.get(name).cloned(),
            Input::Feed(id) => self.feeds.get(id).map(|feed| vec![feed.event_time.clone()]),
        };
        Stream { input: input.clone(), event_time: event_time.unwrap_or_default() }
    }

    /// Makes the stages below `plan` wait for each other, so that all close the same windows in
    /// the same epoch.
    fn in_step(&mut self, plan: LogicalPlan, closed: &Closed) -> Result<(LogicalPlan, Closed)> {
        let stages: Vec<Stage> =
            closed.stages.iter().filter_map(|id| self.made.get(id).cloned()).collect();
        let clocks: BTreeSet<Input> =
            stages.iter().flat_map(|stage| stage.clocks.iter().cloned()).collect();
        let mut renamed = BTreeMap::new();
        for stage in stages {
            let waiting = stage.waiting_for(&clocks);
            renamed.insert(stage.id, waiting.id.clone());
            self.stages.insert(waiting.id.clone(), waiting);
        }
        let plan = plan.transform_up(|plan| {
            let LogicalPlan::Extension(extension) = &plan else { return Ok(Transformed::no(plan)) };
            let Some(node) = extension.node.as_any().downcast_ref::<StageNode>() else {
                return Ok(Transformed::no(plan));
            };
            match renamed.get(&node.stage) {
                Some(stage) if *stage != node.stage => {
                    let node = StageNode { stage: stage.clone(), schema: node.schema.clone() };
                    let extension = Extension { node: Arc::new(node) };
                    Ok(Transformed::yes(LogicalPlan::Extension(extension)))
                }
                _ => Ok(Transformed::no(plan)),
            }
        })?;
        let stages = renamed.into_values().collect();
        Ok((plan.data, Closed { stages, ..closed.clone() }))
    }

    /// The top of a query: what no operator above has settled.
    fn whole(&mut self, plan: LogicalPlan, nature: Nature) -> Result<Walked> {
        let (plan, nature) = match nature {
            Nature::Rows(input) => match window_nodes(&plan)?.as_slice() {
                [] => (plan, Nature::Rows(input)),
                [node] if node.windows.aligned().is_some() => {
                    check_time(node, &self.stream(&input))?;
                    let is_tumble = node.windows.aligned().is_some_and(|shape| shape.is_tumble());
                    (replace_window_node(plan, !is_tumble)?, Nature::Rows(input))
                }
                _ => self.rows_of_windows(&plan, &input)?,
            },
            nature => (plan, nature),
        };
        match nature {
            Nature::Closed(closed) => {
                let (plan, closed) = self.in_step(plan, &closed)?;
                Ok((plan, Nature::Closed(closed)))
            }
            nature => Ok((plan, nature)),
        }
    }

    /// Keeps the rows of `plan` until their windows close.
    fn rows_of_windows(&mut self, plan: &LogicalPlan, input: &Input) -> Result<Walked> {
        let rows = cut_rows(plan, &self.stream(input))?;
        self.made.entry(rows.stage.id.clone()).or_insert(rows.stage);
        Ok((rows.above, Nature::Closed(rows.closed)))
    }

    /// `walked` as rows of closed windows, where a window of FROM makes it so.
    fn closed(&mut self, walked: Walked) -> Result<Walked> {
        match walked {
            (plan, Nature::Rows(input)) if !window_nodes(&plan)?.is_empty() => {
                self.rows_of_windows(&plan, &input)
            }
            walked => Ok(walked),
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
        let mut inputs = Vec::new();
        let mut first = Nature::Constant;
        for (at, input) in plan.inputs().into_iter().enumerate() {
            let walked = self.walk(input)?;
            let (input, nature) = self.closed(walked)?;
            inputs.push(input);
            if at == 0 {
                first = nature;
            }
        }
        let nature = match first {
            Nature::Closed(closed) => Nature::Closed(check(&closed)?),
            Nature::Rows(input) => {
                check(&Closed::default())?;
                return plan_err!(
                    "this needs all rows of {} at once; aggregate them by a window first",
                    input.spoken()
                );
            }
            Nature::Constant => Nature::Constant,
        };
        Ok((rebuilt(plan, inputs)?, nature))
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Walked> {
        let walked = self.walk(&aggregate.input)?;
        blamed_on(self.aggregate_over(aggregate, walked), aggregate)
    }

    fn aggregate_over(&mut self, aggregate: &Aggregate, walked: Walked) -> Result<Walked> {
        let (input, nature) = walked;
        match nature {
            Nature::Rows(stream) => self.windowed(&over(aggregate, input)?, &stream),
            Nature::Closed(closed) => self.of_closed(&over(aggregate, input)?, &closed),
            Nature::Constant => {
                Ok((rebuilt(&LogicalPlan::Aggregate(aggregate.clone()), vec![input])?, nature))
            }
        }
    }

    /// An aggregate over rows of a stream becomes a stage.
    fn windowed(&mut self, aggregate: &Aggregate, input: &Input) -> Result<Walked> {
        let stream = self.stream(input);
        let over_column = over_time_column(aggregate, &stream)?;
        let aggregate = over_column.as_ref().unwrap_or(aggregate);
        let grouping = Grouping::of(aggregate)?;
        let window = choose_window(&aggregate.input, &grouping.exprs, &stream)?;
        if matches!(window.windows, Windows::Session(_))
            && !suits_partial_sessions(aggregate, &grouping, &window)?
        {
            return match self.rows_of_windows(&aggregate.input, input)? {
                (rows, Nature::Closed(closed)) => self.of_closed(&over(aggregate, rows)?, &closed),
                _ => plan_err!("the rows of a session were lost"),
            };
        }
        let cut = cut_aggregate(aggregate, &stream)?;
        let stages = [cut.stage.id.clone()].into();
        self.made.entry(cut.stage.id.clone()).or_insert(cut.stage);
        let closed =
            Closed { stages, windows: cut.windows.into_iter().collect(), ..Closed::default() };
        Ok((cut.above, Nature::Closed(closed)))
    }

    /// An aggregate over rows of closed windows stays inside them, or has a window of its own.
    fn of_closed(&mut self, aggregate: &Aggregate, closed: &Closed) -> Result<Walked> {
        let sets = Grouping::of(aggregate)?.each_set();
        if sets.iter().all(|keys| closed.told_by(keys)) {
            let keys = grouping_set_to_exprlist(&aggregate.group_expr)?;
            let plan = LogicalPlan::Aggregate(aggregate.clone());
            let nature = Nature::Closed(closed.grouped(&keys, &plan));
            return Ok((plan, nature));
        }
        let mut own = None;
        for key in grouping_set_to_exprlist(&aggregate.group_expr)? {
            own = own.or(window_key(unaliased(key))?);
        }
        let Some(own) = own else { return refuse::endless_aggregate(aggregate, closed) };
        let plan = aggregate.input.as_ref().clone();
        let (scan, stream) = self.feed(plan, closed, own.time.as_ref())?;
        self.windowed(&over(aggregate, scan)?, &stream.input)
    }

    /// DISTINCT without a window among its columns.
    fn refuse_endless_distinct(&mut self, distinct: &Aggregate, walked: &Walked) -> Result<()> {
        let columns = &distinct.group_expr;
        let (what, window) = match &walked.1 {
            Nature::Closed(closed) if !closed.told_by(columns) => {
                // What SELECT leaves out may tell the window.
                let below = match distinct.input.as_ref() {
                    LogicalPlan::Projection(projection) => self.walk(&projection.input)?.1,
                    _ => Nature::Closed(closed.clone()),
                };
                let closed = if let Nature::Closed(below) = &below { below } else { closed };
                return refuse::endless_distinct(&distinct.input, closed);
            }
            Nature::Rows(input) => {
                let stream = self.stream(input);
                match choose_window(&walked.0, columns, &stream) {
                    Ok(_) => return Ok(()),
                    Err(_) if !window_nodes(&distinct.input)?.is_empty() => {
                        (input.spoken(), "window_start, window_end".to_owned())
                    }
                    Err(_) => {
                        let window = format!("date_trunc('minute', {})", stream.time_spoken());
                        (input.spoken(), window)
                    }
                }
            }
            _ => return Ok(()),
        };
        refuse::distinct(&distinct.input, &what, &window)
    }

    fn join(&mut self, plan: &LogicalPlan, join: &Join) -> Result<Walked> {
        self.refuse_set_operation(join)?;
        let (left, right) = (self.walk(&join.left)?, self.walk(&join.right)?);
        let (left, left_nature) = self.closed(left)?;
        let (right, right_nature) = self.closed(right)?;
        let nature = match (left_nature, right_nature) {
            (Nature::Constant, Nature::Constant) => Nature::Constant,
            (Nature::Closed(left), Nature::Closed(right)) => {
                blamed_on_join(refuse::one_sided_using(join), join)?;
                let joined = left.joined(&right, &equalities(join), join.join_type);
                Nature::Closed(blamed_on_join(joined, join)?)
            }
            _ => {
                let rows = plan_err!(
                    "JOIN of a stream's rows is not supported yet; write views that are aggregated \
                     by the same window, and JOIN those ON a.window_start = b.window_start"
                );
                return blamed_on_join(rows, join);
            }
        };
        Ok((rebuilt(plan, vec![left, right])?, nature))
    }

    fn union(&mut self, plan: &LogicalPlan, union: &Union) -> Result<Walked> {
        let mut inputs = Vec::with_capacity(union.inputs.len());
        let mut parts = Vec::with_capacity(union.inputs.len());
        let mut natures = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let walked = self.walk(input)?;
            let (input, nature) = self.closed(walked)?;
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
            return refuse::set_operation("UNION");
        };
        Ok((rebuilt(plan, inputs)?, nature))
    }

    /// EXCEPT and INTERSECT come as joins of distinct rows.
    fn refuse_set_operation(&mut self, join: &Join) -> Result<()> {
        let Some(operator) = refuse::set_operator(join) else { return Ok(()) };
        let left = match join.left.as_ref() {
            LogicalPlan::Distinct(Distinct::All(input)) => input,
            other => other,
        };
        match self.walk(left)?.1 {
            Nature::Rows(_) => refuse::set_operation(operator),
            _ => Ok(()),
        }
    }

    fn refuse_streams_in(&mut self, plan: &LogicalPlan) -> Result<Walked> {
        for input in plan.inputs() {
            if self.walk(input)?.1 != Nature::Constant {
                let what = match plan {
                    LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE".to_owned(),
                    plan => plan.display().to_string(),
                };
                return plan_err!(
                    "{what} over a stream is not supported; aggregate the stream by a window, and \
                     write the rest as views over that"
                );
            }
        }
        Ok((plan.clone(), Nature::Constant))
    }
}

/// `aggregate` over another plan of the same columns.
fn over(aggregate: &Aggregate, input: LogicalPlan) -> Result<Aggregate> {
    Aggregate::try_new_with_schema(
        Arc::new(input),
        aggregate.group_expr.clone(),
        aggregate.aggr_expr.clone(),
        Arc::clone(&aggregate.schema),
    )
}

fn over_one_window(window: &Window, closed: &Closed) -> Result<()> {
    for expr in &window.window_expr {
        let Expr::WindowFunction(function) = unaliased(expr) else { continue };
        let WindowFunction { params, fun } = function.as_ref();
        if !closed.told_by(&params.partition_by) {
            let keys = &params.partition_by;
            let endless =
                refuse::endless_over(function_spoken(fun.name()), &window.input, keys, closed);
            let sort = params.order_by.iter().map(|sort| &sort.expr);
            let exprs: Vec<&Expr> =
                params.args.iter().chain(&params.partition_by).chain(sort).collect();
            return blamed(endless, Clause::Over, &exprs, Some(function_spoken(fun.name())));
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

/// `on` over another plan of the same columns, which DataFusion's own method refuses where there is an
/// ORDER BY. What stands there twice orders nothing more, but DataFusion would panic over it.
fn distinct_on(on: &DistinctOn, input: LogicalPlan) -> DistinctOn {
    let sort_expr = on.sort_expr.as_ref().map(|sorts| {
        let mut kept: Vec<SortExpr> = Vec::new();
        for sort in sorts {
            if !kept.iter().any(|known| known.expr == sort.expr) {
                kept.push(sort.clone());
            }
        }
        kept
    });
    DistinctOn { input: Arc::new(input), sort_expr, ..on.clone() }
}

fn rebuilt(plan: &LogicalPlan, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    if let (LogicalPlan::Distinct(Distinct::On(on)), [input]) = (plan, inputs.as_slice()) {
        return Ok(LogicalPlan::Distinct(Distinct::On(distinct_on(on, input.clone()))));
    }
    plan.with_new_exprs(plan.expressions(), inputs)
}
