//! The physical plans of one epoch: for each cut of a source an ingest plan that takes chunks, for
//! each query a close plan over the state of its stages, and the merge of a stage's state.
//!
//! Plans are made anew for each epoch: a plan keeps state of its run, and running it twice is a
//! defect.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_err};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use serde::{Deserialize, Serialize};

use super::job_plan::JobPlan;
use super::nodes::{PartialNode, StageNode};
use super::query::Query;
use super::stage::Stage;
use super::template::Template;
use crate::operator::{ChunkQueue, ChunkScan, StateInput, StateScan};

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
    /// The ingest plans of all cuts of `source`; `state` holds the epoch's clock.
    ///
    /// # Errors
    /// When DataFusion cannot plan a query, which `check` would have found.
    pub async fn ingest_cuts(&self, state: &SessionState, source: &str) -> Result<Vec<IngestCut>> {
        let mut cuts = Vec::new();
        for stage in self.stages.values().filter(|stage| stage.source == source) {
            let Some(prepared) = self.ingest.get(&stage.id) else {
                return internal_err!("the stage {} has no ingest plan", stage.id);
            };
            let target = CutTarget::Stage(stage.id.clone());
            cuts.push(ingest_cut(state, target, &prepared.at(state)?).await?);
        }
        for (at, query) in self.queries.iter().enumerate() {
            if query.is_stateless() && query.sources.iter().any(|name| name == source) {
                let plan = query.prepared.at(state)?;
                cuts.push(ingest_cut(state, CutTarget::Query(at), &plan).await?);
            }
        }
        Ok(cuts)
    }

    /// The close plan of `query` over the state of its stages, by their identity.
    ///
    /// # Errors
    /// When DataFusion cannot plan the query, which `check` would have found.
    pub async fn close_plan(
        &self,
        state: &SessionState,
        query: &Query,
        inputs: HashMap<String, StateInput>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut stages = HashMap::new();
        for (id, input) in inputs {
            match self.stages.get(&id) {
                Some(stage) => stages.insert(id, (stage.template.clone(), input)),
                None => return internal_err!("the job has no stage {id}"),
            };
        }
        physical(state, stages, &query.prepared.at(state)?).await
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
        let scan = StateScan::new(input, self.template.state_schema()?, partitions);
        let one = Arc::new(CoalescePartitionsExec::new(Arc::new(scan)));
        self.template.reduce(one)
    }

    /// The schema of the state.
    ///
    /// # Errors
    /// When the aggregate cannot be built, which is a defect.
    pub fn state_schema(&self) -> Result<datafusion::arrow::datatypes::SchemaRef> {
        self.template.state_schema()
    }
}

async fn ingest_cut(
    state: &SessionState,
    target: CutTarget,
    plan: &LogicalPlan,
) -> Result<IngestCut> {
    IngestCut::new(target, physical(state, HashMap::new(), plan).await?)
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

type StageInputs = HashMap<String, (Template, StateInput)>;

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
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(partial) = node.as_any().downcast_ref::<PartialNode>() {
            let [input] = physical_inputs else {
                return internal_err!("a partial aggregate has one input");
            };
            let template =
                Template::new(&partial.keys, &partial.aggregates, partial.input.schema())?;
            return template.partial(Arc::clone(input)).map(Some);
        }
        if let Some(stage) = node.as_any().downcast_ref::<StageNode>() {
            let Some((template, input)) = self.stages.get(&stage.stage) else {
                return internal_err!("the stage {} has no state to read", stage.stage);
            };
            let partitions = session.config().target_partitions();
            let scan = StateScan::new(input.clone(), template.state_schema()?, partitions);
            return template.last(Arc::new(scan)).map(Some);
        }
        Ok(None)
    }
}
