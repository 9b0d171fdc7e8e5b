//! How many tasks a plan's leaves get, and what each task reads.
//!
//! Every stage has at least two tasks: the library runs a stage of one task in the coordinator,
//! without a word. A single worker then runs both.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DesiredTaskCountHandler,
    DistributedLeafExec, NetworkBoundaryExt, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
};

use super::ingest_exec::IngestExec;
use super::sink_exec::SinkExec;
use super::state_exec::RunExec;
use crate::operator::{SessionExec, StateScan};
use crate::runtime::PassPlan;
use crate::source::InputFile;
use crate::state::StatePart;

/// The least tasks of a stage that runs remotely.
pub(super) const TASKS_MIN: usize = 2;

/// Gives each leaf as many tasks as it has pieces, up to one a worker.
#[derive(Debug)]
pub(super) struct TaskCounts {
    pub(super) workers: usize,
}

#[async_trait]
impl DesiredTaskCountHandler for TaskCounts {
    async fn handle(
        &self,
        event: DesiredTaskCountEvent<'_>,
    ) -> Option<Result<DesiredTaskCountEventResponse>> {
        let pieces = if let Some(ingest) = event.plan.downcast_ref::<IngestExec>() {
            match ingest.input {
                Some(_) => TASKS_MIN,
                None => ingest.files.len(),
            }
        } else if let Some(scan) = event.plan.downcast_ref::<StateScan>() {
            scan.input().parts.len()
        } else if event.plan.is::<SinkExec>() || event.plan.is::<RunExec>() {
            TASKS_MIN
        } else {
            return None;
        };
        let tasks = pieces.min(self.workers).max(TASKS_MIN);
        Some(Ok(DesiredTaskCountEventResponse::desired(tasks)))
    }
}

/// Deals what a leaf reads out to its tasks, whole files and whole runs, the largest first.
pub(super) fn scale_up(
    event: ScaleUpLeafNodeEvent,
) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let tasks = event.task_count.max(1);
    let variants: Vec<Arc<dyn ExecutionPlan>> =
        if let Some(ingest) = event.plan.downcast_ref::<IngestExec>() {
            let files = dealt(&ingest.files, tasks, |file| file.size);
            let dealt = files.into_iter().enumerate();
            dealt.map(|(at, files)| task_of(ingest, at, files)).collect()
        } else if let Some(scan) = event.plan.downcast_ref::<StateScan>() {
            let parts = dealt(&scan.input().parts, tasks, bytes_of);
            let scans = parts.into_iter().map(|parts| scan.with_parts(parts));
            scans.map(|scan| Arc::new(scan) as Arc<dyn ExecutionPlan>).collect()
        } else {
            return None;
        };
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), variants);
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

/// Gives the first task all that a leaf reads: for a plan that is whole in each task.
pub(super) fn all_to_first(
    event: ScaleUpLeafNodeEvent,
) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let scan = event.plan.downcast_ref::<StateScan>()?;
    let mut variants: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::clone(event.plan)];
    for _ in 1..event.task_count {
        variants.push(Arc::new(scan.with_parts(vec![])));
    }
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), variants);
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

fn bytes_of(part: &StatePart) -> u64 {
    part.run().map_or(0, |run| run.bytes)
}

/// The pass of one task: its files, and a name of its own.
fn task_of(ingest: &IngestExec, at: usize, files: Vec<InputFile>) -> Arc<dyn ExecutionPlan> {
    let pass = PassPlan { task: at.to_string(), ..ingest.pass.clone() };
    Arc::new(IngestExec::new(pass, files, ingest.number).of_task(at))
}

/// Refuses a plan whose work would be done in the coordinator: what reads and what writes must be
/// below a network boundary.
pub(super) fn check_remote(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if plan.is_network_boundary() {
        return Ok(());
    }
    let is_work = plan.is::<IngestExec>()
        || plan.is::<SinkExec>()
        || plan.is::<RunExec>()
        || plan.is::<StateScan>()
        || plan.is::<DistributedLeafExec>();
    if is_work || plan.children().is_empty() {
        return internal_err!("{} would run in the coordinator instead of a worker", plan.name());
    }
    plan.children().into_iter().try_for_each(check_remote)
}

/// Refuses a plan in which tasks that share a stage's state would each finish its aggregate, or put
/// its sessions together: between the two there must be a shuffle, which the planner leaves out
/// where it believes that all rows of a key are in one partition.
pub(super) fn check_shuffled(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let is_final = plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
        matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned)
    });
    let is_sessions = plan.downcast_ref::<SessionExec>().is_some_and(SessionExec::looks_further);
    if (is_final || is_sessions) && plan.children().into_iter().any(reads_state) {
        return internal_err!("the tasks of a close plan share no shuffle");
    }
    plan.children().into_iter().try_for_each(check_shuffled)
}

/// Whether a leaf of state is below `plan`, in the same stage.
fn reads_state(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_leaf = plan.is::<StateScan>() || plan.is::<DistributedLeafExec>();
    let is_elsewhere = plan.is_network_boundary();
    is_leaf || !is_elsewhere && plan.children().into_iter().any(reads_state)
}

/// Shares of about equal size: each piece, the largest first, goes where the least is so far.
fn dealt<T: Clone>(pieces: &[T], tasks: usize, bytes: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let mut order: Vec<&T> = pieces.iter().collect();
    order.sort_by_key(|piece| std::cmp::Reverse(bytes(piece)));
    let mut shares: Vec<(u64, Vec<T>)> = vec![(0, vec![]); tasks];
    for piece in order {
        if let Some(least) = shares.iter_mut().min_by_key(|(held, share)| (*held, share.len())) {
            least.0 += bytes(piece);
            least.1.push(piece.clone());
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::aggregates::PhysicalGroupBy;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion_distributed::NetworkCoalesceExec;
    use tidegauge_commitlog::Storage;

    use super::*;
    use crate::operator::StateInput;
    use crate::sql::{WindowShape, time_type};
    use crate::state::{StateShape, StateView};

    fn scan() -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![Field::new("__pane", time_type(), true)]));
        let input = StateInput {
            storage: Storage::open("/nowhere").unwrap(),
            parts: vec![],
            state: StateShape::Windows(WindowShape::tumble(1_000, 0).unwrap()),
            view: StateView::Open { through_us: 0 },
        };
        Arc::new(StateScan::new(input, schema, 2))
    }

    fn last_of(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let schema = input.schema();
        let key = (col("__pane", &schema).unwrap(), "__pane".to_owned());
        let keys = PhysicalGroupBy::new_single(vec![key]);
        let mode = AggregateMode::FinalPartitioned;
        Arc::new(AggregateExec::try_new(mode, keys, vec![], vec![], input, schema).unwrap())
    }

    #[test]
    fn work_that_would_stay_in_the_coordinator_is_refused() {
        let local: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(scan()));
        let said = check_remote(&local).unwrap_err().to_string();
        assert!(said.contains("StateScan would run in the coordinator"), "{said}");
        let boundary = NetworkCoalesceExec::try_new(scan(), 2, 1).unwrap();
        let remote: Arc<dyn ExecutionPlan> =
            Arc::new(CoalescePartitionsExec::new(Arc::new(boundary)));
        check_remote(&remote).unwrap();
    }

    #[test]
    fn tasks_that_would_each_finish_an_aggregate_are_refused() {
        let said = check_shuffled(&last_of(scan())).unwrap_err().to_string();
        assert!(said.contains("share no shuffle"), "{said}");
        let boundary = NetworkCoalesceExec::try_new(scan(), 2, 1).unwrap();
        check_shuffled(&last_of(Arc::new(boundary))).unwrap();
    }

    #[test]
    fn pieces_are_dealt_whole_and_evenly() {
        let shares = dealt(&[7_u64, 1, 1, 5, 2], 2, |bytes| *bytes);
        assert_eq!(shares, [vec![7, 1], vec![5, 2, 1]]);
        assert_eq!(dealt(&[0_u64, 0], 2, |bytes| *bytes), [vec![0], vec![0]]);
        assert_eq!(dealt(&[3_u64], 2, |bytes| *bytes), [vec![3], vec![]]);
    }
}
