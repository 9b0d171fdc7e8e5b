//! What tests share: folders in memory, jobs written out, and rows read back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use tempfile::TempDir;
use tidegauge::cluster::Cluster;
use tidegauge::runtime::{CompiledJob, Engine, OpenOptions, Progress, Summary};
use tidegauge::sink::read_published;
use tidegauge_commitlog::{Storage, SystemClock};
use tidegauge_spec::JobSpec;

/// A folder that is gone after the test; in memory where the machine has such a place, for
/// thousands of cases sync thousands of files.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// Writes a job file with its SQL inside.
pub(super) fn write_job(folder: &Path, yaml: &str, sql: &str) -> PathBuf {
    let path = folder.join("job.yaml");
    let indented: String = sql.lines().map(|line| format!("  {line}\n")).collect();
    std::fs::write(&path, format!("{yaml}\nsql: |\n{indented}")).unwrap();
    path
}

/// Compiles the job at `path`, panicking with its problems.
pub(super) async fn compile(path: &Path) -> CompiledJob {
    let spec = JobSpec::load(path, &|_| None).unwrap_or_else(|bad| panic!("{bad}"));
    CompiledJob::new(spec).await.unwrap_or_else(|bad| panic!("{bad}"))
}

/// Opens a job's engine with the machine's clock.
pub(super) async fn open(job: CompiledJob) -> Engine {
    let progress = Arc::new(Progress::default());
    let options = OpenOptions::default();
    Engine::open(job, options, Arc::new(SystemClock), progress)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs the job at `path` over what is there and closes all windows.
pub(super) async fn run_drained(path: &Path) -> Summary {
    run_drained_on(path, None).await
}

/// As [`run_drained`], on workers where any are given.
pub(super) async fn run_drained_on(path: &Path, workers: Option<Arc<Cluster>>) -> Summary {
    let mut engine = open(compile(path).await).await;
    if let Some(workers) = workers {
        engine = engine.on_workers(workers);
    }
    engine.run_once(true).await.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

/// The rows that listing a sink's folder shows, sorted, as text.
pub(super) async fn published_rows(path: &Path, sink: &str) -> Vec<String> {
    let job = compile(path).await;
    let query = job.plan.queries.iter().find(|query| query.sink == sink).unwrap();
    let location = job.spec.sinks.iter().find(|known| known.name == sink).unwrap();
    let storage = Storage::open(&location.location).unwrap();
    sorted_text(&read_published(&storage, &query.schema).await.unwrap())
}

/// Rows as text, sorted, so that two sets of rows can be compared and shown.
pub(super) fn sorted_text(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join(" | "));
        }
    }
    rows.sort();
    rows
}
