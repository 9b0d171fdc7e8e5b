//! Who uses the store: coordinators that run epochs, and the two kinds of readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

use super::store::SimStore;
use super::truth::{JOB, SINKS, SOURCE, STAGE, STATE, Truth, decode_rows, encode_rows, sink_path};
use super::world::{START_MS, World};
use crate::attempt::Attempt;
use crate::clock::{Clock, VirtualClock};
use crate::error::{ErrorKind, Result};
use crate::log::{CommitLog, CommitOutcome};
use crate::names::{self, PREPARED};
use crate::publish::PublishOutcome;
use crate::reader::LogReader;
use crate::record::{
    CommitRecord, Epoch, ParkedFile, Run, SeenFile, SinkFile, SourceChange, SourceRows,
    StageChange, Tail,
};
use crate::seen::Standing;
use crate::settings::LogSettings;
use crate::storage::Storage;

/// Inputs arrive one by one, this far apart: each is a line of a file that grows.
const INPUT_EVERY_MS: i64 = 120;
pub(super) const INPUTS: u64 = 70;
/// The lines of a file.
pub(super) const LINES: u64 = 3;
const FILES: u64 = INPUTS.div_ceil(LINES);

/// What a coordinator has found: rows to process, and what the record is to say of their files.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<u64>,
    source: SourceChange,
}

impl Found {
    fn is_empty(&self) -> bool {
        let source = &self.source;
        let news = [source.noted.len(), source.parked.len(), source.released.len()];
        self.rows.is_empty() && news.iter().all(|count| *count == 0)
    }
}

/// A file as a listing shows it: every fifth is damaged until it is whole, every seventh is touched
/// when it is.
#[derive(Debug)]
struct Listed {
    key: String,
    lines: u64,
    etag: String,
    is_damaged: bool,
}

impl Listed {
    fn at(file: u64, arrived: u64) -> Self {
        let whole = LINES.min(INPUTS - file * LINES);
        let lines = arrived.saturating_sub(file * LINES).min(whole);
        let is_touched = file % 7 == 3 && arrived > (file + 2) * LINES;
        let etag = if is_touched { "touched" } else { "written" }.to_owned();
        Self { key: file.to_string(), lines, etag, is_damaged: file % 5 == 2 && lines < whole }
    }

    fn seen(&self) -> SeenFile {
        let tail = Tail { bytes: self.lines, head: Some(7) };
        SeenFile { tail: Some(tail), ..SeenFile::new(&*self.key, Some(&self.etag), self.lines) }
    }

    fn parked(&self) -> ParkedFile {
        let (key, etag) = (self.key.clone(), Some(self.etag.clone()));
        ParkedFile { key, etag, size: self.lines, tries: 1, ..ParkedFile::default() }
    }
}

/// Why a coordinator ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Another has taken over.
    Stopped,
    /// Storage failed it: a supervisor would start it again.
    Failed,
    /// Everything is processed.
    Done,
}

fn storage(store: &SimStore, place: &str) -> Storage {
    let store: Arc<dyn ObjectStore> = Arc::new(store.clone());
    Storage::from_parts(store, Path::parse(place).unwrap())
}

fn is_expected(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Fenced)
}

/// One coordinator process, from its start to its end.
pub(super) async fn coordinate(store: SimStore, settings: LogSettings, seed: u64) -> End {
    let world = Arc::clone(&store.world);
    let who = store.who.clone();
    match (Coordinator::start(store, settings, seed)).await {
        Ok(mut coordinator) => match coordinator.run().await {
            Ok(end) => end,
            Err(error) if is_expected(error.kind()) => End::Failed,
            Err(error) => {
                world.violate(format!("{who}: {:?}: {error}", error.kind()));
                End::Failed
            }
        },
        Err(error) => {
            if !is_expected(error.kind()) {
                world.violate(format!("{who} cannot start: {:?}: {error}", error.kind()));
            }
            End::Failed
        }
    }
}

struct Coordinator {
    world: Arc<World>,
    who: String,
    log: CommitLog,
    state: Storage,
    sinks: BTreeMap<String, Storage>,
}

impl Coordinator {
    async fn start(store: SimStore, settings: LogSettings, seed: u64) -> Result<Coordinator> {
        let state = storage(&store, STATE);
        let sinks: BTreeMap<String, Storage> = SINKS
            .iter()
            .map(|sink| ((*sink).to_owned(), storage(&store, &sink_path(sink, ""))))
            .collect();
        // Clocks of machines differ.
        let skew_ms = seed as i64 % 400;
        let now_ms = store.world.now_ms();
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(now_ms + skew_ms));
        let mut log = CommitLog::open(state.clone(), sinks.clone(), settings, clock, seed).await?;
        let published = log.publish().await?;
        let coordinator = Coordinator {
            world: Arc::clone(&store.world),
            who: store.who.clone(),
            log,
            state,
            sinks,
        };
        coordinator.note_gone(published);
        match coordinator.log.tidy().await {
            Err(error) if !is_expected(error.kind()) => return Err(error),
            _ => {}
        }
        coordinator.check_state();
        Ok(coordinator)
    }

    fn check_state(&self) {
        self.world.with(|inner, _| inner.truth.check_state(&self.who, self.log.state()));
    }

    fn note_gone(&self, published: PublishOutcome) {
        if let PublishOutcome::Published { gone: 1.., .. } = published {
            self.world.note(&self.who, "gone");
        }
    }

    async fn run(&mut self) -> Result<End> {
        while !self.world.is_broken() {
            let is_hasty = self.world.roll(4) == 0;
            match self.log.publish().await {
                Ok(published @ PublishOutcome::Published { .. }) => self.note_gone(published),
                Ok(PublishOutcome::Fenced) => return Ok(End::Stopped),
                Err(error) if error.kind() != ErrorKind::Unavailable => return Err(error),
                // To go on all the same must be refused.
                Err(_) if is_hasty => {}
                Err(_) => {
                    self.world.sleep_up_to(200).await;
                    continue;
                }
            }
            match self.log.maintain().await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
            if let Some(end) = self.epoch().await? {
                return Ok(end);
            }
        }
        Ok(End::Done)
    }

    async fn epoch(&mut self) -> Result<Option<End>> {
        let inputs = self.discover();
        if inputs.is_empty() {
            let head = self.log.state().head();
            let is_all = self.arrived() >= (FILES + 3) * LINES;
            if is_all && self.log.state().published_through == head {
                return Ok(Some(End::Done));
            }
            self.world.sleep_up_to(300).await;
            return Ok(None);
        }
        let mut attempt = self.log.begin();
        let mut record = match self.process(&attempt, &inputs).await {
            Ok(record) => record,
            // The next round tries again; what was written is garbage.
            Err(_) => return self.abandon(&attempt).await.map(|()| None),
        };
        loop {
            match self.commit(&attempt, &record).await {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
            self.world.note(&self.who, "unknown");
            self.world.sleep_up_to(100).await;
            match self.world.roll(4) {
                0 => return Ok(Some(End::Failed)),
                1 => {}
                2 => return self.abandon(&attempt).await.map(|()| None),
                // A new attempt at the same epoch, with whatever is new by now.
                _ => {
                    self.abandon(&attempt).await?;
                    let inputs = self.discover();
                    attempt = self.log.begin();
                    record = match self.process(&attempt, &inputs).await {
                        Ok(record) => record,
                        Err(_) => return self.abandon(&attempt).await.map(|()| None),
                    };
                }
            }
        }
    }

    /// `Some(next)`: the epoch's attempt is over, and `next` says whether the coordinator is too.
    async fn commit(
        &mut self,
        attempt: &Attempt,
        record: &CommitRecord,
    ) -> Result<Option<Option<End>>> {
        let is_unpublished = self.log.state().published_through < self.log.state().head();
        let outcome = match self.log.commit(attempt, record.clone()).await {
            Err(error) if error.kind() == ErrorKind::Bug && is_unpublished => {
                self.world.note(&self.who, "refused");
                self.discard(attempt, record).await?;
                return Ok(Some(None));
            }
            outcome => outcome?,
        };
        Ok(match outcome {
            CommitOutcome::Committed => {
                self.world.note(&self.who, "committed");
                self.check_state();
                Some(None)
            }
            CommitOutcome::Earlier => {
                self.world.note(&self.who, "earlier");
                self.check_state();
                self.discard(attempt, record).await?;
                Some(None)
            }
            CommitOutcome::Abandoned => {
                self.world.note(&self.who, "abandoned");
                self.discard(attempt, record).await?;
                Some(None)
            }
            CommitOutcome::Lost { .. } => {
                self.world.note(&self.who, "lost");
                self.discard(attempt, record).await?;
                Some(Some(End::Stopped))
            }
            CommitOutcome::Fenced => {
                self.world.note(&self.who, "fenced");
                Some(Some(End::Stopped))
            }
        })
    }

    /// Clears away what failed attempts have written: refused where the record may still land.
    async fn abandon(&mut self, attempt: &Attempt) -> Result<()> {
        let may_land = self.log.may_land(attempt);
        match self.log.abandon(attempt, &[STAGE]).await {
            Ok(0) => {}
            Ok(_) => self.world.note(&self.who, "cleared away"),
            Err(error) if error.kind() == ErrorKind::Bug && may_land => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn discard(&mut self, attempt: &Attempt, record: &CommitRecord) -> Result<()> {
        match self.log.discard(attempt, record).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(()),
            done => done,
        }
    }

    /// The lines that have arrived by now, and as many again that only touch what is there.
    fn arrived(&self) -> u64 {
        u64::try_from((self.world.now_ms() - START_MS) / INPUT_EVERY_MS).unwrap_or_default()
    }

    /// What is new of up to three files: lines that were not read, and versions without any.
    fn discover(&self) -> Found {
        let arrived = self.arrived();
        let (state, mut found) = (self.log.state(), Found::default());
        let parked = |key: &str| state.sources.get(SOURCE)?.parked.get(key);
        let mut take = self.world.roll(3) as usize + 1;
        for file in 0..FILES {
            let listed = Listed::at(file, arrived);
            let (key, etag) = (listed.key.as_str(), Some(listed.etag.as_str()));
            let standing = state.seen.standing(SOURCE, key, etag, listed.lines);
            let is_parked = parked(key).is_some_and(|parked| parked.size == listed.lines);
            if listed.lines == 0 || standing == Standing::Same || is_parked || take == 0 {
                continue;
            }
            take -= 1;
            let read = state.seen.tail(SOURCE, key).map_or(0, |tail| tail.bytes);
            match (listed.is_damaged, read < listed.lines) {
                (true, _) => found.source.parked.push(listed.parked()),
                (false, true) => {
                    found.rows.extend((read..listed.lines).map(|line| file * LINES + line));
                    found.source.added.push(listed.seen());
                }
                (false, false) => found.source.noted.push(listed.seen()),
            }
        }
        found
    }

    /// Writes the rows into a sink file each and into a run; merges runs now and then.
    async fn process(&self, attempt: &Attempt, found: &Found) -> Result<CommitRecord> {
        let mut record = attempt.record();
        for (n, row) in found.rows.iter().enumerate() {
            record.files.push(self.write_file(attempt, n as u64, *row).await?);
        }
        let rows = found.rows.len() as u64;
        let rows = SourceRows { rows_in: rows, used: rows, ..SourceRows::default() };
        record.sources.insert(SOURCE.to_owned(), SourceChange { rows, ..found.source.clone() });
        let stage = self.write_run(attempt, &found.rows).await?;
        record.stages.insert(STAGE.to_owned(), stage);
        Ok(record)
    }

    async fn write_file(&self, attempt: &Attempt, n: u64, input: u64) -> Result<SinkFile> {
        let sink = SINKS[input as usize % SINKS.len()];
        let folder = names::partition_folder(&[("k", Some(&format!("{}/x", input % 3)))]);
        let file = SinkFile {
            sink: sink.to_owned(),
            prepared: attempt.prepared_path("0", n),
            published: attempt.published_path(&folder, "0", n, "parquet"),
            rows: 1,
            time_max_us: Some((START_MS + input as i64 * INPUT_EVERY_MS) * 1_000),
            ..SinkFile::default()
        };
        let bytes = encode_rows(&[input]);
        self.write(&self.sinks[sink], &file.prepared, bytes).await?;
        Ok(file)
    }

    async fn write_run(&self, attempt: &Attempt, inputs: &[u64]) -> Result<StageChange> {
        let live = self.log.state().stages.get(STAGE);
        let live = live.map_or(&[][..], |stage| stage.runs.as_slice());
        let mut rows = inputs.to_vec();
        let mut change = StageChange::default();
        if live.len() > 2 && self.world.roll(2) == 0 {
            for run in live.iter().take(3) {
                // Gone: collected under a coordinator that others have left behind.
                let Some(bytes) = self.state.get(&run.path).await? else {
                    return Err(crate::Error::unavailable("a run is gone"));
                };
                rows.extend(decode_rows(&bytes));
                change.runs_removed.push(run.path.clone());
            }
        }
        let path = attempt.run_path(STAGE, "0");
        self.write(&self.state, &path, encode_rows(&rows)).await?;
        change.runs_added.push(Run { path, rows: rows.len() as u64, ..Run::default() });
        Ok(change)
    }

    async fn write(&self, storage: &Storage, path: &str, bytes: Bytes) -> Result<()> {
        let first = storage.write(path, bytes.clone()).await;
        match first {
            Ok(()) => Ok(()),
            Err(_) => storage.write(path, bytes).await,
        }
    }
}

/// Lists the sinks at random moments, as a query engine does that knows nothing of the log.
pub(super) async fn list_sinks(store: SimStore) {
    let world = Arc::clone(&store.world);
    while !world.is_broken() && !world.with(|inner, _| inner.is_calm) {
        world.sleep_up_to(2_000).await;
        let mut rows = BTreeMap::new();
        for sink in SINKS {
            let storage = storage(&store, &sink_path(sink, ""));
            let Ok(found) = storage.list("").await else {
                continue;
            };
            for meta in found {
                if meta.location.as_ref().contains(PREPARED) {
                    continue;
                }
                let path = storage.relative(&meta.location).unwrap_or_default();
                match storage.get(&path).await {
                    Ok(Some(bytes)) => {
                        for row in decode_rows(&bytes) {
                            *rows.entry(row).or_insert(0) += 1;
                        }
                    }
                    Ok(None) => {
                        let place = meta.location.as_ref();
                        if !world.with(|inner, _| inner.truth.taken.contains_key(place)) {
                            world.violate(format!("{path} was listed and is gone"));
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        world.with(|inner, _| {
            for (row, times) in rows {
                if times > 1 {
                    inner.truth.violate(format!("a lister sees row {row} {times} times"));
                }
                if !inner.truth.rows.contains(&row) {
                    inner.truth.violate(format!("a lister sees row {row}, uncommitted"));
                }
            }
        });
    }
}

/// Takes published files out of the sinks, as a loader does, or a rule of retention.
pub(super) async fn take_files(world: Arc<World>) {
    while !world.is_broken() && !world.with(|inner, _| inner.is_calm) {
        world.sleep_up_to(900).await;
        let keep = world.roll(4);
        world.with(|inner, now_ms| {
            let published: Vec<String> = inner
                .objects
                .keys()
                .filter(|path| path.starts_with("out/") && !path.contains(PREPARED))
                .cloned()
                .collect();
            for (at, path) in published.into_iter().enumerate() {
                if at as u64 % 4 < keep {
                    continue;
                }
                if let Some(object) = inner.objects.remove(&path) {
                    inner.note(now_ms, "loader", "taken", &path);
                    inner.truth.taken.insert(path, object.bytes);
                }
            }
        });
    }
}

/// Reads the log at random moments: it must show a whole prefix of the epochs.
pub(super) async fn read_log(store: SimStore, settings: LogSettings) {
    let world = Arc::clone(&store.world);
    let reader = LogReader::new(storage(&store, STATE));
    while !world.is_broken() && !world.with(|inner, _| inner.is_calm) {
        world.sleep_up_to(2_000).await;
        check_committed(&world, &reader, &settings).await;
        check_retained(&world, &reader).await;
    }
}

pub(super) async fn check_committed(world: &World, reader: &LogReader, settings: &LogSettings) {
    let before = world.with(|inner, _| inner.truth.head());
    let found = match reader.committed().await {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Unavailable => return,
        Err(error) => return world.violate(format!("log reader: {:?}: {error}", error.kind())),
    };
    world.with(|inner, _| {
        let truth = &mut inner.truth;
        let last = found.last().map_or(0, |(epoch, _)| epoch.0);
        let retention_ms = |sink: &str| settings.retention.get(sink).map(|r| r.as_millis() as i64);
        let is_over =
            |truth: &Truth, file: &SinkFile| truth.may_be_over(file, retention_ms(&file.sink));
        // An epoch that only takes note of files shows none.
        let decided = truth.decided.iter().take(before as usize);
        let with_files = decided.enumerate().filter(|(_, decided)| !decided.files.is_empty());
        let least = with_files.last().map_or(0, |(at, _)| at as u64 + 1);
        let is_short = last < least && settings.retention.is_empty();
        if is_short || last > truth.head() {
            let head = truth.head();
            truth.violate(format!("log reader sees epoch {last}, not {before} to {head}"));
        }
        // What retention has let go may be missing, and nothing else.
        let through = last.max(before) as usize;
        let real = truth.decided.iter().take(through).flat_map(|decided| &decided.files);
        let mut shown = found.iter().map(|(_, file)| file).peekable();
        let mut lost = None;
        for file in real {
            if shown.next_if_eq(&file).is_none() && !is_over(truth, file) {
                lost.get_or_insert(file.published.clone());
            }
        }
        if let Some(path) = lost {
            truth.violate(format!("log reader does not see {path} up to epoch {through}"));
        }
        if let Some(file) = shown.next() {
            let path = file.published.clone();
            truth.violate(format!("log reader sees {path} up to epoch {through}"));
        }
        for (_, file) in &found {
            let places = [&file.prepared, &file.published].map(|p| sink_path(&file.sink, p));
            let is_there = |place: &String| {
                inner.objects.contains_key(place) || truth.taken.contains_key(place)
            };
            if !places.iter().any(is_there) {
                truth.violate(format!("{} is committed and nowhere", file.published));
            }
        }
    });
}

/// The state at a retained epoch can be opened, whatever is being collected.
pub(super) async fn check_retained(world: &World, reader: &LogReader) {
    let retained = world.with(|inner, _| inner.truth.retained());
    if *retained.end() == 0 {
        return;
    }
    let count = retained.end() - retained.start() + 1;
    let epoch = Epoch(retained.start() + world.roll(count));
    let found = reader.state_at(epoch).await;
    world.with(|inner, _| {
        let truth = &mut inner.truth;
        match found {
            Ok(state) => {
                truth.check_state("log reader", &state);
                let missing = state
                    .paths()
                    .find(|path| !inner.objects.contains_key(&format!("{STATE}/{path}")));
                if let Some(path) = missing
                    && truth.retained().contains(&epoch.0)
                {
                    truth.violate(format!("epoch {epoch} is retained, its {path} is gone"));
                }
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) if truth.retained().contains(&epoch.0) => {
                truth.violate(format!("epoch {epoch} is retained: {:?}: {error}", error.kind()));
            }
            Err(_) => {}
        }
    });
}

/// Waits, in virtual time.
pub(super) async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Settings so small that everything happens within a few epochs.
pub(super) fn settings(seed: u64) -> LogSettings {
    LogSettings {
        checkpoint_every: 1 + seed % 3,
        retain_epochs: 1 + seed % 4,
        grace: Duration::from_millis([300, 1_500, 4_000][seed as usize % 3]),
        put_retries: 2,
        backoff: Duration::from_millis(5),
        backoff_max: Duration::from_millis(40),
        publish_parallel: 2,
        retention: match seed % 5 {
            0 => [(SINKS[0].to_owned(), Duration::from_secs(4))].into(),
            _ => BTreeMap::new(),
        },
        ..LogSettings::new(JOB)
    }
}
