//! A stage: a windowed aggregate over a source, cut out of a query.
//!
//! ```text
//!   query:   sink <- having, scores <- Aggregate <- filter, projection <- source
//!   cut:     sink <- having, scores <- outputs <- Stage      Partial <- filter, projection <- source
//!            '------------- close plan --------------'       '------------ ingest plan -----------'
//! ```
//!
//! This file decides how a stage's state is keyed and what its rows look like above; `cut.rs`
//! decides where stages are.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Expr, Extension, GroupingSet, LogicalPlan, LogicalPlanBuilder, col,
};
use sha2::{Digest, Sha256};

use super::nodes::{Keys, PartialNode, StageNode};
use super::output::{OutputKey, output_projection};
use super::template::Template;
use super::window_choice::{StageWindow, choose_window};
use super::window_values::{expand_windows, replace_window_node, window_value};
use crate::sql::{WindowShape, WindowValue, pane_start_expr};

/// A windowed aggregate over one source.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its identity: a hash of everything that its state depends on.
    pub id: String,
    /// The source that feeds it.
    pub source: String,
    /// Its windows.
    pub shape: WindowShape,
    /// Whether its state is kept by pane, to be put together when a window closes, instead of by
    /// window.
    pub panes: bool,
    /// What the identity is a hash of.
    pub logic: String,
    pub(crate) partial: PartialNode,
    pub(crate) template: Template,
}

impl Stage {
    /// The plan from its source's rows to partial aggregates.
    pub(super) fn ingest_plan(&self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self.partial.clone()) })
    }
}

/// A stage and what stands for its aggregate in the query above.
pub(super) struct CutAggregate {
    pub(super) stage: Stage,
    /// The close plan up to the aggregate's output, with the aggregate's schema.
    pub(super) above: LogicalPlan,
    /// The output columns that tell the window.
    pub(super) windows: Vec<(Column, WindowValue)>,
}

/// Cuts `aggregate`, whose input are rows of `source` with event time `time`.
///
/// # Errors
/// When its keys hold no window, or one that is not of the event time.
pub(super) fn cut_aggregate(
    aggregate: &Aggregate,
    source: &str,
    event_time: &str,
) -> Result<CutAggregate> {
    let grouping = Grouping::of(aggregate)?;
    let window = choose_window(&aggregate.input, &grouping.exprs, source, event_time)?;
    grouping.check_sets(&window)?;
    let panes = window.shape.suits_panes()
        && grouping.sets.is_none()
        && window.only_in_keys(&aggregate.input, &aggregate.aggr_expr);
    let (input, start) = windowed_input(&aggregate.input, &window, panes)?;
    let (keys, outputs) = stage_keys(&grouping, &window, &start)?;
    let input = narrowed(input, &keys, &aggregate.aggr_expr)?;
    let template = Template::new(&keys, &aggregate.aggr_expr, input.schema())?;
    let partial = PartialNode {
        input,
        keys,
        aggregates: aggregate.aggr_expr.clone(),
        schema: schema_of(&template.state_schema()?)?,
    };
    let logic = logic_text(&partial, &window.shape, panes);
    let stage = Stage {
        id: identity(&logic),
        source: source.to_owned(),
        shape: window.shape,
        panes,
        logic,
        partial,
        template,
    };
    let node =
        StageNode { stage: stage.id.clone(), schema: schema_of(&stage.template.final_schema()?)? };
    let leaf = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    let above = output_projection(leaf, aggregate, &outputs, &window.shape)?;
    let windows = window
        .keys
        .iter()
        .map(|(position, value)| {
            (Column::from(aggregate.schema.qualified_field(*position)), *value)
        })
        .collect();
    Ok(CutAggregate { stage, above, windows })
}

/// The grouping expressions of an aggregate and, with GROUPING SETS, which are in which set.
struct Grouping {
    exprs: Vec<Expr>,
    sets: Option<Vec<Vec<bool>>>,
}

impl Grouping {
    fn of(aggregate: &Aggregate) -> Result<Self> {
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

    fn check_sets(&self, window: &StageWindow) -> Result<()> {
        let Some(sets) = &self.sets else { return Ok(()) };
        let in_every_set = |(position, _): &(usize, WindowValue)| {
            sets.iter().all(|nulls| !nulls.get(*position).copied().unwrap_or(true))
        };
        if window.keys.iter().any(in_every_set) {
            return Ok(());
        }
        datafusion::common::plan_err!(
            "the window must be in every grouping set, else a set would never be complete; \
             write GROUP BY GROUPING SETS ((window_start, a), (window_start))"
        )
    }
}

/// The aggregate's input with its window made explicit, and the expression over it that gives
/// the start of the pane or window.
fn windowed_input(
    input: &LogicalPlan,
    window: &StageWindow,
    panes: bool,
) -> Result<(LogicalPlan, Expr)> {
    let expand = !panes && !window.shape.is_tumble();
    match &window.time {
        // A grouping expression over the event time.
        Some(time) if expand => {
            let expanded = expand_windows(input.clone(), time, &window.shape)?;
            Ok((expanded, col(super::window_values::EXPANDED)))
        }
        Some(time) => {
            Ok((input.clone(), pane_start_expr(Expr::Column(time.clone()), &window.shape)))
        }
        // A window of FROM: its columns are made where it stood.
        None => {
            let replaced = replace_window_node(input.clone(), expand)?;
            let (column, value) = &window.first_column;
            Ok((replaced, super::window_values::start_from(column, *value, &window.shape)))
        }
    }
}

/// The keys of the state, and how the aggregate's own keys come from them.
fn stage_keys(
    grouping: &Grouping,
    window: &StageWindow,
    start: &Expr,
) -> Result<(Keys, Vec<OutputKey>)> {
    let mut exprs = vec![start.clone()];
    let mut outputs = Vec::with_capacity(grouping.exprs.len());
    for (position, expr) in grouping.exprs.iter().enumerate() {
        let value = window.keys.iter().find(|(key, _)| *key == position).map(|(_, value)| *value);
        match (value, &grouping.sets) {
            (Some(value), None) => outputs.push(OutputKey::Window(value)),
            (Some(value), Some(_)) => {
                outputs.push(OutputKey::Key(exprs.len()));
                exprs.push(window_value(start.clone(), value, &window.shape));
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

fn schema_of(schema: &datafusion::arrow::datatypes::SchemaRef) -> Result<DFSchemaRef> {
    Ok(Arc::new(DFSchema::try_from(Arc::clone(schema))?))
}

fn logic_text(partial: &PartialNode, shape: &WindowShape, panes: bool) -> String {
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(partial.clone()) });
    let state = partial.schema.as_arrow();
    let fields: Vec<String> = state
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    format!("{shape:?} panes={panes}\n{}\n{}", plan.display_indent(), fields.join(", "))
}

fn identity(logic: &str) -> String {
    let digest = Sha256::digest(logic.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
