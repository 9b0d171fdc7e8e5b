//! A running job behind a Flight SQL address, in this process, and a client of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::array::RecordBatch;
use futures::TryStreamExt;
use tempfile::TempDir;
use tidegauge::runtime::{CompiledJob, JobView};
use tidegauge::service::flight::{FlightSettings, serve};
use tidegauge::service::{JobPhase, JobSnapshot, JobStatus, Jobs};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::super::harness::{compile, open, scratch, sorted_text, write_job};

pub(super) type Client = FlightSqlServiceClient<Channel>;

const SQL: &str = "INSERT INTO host_minutes
SELECT window_start, window_end, tenant, host, count(*) AS flows, sum(bytes) AS bytes
FROM TUMBLE(flows, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, tenant, host;
INSERT INTO large SELECT ts, tenant, host, bytes FROM flows WHERE host = 'h0';";

/// Jobs with the views that their engines show.
pub(super) struct TestJobs(pub(super) Vec<(Arc<CompiledJob>, watch::Receiver<Arc<JobView>>)>);

impl Jobs for TestJobs {
    fn snapshots(&self) -> Vec<JobSnapshot> {
        let status = JobStatus { phase: JobPhase::Running, restarts: 0, last_error: None };
        self.0
            .iter()
            .map(|(job, view)| JobSnapshot {
                job: Arc::clone(job),
                view: Arc::clone(&view.borrow()),
                status: status.clone(),
                was_open: true,
            })
            .collect()
    }
}

/// A server that stops with the test.
pub(super) struct Server {
    pub(super) place: String,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinSet<()>,
}

impl Server {
    pub(super) async fn start(jobs: Arc<dyn Jobs>, settings: FlightSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve(listener, jobs, settings, stopped).await.unwrap();
        });
        Self { place, stop: Some(stop), serving }
    }

    pub(super) fn address(&self) -> String {
        format!("grpc://{}", self.place)
    }

    pub(super) async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.place)).unwrap();
        FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
    }

    pub(super) async fn finish(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.join_next().await.unwrap().unwrap();
    }
}

/// A job that runs over the files that are fed to it, one an epoch.
///
/// File `n` holds one row of 50 bytes for each of ten hosts of two tenants, in minute `n / 2`: so
/// each epoch adds 500 bytes, and a minute is closed, with 1000, by the first file of the next.
pub(super) struct Running {
    pub(super) folder: TempDir,
    pub(super) server: Server,
    pub(super) view: watch::Receiver<Arc<JobView>>,
    stop: watch::Sender<bool>,
    engine: JoinSet<()>,
}

impl Running {
    pub(super) async fn start(settings: FlightSettings) -> Self {
        let folder = scratch();
        std::fs::create_dir_all(folder.path().join("in")).unwrap();
        let job = Arc::new(compile(&job_file(folder.path(), "traffic")).await);
        let mut engine = open_shared(&job).await;
        let view = engine.view();
        let jobs = Arc::new(TestJobs(vec![(job, view.clone())]));
        let server = Server::start(jobs, settings).await;
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(async move {
            engine.run(stopped).await.unwrap();
        });
        Self { folder, server, view, stop, engine: running }
    }

    /// Feeds files and waits until they are processed.
    pub(super) async fn feed(&mut self, files: std::ops::Range<u32>) {
        let last = u64::from(files.end);
        for number in files {
            feed(self.folder.path(), number);
        }
        let processed = |view: &Arc<JobView>| view.epoch.is_some_and(|epoch| epoch.0 >= last);
        let waiting = self.view.wait_for(processed);
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    }

    pub(super) async fn finish(mut self) {
        self.server.finish().await;
        self.stop.send_replace(true);
        self.engine.join_next().await.unwrap().unwrap();
    }
}

async fn open_shared(job: &Arc<CompiledJob>) -> tidegauge::runtime::Engine {
    use tidegauge::runtime::{Engine, OpenOptions, Progress};
    let clock = Arc::new(tidegauge_commitlog::SystemClock);
    let progress = Arc::new(Progress::default());
    Engine::open(Arc::clone(job), OpenOptions::default(), clock, progress).await.unwrap()
}

pub(super) fn job_file(folder: &Path, name: &str) -> PathBuf {
    let place = folder.display();
    let yaml = format!(
        "name: {name}\nsources:\n  flows:\n    location: {place}/in/\n    format: json\n    \
         schema: {{ts: TIMESTAMP, tenant: VARCHAR, host: VARCHAR, bytes: BIGINT}}\n    \
         event_time: {{column: ts, delay: 10s}}\nsinks:\n  host_minutes: {{location: \
         {place}/out/host_minutes/, partition_by: [tenant]}}\n  large: {{location: \
         {place}/out/large/}}\nepoch: {{interval: 20ms, files_max: 1}}\nstate: {{location: \
         {place}/state/}}"
    );
    write_job(folder, &yaml, SQL)
}

/// Puts file `number` where the job looks, whole.
pub(super) fn feed(folder: &Path, number: u32) {
    let (minute, second) = (number / 2, 10 + 30 * (number % 2));
    let mut rows = String::new();
    for (tenant, host) in ["a", "b c"].iter().flat_map(|t| (0..5).map(move |host| (t, host))) {
        let ts = format!("2026-01-01T{:02}:{:02}:{second}Z", minute / 60, minute % 60);
        writeln!(rows, r#"{{"ts": "{ts}", "tenant": "{tenant}", "host": "h{host}", "bytes": 50}}"#)
            .unwrap();
    }
    let input = folder.join("in");
    let aside = input.join(format!("_{number:06}"));
    std::fs::write(&aside, rows).unwrap();
    std::fs::rename(aside, input.join(format!("{number:06}.json"))).unwrap();
}

/// All rows of a statement.
pub(super) async fn rows(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, Status> {
    let status = |error: FlightError| match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    };
    let info = client.execute(sql.to_owned(), None).await.map_err(status)?;
    let declared = info.clone().try_decode_schema().unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let stream = client.do_get(ticket).await.map_err(status)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(status)?;
    for batch in &batches {
        assert_eq!(*batch.schema(), declared, "{sql}");
    }
    Ok(batches)
}

/// The same as sorted text, which must not fail.
pub(super) async fn text(client: &mut Client, sql: &str) -> Vec<String> {
    sorted_text(&rows(client, sql).await.unwrap_or_else(|status| panic!("{sql}: {status}")))
}

/// How a statement is refused.
pub(super) async fn refused(client: &mut Client, sql: &str) -> (tonic::Code, String) {
    let status = rows(client, sql).await.err().unwrap_or_else(|| panic!("{sql} is answered"));
    (status.code(), status.message().to_owned())
}

/// Opens, runs over what is there, and gives the job with its last view.
pub(super) async fn ran_once(
    path: &Path,
    reset_state: bool,
) -> (Arc<CompiledJob>, watch::Receiver<Arc<JobView>>) {
    use tidegauge::runtime::{Engine, OpenOptions, Progress};
    let job = Arc::new(compile(path).await);
    let mut engine = if reset_state {
        let options = OpenOptions { reset_state: true, adopt: true, ..OpenOptions::default() };
        let clock = Arc::new(tidegauge_commitlog::SystemClock);
        Engine::open(Arc::clone(&job), options, clock, Arc::new(Progress::default())).await.unwrap()
    } else {
        open(compile(path).await).await
    };
    engine.run_once(true).await.unwrap();
    (job, engine.view())
}
