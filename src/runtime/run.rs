//! How epochs follow each other: once over what is there, or for as long as the job is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegauge_spec::DiscoveryOrder;
use tokio::sync::watch;

use super::close::may_close;
use super::compile::SourceRuntime;
use super::engine::{Engine, Step};
use super::pending::Pending;
use super::summary::Summary;
use super::watermark::micros;
use super::work::Work;
use crate::error::Result;
use crate::observe::{self, count};
use crate::source::discover;

/// What waits, by source.
type AllPending = BTreeMap<String, Pending>;

/// How many rows a source had shown, and when they became more.
struct Shown {
    rows: u64,
    at_ms: i64,
}

impl Engine {
    /// Processes what is there now, epochs back to back; with `drain`, closes all windows at the
    /// end.
    ///
    /// # Errors
    /// The first that an epoch could not overcome; nothing of that epoch is visible.
    pub async fn run_once(&mut self, drain: bool) -> Result<Summary> {
        let started_ms = self.clock.now_ms();
        let mut pending = self.list().await?;
        loop {
            let mut work = self.next_work(&mut pending).await?;
            let is_last = pending.values().all(Pending::is_empty);
            if is_last && drain {
                self.drain_into(&mut work);
            }
            if !work.has_files() && !Box::pin(self.closes_anything(&work)).await? {
                break;
            }
            if self.epoch(&work).await? == Step::Again {
                pending = self.list().await?;
            } else if is_last {
                break;
            }
        }
        Ok(self.summary(started_ms))
    }

    /// Runs until `stop` says so, an epoch every `epoch.interval`; the epoch that runs then is
    /// finished first.
    ///
    /// # Errors
    /// As [`Engine::run_once`].
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<Summary> {
        let started_ms = self.clock.now_ms();
        let mut shown: BTreeMap<String, Shown> = BTreeMap::new();
        while !*stop.borrow() {
            let began_ms = self.clock.now_ms();
            let mut pending = self.list().await?;
            loop {
                let mut work = self.next_work(&mut pending).await?;
                self.idle_into(&mut work, &mut shown);
                let is_last = pending.values().all(Pending::is_empty);
                if work.has_files() || Box::pin(self.closes_anything(&work)).await? {
                    self.epoch(&work).await?;
                }
                if is_last || *stop.borrow() {
                    break;
                }
            }
            let spent_ms = self.clock.now_ms().saturating_sub(began_ms);
            let spent = Duration::from_millis(u64::try_from(spent_ms).unwrap_or_default());
            let rest = self.job.spec.epoch.interval.saturating_sub(spent);
            let sleep = self.clock.sleep(rest);
            tokio::select! {
                () = sleep => {}
                // A sender that is gone wants the job to stop, too.
                changed = stop.changed() => if changed.is_err() { break },
            }
        }
        Ok(self.summary(started_ms))
    }

    /// The numbers of this run so far.
    fn summary(&self, started_ms: i64) -> Summary {
        let elapsed_ms = self.clock.now_ms().saturating_sub(started_ms);
        let elapsed = Duration::from_millis(u64::try_from(elapsed_ms).unwrap_or_default());
        self.totals.summary(&self.job.spec.name, elapsed)
    }

    /// Step 1: what is there and was never processed, in each source's order.
    async fn list(&self) -> Result<AllPending> {
        self.job.metrics.step(observe::Step::Discover, self.list_all()).await
    }

    async fn list_all(&self) -> Result<AllPending> {
        let mut pending = AllPending::new();
        for source in &self.sources {
            pending.insert(source.table.name.clone(), self.list_source(source).await?);
        }
        let files = || pending.values().flat_map(Pending::files);
        let bytes = files().map(|file| file.size).sum();
        count([("files", files().count() as u64), ("bytes", bytes)]);
        Ok(pending)
    }

    async fn list_source(&self, source: &SourceRuntime) -> Result<Pending> {
        let name = &source.table.name;
        let seen = &self.state().seen;
        let found = discover(source.store.as_ref(), &source.location, &source.spec.order).await?;
        let new = found
            .into_iter()
            .filter(|file| {
                let key = file.path.to_string();
                !seen.contains(name, &key, file.etag.as_deref(), file.size)
            })
            .collect();
        // A path's time is when its file was begun or written: rows may be older by the delay.
        let slack_us = match source.spec.order {
            DiscoveryOrder::PathTime(_) => micros(source.spec.event_time.delay),
            _ => 0,
        };
        Ok(Pending::new(new, slack_us))
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
            work.add_still(&source.table.name);
        }
    }

    /// A source that has shown no row for `idle_after` stands still.
    fn idle_into(&self, work: &mut Work, shown: &mut BTreeMap<String, Shown>) {
        let now_ms = self.clock.now_ms();
        for source in &self.sources {
            let name = &source.table.name;
            let state = self.state().sources.get(name);
            let rows = state.map(|state| state.totals.rows_in).unwrap_or_default();
            let last = shown.entry(name.clone()).or_insert(Shown { rows, at_ms: now_ms });
            if last.rows != rows {
                *last = Shown { rows, at_ms: now_ms };
            }
            let idle_us = micros(source.spec.event_time.idle_after);
            let still_us = now_ms.saturating_sub(last.at_ms).saturating_mul(1_000);
            if work.input_files(name).is_empty() && still_us >= idle_us {
                work.add_still(name);
            }
        }
    }

    /// Whether an epoch without files would close a window: because all sources stand still, or those
    /// do that held the others back.
    async fn closes_anything(&self, work: &Work) -> Result<bool> {
        let mut receipts = BTreeMap::new();
        let mut stages = self.stage_works(&mut receipts);
        let (_, clocks) = self.advance(work, &receipts);
        may_close(&self.job, &mut stages, clocks, self.log.storage()).await
    }
}
