//! `tidegauge test [JOB.yaml ...]`: a job's cases, each at the cut into epochs that it asks for,
//! or whole and at three random cuts.
//!
//! ```text
//! case: file -> drafts   trial: a case that fits its job,   columns: rows against their columns
//!                        epoch by epoch                     epochs: arrival and cuts
//!                                                           compare: expected against counted
//! value: what rows and settings are made of
//! ```

mod case;
mod columns;
mod compare;
mod epochs;
mod place;
mod trial;
mod value;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use tidegauge_spec::JobSpec;

use super::failure::Failure;
use case::Loaded;
use trial::Trial;

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// Job files; all of jobs/ when none is named.
    jobs: Vec<PathBuf>,
    /// The seed of the random cuts and of shuffled arrival.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) async fn test(arguments: TestArguments) -> Result<(), Failure> {
    let named = !arguments.jobs.is_empty();
    let jobs = if named { arguments.jobs } else { all_jobs()? };
    let (mut trials, mut wrong) = (Vec::new(), Vec::new());
    for job in &jobs {
        let path = test_file_of(job);
        if !path.exists() && !named {
            say(&format!("{}: no cases at {}", job.display(), path.display()))?;
            continue;
        }
        match trials_of(job, &path).await {
            Ok(found) => trials.extend(found),
            Err(failure) => wrong.push(failure),
        }
    }
    if let Some(failure) = Failure::all(wrong) {
        return Err(failure);
    }
    let (mut passed, mut failed) = (0, 0);
    for (job, trial) in &trials {
        let name = format!("{} / {}", job.display(), trial.name());
        match trial.run(arguments.seed).await? {
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

/// The cases of a job, or all that is wrong with them: nothing is run of cases that have mistakes.
async fn trials_of(job: &Path, path: &Path) -> Result<Vec<(PathBuf, Trial)>, Failure> {
    if !job.exists() {
        JobSpec::load(job, &|_| None)?;
    }
    let (mut trials, mut wrong) = (Vec::new(), Vec::<Failure>::new());
    let Loaded { mistakes, drafts } = case::load(path).map_err(Failure::bad)?;
    wrong.extend(mistakes.into_iter().map(Failure::bad));
    for draft in drafts {
        match Trial::new(job, draft).await {
            Ok(trial) => trials.push((job.to_owned(), trial)),
            Err(failures) => wrong.extend(failures),
        }
    }
    // A job that is bad is so for each of its cases.
    let mut said = BTreeSet::new();
    wrong.retain(|failure| said.insert(failure.message().to_owned()));
    Failure::all(wrong).map_or(Ok(trials), Err)
}

/// `jobs/x.yaml` is tested by `tests/jobs/x.yaml`.
fn test_file_of(job: &Path) -> PathBuf {
    let name = job.file_name().map(PathBuf::from).unwrap_or_default();
    let root = job.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    root.join("tests/jobs").join(name)
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}
