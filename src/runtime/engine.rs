//! The epoch driver: discover, ingest, advance, close, commit, publish, in this order, with the
//! commit log's word on each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tidegauge_commitlog::{
    Attempt, Clock, CommitLog, CommitOutcome, CommitRecord, JobState, LATE_SINK, LogReader,
    LogSettings, PublishOutcome, SinkFile, SourceChange, Storage,
};
use tokio::sync::watch;

use super::clocks::{Clocks, StreamClock};
use super::close::close;
use super::compile::{CompiledJob, SourceRuntime};
use super::failures;
use super::faults::Blame;
use super::ingest::{IngestContext, ingest, session_of};
use super::keep::{WrittenRun, keep_all_open};
use super::parking::Parking;
use super::pass::SourceReceipt;
use super::progress::Progress;
use super::remote::Remote;
use super::stage_work::StageWork;
use super::summary::Totals;
use super::view::JobView;
use super::watermark::{advanced, held, micros};
use super::work::Work;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{self, Gauges, count_epoch, in_span};
use crate::plan::{Differences, Input, differences, in_parts};
use crate::sink::TaskFiles;
use crate::source::ListingMemory;
use crate::state::RunCache;

/// How a job is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// Start anew, forgetting state and progress.
    pub reset_state: bool,
    /// Accept sinks that hold files already.
    pub adopt: bool,
    /// Accept a clock that is behind the last commit.
    pub accept_clock: bool,
}

/// A job that runs.
pub struct Engine {
    pub(super) job: Arc<CompiledJob>,
    pub(super) sources: Vec<SourceRuntime>,
    pub(super) log: CommitLog,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) progress: Arc<Progress>,
    pub(super) totals: Totals,
    sinks: BTreeMap<String, Storage>,
    cache: RunCache,
    /// The next epoch starts anew, and until then this is the state.
    pub(super) reset: Option<Box<JobState>>,
    /// What listings know, by source.
    pub(super) memories: BTreeMap<String, ListingMemory>,
    pub(super) parking: Parking,
    /// The run ends when all that is there is processed: what is left out is said at its end.
    pub(super) is_once: bool,
    view: watch::Sender<Arc<JobView>>,
    pub(super) remote: Option<Arc<dyn Remote>>,
    gauges: Gauges,
    /// Until the next commit, a clock that is behind the last one is taken as it is.
    pub(super) accepts_clock: bool,
}

/// What became of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is committed and published.
    Done,
    /// The log has moved on underneath: look again at what is new.
    Again,
}

impl Engine {
    /// Recovers the job from its log and checks that its state is its own.
    ///
    /// # Errors
    /// `BadJob` when the job has changed since its last epoch, or a sink holds foreign files.
    pub async fn open(
        job: impl Into<Arc<CompiledJob>>,
        options: OpenOptions,
        clock: Arc<dyn Clock>,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let job = job.into();
        let sources = job.open_sources()?;
        let sinks = job.open_sinks()?;
        let storage = job.state_storage()?;
        let settings = LogSettings {
            checkpoint_every: job.spec.state.checkpoint_every,
            retain_epochs: job.spec.state.retain_epochs,
            grace: job.spec.state.grace,
            retention: job.retention(),
            ..LogSettings::new(job.spec.name.clone())
        };
        let seed = rand::random();
        let mut log =
            CommitLog::open(storage, sinks.clone(), settings, Arc::clone(&clock), seed).await?;
        let is_fresh = log.state().epoch.is_none();
        if !is_fresh && !options.reset_state {
            refuse_changed(&job, log.state())?;
        }
        if options.reset_state {
            for file in log.give_up_foreign_files() {
                tracing::warn!(?file, "the job has no such sink; it is left as it is");
            }
        }
        if (is_fresh || options.reset_state) && !options.adopt {
            refuse_full_sinks(&sinks, log.storage(), is_fresh).await?;
        }
        if let PublishOutcome::Published { gone, .. } = log.publish().await? {
            job.metrics.gone("publish", gone);
        }
        if let Err(error) = log.tidy().await {
            tracing::warn!(%error, "what earlier processes left could not be collected");
        }
        let reset = (!is_fresh && options.reset_state).then(Box::default);
        let cache = RunCache::new(job.spec.state.cache_max_bytes);
        let totals = Totals::new(&job.spec, &job.plan);
        let shown = reset.as_deref().unwrap_or(log.state());
        let (view, _) = watch::channel(Arc::new(JobView::new(shown, &cache, None)));
        let gauges = job.metrics.start(shown, Arc::clone(&clock));
        let parking = Parking::new(shown);
        Ok(Self {
            job,
            sources,
            log,
            clock,
            progress,
            totals,
            sinks,
            cache,
            reset,
            memories: BTreeMap::new(),
            parking,
            is_once: false,
            view,
            remote: None,
            gauges,
            accepts_clock: options.accept_clock,
        })
    }

    /// Runs the plans of the epochs on workers instead of in this process.
    #[must_use]
    pub fn on_workers(mut self, remote: Arc<dyn Remote>) -> Self {
        self.remote = Some(remote);
        self
    }

    /// The job as of its last epoch, and notice of each that follows.
    pub fn view(&self) -> watch::Receiver<Arc<JobView>> {
        self.view.subscribe()
    }

    /// The state that the next epoch builds on.
    pub(super) fn state(&self) -> &JobState {
        match &self.reset {
            Some(empty) => empty,
            None => self.log.state(),
        }
    }

    /// Runs one epoch over `work`, trying again while the storage is unavailable, and without what
    /// cannot be used.
    pub(super) async fn epoch(&mut self, work: &Work) -> Result<Step> {
        self.refuse_clock_behind()?;
        let mut work = work.clone();
        let had_doubtful = self.check_doubtful(&mut work).boxed().await?;
        if had_doubtful && !self.is_worth_it(&work).boxed().await? {
            return Ok(Step::Done);
        }
        let mut blame = Blame::default();
        let mut tried = 0;
        let metrics = self.job.metrics.clone();
        loop {
            let attempt = self.log.begin();
            let is_last = tried >= self.job.spec.epoch.retry;
            // What runs an epoch is large: on the heap it is moved around as a pointer.
            let running = Box::pin(self.attempt(&work, &attempt));
            match metrics.epoch(&attempt, tried, running).await {
                Err(error)
                    if self.leave_out(&mut work, &error, &mut blame, is_last).boxed().await? =>
                {
                    self.abandon(&attempt).await;
                    metrics.retried(error.kind());
                    tracing::debug!(epoch = %attempt.epoch, %error, "without what cannot be used");
                }
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && tried < self.job.spec.epoch.retry =>
                {
                    self.abandon(&attempt).await;
                    tried += 1;
                    metrics.retried(error.kind());
                    tracing::warn!(epoch = %attempt.epoch, tried, %error, "an epoch is tried again");
                    self.clock.sleep(Duration::from_millis(100 << tried.min(8))).await;
                }
                Err(error) => {
                    self.abandon(&attempt).await;
                    metrics.failed(error.kind());
                    return Err(error);
                }
                Ok(step) => return Ok(step),
            }
        }
    }

    /// Deletes what an attempt has written that failed before its record was sent. What cannot be
    /// deleted now goes with the next failure, or with the garbage.
    async fn abandon(&mut self, attempt: &Attempt) {
        if self.log.may_land(attempt) {
            return;
        }
        let stages: Vec<&str> = self.job.plan.stages.keys().map(String::as_str).collect();
        match self.log.abandon(attempt, &stages).await {
            Ok(files) => tracing::debug!(epoch = %attempt.epoch, files, "an attempt left nothing"),
            Err(error) => tracing::debug!(%error, "what an attempt wrote is left to collection"),
        }
    }

    async fn attempt(&mut self, work: &Work, attempt: &Attempt) -> Result<Step> {
        let mut timings = Timings::start();
        let context = Arc::new(self.context(attempt).await?);
        let metrics = self.job.metrics.clone();
        let mut receipts =
            metrics.timed(observe::Step::Ingest, self.ingest_all(work, &context)).await?;
        timings.lap("ingest");
        let mut stages = self.stage_works(&mut receipts);
        let (mut sources, clocks) =
            metrics.step_now(observe::Step::Advance, || self.advance(work, &receipts));
        for (name, change) in &mut sources {
            self.parking.write(name, change);
        }
        check_accounting(&sources, &stages)?;
        let mut files: Vec<SinkFile> =
            receipts.into_values().flat_map(|receipt| receipt.files).collect();
        let mut revisions = self.state().revisions.clone();
        let closing = async {
            let mut files = close(&self.job, &mut stages, clocks, &context, &mut revisions).await?;
            files.extend(context.files.finish().await?);
            Ok(files)
        };
        files.extend(metrics.timed(observe::Step::Close, closing).await?);
        timings.lap("close");
        let written = metrics
            .step(observe::Step::State, keep_all_open(&self.job, &mut stages, &context))
            .await?;
        timings.lap("state");
        let record = CommitRecord {
            reset: self.reset.is_some(),
            fingerprint: self.job.fingerprint.clone(),
            sources,
            stages: stages.into_iter().map(|(id, work)| (id, work.change)).collect(),
            files,
            revisions,
            failed: context.failures.take().into_rows(),
            timings_ms: timings.laps,
            ..attempt.record()
        };
        count_epoch(&record);
        self.commit(attempt, record, written).await
    }

    async fn context(&self, attempt: &Attempt) -> Result<IngestContext> {
        let crew = match &self.remote {
            Some(remote) => Some(remote.gather(attempt).await?),
            None => None,
        };
        let on_workers = crew.is_some();
        Ok(IngestContext { crew, ..self.context_of(attempt, on_workers) })
    }

    /// The context of what runs in this process.
    pub(super) fn context_here(&self, attempt: &Attempt) -> IngestContext {
        self.context_of(attempt, false)
    }

    fn context_of(&self, attempt: &Attempt, on_workers: bool) -> IngestContext {
        let state = self.state();
        let watermarks = self
            .job
            .plan
            .stages
            .keys()
            .map(|id| (id.clone(), state.stages.get(id).and_then(|stage| stage.watermark_us)))
            .collect();
        let session = session_of(&self.job, attempt, on_workers);
        IngestContext {
            attempt: attempt.clone(),
            state: self.log.storage().clone(),
            sinks: self.sinks.clone(),
            watermarks,
            merges: Arc::default(),
            files: TaskFiles::new("0", Arc::clone(self.job.session.runtime_env())),
            failures: Default::default(),
            progress: Arc::clone(&self.progress),
            crew: None,
            session,
        }
    }

    async fn ingest_all(
        &self,
        work: &Work,
        context: &IngestContext,
    ) -> Result<BTreeMap<String, SourceReceipt>> {
        let mut receipts = BTreeMap::new();
        for source in &self.sources {
            let name = &source.table.name;
            let files = work.input_files(name);
            let receipt = match files.is_empty() {
                true => SourceReceipt::default(),
                false => {
                    let span = observe::Step::Ingest.span_of("source", name);
                    in_span(span, ingest(&self.job, source, files, context)).await?
                }
            };
            receipts.insert(name.clone(), receipt);
        }
        Ok(receipts)
    }

    pub(super) fn stage_works(
        &self,
        receipts: &mut BTreeMap<String, SourceReceipt>,
    ) -> BTreeMap<String, StageWork> {
        let state = self.state();
        let cached = |path: &str| self.cache.get(path);
        let mut works = BTreeMap::new();
        for (id, stage) in &self.job.plan.stages {
            let receipt = stage
                .input
                .source()
                .and_then(|source| receipts.get_mut(source)?.stages.remove(id))
                .unwrap_or_default();
            let work = StageWork::new(stage, state.stages.get(id), receipt, &cached);
            works.insert(id.clone(), work);
        }
        works
    }

    /// Step 3: the watermark of each source, from its rows.
    pub(super) fn advance(
        &self,
        work: &Work,
        receipts: &BTreeMap<String, SourceReceipt>,
    ) -> (BTreeMap<String, SourceChange>, Clocks) {
        let mut changes = BTreeMap::new();
        let mut clocks = Clocks::default();
        for source in &self.sources {
            let name = &source.table.name;
            let before = self.state().sources.get(name);
            let receipt = receipts.get(name);
            let reach = receipt.map(|receipt| receipt.reach).unwrap_or_default();
            let time_max_us = before.and_then(|state| state.max_event_time_us).max(reach.time_us);
            let before_us = before.and_then(|state| state.watermark_us);
            let wanted_us = advanced(before_us, time_max_us, micros(source.spec.event_time.delay));
            let watermark_us = held(before_us, wanted_us, work.hold_us(name));
            let (is_idle, is_closing) = (work.is_idle(name), work.is_closing(name));
            let clock = StreamClock { watermark_us, is_idle, is_closing };
            clocks.set(Input::Source(name.clone()), clock);
            changes.insert(
                name.clone(),
                SourceChange {
                    added: work.seen_files(name, receipt.map(|receipt| &receipt.file_rows)),
                    watermark_us,
                    max_event_time_us: time_max_us,
                    idle: is_idle,
                    closing: is_closing,
                    rows_ahead: reach.rows_ahead,
                    rows: receipt.map(|receipt| receipt.rows).unwrap_or_default(),
                    ..SourceChange::default()
                },
            );
        }
        (changes, clocks)
    }

    async fn commit(
        &mut self,
        attempt: &Attempt,
        record: CommitRecord,
        written: Vec<WrittenRun>,
    ) -> Result<Step> {
        let metrics = self.job.metrics.clone();
        let committing = self.log.commit(attempt, record.clone());
        match metrics.step(observe::Step::Commit, committing).await? {
            CommitOutcome::Committed => {}
            CommitOutcome::Earlier => {
                self.reset = None;
                self.log.discard(attempt, &record).await?;
                self.publish().await?;
                // What was news in this attempt may not be in the one that was committed.
                self.parking = Parking::new(self.log.state());
                // It was tried with the same work, so its numbers are the same.
                self.count(&record);
                return Ok(Step::Again);
            }
            CommitOutcome::Abandoned => {
                self.log.discard(attempt, &record).await?;
                return Err(Error::unavailable(format!(
                    "epoch {} took longer than half of state.grace; raise state.grace or lower \
                     epoch.bytes_max",
                    attempt.epoch
                )));
            }
            CommitOutcome::Lost { winner } => {
                self.log.discard(attempt, &record).await?;
                return Err(fenced(format!("epoch {} was committed by {winner}", attempt.epoch)));
            }
            CommitOutcome::Fenced => {
                return Err(fenced(format!("epoch {} was over already", attempt.epoch)));
            }
        }
        self.reset = None;
        self.accepts_clock = false;
        self.parking.committed(&record);
        for run in written {
            self.cache.insert(&run.path, run.batches);
        }
        for path in record.stages.values().flat_map(|stage| &stage.runs_removed) {
            self.cache.remove(path);
        }
        self.publish().await?;
        self.count(&record);
        failures::warn(&self.job, attempt.epoch.0, &record.failed);
        let view = JobView::new(self.log.state(), &self.cache, Some(&record));
        self.view.send_replace(Arc::new(view));
        let watermark_us = record.sources.values().filter_map(|source| source.watermark_us).min();
        self.progress.add_epoch(watermark_us);
        tracing::debug!(epoch = %attempt.epoch, timings = ?record.timings_ms, "committed");
        if let Err(error) = self.log.maintain().await {
            // What was not cleaned up now is cleaned up after the next checkpoint.
            if error.kind() != ErrorKind::Unavailable {
                return Err(error);
            }
            tracing::warn!(%error, "the log could not be maintained");
        }
        Ok(Step::Done)
    }

    /// Adds a committed epoch to the numbers of this run.
    fn count(&mut self, record: &CommitRecord) {
        self.totals.add(record);
        self.job.metrics.committed(record);
        self.gauges.show(self.log.state());
    }

    /// Step 6, repeated until it succeeds: the epoch has happened.
    async fn publish(&mut self) -> Result<()> {
        let metrics = self.job.metrics.clone();
        metrics.step(observe::Step::Publish, self.publish_all()).await
    }

    async fn publish_all(&mut self) -> Result<()> {
        let mut tried = 0;
        loop {
            match self.log.publish().await {
                Ok(PublishOutcome::Published { gone, .. }) => {
                    self.job.metrics.gone("publish", gone);
                    return Ok(());
                }
                Ok(PublishOutcome::Fenced) => {
                    return Err(fenced("its last epoch was followed up".to_owned()));
                }
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && tried < self.job.spec.epoch.retry =>
                {
                    tried += 1;
                    tracing::warn!(tried, %error, "publishing is tried again");
                    self.clock.sleep(Duration::from_millis(100 << tried.min(8))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Each stage accounts for every row of its source that was not quarantined; that the source's own
/// terms add up is checked by the commit log.
fn check_accounting(
    sources: &BTreeMap<String, SourceChange>,
    stages: &BTreeMap<String, StageWork>,
) -> Result<()> {
    for work in stages.values() {
        let Some(source) = work.input.source().and_then(|name| sources.get(name)) else { continue };
        let rows = &work.change.rows;
        let wanted = source.rows.handed_out();
        if rows.total() != wanted {
            return Err(Error::bug(format!(
                "the stage {} accounts for other rows than its source {}: {rows:?} of {wanted}",
                work.id,
                work.input.name()
            )));
        }
    }
    Ok(())
}

fn fenced(what: String) -> Error {
    Error::fenced(format!(
        "another coordinator runs this job: {what}. This one stops; nothing of the other's was \
         touched"
    ))
}

fn refuse_changed(job: &CompiledJob, state: &JobState) -> Result<()> {
    let Differences { refused, taken } =
        differences(&in_parts(&state.fingerprint, &job.fingerprint, &job.plan), &job.fingerprint);
    // Revisions are counted by the place of a query among all.
    let moves = taken.iter().any(|change| !change.ends_with(" changed"));
    let refused = match refused.is_empty() && moves && !state.revisions.is_empty() {
        true => &taken,
        false => &refused,
    };
    if refused.is_empty() {
        if !taken.is_empty() {
            tracing::warn!(
                "the job {}: {}; its state is as it was, so that it goes on. What it wrote so far \
                 stays as it is",
                job.spec.name,
                taken.join(", ")
            );
        }
        return Ok(());
    }
    Err(Error::bad_job(format!(
        "the job {} has changed since its last epoch: {}. Its state no longer fits; run it with \
         --reset-state to start anew (with --adopt, if its sinks are to keep the files they hold), or \
         under another name and into other sinks",
        job.spec.name,
        refused.join(", ")
    )))
}

async fn refuse_full_sinks(
    sinks: &BTreeMap<String, Storage>,
    log: &Storage,
    is_fresh: bool,
) -> Result<()> {
    for (name, storage) in sinks {
        let files = storage.list("").await?;
        let relative = files.iter().filter_map(|file| storage.relative(&file.location));
        let published = |path: &String| !path.split('/').any(|part| part.starts_with(['_', '.']));
        if let Some(path) = relative.into_iter().find(published) {
            // They may be another coordinator's, which has begun the job since the log was read.
            if is_fresh && LogReader::new(log.clone()).state().await?.epoch.is_some() {
                return Err(fenced("it has just begun the job".to_owned()));
            }
            let what = match name.as_str() {
                LATE_SINK => "table of late rows".to_owned(),
                name => format!("sink {name}"),
            };
            return Err(Error::bad_job(format!(
                "the {what} at {} holds files already ({path}), and this job has no state \
                 that knows them: its rows could come twice. Use another location, or --adopt to \
                 keep them beside the new ones",
                storage.location()
            )));
        }
    }
    Ok(())
}

/// How long each step of an epoch took.
struct Timings {
    last: Instant,
    laps: BTreeMap<String, u64>,
}

impl Timings {
    fn start() -> Self {
        Self { last: Instant::now(), laps: BTreeMap::new() }
    }

    fn lap(&mut self, step: &str) {
        let elapsed = u64::try_from(self.last.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.laps.insert(step.to_owned(), elapsed);
        self.last = Instant::now();
    }
}
