//! `tidegauge test [JOB.yaml ...]`: a job's cases, each at one cut into epochs and at three
//! random ones.

mod case;
mod compare;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegauge_commitlog::{Storage, SystemClock};
use tidegauge_spec::{Compression, DiscoveryOrder, Format, JobSpec};

use super::failure::Failure;
use crate::runtime::{CompiledJob, Engine, OpenOptions, Progress};
use crate::sink::read_published;

use case::{Case, TestFile};
use compare::{Mismatch, compare, rows_of};

const RANDOM_CUTS: u64 = 3;

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// Job files; all of jobs/ when none is named.
    jobs: Vec<PathBuf>,
    /// The seed of the random cuts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) async fn test(arguments: TestArguments) -> Result<(), Failure> {
    let named = !arguments.jobs.is_empty();
    let jobs = if named { arguments.jobs } else { all_jobs()? };
    let (mut passed, mut failed) = (0, 0);
    for job in &jobs {
        let path = test_file_of(job);
        if !path.exists() && !named {
            say(&format!("{}: no cases at {}", job.display(), path.display()))?;
            continue;
        }
        let file = TestFile::load(&path).map_err(Failure::bad)?;
        for case in &file.cases {
            let name = format!("{} / {}", job.display(), case.name);
            match run_case(job, case, arguments.seed).await? {
                None => {
                    passed += 1;
                    say(&format!("ok      {name}"))?;
                }
                Some(difference) => {
                    failed += 1;
                    say(&format!("FAILED  {name}\n{difference}"))?;
                }
            }
        }
    }
    say(&format!("{passed} passed, {failed} failed"))?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::running(format!("error: {failed} cases failed"))),
    }
}

fn all_jobs() -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir("jobs")
        .map_err(|error| Failure::bad(format!("jobs/ cannot be listed ({error}); name a job")))?;
    let mut jobs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    jobs.sort();
    Ok(jobs)
}

/// `jobs/x.yaml` is tested by `tests/jobs/x.yaml`.
fn test_file_of(job: &Path) -> PathBuf {
    let name = job.file_name().map(PathBuf::from).unwrap_or_default();
    let root = job.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    root.join("tests/jobs").join(name)
}

/// What is wrong with a case, or nothing.
async fn run_case(job: &Path, case: &Case, seed: u64) -> Result<Option<String>, Failure> {
    let mut rng = SmallRng::seed_from_u64(seed);
    for cut in 0..=RANDOM_CUTS {
        let files = cut_rows(case, cut == 0, &mut rng);
        let shown = cut_text(&files);
        let mismatches = run_cut(job, case, &files).await?;
        if !mismatches.is_empty() {
            let text: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
            return Ok(Some(format!("  at the cut {shown}\n{}", text.join("\n"))));
        }
    }
    Ok(None)
}

/// Each source's rows in files, which are read an epoch each.
type Files<'a> = BTreeMap<&'a str, Vec<Vec<&'a str>>>;

fn cut_rows<'a>(case: &'a Case, whole: bool, rng: &mut SmallRng) -> Files<'a> {
    let mut files = Files::new();
    for (source, rows) in &case.input {
        let mut parts: Vec<Vec<&str>> = vec![vec![]];
        for row in rows {
            if !whole && rng.random_bool(0.4) {
                parts.push(vec![]);
            }
            if let Some(part) = parts.last_mut() {
                part.push(row);
            }
        }
        files.insert(source, parts);
    }
    files
}

fn cut_text(files: &Files<'_>) -> String {
    let parts = files.iter().map(|(source, parts)| {
        let sizes: Vec<String> = parts.iter().map(|part| part.len().to_string()).collect();
        format!("{source}: {} rows", sizes.join(" + "))
    });
    parts.collect::<Vec<_>>().join("; ")
}

async fn run_cut(path: &Path, case: &Case, files: &Files<'_>) -> Result<Vec<Mismatch>, Failure> {
    let folder = tempfile::tempdir()?;
    let spec = spec_in(path, case, folder.path())?;
    for (source, parts) in files {
        if !spec.sources.iter().any(|known| known.name == *source) {
            return Err(Failure::bad(format!("the job has no source {source}")));
        }
        let folder = folder.path().join(source);
        std::fs::create_dir_all(&folder)?;
        for (at, rows) in parts.iter().enumerate() {
            let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            std::fs::write(folder.join(format!("{at:06}.json")), text)?;
        }
    }
    for source in &spec.sources {
        std::fs::create_dir_all(folder.path().join(&source.name))?;
    }
    let job = CompiledJob::new(spec.clone()).await?;
    let schemas: BTreeMap<String, _> = job
        .plan
        .queries
        .iter()
        .map(|query| (query.sink.clone(), Arc::clone(&query.schema)))
        .collect();
    let progress = Arc::new(Progress::default());
    let mut engine =
        Engine::open(job, OpenOptions::default(), Arc::new(SystemClock), progress).await?;
    engine.run_once(true).await?;
    let mut mismatches = Vec::new();
    for (sink, expected) in &case.expect {
        let location = spec.sinks.iter().find(|known| known.name == *sink);
        let (Some(location), Some(schema)) = (location, schemas.get(sink)) else {
            return Err(Failure::bad(format!("the job has no sink {sink}")));
        };
        let batches = read_published(&Storage::open(&location.location)?, schema).await?;
        let actual = rows_of(&batches)?;
        mismatches.extend(compare(sink, expected, &actual, case.tolerance));
    }
    Ok(mismatches)
}

/// The job with its input and output in `folder`, an epoch a file.
fn spec_in(path: &Path, case: &Case, folder: &Path) -> Result<JobSpec, Failure> {
    let env = |name: &str| case.env.get(name).cloned().or_else(|| std::env::var(name).ok());
    let mut spec = JobSpec::load(path, &env)?;
    let inside = |name: &str| folder.join(name).to_string_lossy().into_owned();
    for source in &mut spec.sources {
        source.location = format!("{}/", inside(&source.name));
        source.format = Format::Json;
        source.compression = Compression::None;
        // The rows of a case arrive in their order, in files that are numbered.
        source.order = DiscoveryOrder::Name;
    }
    for sink in &mut spec.sinks {
        sink.location = inside(&format!("out/{}", sink.name));
    }
    if let Some(late) = &mut spec.late {
        late.location = inside("late");
    }
    spec.state.location = inside("state");
    spec.epoch.files_max = 1;
    Ok(spec)
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}
