//! One case, run: the job with its input and output in a folder of its own, epoch by epoch, and
//! what came of it against what was expected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tidegauge_commitlog::{LogReader, SourceState, Storage, SystemClock};
use tidegauge_spec::{Compression, DiscoveryOrder, Format, JobSpec, SinkSpec, SourceSpec};

use super::case::{Arrival, Case, Counts, Draft, Input};
use super::columns::{in_sink, in_source, right_name};
use super::compare::{compare, compare_counts, rows_of};
use super::epochs::{Epochs, Member, arrived};
use super::value::{Row, Value};
use crate::cli::failure::Failure;
use crate::plan::REVISION;
use crate::runtime::{CompiledJob, Engine, OpenOptions, Progress, Summary};
use crate::sink::read_published;

const RANDOM_CUTS: u64 = 3;
const CUTS: &str = "which rows come late for a window depends on where the epochs end; say that \
                    too, such as cuts: {flows: [2]}";
const ORDER: &str = "which rows come late for a window depends on their order; write arrival: \
                     as_written or by_event_time";

/// A case and the job that it fits.
#[derive(Debug)]
pub(super) struct Trial {
    case: Case,
    spec: JobSpec,
}

/// What became of a run's rows, besides the sinks'.
struct Fates {
    summary: Summary,
    sources: BTreeMap<String, SourceState>,
}

impl Trial {
    /// Checks the case against the job; the error says all that is wrong with either.
    pub(super) async fn new(job: &Path, draft: Draft) -> Result<Self, Vec<Failure>> {
        let Draft { title, case, mut mistakes } = draft;
        let failures = |mistakes: Vec<String>| -> Vec<Failure> {
            let said = mistakes.iter().map(|message| Failure::bad(format!("{title}: {message}")));
            said.collect()
        };
        let Some(mut case) = case else { return Err(failures(mistakes)) };
        let env = |name: &str| case.env.get(name).cloned().or_else(|| std::env::var(name).ok());
        let compiled = match JobSpec::load(job, &env) {
            Ok(spec) => CompiledJob::new(spec).await.map_err(Failure::from),
            Err(bad) => Err(Failure::from(bad)),
        };
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(failure) => {
                return Err(std::iter::once(failure).chain(failures(mistakes)).collect());
            }
        };
        mistakes.extend(wrong_input(&compiled.spec, &case));
        mistakes.extend(wrong_expectation(&compiled, &mut case));
        match mistakes.is_empty() {
            true => Ok(Self { case, spec: compiled.spec }),
            false => Err(failures(mistakes)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.case.name
    }

    /// What is wrong, or nothing. A case without cuts is run whole and at random cuts.
    pub(super) async fn run(&self, seed: u64) -> Result<Option<String>, Failure> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let random_cuts = if self.case.cuts.is_some() { 0 } else { RANDOM_CUTS };
        for cut in 0..=random_cuts {
            let arrived = arrived(&self.case, &self.spec.sources, &mut rng);
            let epochs =
                Epochs::of(&self.case, &self.spec.sources, &arrived, (cut > 0).then_some(&mut rng));
            let wrong = self.run_at(&epochs).await?;
            if !wrong.is_empty() {
                let mut shown = format!("  at the cut {epochs}");
                if self.case.arrival == Arrival::Shuffled {
                    write!(shown, ", shuffled by --seed {seed}").unwrap_or_default();
                }
                return Ok(Some(format!("{shown}\n{}", wrong.join("\n"))));
            }
        }
        Ok(None)
    }

    /// A run that fails is a case that fails.
    async fn run_at(&self, epochs: &Epochs<'_>) -> Result<Vec<String>, Failure> {
        let folder = tempfile::tempdir()?;
        match self.run_in(folder.path(), epochs).await {
            Ok(wrong) => Ok(wrong),
            Err(failure) => {
                // The folder is gone when this is read.
                let place = format!("{}/", folder.path().display());
                let message = failure.message().replace(&place, "");
                Ok(vec![format!("  {}", by_own_names(message, epochs))])
            }
        }
    }

    async fn run_in(&self, folder: &Path, epochs: &Epochs<'_>) -> Result<Vec<String>, Failure> {
        let spec = self.spec_in(folder)?;
        let job = CompiledJob::new(spec.clone()).await?;
        let schemas = schemas(&job);
        let fates = self.run_epochs(job, folder, epochs).await?;
        let mut wrong = Vec::new();
        for (sink, expected) in &self.case.expect {
            let location = spec.sinks.iter().find(|known| known.name == *sink);
            let (Some(SinkSpec { location, .. }), Some(schema)) = (location, schemas.get(sink))
            else {
                continue;
            };
            let batches = read_published(&Storage::open(location)?, schema).await?;
            let rows = rows_of(&batches)?;
            if let Some(mismatch) = compare(sink, expected, &rows, self.case.tolerance) {
                wrong.push(mismatch.to_string());
                if let (true, Some(right)) = (rows.iter().any(is_again), open(&self.case)) {
                    let again = "has windows that were written again";
                    wrong.push(format!("  {sink} {again} ({REVISION}): {right}"));
                }
            }
        }
        wrong.extend(self.compare_fates(&fates));
        Ok(wrong)
    }

    /// The files of an epoch are put down before it, so that none takes those of another.
    async fn run_epochs(
        &self,
        job: CompiledJob,
        folder: &Path,
        epochs: &Epochs<'_>,
    ) -> Result<Fates, Failure> {
        let log = LogReader::new(job.state_storage()?);
        let progress = Arc::new(Progress::default());
        let options = OpenOptions::default();
        let mut engine = Engine::open(job, options, Arc::new(SystemClock), progress).await?;
        let last = epochs.count().saturating_sub(1);
        for at in 0..last {
            put_down(folder, epochs, at)?;
            engine.run_once(false).await?;
        }
        put_down(folder, epochs, last)?;
        let summary = engine.run_once(self.case.drain).await?;
        Ok(Fates { summary, sources: log.state().await?.sources })
    }

    fn compare_fates(&self, fates: &Fates) -> Vec<String> {
        let source = |name: &str| fates.sources.get(name).map(|source| source.totals);
        let summary = &fates.summary;
        let late = |name: &str| source(name).map_or(0, |rows| rows.late);
        let quarantined = |name: &str| source(name).map_or(0, |rows| rows.quarantined);
        let by_source = |expected: &Counts, total: u64, of: &dyn Fn(&str) -> u64| match expected {
            Counts::Total(expected) => vec![(None, *expected, total)],
            Counts::BySource(expected) => {
                let names = self.spec.sources.iter().map(|source| source.name.as_str());
                let expected = |name: &str| expected.get(name).copied().unwrap_or_default();
                names.map(|name| (Some(name), expected(name), of(name))).collect()
            }
        };
        let case = &self.case;
        let mut wrong = compare_counts("late", &by_source(&case.late, summary.rows_late, &late));
        let counts = by_source(&case.quarantined, summary.rows_quarantined, &quarantined);
        wrong.extend(compare_counts("quarantined", &counts));
        wrong
    }

    /// The job with its input and output in `folder`. Where an epoch ends is not the job's to say.
    fn spec_in(&self, folder: &Path) -> Result<JobSpec, Failure> {
        let mut spec = self.spec.clone();
        let inside = |path: PathBuf| path.to_string_lossy().into_owned();
        for source in &mut spec.sources {
            let place = folder.join(&source.name);
            std::fs::create_dir_all(&place)?;
            source.location = format!("{}/", inside(place));
            read_as_given(source, self.case.input.get(&source.name));
        }
        for sink in &mut spec.sinks {
            sink.location = inside(folder.join("out").join(&sink.name));
        }
        if let Some(late) = &mut spec.late {
            late.location = inside(folder.join("late"));
        }
        spec.state.location = inside(folder.join("state"));
        spec.epoch.files_max = usize::MAX;
        spec.epoch.bytes_max = u64::MAX;
        Ok(spec)
    }
}

/// Rows are JSON whatever the job reads; files are named in their order of arrival.
fn read_as_given(source: &mut SourceSpec, input: Option<&Input>) {
    source.order = DiscoveryOrder::Name;
    if let Some(Input::Rows(_)) = input {
        source.format = Format::Json;
        source.compression = Compression::None;
    }
}

/// Writes the files that an epoch reads: one of all its rows, and each of its files.
fn put_down(folder: &Path, epochs: &Epochs<'_>, at: usize) -> Result<(), Failure> {
    for (source, members) in epochs.at(at) {
        let folder = folder.join(source);
        let mut rows = String::new();
        for (nth, member) in members.iter().enumerate() {
            match member {
                Member::Row(row) => {
                    rows.push_str(&Value::Map((*row).clone()).to_json());
                    rows.push('\n');
                }
                Member::File(path) => {
                    std::fs::copy(path, folder.join(file_name(at, nth, path)))?;
                }
            }
        }
        if !rows.is_empty() {
            std::fs::write(folder.join(format!("{}.json", epoch_name(at))), rows)?;
        }
    }
    Ok(())
}

fn epoch_name(at: usize) -> String {
    format!("epoch-{:06}", at + 1)
}

/// What the `nth` file of an epoch is called while the case runs.
fn file_name(at: usize, nth: usize, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{}-{nth:06}-{name}", epoch_name(at))
}

/// The message with each file of the case under the path that it has for the case's author.
fn by_own_names(mut message: String, epochs: &Epochs<'_>) -> String {
    for at in 0..epochs.count() {
        for (source, members) in epochs.at(at) {
            for (nth, member) in members.iter().enumerate() {
                if let Member::File(path) = member {
                    let put_down = format!("{source}/{}", file_name(at, nth, path));
                    message = message.replace(&put_down, &path.display().to_string());
                }
            }
        }
    }
    message
}

fn schemas(job: &CompiledJob) -> BTreeMap<String, SchemaRef> {
    let queries = job.plan.queries.iter();
    queries.map(|query| (query.sink.clone(), Arc::clone(&query.schema))).collect()
}

/// What is wrong with the input, each with its place in the case.
fn wrong_input(spec: &JobSpec, case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, input) in &case.input {
        match (spec.sources.iter().find(|source| source.name == *name), input) {
            (None, _) => {
                let known = spec.sources.iter().map(|source| source.name.as_str());
                wrong.push(unknown("input", "source", name, known));
            }
            (Some(source), Input::Rows(rows)) => match in_source(source, rows) {
                Ok(mistakes) => wrong.extend(mistakes),
                Err(error) => wrong.push(format!("input.{name}: {error}")),
            },
            (Some(_), Input::Files(_)) => {}
        }
    }
    wrong
}

/// What is wrong with the rows that are expected, which are made comparable with the sinks'.
fn wrong_expectation(job: &CompiledJob, case: &mut Case) -> Vec<String> {
    let mut wrong = Vec::new();
    let open = open(case);
    for (sink, rows) in &mut case.expect {
        let Some(query) = job.plan.queries.iter().find(|query| query.sink == *sink) else {
            let known = job.plan.queries.iter().map(|query| query.sink.as_str());
            wrong.push(unknown("expect", "sink", sink, known));
            continue;
        };
        wrong.extend(in_sink(sink, &query.schema, rows));
        let again = rows.iter().position(|row| query.revises && is_again(row));
        if let (Some(at), Some(right)) = (again, open) {
            wrong.push(format!("expect.{sink}[{at}].{REVISION}: {right}"));
        }
    }
    wrong
}

/// Whether the row is of a window that was written before.
fn is_again(row: &Row) -> bool {
    row.get(REVISION).and_then(Value::as_f64).is_some_and(|revision| revision > 0.0)
}

/// What a case leaves open of the rows that come late for a window, and so of what is written
/// again for them.
fn open(case: &Case) -> Option<&'static str> {
    match (&case.cuts, case.arrival) {
        (None, _) => Some(CUTS),
        (Some(_), Arrival::Shuffled) => Some(ORDER),
        (Some(_), _) => None,
    }
}

fn unknown<'a>(
    place: &str,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    format!("{place}: the job has no {what} called {name:?}; {}", right_name(name, known))
}
