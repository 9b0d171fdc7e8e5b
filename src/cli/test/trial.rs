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

use super::case::{Arrival, Case, Counts, Input, in_case};
use super::compare::{compare, compare_counts, rows_of};
use super::epochs::{Epochs, Member, arrived};
use crate::cli::failure::Failure;
use crate::runtime::{CompiledJob, Engine, OpenOptions, Progress, Summary};
use crate::sink::read_published;

const RANDOM_CUTS: u64 = 3;

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
    /// Checks what the case of `file` says of the job against the job.
    pub(super) async fn new(job: &Path, file: &Path, case: Case) -> Result<Self, Failure> {
        let env = |name: &str| case.env.get(name).cloned().or_else(|| std::env::var(name).ok());
        let spec = JobSpec::load(job, &env)?;
        let wrong = |message: String| Failure::bad(in_case(file, &case.name, &message));
        for source in case.input.keys() {
            let known = || spec.sources.iter().map(|source| source.name.as_str());
            if !known().any(|name| name == source) {
                return Err(wrong(unknown("input", "source", source, known())));
            }
        }
        let schemas = schemas(&CompiledJob::new(spec.clone()).await?);
        for (sink, rows) in &case.expect {
            let known = || spec.sinks.iter().map(|sink| sink.name.as_str());
            let Some(schema) = schemas.get(sink) else {
                return Err(wrong(unknown("expect", "sink", sink, known())));
            };
            for (at, row) in rows.iter().enumerate() {
                let columns = || schema.fields().iter().map(|field| field.name().as_str());
                if let Some(column) = row.keys().find(|key| !columns().any(|name| name == *key)) {
                    let known: Vec<&str> = columns().collect();
                    return Err(wrong(format!(
                        "expect.{sink}[{at}]: {sink} has no column called {column:?}; write one of {}",
                        known.join(", ")
                    )));
                }
            }
        }
        Ok(Self { case, spec })
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
            let epochs = Epochs::of(&self.case, &arrived, (cut > 0).then_some(&mut rng));
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
                // The folder is gone when this is read; a file is known by its source and epoch.
                let place = format!("{}/", folder.path().display());
                Ok(vec![format!("  {}", failure.message().replace(&place, ""))])
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
            let mismatch = compare(sink, expected, &rows_of(&batches)?, self.case.tolerance);
            wrong.extend(mismatch.map(|mismatch| mismatch.to_string()));
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
        let epoch = format!("epoch-{:06}", at + 1);
        let mut rows = String::new();
        for (nth, member) in members.iter().enumerate() {
            match member {
                Member::Row(row) => {
                    rows.push_str(&serde_json::Value::Object((*row).clone()).to_string());
                    rows.push('\n');
                }
                Member::File(path) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    std::fs::copy(path, folder.join(format!("{epoch}-{nth:06}-{name}")))?;
                }
            }
        }
        if !rows.is_empty() {
            std::fs::write(folder.join(format!("{epoch}.json")), rows)?;
        }
    }
    Ok(())
}

fn schemas(job: &CompiledJob) -> BTreeMap<String, SchemaRef> {
    let queries = job.plan.queries.iter();
    queries.map(|query| (query.sink.clone(), Arc::clone(&query.schema))).collect()
}

fn unknown<'a>(
    place: &str,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    let known: Vec<&str> = known.collect();
    format!("{place}: the job has no {what} called {name:?}; write one of {}", known.join(", "))
}
