//! The coordinator's side: who answers, and an epoch's plans sent to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion_distributed::{
    ChannelResolver, DistributedExt, NetworkCoalesceExec, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeEventResponse, SessionStateBuilderExt, WorkerResolver,
};
use futures::future::join_all;
use serde::de::DeserializeOwned;
use tidegauge_commitlog::{Attempt, Run};
use tonic::codegen::http::HeaderMap;
use url::Url;

use super::address::WorkerList;
use super::channel::{Channels, WorkerAccess};
use super::codec::EngineCodec;
use super::ingest_exec::IngestExec;
use super::placement::{
    TASKS_MIN, TaskCounts, all_to_first, check_remote, check_shuffled, scale_up,
};
use super::planner::{HandOver, handed_over};
use super::receipt::{IngestReceipt, collect};
use super::sink_exec::SinkExec;
use super::state_exec::RunExec;
use super::task;
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::runtime::{
    Buffered, Crew, Isolating, PassPlan, Remote, RunTarget, SourceReceipt, StageReceipt, Written,
};
use crate::sink::{SinkTarget, spread};
use crate::source::InputFile;

/// The workers of a job.
#[derive(Debug)]
pub struct Cluster {
    list: WorkerList,
    channels: Arc<Channels>,
}

impl Cluster {
    /// The workers at `list`; nothing is asked of them yet.
    ///
    /// # Errors
    /// When the token cannot be sent.
    pub fn new(list: WorkerList, mut access: WorkerAccess) -> Result<Self> {
        access.tls = match (access.tls, list.server_name()) {
            (Some(tls), Some(name)) => Some(tls.domain_name(name)),
            (tls, _) => tls,
        };
        Ok(Self { list, channels: Arc::new(Channels::new(access)?) })
    }
}

#[async_trait]
impl Remote for Cluster {
    async fn gather(&self, attempt: &Attempt) -> Result<Arc<dyn Crew>> {
        let urls = self.list.urls(self.channels.scheme()).await?;
        self.channels.keep_only(&urls);
        let asked = join_all(urls.iter().map(|url| self.channels.probe(url))).await;
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for (url, answer) in urls.into_iter().zip(asked) {
            match answer {
                Ok(()) => there.push(url),
                Err(error) => missing.push(error.message().to_owned()),
            }
        }
        if there.is_empty() {
            return Err(Error::unavailable(format!(
                "no worker can be reached ({}); start one with: tidegauge worker --listen ADDRESS",
                missing.join("; ")
            )));
        }
        for worker in missing {
            tracing::warn!(worker, "a worker is left out");
        }
        let channels = Arc::clone(&self.channels);
        let (attempt, plans) = (attempt.clone(), AtomicU32::new(1));
        Ok(Arc::new(Attempting { urls: there, channels, attempt, plans }))
    }
}

/// The workers of one attempt.
#[derive(Debug)]
struct Attempting {
    urls: Vec<Url>,
    channels: Arc<Channels>,
    attempt: Attempt,
    plans: AtomicU32,
}

#[async_trait]
impl Crew for Attempting {
    fn workers(&self) -> usize {
        self.urls.len()
    }

    async fn ingest(
        &self,
        session: &SessionState,
        pass: PassPlan,
        files: Vec<InputFile>,
    ) -> Result<SourceReceipt> {
        let plan = Arc::new(IngestExec::new(pass, files, self.next_plan()));
        let rows = self.planned(session, gathered(plan), scale_up).await?.run()?;
        total(rows).await
    }

    async fn feed(
        &self,
        session: &SessionState,
        plan: Isolating,
        pass: PassPlan,
    ) -> Result<SourceReceipt> {
        let over = |plan: Arc<dyn ExecutionPlan>| -> Result<Arc<dyn ExecutionPlan>> {
            let number = self.next_plan();
            Ok(Arc::new(IngestExec::fed(ungathered(plan), pass.clone(), number)))
        };
        let receipts = self.isolating(session, &plan, over).await?;
        Ok(received_all(receipts))
    }

    async fn write_sink(
        &self,
        session: &SessionState,
        plan: Isolating,
        target: SinkTarget,
    ) -> Result<Written> {
        let over = |plan: Arc<dyn ExecutionPlan>| -> Result<Arc<dyn ExecutionPlan>> {
            let plan = spread(ungathered(plan), &target.partition_by).map_err(from_datafusion)?;
            Ok(Arc::new(SinkExec::new(plan, target.clone(), self.next_plan())))
        };
        let parts: Vec<Written> = self.isolating(session, &plan, over).await?;
        let mut written = Written::default();
        for part in parts {
            written.files.extend(part.files);
            written.reported.add(part.reported);
        }
        Ok(written)
    }

    async fn write_runs(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        target: RunTarget,
    ) -> Result<Vec<Run>> {
        runs(self.spread_or_whole(session, Arc::new(RunExec::new(plan, target))).await?).await
    }

    async fn merge_runs(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        target: RunTarget,
    ) -> Result<Vec<Run>> {
        // Each task merges its own share of the runs: the boundary stands above the whole.
        let plan = remote(Arc::new(RunExec::new(plan, target)))?;
        runs(self.planned(session, plan, scale_up).await?.run()?).await
    }
}

impl Attempting {
    /// Runs `plan`, which writes what it reads of state, in tasks that share its state or, where
    /// something in it cannot be spread, on one worker as in one process.
    async fn spread_or_whole(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<SendableRecordBatchStream> {
        let apart = self.planned(session, gathered(Arc::clone(&plan)), scale_up).await?;
        match check_remote(&apart.plan) {
            Ok(()) => {
                check_shuffled(&apart.plan).map_err(from_datafusion)?;
                apart.run()
            }
            Err(reason) => {
                tracing::debug!(%reason, "a close plan runs on one worker");
                self.planned(session, remote(plan)?, all_to_first).await?.run()
            }
        }
    }

    /// The receipts of what `over` makes of `plan`: shared among tasks as it is and, where an
    /// expression of it fails, in one task that leaves out the rows and can tell which.
    async fn isolating<T: DeserializeOwned>(
        &self,
        session: &SessionState,
        plan: &Isolating,
        over: impl Fn(Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> + Send + Sync,
    ) -> Result<Vec<T>> {
        let shared = self.spread_or_whole(session, over(Arc::clone(&plan.plan))?).await;
        let receipts = match shared {
            Ok(rows) => collect(rows).await,
            Err(error) => Err(error),
        };
        match receipts {
            Err(error) if may_be_of_values(&error) && plan.may_help() => {
                tracing::debug!(%error, "a close plan runs on one worker, to leave out rows");
                let whole = remote(over(Arc::clone(&plan.isolated))?)?;
                collect(self.planned(session, whole, all_to_first).await?.run()?).await
            }
            receipts => receipts,
        }
    }

    /// The number of the attempt's next plan: with that of the task it makes the name of its files
    /// its own. This process, which writes none of them, would be task 0 of no plan.
    fn next_plan(&self) -> u32 {
        self.plans.fetch_add(1, Ordering::Relaxed)
    }

    fn tasks_max(&self) -> usize {
        self.urls.len().max(TASKS_MIN)
    }

    /// Cuts `plan` into stages; `scale_up` says what each task of a leaf reads.
    async fn planned(
        &self,
        session: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        scale_up: ScaleUp,
    ) -> Result<Planned> {
        let headers = task::headers(&self.attempt)?;
        let session = self.session(session, scale_up, headers).map_err(from_datafusion)?;
        let handed = handed_over(plan).map_err(from_datafusion)?;
        let planner = session.query_planner();
        let plan = planner.create_physical_plan(&handed, &session).await;
        Ok(Planned { plan: plan.map_err(from_datafusion)?, task: session.task_ctx() })
    }

    fn session(
        &self,
        session: &SessionState,
        scale_up: ScaleUp,
        headers: HeaderMap,
    ) -> Result<SessionState, DataFusionError> {
        let builder = SessionStateBuilder::new_from_existing(session.clone())
            .with_query_planner(Arc::new(HandOver))
            .with_distributed_planner()
            .with_distributed_worker_resolver(Fixed(self.urls.clone()))
            .with_distributed_channel_resolver(Arc::clone(&self.channels) as Resolver)
            .with_distributed_user_codec(EngineCodec)
            .with_distributed_desired_task_count_handler(TaskCounts { workers: self.urls.len() })
            .with_distributed_scale_up_leaf_node_handler(scale_up)
            .with_distributed_max_tasks_per_stage(self.tasks_max())?
            .with_distributed_partial_reduce(false)?
            .with_distributed_metrics_collection(false)?
            .with_distributed_passthrough_headers(headers)?;
        Ok(builder.build())
    }
}

/// Whether rows that are left out may be what an error is about. Of an error that came from a worker
/// only the text is known, and functions call what is wrong with a value by many names.
fn may_be_of_values(error: &Error) -> bool {
    use ErrorKind::{BadJob, BadRecord, Bug, Unavailable};
    matches!(error.kind(), BadRecord | BadJob | Bug | Unavailable)
}

/// What each task of a leaf reads.
type ScaleUp =
    fn(ScaleUpLeafNodeEvent) -> Option<Result<ScaleUpLeafNodeEventResponse, DataFusionError>>;

/// A plan in stages.
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
}

impl Planned {
    /// Runs it, if all of its work is remote.
    fn run(self) -> Result<SendableRecordBatchStream> {
        check_remote(&self.plan).map_err(from_datafusion)?;
        execute_stream(self.plan, self.task).map_err(from_datafusion)
    }
}

type Resolver = Arc<dyn ChannelResolver + Send + Sync>;

/// The workers that answered when the attempt began.
struct Fixed(Vec<Url>);

impl WorkerResolver for Fixed {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.clone())
    }
}

/// One partition with the receipts of all tasks.
fn gathered(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(CoalescePartitionsExec::new(plan))
}

/// As [`gathered`], the whole of `plan` being one remote stage.
fn remote(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let boundary = NetworkCoalesceExec::try_new(plan, TASKS_MIN, 1).map_err(from_datafusion)?;
    Ok(gathered(Arc::new(boundary)))
}

/// What is below a last merge into one partition: each partition's rows stay in its order, and
/// their files are written where they are.
fn ungathered(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let merges = plan.is::<SortPreservingMergeExec>() || plan.is::<CoalescePartitionsExec>();
    match plan.children().first() {
        Some(below) if merges && plan.fetch().is_none() => Arc::clone(below),
        _ => plan,
    }
}

/// The runs that all tasks wrote.
async fn runs(rows: SendableRecordBatchStream) -> Result<Vec<Run>> {
    let runs: Vec<Option<Run>> = collect(rows).await?;
    Ok(runs.into_iter().flatten().collect())
}

/// What all tasks of a pass gave.
async fn total(rows: SendableRecordBatchStream) -> Result<SourceReceipt> {
    Ok(received_all(collect(rows).await?))
}

fn received_all(receipts: Vec<IngestReceipt>) -> SourceReceipt {
    let mut total = SourceReceipt::default();
    receipts.into_iter().for_each(|receipt| total.add(received(receipt)));
    total
}

fn received(receipt: IngestReceipt) -> SourceReceipt {
    let stages = receipt.stages.into_iter().map(|(id, rows, runs)| {
        let part = Buffered { batches: vec![], runs, reservation: None };
        (id, StageReceipt { rows, parts: vec![part] })
    });
    SourceReceipt {
        rows: receipt.rows,
        times: receipt.times,
        file_rows: receipt.file_rows,
        stages: stages.collect(),
        files: receipt.files,
        failed: receipt.failed,
        reported: receipt.reported,
        ..SourceReceipt::default()
    }
}
