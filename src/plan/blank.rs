//! Physical plans that are made once and filled in for each epoch: to plan a query takes longer than
//! to run it over a few rows.
//!
//! A plan keeps state of its run and is run once. A blank is never run: each epoch gets a copy of
//! its nodes, reset, over leaves of its own. Of nodes that are not known here it is not known
//! whether copies share anything, and a query that has one is planned for each epoch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use parking_lot::Mutex;

use crate::operator::{ChunkScan, StateInput, StateScan};

/// The blanks of one query, by the number of partitions they were planned for; none for a query
/// that has no blank.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blanks {
    made: Arc<Mutex<ByPartitions>>,
}

type ByPartitions = BTreeMap<usize, Option<Arc<dyn ExecutionPlan>>>;

/// What is known of a blank.
pub(super) enum Blank {
    /// There is one.
    Made(Arc<dyn ExecutionPlan>),
    /// There can be none.
    Impossible,
    /// Nobody has tried yet.
    Unknown,
}

impl Blanks {
    pub(super) fn get(&self, partitions: usize) -> Blank {
        match self.made.lock().get(&partitions) {
            Some(Some(plan)) => Blank::Made(Arc::clone(plan)),
            Some(None) => Blank::Impossible,
            None => Blank::Unknown,
        }
    }

    /// Keeps `plan`, which will never be run, where copies of it share nothing.
    pub(super) fn keep(&self, partitions: usize, plan: &Arc<dyn ExecutionPlan>) {
        let blank = is_copied_whole(plan).then(|| Arc::clone(plan));
        self.made.lock().insert(partitions, blank);
    }
}

fn is_copied_whole(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let filters_as_it_runs = plan
        .downcast_ref::<AggregateExec>()
        .is_some_and(|aggregate| !aggregate.dynamic_expressions_produced().is_empty());
    let is_known = plan.is::<StateScan>()
        || plan.is::<ChunkScan>()
        || plan.is::<AggregateExec>()
        || plan.is::<BoundedWindowAggExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<EmptyExec>()
        || plan.is::<FilterExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<PlaceholderRowExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<UnionExec>()
        || plan.is::<UnnestExec>()
        || plan.is::<WindowAggExec>();
    is_known && !filters_as_it_runs && plan.children().into_iter().all(is_copied_whole)
}

/// A copy of `blank` that reads `inputs`, by the stage.
pub(super) fn over_inputs(
    blank: &Arc<dyn ExecutionPlan>,
    inputs: &HashMap<String, StateInput>,
) -> Result<Arc<dyn ExecutionPlan>> {
    copied(blank, &|leaf| {
        let Some(scan) = leaf.downcast_ref::<StateScan>() else { return Ok(None) };
        let Some(input) = scan.stage().and_then(|stage| inputs.get(stage)) else {
            return internal_err!("nothing is known of the state of {:?}", scan.stage());
        };
        let scan: Arc<dyn ExecutionPlan> = Arc::new(scan.with_input(input.clone()));
        Ok(Some(scan))
    })
}

/// A copy of `blank` with empty queues of its own.
pub(super) fn over_chunks(blank: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    copied(blank, &|leaf| {
        Ok(leaf.downcast_ref::<ChunkScan>().map(|scan| Arc::new(scan.emptied()) as _))
    })
}

type Leaf<'a> = dyn Fn(&Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> + 'a;

fn copied(plan: &Arc<dyn ExecutionPlan>, leaf: &Leaf<'_>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(leaf) = leaf(plan)? {
        return Ok(leaf);
    }
    let children = plan.children().into_iter().map(|child| copied(child, leaf));
    let children = children.collect::<Result<Vec<_>>>()?;
    let plan = Arc::clone(plan);
    if children.is_empty() {
        return plan.reset_state();
    }
    // Leaves keep their properties, and so all above them do.
    let known = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    plan.replace_children(children, known)?.reset_state()
}
