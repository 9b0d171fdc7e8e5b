//! Generates the files: one at a time on each thread, then the labels.
//!
//! Does not know what rows hold; merges normal rows with those of anomalies, by arrival.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::anomaly::{Anomaly, Label, Occurrence, plan};
use crate::error::Error;
use crate::output::OutputFile;
use crate::population::Population;
use crate::random::{Purpose, stream};
use crate::schedule::Schedule;
use crate::settings::{Kind, Settings};
use crate::summary::Summary;
use crate::telemetry::{Auth, Dns, Flows, Telemetry, dotted};

const PROGRESS_ROWS: u64 = 100_000;
const PROGRESS_QUEUE: usize = 64;

/// Generates what `settings` ask for, and the labels of its anomalies.
///
/// Calls `progress` on this thread with the number of rows written so far, now and then and at
/// the end. Files are `<out>/<kind>-<number>.<format>`, in order of arrival; one that exists is
/// replaced. Memory is bounded: a buffer or a row group for each thread, and sixteen bytes for
/// each anomalous row of the files at work.
///
/// # Errors
///
/// [`Error::BadSettings`] before anything is written, also when the folder holds files that this
/// run would not replace (rows of two runs would mix); [`Error::Unwritable`] when a file cannot be
/// written.
pub fn generate(settings: &Settings, progress: &dyn Fn(u64)) -> Result<Summary, Error> {
    settings.validate()?;
    prepare_folders(settings)?;
    let population = Population::new(settings);
    match settings.kind {
        Kind::Flows => run(settings, &population, &Flows::new(&population), progress),
        Kind::Dns => run(settings, &population, &Dns::new(&population), progress),
        Kind::Auth => run(settings, &population, &Auth::new(&population), progress),
    }
}

fn run<T: Telemetry>(
    settings: &Settings,
    population: &Population,
    telemetry: &T,
    progress: &dyn Fn(u64),
) -> Result<Summary, Error> {
    let anomalies = plan(settings, population);
    let rows_anomalous: u64 = anomalies.iter().map(|anomaly| anomaly.rows).sum();
    let work = Work {
        settings,
        population,
        telemetry,
        schedule: Schedule::new(settings, settings.rows.saturating_sub(rows_anomalous)),
        anomalies: &anomalies,
        next_file: AtomicU32::new(0),
        bytes: AtomicU64::new(0),
    };
    let rows = work.write_files(progress)?;
    if rows != settings.rows {
        return Err(Error::Bug("the files do not hold as many rows as were asked for"));
    }
    write_labels(settings, &work.labels())?;
    Ok(Summary {
        out: settings.out.clone(),
        files: settings.file_count(),
        rows,
        rows_anomalous,
        anomalies: settings.anomalies,
        bytes: work.bytes.into_inner(),
        labels: settings.labels.clone(),
    })
}

/// What the threads share.
struct Work<'a, T> {
    settings: &'a Settings,
    population: &'a Population,
    telemetry: &'a T,
    schedule: Schedule,
    anomalies: &'a [Anomaly],
    next_file: AtomicU32,
    bytes: AtomicU64,
}

impl<T: Telemetry> Work<'_, T> {
    /// Writes all files; how many rows they hold.
    fn write_files(&self, progress: &dyn Fn(u64)) -> Result<u64, Error> {
        let threads = self.settings.threads.clamp(1, self.settings.file_count() as usize);
        let (sender, receiver) = sync_channel(PROGRESS_QUEUE);
        thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|_| {
                    let sender = sender.clone();
                    scope.spawn(move || self.write_files_in_turn(&sender))
                })
                .collect();
            drop(sender);
            let mut rows = 0;
            for more in receiver {
                rows += more;
                progress(rows);
            }
            for handle in handles {
                let outcome = handle.join();
                outcome.unwrap_or(Err(Error::Bug("a thread panicked")))?;
            }
            Ok(rows)
        })
    }

    /// Takes the next file that nobody has taken, until there is none; a failure ends it for all.
    fn write_files_in_turn(&self, sender: &SyncSender<u64>) -> Result<(), Error> {
        loop {
            let file = self.next_file.fetch_add(1, Ordering::Relaxed);
            if file >= self.settings.file_count() {
                return Ok(());
            }
            if let Err(error) = self.write_file(file, sender) {
                self.next_file.store(self.settings.file_count(), Ordering::Relaxed);
                return Err(error);
            }
        }
    }

    fn write_file(&self, file: u32, sender: &SyncSender<u64>) -> Result<(), Error> {
        let arrivals_us = self.schedule.arrivals_us(file);
        let count = self.schedule.rows_in(file);
        let mut rng = stream(self.settings.seed, Purpose::File, u64::from(file));
        let mut injected = self.injected(&arrivals_us).into_iter().peekable();
        let path = file_path(self.settings, file);
        let mut output = OutputFile::create(&path, self.settings.format)?;
        let mut tally = Tally { sender, rows: 0 };
        for index in 0..count {
            let arrival_us = Schedule::arrival_us(&arrivals_us, index, count, &mut rng);
            while let Some(row) = injected.next_if(|row| row.arrival_us <= arrival_us) {
                self.write_injected(&row, &mut output)?;
                tally.count();
            }
            let event_ms = self.schedule.event_ms(arrival_us, &mut rng);
            let host = self.population.active(event_ms, &mut rng);
            output.write(&self.telemetry.normal(host, event_ms, &mut rng))?;
            tally.count();
        }
        for row in injected {
            self.write_injected(&row, &mut output)?;
            tally.count();
        }
        tally.tell();
        self.bytes.fetch_add(output.finish()?, Ordering::Relaxed);
        Ok(())
    }

    /// The rows of anomalies that arrive within `arrivals_us`, in order of arrival.
    fn injected(&self, arrivals_us: &std::ops::Range<i64>) -> Vec<Injected> {
        let mut rows = Vec::new();
        for (number, anomaly) in self.anomalies.iter().enumerate() {
            for index in anomaly.candidates(arrivals_us) {
                let arrival_us = anomaly.occurrence(index).arrival_us;
                if arrivals_us.contains(&arrival_us) {
                    rows.push(Injected { arrival_us, anomaly: number as u32, index: index as u32 });
                }
            }
        }
        rows.sort_unstable();
        rows
    }

    fn write_injected(&self, row: &Injected, output: &mut OutputFile) -> Result<(), Error> {
        let anomaly = &self.anomalies[row.anomaly as usize];
        let index = u64::from(row.index);
        let Occurrence { event_ms, mut rng, .. } = anomaly.occurrence(index);
        let host = &self.population.hosts[anomaly.host];
        output.write(&self.telemetry.anomalous(anomaly, host, index, event_ms, &mut rng))
    }

    fn labels(&self) -> Vec<Label> {
        let label = |anomaly: &Anomaly| {
            let host = &self.population.hosts[anomaly.host];
            Label::new(
                self.settings.kind.name(),
                anomaly,
                self.population.tenant_of(host),
                dotted(host.ip),
                self.telemetry.sentence(anomaly, host),
            )
        };
        self.anomalies.iter().map(label).collect()
    }
}

/// A row of an anomaly; ordered by arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Injected {
    arrival_us: i64,
    anomaly: u32,
    index: u32,
}

/// Counts rows, and tells of them many at a time.
struct Tally<'a> {
    sender: &'a SyncSender<u64>,
    rows: u64,
}

impl Tally<'_> {
    fn count(&mut self) {
        self.rows += 1;
        if self.rows == PROGRESS_ROWS {
            self.tell();
        }
    }

    fn tell(&mut self) {
        // The receiver lives until all senders are gone; were it not so, nobody would be asking.
        self.sender.send(self.rows).ok();
        self.rows = 0;
    }
}

fn file_path(settings: &Settings, file: u32) -> PathBuf {
    let (kind, format) = (settings.kind.name(), settings.format.name());
    settings.out.join(format!("{kind}-{file:06}.{format}"))
}

/// Makes the folders, and refuses one that holds what this run would not replace.
fn prepare_folders(settings: &Settings) -> Result<(), Error> {
    let out = &settings.out;
    fs::create_dir_all(out).map_err(Error::at(out))?;
    if let Some(parent) = settings.labels.parent() {
        fs::create_dir_all(parent).map_err(Error::at(parent))?;
    }
    let own: std::collections::HashSet<PathBuf> = (0..settings.file_count())
        .map(|file| file_path(settings, file))
        .chain([settings.labels.clone()])
        .collect();
    for entry in fs::read_dir(out).map_err(Error::at(out))? {
        let path = entry.map_err(Error::at(out))?.path();
        if !is_skipped(&path) && !own.contains(&path) {
            let problem = format!(
                "{} is in the folder already, and its rows would mix with the new ones; remove \
                 it or give another folder",
                path.display()
            );
            return Err(Error::bad("out", problem));
        }
    }
    Ok(())
}

/// Whether sources skip the file or folder.
fn is_skipped(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(['_', '.'])
}

fn write_labels(settings: &Settings, labels: &[Label]) -> Result<(), Error> {
    let path = &settings.labels;
    let mut text = serde_json::to_vec_pretty(labels).map_err(Error::at(path))?;
    text.push(b'\n');
    fs::write(path, text).map_err(Error::at(path))
}
