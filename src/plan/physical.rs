//! The physical plans of one epoch: for each cut of a source an ingest plan that takes chunks, for
//! each query a close plan over the state of its stages, and the merge of a stage's state.
//!
//! A plan keeps state of its run, and running it twice is a defect: each epoch gets a copy of one that
//! was made before, or a new one (`blank.rs`).

use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::expressions::{Column, lit};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use object_store::memory::InMemory;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tidegauge_commitlog::Storage;

use super::blank::{Blank, over_chunks, over_inputs};
use super::feed::Feed;
use super::input::Input;
use super::job_plan::JobPlan;
use super::nodes::{PartialNode, StageNode};
use super::query::{Prepared, Query, REVISION};
use super::stage::Stage;
use super::template::Template;
use crate::operator::{
    ChunkQueue, ChunkScan, RunningExec, RunningMerge, SessionExec, SessionLayout, StateInput,
    StateScan, by_first_column, isolated_over_chunks,
};
use crate::sql::{Windows, folder_value_expr};
use crate::state::StateView;

/// Up to so many rows of state, all in memory, a plan has one partition.
const ROWS_OF_ONE_PARTITION: usize = 8_192;

/// The ingest plan of one cut.
#[derive(Debug, Clone)]
pub struct IngestCut {
    /// Where its rows go.
    pub target: CutTarget,
    /// The plan, in as many partitions as the session runs.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Where it takes chunks; none where the query's filter is never true.
    pub input: Option<CutInput>,
}

/// Where the rows of a cut go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutTarget {
    /// Partial aggregates of a stage, by its identity.
    Stage(String),
    /// Rows of a stateless query, by its position in the job.
    Query(usize),
}

/// Which rows and columns of its source a cut takes, and where.
#[derive(Debug, Clone)]
pub struct CutInput {
    /// The positions of the columns.
    pub columns: Vec<usize>,
    /// The rows, over all columns of the source; all where there is none.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// A queue for each partition.
    pub queues: Vec<Arc<ChunkQueue>>,
}

impl JobPlan {
    /// The ingest plans of all cuts of `input`; `state` holds the epoch's clock.
    ///
    /// # Errors
    /// When DataFusion cannot plan a query, which `check` would have found.
    pub async fn ingest_cuts(&self, state: &SessionState, input: &Input) -> Result<Vec<IngestCut>> {
        let mut cuts = Vec::new();
        for stage in self.stages.values().filter(|stage| stage.input == *input) {
            let Some(prepared) = self.ingest.get(&stage.id) else {
                return internal_err!("the stage {} has no ingest plan", stage.id);
            };
            let target = CutTarget::Stage(stage.id.clone());
            cuts.push(ingest_cut(state, target, prepared, None).await?);
        }
        for (at, query) in self.queries.iter().enumerate() {
            if query.input.as_ref() == Some(input) {
                cuts.push(
                    ingest_cut(state, CutTarget::Query(at), &query.prepared, Some(query)).await?,
                );
            }
        }
        Ok(cuts)
    }

    /// The close plan of `query` over the state of its stages, by their identity; its rows are
    /// those of the `revision` of their windows, where the query counts them.
    ///
    /// # Errors
    /// When DataFusion cannot plan the query, which `check` would have found.
    pub async fn close_plan(
        &self,
        state: &SessionState,
        query: &Query,
        inputs: HashMap<String, StateInput>,
        revision: u32,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.over_state(state, &query.prepared, inputs).await?;
        let plan = with_folders(plan, query, state)?;
        if query.revises { revised(plan, revision) } else { Ok(plan) }
    }

    /// The close plan of `feed` over the state of its stages, by their identity.
    ///
    /// # Errors
    /// When DataFusion cannot plan it, which `check` would have found.
    pub async fn feed_plan(
        &self,
        state: &SessionState,
        feed: &Feed,
        inputs: HashMap<String, StateInput>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over_state(state, &feed.prepared, inputs).await
    }

    async fn over_state(
        &self,
        state: &SessionState,
        prepared: &Prepared,
        inputs: HashMap<String, StateInput>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(blanks) = prepared.blanks() else {
            return self.planned(state, prepared, inputs).await;
        };
        // To hand a few rows from one task to another takes longer than to work on them.
        let is_small = inputs.values().map(StateInput::rows_in_memory).sum::<Option<usize>>();
        let partitions = match is_small {
            Some(1..=ROWS_OF_ONE_PARTITION) => 1,
            _ => state.config().target_partitions(),
        };
        match blanks.get(partitions) {
            Blank::Made(blank) => over_inputs(&blank, &inputs),
            Blank::Impossible => self.planned(state, prepared, inputs).await,
            Blank::Unknown => {
                let nothing = inputs.keys().filter_map(|id| self.stages.get(id));
                let nothing = nothing.map(|stage| (stage.id.clone(), nothing_of(stage)));
                let mut of_blank = state.clone();
                of_blank.config_mut().options_mut().execution.target_partitions = partitions;
                let plan = self.planned(&of_blank, prepared, nothing.collect()).await?;
                blanks.keep(partitions, &plan);
                match blanks.get(partitions) {
                    Blank::Made(blank) => over_inputs(&blank, &inputs),
                    _ => self.planned(state, prepared, inputs).await,
                }
            }
        }
    }

    async fn planned(
        &self,
        state: &SessionState,
        prepared: &Prepared,
        inputs: HashMap<String, StateInput>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = state.config().target_partitions();
        let mut stages = HashMap::new();
        for (id, input) in inputs {
            let Some(stage) = self.stages.get(&id) else {
                return internal_err!("the job has no stage {id}");
            };
            let scan = StateScan::new(input, stage.template.state_schema()?, partitions);
            let scan: Arc<dyn ExecutionPlan> = Arc::new(scan.of_stage(&id));
            stages.insert(id, (stage.clone(), scan));
        }
        physical(state, stages, &prepared.at(state)?).await
    }

    /// Plans `query` as an epoch would, in several partitions and over state of any size, with the
    /// stages and feeds named here, so that what DataFusion cannot plan, or begin to run, is known
    /// before a job runs.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) async fn try_plans(
        &self,
        state: &SessionState,
        query: &Query,
        (stages, feeds): (&[String], &[String]),
    ) -> Result<()> {
        let mut state = state.clone();
        let partitions = &mut state.config_mut().options_mut().execution.target_partitions;
        *partitions = (*partitions).max(2);
        let state = &state;
        for prepared in stages.iter().filter_map(|id| self.ingest.get(id)) {
            try_aggregates(&physical(state, HashMap::new(), &prepared.at(state)?).await?)?;
        }
        let feeds = feeds.iter().filter_map(|id| self.feeds.get(id));
        let mut read: Vec<(&Prepared, Vec<&String>)> =
            feeds.map(|feed| (&feed.prepared, feed.stages.iter().collect())).collect();
        read.push((&query.prepared, query.stages.iter().collect()));
        for (prepared, ids) in read {
            let stages = ids.into_iter().filter_map(|id| self.stages.get(id));
            let inputs = stages.map(|stage| (stage.id.clone(), nothing_of(stage))).collect();
            try_aggregates(&self.planned(state, prepared, inputs).await?)?;
        }
        Ok(())
    }
}

impl Stage {
    /// The plan that merges what `input` sees of the state into one stream, a row a key.
    ///
    /// # Errors
    /// When the aggregate cannot be built, which is a defect.
    pub fn merge_plan(
        &self,
        input: StateInput,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = self.scan(input, partitions)?;
        let one: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(scan));
        let Some(layout) = self.session_layout() else { return self.template.reduce(one) };
        self.template.reduce(Arc::new(SessionExec::try_new(layout, vec![one])?))
    }

    /// As [`Stage::merge_plan`], in the order of the first column.
    ///
    /// # Errors
    /// When the aggregate cannot be built, which is a defect.
    pub fn sorted_merge_plan(
        &self,
        input: StateInput,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = partitions.min(input.parts.len()).max(1);
        by_first_column(self.merge_plan(input, partitions)?)
    }

    /// The plan of the running merges of what `input` sees, whose first column tells which of
    /// `steps` a row is of; a row a key and step, in the order of the steps.
    ///
    /// # Errors
    /// When windows are sessions or the aggregate cannot be built, which are defects.
    pub fn running_plan(
        &self,
        input: StateInput,
        steps: Vec<i64>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.session_layout().is_some() {
            return internal_err!("the sessions of the stage {} have no steps", self.id);
        }
        let (aggregates, keys) = self.template.states();
        let owns_input = input.parts.iter().any(|part| part.run().is_some());
        let merge = RunningMerge { steps, keys, aggregates, owns_input };
        Ok(Arc::new(RunningExec::new(Arc::new(merge), self.scan(input, 1)?)))
    }

    /// The plan that gives what `input` sees of the state, in one stream.
    ///
    /// # Errors
    /// When the aggregate cannot be built, which is a defect.
    pub fn state_plan(&self, input: StateInput) -> Result<Arc<dyn ExecutionPlan>> {
        self.scan(input, 1)
    }

    /// The plan that puts the pieces of sessions that `closing` sees together, also with those that
    /// `open` sees, and gives the former with the bounds of their sessions, as pieces that close when
    /// these do.
    ///
    /// # Errors
    /// When windows are not sessions or the aggregate cannot be built, which are defects.
    pub fn sessions_plan(
        &self,
        (closing, open): (StateInput, StateInput),
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(layout) = self.session_layout() else {
            return internal_err!("the stage {} has no sessions", self.id);
        };
        let schema = self.template.state_schema()?;
        let columns = schema.fields().len();
        let looked_at = (1..=layout.partition).chain([columns - 2, columns - 1]).collect();
        let closing = StateScan::new(closing, Arc::clone(&schema), partitions);
        let open = StateScan::new(open, schema, partitions).only(looked_at)?;
        let inputs = vec![
            by_key(Arc::new(closing), 1..layout.partition + 1)?,
            by_key(Arc::new(open), 0..layout.partition)?,
        ];
        self.template.reduce(Arc::new(SessionExec::try_new(layout, inputs)?))
    }

    /// The plan from `state` to final rows.
    fn last_plan(&self, state: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.sessions {
            Some(keys) => self.template.last_of_sessions(&keys.grouped, state),
            None => self.template.last(state),
        }
    }

    fn scan(&self, input: StateInput, partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(StateScan::new(input, self.template.state_schema()?, partitions)))
    }

    fn session_layout(&self) -> Option<SessionLayout> {
        let (Windows::Session(shape), Some(keys)) = (self.windows, &self.sessions) else {
            return None;
        };
        Some(SessionLayout { gap_us: shape.gap_us(), partition: keys.partition })
    }

    /// The schema of the state.
    ///
    /// # Errors
    /// When the aggregate cannot be built, which is a defect.
    pub fn state_schema(&self) -> Result<datafusion::arrow::datatypes::SchemaRef> {
        self.template.state_schema()
    }
}

/// What is read of `stage` where it has no state.
fn nothing_of(stage: &Stage) -> StateInput {
    StateInput {
        storage: Storage::from_parts(Arc::new(InMemory::new()), Path::default()),
        parts: vec![],
        state: stage.state_shape(),
        view: StateView::ALL,
    }
}

/// Refuses aggregates that cannot be begun: some look at their arguments only then.
fn try_aggregates(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        for function in aggregate.aggr_expr() {
            let separated = ["array_agg", "string_agg"].contains(&function.fun().name());
            if function.is_distinct() && function.expressions().len() > 1 && !separated {
                let name = function.fun().name();
                return plan_err!(
                    "DISTINCT is of one argument, and {name}() has more; leave it out"
                );
            }
            match function.groups_accumulator_supported() {
                true => drop(function.create_groups_accumulator()?),
                false => drop(function.create_accumulator()?),
            }
        }
    }
    plan.children().into_iter().try_for_each(try_aggregates)
}

/// The rows of `plan` with all rows of a key in one partition, `key` being where its columns are.
fn by_key(plan: Arc<dyn ExecutionPlan>, key: Range<usize>) -> Result<Arc<dyn ExecutionPlan>> {
    if key.is_empty() {
        return Ok(Arc::new(CoalescePartitionsExec::new(plan)));
    }
    let schema = plan.schema();
    let columns = key.map(|at| Arc::new(Column::new(schema.field(at).name(), at)) as _).collect();
    let partitions = plan.output_partitioning().partition_count();
    Ok(Arc::new(RepartitionExec::try_new(plan, Partitioning::Hash(columns, partitions))?))
}

/// `plan` with the number of its revision as last column.
fn revised(plan: Arc<dyn ExecutionPlan>, revision: u32) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
        (column, field.name().clone())
    });
    let revision = i32::try_from(revision).unwrap_or(i32::MAX);
    let columns: Vec<_> = columns.chain([(lit(revision), REVISION.to_owned())]).collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
}

/// `plan`, whose rows are those of `query`, without the rows that no folder can be called by. It is put
/// above a plan that is optimised: what a query leaves out itself is not looked at.
fn with_folders(
    plan: Arc<dyn ExecutionPlan>,
    query: &Query,
    state: &SessionState,
) -> Result<Arc<dyn ExecutionPlan>> {
    if query.folders.is_empty() {
        return Ok(plan);
    }
    let schema = plan.schema();
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
        let expr = match query.folders.contains(field.name()) {
            true => folder_value_expr(column, field.name(), &schema, state.config().options())?,
            false => column,
        };
        Ok((expr, field.name().clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
}

async fn ingest_cut(
    state: &SessionState,
    target: CutTarget,
    prepared: &Prepared,
    query: Option<&Query>,
) -> Result<IngestCut> {
    let partitions = state.config().target_partitions();
    let blanks = prepared.blanks();
    let known = blanks.map_or(Blank::Impossible, |blanks| blanks.get(partitions));
    // What fails is told to the queues of chunks, and counted by whoever fills them.
    let made = |plan: Arc<dyn ExecutionPlan>| {
        let plan = match query {
            Some(query) => with_folders(plan, query, state)?,
            None => plan,
        };
        IngestCut::new(target, isolated_over_chunks(&plan)?)
    };
    if let Blank::Made(blank) = &known {
        return made(over_chunks(blank)?);
    }
    let plan = physical(state, HashMap::new(), &prepared.at(state)?).await?;
    let plan = match (known, blanks) {
        (Blank::Unknown, Some(blanks)) => {
            blanks.keep(partitions, &plan);
            over_chunks(&plan)?
        }
        _ => plan,
    };
    made(plan)
}

impl IngestCut {
    /// The cut that `plan` runs.
    ///
    /// # Errors
    /// When the plan does not take its chunks in as many partitions as it gives rows.
    pub fn new(target: CutTarget, plan: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let input = chunk_scan(&plan).map(|scan| CutInput {
            columns: scan.columns.clone(),
            filter: scan.filter.clone(),
            queues: scan.queues.clone(),
        });
        let partitions = plan.output_partitioning().partition_count();
        if let Some(input) = &input
            && input.queues.len() != partitions
        {
            return internal_err!(
                "an ingest plan of {} queues runs in {partitions}",
                input.queues.len()
            );
        }
        Ok(Self { target, plan, input })
    }
}

fn chunk_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&ChunkScan> {
    let node: &dyn Any = plan.as_ref();
    node.downcast_ref().or_else(|| plan.children().into_iter().find_map(chunk_scan))
}

/// By identity, each stage with what reads its state.
type StageInputs = HashMap<String, (Stage, Arc<dyn ExecutionPlan>)>;

async fn physical(
    state: &SessionState,
    stages: StageInputs,
    plan: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>> {
    let nodes: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> =
        vec![Arc::new(NodePlanner { stages })];
    DefaultPhysicalPlanner::with_extension_planners(nodes).create_physical_plan(plan, state).await
}

/// Plans the engine's own logical nodes.
struct NodePlanner {
    stages: StageInputs,
}

#[async_trait]
impl ExtensionPlanner for NodePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(partial) = node.as_any().downcast_ref::<PartialNode>() {
            let [input] = physical_inputs else {
                return internal_err!("a partial aggregate has one input");
            };
            let template = Template::new(
                &partial.keys,
                &partial.aggregates,
                partial.gap_us,
                partial.input.schema(),
            )?;
            return template.partial(Arc::clone(input)).map(Some);
        }
        if let Some(stage) = node.as_any().downcast_ref::<StageNode>() {
            let Some((stage, input)) = self.stages.get(&stage.stage) else {
                return internal_err!("the stage {} has no state to read", stage.stage);
            };
            return stage.last_plan(Arc::clone(input)).map(Some);
        }
        Ok(None)
    }
}
