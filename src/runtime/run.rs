//! How epochs follow each other: once over what is there, or for as long as the job is wanted.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::FutureExt;
use tokio::sync::watch;

use super::close::may_close;
use super::engine::{Engine, Step};
use super::pending::Pending;
use super::silence::Silence;
use super::summary::{Summary, rfc3339};
use super::work::Work;
use crate::error::Result;
use crate::observe::{self, count};

/// What waits, by source.
type AllPending = BTreeMap<String, Pending>;

impl Engine {
    /// Processes what is there now, epochs back to back; with `drain`, closes all windows at the
    /// end.
    ///
    /// # Errors
    /// The first that an epoch could not overcome; nothing of that epoch is visible. At the end, what
    /// files could not be used: all others were processed.
    pub async fn run_once(&mut self, drain: bool) -> Result<Summary> {
        let summary = self.process_once(drain).await?;
        self.refuse_parked()?;
        Ok(summary)
    }

    /// As [`Engine::run_once`]; that files are left out is only in the summary.
    ///
    /// # Errors
    /// As [`Engine::run_once`], but for those files.
    pub async fn process_once(&mut self, drain: bool) -> Result<Summary> {
        let started = self.clock.instant();
        self.is_once = true;
        let mut pending = self.list().await?;
        loop {
            let mut work = self.next_work(&mut pending).await?;
            let is_last = pending.values().all(Pending::is_empty);
            if is_last && drain {
                self.drain_into(&mut work);
            }
            if !self.is_worth_it(&work).boxed().await? {
                break;
            }
            if self.epoch(&work).await? == Step::Again {
                pending = self.list().await?;
            } else if is_last {
                break;
            }
        }
        Ok(self.summary(started))
    }

    /// Runs until `stop` says so, an epoch every `epoch.interval`; the epoch that runs then is
    /// finished first.
    ///
    /// # Errors
    /// As [`Engine::run_once`].
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<Summary> {
        let started = self.clock.instant();
        let interval = self.job.spec.epoch.interval;
        let mut silence = Silence::default();
        while !*stop.borrow() {
            let began = self.clock.instant();
            let mut pending = self.list().await?;
            self.listen(&pending, began, &mut silence);
            loop {
                let mut work = self.next_work(&mut pending).await?;
                for source in &self.sources {
                    silence.mark(&source.table.name, &source.spec.event_time, &mut work);
                }
                let is_last = pending.values().all(Pending::is_empty);
                if self.is_worth_it(&work).boxed().await? {
                    self.epoch(&work).await?;
                }
                // An idle source may have delivered since, which only another listing tells.
                let is_stale = self.clock.instant().duration_since(began) >= interval;
                if is_last || *stop.borrow() || (is_stale && self.any_idle(&work)) {
                    break;
                }
            }
            let rest = interval.saturating_sub(self.clock.instant().duration_since(began));
            let sleep = self.clock.sleep(rest);
            tokio::select! {
                () = sleep => {}
                // A sender that is gone wants the job to stop, too.
                changed = stop.changed() => if changed.is_err() { break },
            }
        }
        Ok(self.summary(started))
    }

    /// The numbers of this run so far.
    fn summary(&self, started: Instant) -> Summary {
        let elapsed = self.clock.instant().duration_since(started);
        let sources = self.state().sources.values();
        let watermark_us = sources.filter_map(|source| source.watermark_us).min();
        let summary = self.totals.summary(&self.job.spec.name, elapsed);
        // Where nothing was new, it stands where it stood.
        let watermark = summary.watermark.or_else(|| watermark_us.and_then(rfc3339));
        Summary { watermark, ..summary }
    }

    /// Step 1: what is there and was never processed, in each source's order.
    async fn list(&mut self) -> Result<AllPending> {
        let metrics = self.job.metrics.clone();
        metrics.step(observe::Step::Discover, self.list_all().boxed()).await
    }

    async fn list_all(&mut self) -> Result<AllPending> {
        let mut pending = AllPending::new();
        for at in 0..self.sources.len() {
            let waiting = self.list_source(at).await?;
            pending.insert(self.sources[at].table.name.clone(), waiting);
        }
        let files = || pending.values().flat_map(Pending::files);
        let bytes = files().map(|file| file.size).sum();
        count([("files", files().count() as u64), ("bytes", bytes)]);
        Ok(pending)
    }

    /// The next files of each source, within the epoch's bounds, and what those that wait hold.
    async fn next_work(&self, pending: &mut AllPending) -> Result<Work> {
        let mut work = Work::default();
        for source in &self.sources {
            let name = &source.table.name;
            let Some(waiting) = pending.get_mut(name) else { continue };
            work.add_files(name, waiting.take(&self.job.spec.epoch));
            if waiting.has_to_look(source) {
                let looking = waiting.look_ahead(source);
                self.job.metrics.step(observe::Step::Discover, looking).await?;
            }
            if let Some(hold_us) = waiting.hold_us() {
                work.add_hold(name, hold_us);
            }
        }
        Ok(work)
    }

    fn drain_into(&self, work: &mut Work) {
        for source in &self.sources {
            work.add_closing(&source.table.name);
        }
    }

    /// Tells `silence` of a listing.
    fn listen(&self, pending: &AllPending, began: Instant, silence: &mut Silence) {
        for source in &self.sources {
            let name = &source.table.name;
            let found = pending.get(name).is_some_and(Pending::has_rows);
            let state = self.state().sources.get(name);
            let rows = state.map(|state| state.totals.rows_in).unwrap_or_default();
            silence.listed(name, found, rows, began);
        }
    }

    fn any_idle(&self, work: &Work) -> bool {
        self.sources.iter().any(|source| work.is_idle(&source.table.name))
    }

    /// Whether an epoch over `work` would change anything: it has files, something is to be told of
    /// files that are left out, or windows would close.
    pub(super) async fn is_worth_it(&self, work: &Work) -> Result<bool> {
        let has_news = self.parking.has_news();
        Ok(work.has_files() || has_news || Box::pin(self.closes_anything(work)).await?)
    }

    /// Whether an epoch without files would close a window: because what is open is to
    /// close, or a source that held others back is idle.
    async fn closes_anything(&self, work: &Work) -> Result<bool> {
        let mut receipts = BTreeMap::new();
        let mut stages = self.stage_works(&mut receipts);
        let (_, clocks) = self.advance(work, &receipts);
        may_close(&self.job, &mut stages, clocks, self.log.storage()).await
    }
}
