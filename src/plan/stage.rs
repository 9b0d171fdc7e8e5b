//! A stage: a windowed aggregate over a stream, cut out of a query.
//!
//! ```text
//!   query:   sink <- having, scores <- Aggregate <- filter, projection <- source
//!   cut:     sink <- having, scores <- outputs <- Stage      Partial <- filter, projection <- source
//!            '------------- close plan --------------'       '------------ ingest plan -----------'
//! ```
//!
//! This file decides how a stage's state is keyed and what its rows look like above; `cut.rs`
//! decides where stages are, `session_stage.rs` and `rows_stage.rs` make those of their kind.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Expr, Extension, GroupingSet, LogicalPlan, LogicalPlanBuilder, col,
};

use super::identity::identity;
use super::input::Input;
use super::lift::lifted_stage;
use super::nature::Told;
use super::nodes::{Keys, PartialNode, StageNode};
use super::output::{OutputKey, output_projection};
use super::query::holds_interval;
use super::refuse::set_without_window;
use super::stream::Stream;
use super::template::{PANE, Template};
use super::window_choice::{StageWindow, choose_window};
use super::window_values::{
    Bounds, EXPANDED, expand_windows, mark_from, replace_window_node, window_value,
};
use crate::sql::{WINDOW_START, WindowShape, WindowValue, Windows, pane_start_expr};
use crate::state::{StateShape, stacks::suits_stacks};

/// A windowed aggregate over one stream.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its identity: a hash of everything that its state depends on.
    pub id: String,
    /// The stream that feeds it.
    pub input: Input,
    /// The column of the stream that is its event time.
    pub event_time: String,
    /// Its windows.
    pub windows: Windows,
    /// Whether its state is kept by pane, to be put together when a window closes, instead of by
    /// window.
    pub panes: bool,
    /// The streams whose watermarks it waits for: its own, and those of the stages that a query
    /// puts together with it.
    pub clocks: BTreeSet<Input>,
    /// How long after its end a window may still change, microseconds.
    pub lateness_us: i64,
    /// What the identity is a hash of.
    pub logic: String,
    /// How sessions are keyed, where its windows are sessions.
    pub sessions: Option<SessionKeys>,
    /// Whether it keeps rows as they are, each with how often it came.
    pub keeps_rows: bool,
    /// What was taken out of keys and aggregates because it may fail, by position.
    pub(super) computed: Vec<Expr>,
    pub(crate) partial: PartialNode,
    pub(crate) template: Template,
    /// The columns of its final rows, found when first asked for.
    final_schema: OnceLock<SchemaRef>,
}

/// The keys of a stage of sessions: after the first key come those that have sessions of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKeys {
    /// How many they are.
    pub partition: usize,
    /// The keys that the aggregate groups by, by their position in the state.
    pub grouped: Vec<usize>,
}

/// What a stage is made of.
pub(super) struct StageParts {
    pub(super) windows: Windows,
    pub(super) panes: bool,
    pub(super) sessions: Option<SessionKeys>,
    pub(super) input: LogicalPlan,
    pub(super) keys: Keys,
    pub(super) aggregates: Vec<Expr>,
}

impl Stage {
    /// The stage of `parts` over `stream`.
    pub(super) fn new(stream: &Stream, parts: StageParts) -> Result<Self> {
        let StageParts { windows, panes, sessions, input, keys, aggregates } = parts;
        let (input, keys, aggregates, computed) = lifted_stage(input, keys, &aggregates)?;
        let input = narrowed(input, &keys, &aggregates)?;
        let gap_us = match windows {
            Windows::Session(shape) => Some(shape.gap_us()),
            Windows::Aligned(_) => None,
        };
        let template = Template::new(&keys, &aggregates, gap_us, input.schema())?;
        let state = template.state_schema()?;
        if state.fields().iter().any(|field| holds_interval(field.data_type())) {
            return plan_err!(
                "the state of {} would have an INTERVAL, which Parquet files cannot hold; compute \
                 with lengths as numbers below the window, as in date_part('epoch', x)",
                stream.input.spoken()
            );
        }
        let schema = schema_of(&state)?;
        let partial = PartialNode { input, keys, aggregates, gap_us, schema };
        let logic = logic_text(&partial, &windows, panes, sessions.as_ref());
        Ok(Self {
            id: identity(&logic),
            input: stream.input.clone(),
            event_time: stream.event_time.join("."),
            windows,
            panes,
            clocks: [stream.input.clone()].into(),
            lateness_us: 0,
            logic,
            sessions,
            keeps_rows: false,
            computed,
            partial,
            template,
            final_schema: OnceLock::new(),
        })
    }

    /// The same stage, waiting for `clocks`: with others than its own it has a state of its own.
    pub(super) fn waiting_for(&self, clocks: &BTreeSet<Input>) -> Self {
        if self.clocks == *clocks {
            return self.clone();
        }
        let names: Vec<&str> = clocks.iter().map(Input::name).collect();
        let logic = format!("{}\nwaits for {}", self.logic, names.join(", "));
        Self { id: identity(&logic), clocks: clocks.clone(), logic, ..self.clone() }
    }

    /// The same stage, known to keep rows as they are.
    pub(super) fn keeping_rows(self) -> Self {
        Self { keeps_rows: true, ..self }
    }

    /// How many rows its plan makes of one, at most: one for each window, where it is by window.
    pub fn copies(&self) -> usize {
        match self.windows {
            Windows::Aligned(shape) if !self.panes => shape.windows_per_time(),
            Windows::Aligned(_) | Windows::Session(_) => 1,
        }
    }

    /// How the rows of its state stand for windows.
    pub fn state_shape(&self) -> StateShape {
        match self.windows {
            // A window that may still change is put together from its panes once more.
            Windows::Aligned(shape)
                if self.panes && self.lateness_us == 0 && suits_stacks(&shape) =>
            {
                StateShape::Stacks(shape)
            }
            Windows::Aligned(shape) if self.panes => StateShape::Panes(shape),
            Windows::Aligned(shape) => StateShape::Windows(shape),
            Windows::Session(shape) => StateShape::Sessions(shape),
        }
    }

    /// The plan from its stream's rows to partial aggregates.
    pub(super) fn ingest_plan(&self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self.partial.clone()) })
    }

    /// The columns of its final rows.
    pub(super) fn final_schema(&self) -> Result<SchemaRef> {
        if let Some(known) = self.final_schema.get() {
            return Ok(Arc::clone(known));
        }
        let found = match &self.sessions {
            Some(keys) => self.template.final_session_schema(&keys.grouped)?,
            None => self.template.final_schema()?,
        };
        Ok(Arc::clone(self.final_schema.get_or_init(|| found)))
    }

    /// The leaf of a close plan that stands for its final rows.
    pub(super) fn leaf(&self) -> Result<LogicalPlan> {
        let schema = self.final_schema()?;
        let node = StageNode { stage: self.id.clone(), schema: schema_of(&schema)? };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

/// A stage and what stands for its aggregate in the query above.
pub(super) struct CutAggregate {
    pub(super) stage: Stage,
    /// The close plan up to the aggregate's output, with the aggregate's schema.
    pub(super) above: LogicalPlan,
    /// The output columns that tell the window.
    pub(super) windows: Vec<(Column, Told)>,
}

/// Cuts `aggregate`, whose input are rows of `stream`.
///
/// # Errors
/// When its keys hold no window, or one that is not of the event time.
pub(super) fn cut_aggregate(aggregate: &Aggregate, stream: &Stream) -> Result<CutAggregate> {
    let grouping = Grouping::of(aggregate)?;
    let window = choose_window(&aggregate.input, &grouping.exprs, stream)?;
    grouping.check_sets(&window, &aggregate.group_expr)?;
    let (stage, outputs, bounds) = match window.windows {
        Windows::Aligned(shape) => aligned_stage(aggregate, &grouping, &window, &shape, stream)?,
        Windows::Session(_) => {
            super::session_stage::session_stage(aggregate, &grouping, &window, stream)?
        }
    };
    let above = output_projection(stage.leaf()?, aggregate, &outputs, &bounds)?;
    let windows = window.keys.iter().map(|(position, value)| {
        let column = Column::from(aggregate.schema.qualified_field(*position));
        (column, Told { windows: window.windows, value: *value })
    });
    Ok(CutAggregate { stage, above, windows: windows.collect() })
}

pub(super) type StageAndOutput = (Stage, Vec<OutputKey>, Bounds);

fn aligned_stage(
    aggregate: &Aggregate,
    grouping: &Grouping,
    window: &StageWindow,
    shape: &WindowShape,
    stream: &Stream,
) -> Result<StageAndOutput> {
    let panes = shape.suits_panes()
        && grouping.sets.is_none()
        && window.only_in_keys(&aggregate.input, &aggregate.aggr_expr);
    let (input, mark) = windowed_input(&aggregate.input, window, shape, panes)?;
    let (keys, outputs) = stage_keys(grouping, window, &mark, shape)?;
    let parts = StageParts {
        windows: window.windows,
        panes,
        sessions: None,
        input,
        keys,
        aggregates: aggregate.aggr_expr.clone(),
    };
    Ok((Stage::new(stream, parts)?, outputs, Bounds::of_mark(col(PANE), shape)))
}

/// The grouping expressions of an aggregate and, with GROUPING SETS, which are in which set.
pub(super) struct Grouping {
    pub(super) exprs: Vec<Expr>,
    /// For each set, whether each expression is NULL in it.
    pub(super) sets: Option<Vec<Vec<bool>>>,
}

impl Grouping {
    pub(super) fn of(aggregate: &Aggregate) -> Result<Self> {
        let exprs: Vec<Expr> =
            grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
        let sets = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => Some(
                sets.iter()
                    .map(|set| exprs.iter().map(|expr| !set.contains(expr)).collect())
                    .collect(),
            ),
            // ROLLUP and CUBE alone hold the empty set, which no window is in.
            [Expr::GroupingSet(_)] => Some(vec![vec![true; exprs.len()]]),
            _ => None,
        };
        Ok(Self { exprs, sets })
    }

    /// The expressions of each set; one set without GROUPING SETS.
    pub(super) fn each_set(&self) -> Vec<Vec<Expr>> {
        let Some(sets) = &self.sets else { return vec![self.exprs.clone()] };
        let members = |nulls: &Vec<bool>| {
            let pairs = self.exprs.iter().zip(nulls);
            pairs.filter(|(_, null)| !**null).map(|(expr, _)| expr.clone()).collect()
        };
        sets.iter().map(members).collect()
    }

    fn check_sets(&self, window: &StageWindow, groups: &[Expr]) -> Result<()> {
        let Some(sets) = &self.sets else { return Ok(()) };
        let in_every_set = |(position, _): &(usize, WindowValue)| {
            sets.iter().all(|nulls| !nulls.get(*position).copied().unwrap_or(true))
        };
        if window.keys.iter().any(in_every_set) {
            return Ok(());
        }
        let key = window.keys.first().and_then(|(position, _)| self.exprs.get(*position));
        set_without_window(groups, key.unwrap_or(&col(WINDOW_START)))
    }
}

/// The aggregate's input with its window made explicit, and the expression over it that gives the
/// start of the pane or the mark of the window.
fn windowed_input(
    input: &LogicalPlan,
    window: &StageWindow,
    shape: &WindowShape,
    panes: bool,
) -> Result<(LogicalPlan, Expr)> {
    let expand = !panes && !shape.is_tumble();
    match &window.time {
        // A grouping expression over the event time.
        Some(time) if expand => Ok((expand_windows(input.clone(), time, shape)?, col(EXPANDED))),
        Some(time) => Ok((input.clone(), pane_start_expr(Expr::Column(time.clone()), shape))),
        // A window of FROM: its columns are made where it stood.
        None => {
            let replaced = replace_window_node(input.clone(), expand)?;
            let (column, value) = &window.first_column;
            Ok((replaced, mark_from(column, *value, shape)))
        }
    }
}

/// The keys of the state, and how the aggregate's own keys come from them.
fn stage_keys(
    grouping: &Grouping,
    window: &StageWindow,
    mark: &Expr,
    shape: &WindowShape,
) -> Result<(Keys, Vec<OutputKey>)> {
    let mut exprs = vec![mark.clone()];
    let mut outputs = Vec::with_capacity(grouping.exprs.len());
    for (position, expr) in grouping.exprs.iter().enumerate() {
        let value = window.keys.iter().find(|(key, _)| *key == position).map(|(_, value)| *value);
        match (value, &grouping.sets) {
            (Some(value), None) => outputs.push(OutputKey::Window(value)),
            (Some(value), Some(_)) => {
                outputs.push(OutputKey::Key(exprs.len()));
                exprs.push(window_value(&Bounds::of_mark(mark.clone(), shape), value));
            }
            (None, _) => {
                outputs.push(OutputKey::Key(exprs.len()));
                exprs.push(super::lineage::unaliased(expr).clone());
            }
        }
    }
    let with_pane = |nulls: &Vec<bool>| {
        std::iter::once(false).chain(nulls.iter().copied()).collect::<Vec<bool>>()
    };
    let sets = grouping.sets.as_ref().map(|sets| sets.iter().map(with_pane).collect());
    Ok((Keys { exprs, sets }, outputs))
}

/// Projects the input to the columns that keys and aggregates use, so that nothing else is read.
fn narrowed(input: LogicalPlan, keys: &Keys, aggregates: &[Expr]) -> Result<LogicalPlan> {
    let mut used = std::collections::HashSet::new();
    for expr in keys.exprs.iter().chain(aggregates) {
        datafusion::logical_expr::utils::expr_to_columns(expr, &mut used)?;
    }
    let kept: Vec<Expr> = input
        .schema()
        .columns()
        .into_iter()
        .filter(|column| used.contains(column))
        .map(Expr::Column)
        .collect();
    LogicalPlanBuilder::from(input).project(kept)?.build()
}

fn schema_of(schema: &SchemaRef) -> Result<DFSchemaRef> {
    Ok(Arc::new(DFSchema::try_from(Arc::clone(schema))?))
}

fn logic_text(
    partial: &PartialNode,
    windows: &Windows,
    panes: bool,
    sessions: Option<&SessionKeys>,
) -> String {
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(partial.clone()) });
    let state = partial.schema.as_arrow();
    let fields: Vec<String> = state
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    let sessions = sessions.map(|keys| format!(" {keys:?}")).unwrap_or_default();
    format!("{windows:?} panes={panes}{sessions}\n{}\n{}", plan.display_indent(), fields.join(", "))
}
