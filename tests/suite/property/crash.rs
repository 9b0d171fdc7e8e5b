//! A job that is run as drawn: over files that come in portions, with its engine opened anew for
//! each, and with crashes inside epochs, which are futures that are dropped wherever they stand.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use tidegauge::cluster::Cluster;
use tidegauge::error::ErrorKind;
use tidegauge::runtime::{CompiledJob, Engine, OpenOptions, Progress, Summary};
use tidegauge::sink::read_published;
use tidegauge_commitlog::{Storage, SystemClock};

use super::super::harness::{compile, scratch, write_job};
use super::table::{DELAY_MS, DrawnTable, SCHEMA};
use super::{Case, Change};

/// A coordinator that is gone may still have a request under way that wins an epoch, so that the
/// next one has to look again.
const REOPENED_MAX: usize = 20;

/// Runs the job and gives what each of its sinks shows.
pub async fn as_a_stream(case: &Case, workers: Option<Arc<Cluster>>) -> Vec<RecordBatch> {
    let folder = scratch();
    let sources: Vec<(&str, &DrawnTable)> = case.sources();
    let path = write_job(folder.path(), &yaml(case, folder.path()), &case.job_sql());
    let job = Arc::new(compile(&path).await);
    let mut crashes = case.crashes.iter();
    let (mut rows_in, mut rows_late) = (0, 0);
    for portion in 0..case.portions {
        for (name, table) in &sources {
            let input = folder.path().join(name);
            let files = table.files_of(portion, case.portions);
            match case.appends {
                true => table.append_files(&input, files),
                false => table.write_files(&input, files),
            }
        }
        let is_last = portion + 1 == case.portions;
        let crashes: Vec<usize> = match is_last {
            true => crashes.by_ref().copied().collect(),
            false => crashes.by_ref().take(1).copied().collect(),
        };
        let summary = run_with(&job, workers.as_ref(), is_last || case.drains, &crashes).await;
        rows_in += summary.rows_in;
        rows_late += summary.rows_late;
        if !case.appends && !is_last {
            for (name, table) in &sources {
                let files = table.files_of(portion, case.portions);
                change(&folder.path().join(name), files, &case.changes);
            }
        }
    }
    if case.crashes.is_empty() {
        let rows: usize = sources.iter().map(|(_, table)| table.rows.len()).sum();
        assert_eq!(rows_in, rows as u64, "every row is counted");
        assert!(case.lates || rows_late == 0, "the order of arrival stays within the delay");
    }
    let mut shown = Vec::new();
    for sink in &job.spec.sinks {
        let query = job.plan.queries.iter().find(|query| query.sink == sink.name).unwrap();
        let storage = Storage::open(&sink.location).unwrap();
        let rows = read_published(&storage, &query.schema).await.unwrap();
        shown.push(concat_batches(&query.schema, &rows).unwrap());
    }
    shown
}

/// Changes files that were read.
fn change(folder: &Path, files: std::ops::Range<usize>, changes: &[Change]) {
    for (file, change) in files.zip(changes) {
        let path = folder.join(format!("{file:03}.json"));
        let text = std::fs::read_to_string(&path).unwrap();
        match change {
            Change::Nothing => {}
            Change::Touched => std::fs::write(path, text).unwrap(),
            // A file that was empty when it was read was not read.
            Change::Appended if text.is_empty() => {}
            Change::Appended => std::fs::write(path, text.repeat(2)).unwrap(),
            Change::Removed => std::fs::remove_file(path).unwrap(),
        }
    }
}

/// Runs over what is there, dropping the run after each of `crashes` polls, and then to its end.
async fn run_with(
    job: &Arc<CompiledJob>,
    workers: Option<&Arc<Cluster>>,
    drain: bool,
    crashes: &[usize],
) -> Summary {
    for polls in crashes {
        match polled_at_most(*polls, run(job, workers, drain)).await {
            Some(Ok(summary)) => return summary,
            Some(Err(error)) if error.kind() == ErrorKind::Fenced => {}
            Some(Err(error)) => panic!("{error}: {error:?}"),
            None => {}
        }
    }
    for _ in 0..REOPENED_MAX {
        match run(job, workers, drain).await {
            Ok(summary) => return summary,
            Err(error) if error.kind() == ErrorKind::Fenced && !crashes.is_empty() => {}
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
    panic!("the job is fenced by coordinators that are gone");
}

async fn run(
    job: &Arc<CompiledJob>,
    workers: Option<&Arc<Cluster>>,
    drain: bool,
) -> tidegauge::error::Result<Summary> {
    let progress = Arc::new(Progress::default());
    let options = OpenOptions::default();
    let mut engine =
        Engine::open(Arc::clone(job), options, Arc::new(SystemClock), progress).await?;
    if let Some(workers) = workers {
        engine = engine.on_workers(workers.clone());
    }
    engine.run_once(drain).await
}

/// Drops `future` when it is not done after so many polls.
async fn polled_at_most<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

fn yaml(case: &Case, folder: &Path) -> String {
    let place = folder.display();
    let source = |(name, _): &(&str, &DrawnTable)| {
        format!(
            "  {name}:\n    location: {place}/{name}/\n    format: json\n    schema: {SCHEMA}\n    \
             event_time: {{column: ts, delay: {DELAY_MS}ms, allowed_lateness: {}ms, future_max: \
             36500d}}\n    appended: {}\n",
            case.allowed_ms, case.appends
        )
    };
    let sources: String = case.sources().iter().map(source).collect();
    let sinks: String = (0..case.chains.len())
        .map(|at| format!("  out{at}: {{location: {place}/out{at}/}}\n"))
        .collect();
    format!(
        "name: drawn\nsources:\n{sources}sinks:\n{sinks}epoch: {{files_max: {}, close_max: {}}}\nstate: {{location: \
         {place}/state/, runs_max: {}, cache_max: {}, checkpoint_every: 3, retain_epochs: 2}}\n\
         partitions: {}",
        case.files_per_epoch, case.close_max, case.runs_max, case.cache_max, case.partitions,
    )
}
