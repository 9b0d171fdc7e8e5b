//! A service under heavy and hostile use while its job runs: it answers its probes, commits its
//! epochs, keeps to its memory, ends its queries in time, and ends itself when it is told to.

mod measured;
mod statements;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Ticket, flight_service_client::FlightServiceClient};
use futures::TryStreamExt as _;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::harness::scratch;
use super::service_process::Service;
use measured::{Measured, cpu_ticks, query_processes};
use statements::{HOSTILE, deep, many_joins};

const INTERVAL: Duration = Duration::from_millis(1_000);
const QUERY_TIME_MAX: Duration = Duration::from_secs(3);
const QUERY_BYTES_MAX: u64 = 64 << 20;
const QUERIES_MAX: u64 = 6;
/// The job's own: `memory_max` and `state.cache_max`.
const JOB_BYTES_MAX: u64 = (128 + 32) << 20;
const HEADROOM_BYTES: u64 = 200 << 20;
/// How long the load lasts.
const LOAD: Duration = Duration::from_secs(20);

const JOB: &str = "name: steady
sources:
  flows:
    location: in/
    format: json
    schema: {ts: TIMESTAMP, host: VARCHAR, bytes: BIGINT}
    event_time: {column: ts, delay: 1s}
sql: |
  INSERT INTO minutes
  SELECT window_start, host, sum(bytes) AS bytes, count(*) AS n
  FROM HOP(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '8' HOUR)
  GROUP BY window_start, window_end, host
sinks: {minutes: {location: out/}}
memory_max: 128MiB
epoch: {interval: 1s}
state: {location: state/, cache_max: 32MiB}
";

fn prepare() -> TempDir {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("job.yaml"), JOB).unwrap();
    feed(folder.path(), 0);
    folder
}

/// A file of some rows of one minute.
fn feed(folder: &Path, number: u32) {
    let mut rows = String::new();
    for host in 0..20 {
        writeln!(
            rows,
            r#"{{"ts": "2026-01-01T{:02}:{:02}:10Z", "host": "h{host}", "bytes": 50}}"#,
            number / 60,
            number % 60
        )
        .unwrap();
    }
    let aside = folder.join(format!("in/_{number}"));
    std::fs::write(&aside, rows).unwrap();
    std::fs::rename(aside, folder.join(format!("in/{number:06}.json"))).unwrap();
}

async fn connect(flight: &str) -> Channel {
    let address = flight.replace("grpc://", "http://");
    Endpoint::from_shared(address).unwrap().connect().await.unwrap()
}

/// How a statement ends, and after how long.
async fn ask(channel: &Channel, sql: &str) -> (Result<usize, String>, Duration) {
    let began = Instant::now();
    let mut client = FlightSqlServiceClient::new(channel.clone());
    let answered = async {
        let info = client.execute(sql.to_owned(), None).await?;
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut rows = client.do_get(ticket).await?;
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            count += batch.num_rows();
        }
        Ok::<_, arrow_flight::error::FlightError>(count)
    };
    let answer = answered.await.map_err(|error| error.to_string());
    (answer, began.elapsed())
}

/// Clients that ask what nobody should, each one statement after another.
async fn hostile_clients(flight: String, over: Arc<AtomicBool>) -> (Duration, usize) {
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let (flight, over) = (flight.clone(), Arc::clone(&over));
        clients.spawn(async move {
            let channel = connect(&flight).await;
            let (mut longest, mut asked) = (Duration::ZERO, client);
            while !over.load(Ordering::SeqCst) {
                let sql = match asked % (HOSTILE.len() + 2) {
                    at if at < HOSTILE.len() => HOSTILE[at].to_owned(),
                    at if at == HOSTILE.len() => deep(),
                    _ => many_joins(),
                };
                longest = longest.max(ask(&channel, &sql).await.1);
                asked += 1;
            }
            (longest, asked - client)
        });
    }
    let done = clients.join_all().await;
    (done.iter().map(|(t, _)| *t).max().unwrap(), done.iter().map(|(_, n)| n).sum())
}

/// Handles and tickets that no server made.
async fn damaged_tickets(flight: String, over: Arc<AtomicBool>) -> usize {
    let channel = connect(&flight).await;
    let mut sent = 0;
    while !over.load(Ordering::SeqCst) {
        for length in [0, 1, 7, 100, 10_000] {
            let ticket = vec![(sent % 251) as u8; length];
            let mut client = FlightServiceClient::new(channel.clone());
            assert!(client.do_get(Ticket { ticket: ticket.into() }).await.is_err());
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sent
}

/// Connections that say little or nothing, more of them than there are places.
fn slow_connections(http: &str, flight: &str) -> Vec<TcpStream> {
    let places = [http.trim_start_matches("http://"), flight.trim_start_matches("grpc://")];
    let mut open = Vec::new();
    for n in 0..300 {
        for place in places {
            let mut stream = TcpStream::connect(place).unwrap();
            // It may be closed already: it makes way for those that came after it.
            drop(stream.write_all(if n % 2 == 0 {
                b"GET /api/jobs HTTP/1.1\r\nx: "
            } else {
                b"P"
            }));
            open.push(stream);
        }
    }
    open
}

/// What the load was, and what was measured under it.
struct Outcome {
    asked: usize,
    tickets: usize,
    files: usize,
    longest: Duration,
    measured: measured::Figures,
}

/// Everything at once, for as long as [`LOAD`].
async fn under_load(service: &Service, flight: &str, folder: &Path) -> Outcome {
    let over = Arc::new(AtomicBool::new(false));
    let measuring = Measured::start(service.pid(), &service.http, Arc::clone(&over));
    let fed = Arc::new(AtomicUsize::new(0));
    let mut feeding = JoinSet::new();
    let (path, ends, count) = (folder.to_owned(), Arc::clone(&over), Arc::clone(&fed));
    feeding.spawn(async move {
        for number in 1.. {
            if ends.load(Ordering::SeqCst) {
                return;
            }
            feed(&path, number);
            count.store(number as usize, Ordering::SeqCst);
            tokio::time::sleep(INTERVAL / 4).await;
        }
    });
    let mut asking = JoinSet::new();
    asking.spawn(hostile_clients(flight.to_owned(), Arc::clone(&over)));
    let mut sending = JoinSet::new();
    sending.spawn(damaged_tickets(flight.to_owned(), Arc::clone(&over)));
    let (http, grpc) = (service.http.clone(), flight.to_owned());
    let slow = tokio::task::spawn_blocking(move || slow_connections(&http, &grpc));
    tokio::time::sleep(LOAD).await;
    over.store(true, Ordering::SeqCst);
    let (longest, asked) = asking.join_next().await.unwrap().unwrap();
    let tickets = sending.join_next().await.unwrap().unwrap();
    let measured = measuring.end().await;
    feeding.join_all().await;
    drop(slow.await.unwrap());
    Outcome { asked, tickets, files: fed.load(Ordering::SeqCst), longest, measured }
}

/// The processes of queries that are left, and the ticks of processor time that they use when
/// nobody asks anything.
async fn left_over(service: &Service) -> (usize, u64) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let processes = query_processes(service.pid());
    let ticks = || processes.iter().map(|pid| cpu_ticks(*pid)).sum::<u64>();
    let before = ticks();
    tokio::time::sleep(Duration::from_millis(500)).await;
    (processes.len(), ticks() - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn heavy_and_hostile_use_holds_up_no_probe_no_epoch_and_no_end() {
    let folder = prepare();
    let seconds = format!("{}s", QUERY_TIME_MAX.as_secs());
    let limits =
        ["--query-memory-max", "64MiB", "--query-time-max", &seconds, "--queries-max", "6"];
    let arguments = [&["--flight", "127.0.0.1:0", "job.yaml"][..], &limits].concat();
    let mut service = Service::start(folder.path(), &arguments, &[]);
    let flight = service.flight();
    service.job_that("steady", |job| job["epoch"].as_u64() >= Some(1)).await;

    let Outcome { asked, tickets, files, longest, measured } =
        under_load(&service, &flight, folder.path()).await;
    let (processes, ticks) = left_over(&service).await;
    let channel = connect(&flight).await;
    let (late, epochs) = epoch_gaps(&channel).await;
    let mut heavy = JoinSet::new();
    heavy.spawn(async move { ask(&channel, HOSTILE[0]).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    service.signal("TERM");
    let told = Instant::now();
    let ended = service.ended();
    let stopping = told.elapsed();
    drop(heavy.join_next().await);

    let bytes_max = JOB_BYTES_MAX + QUERIES_MAX * QUERY_BYTES_MAX + HEADROOM_BYTES;
    println!("{asked} hostile statements, {tickets} damaged tickets, {files} files in {LOAD:?}");
    println!("  health: {} probes, the slowest {:?}", measured.probes, measured.slowest);
    println!("  epochs: {epochs}, the longest gap {late:?}, the interval {INTERVAL:?}");
    println!(
        "  memory: {} MiB at most, {} MiB of it the service; the limits are {} MiB",
        measured.bytes_max >> 20,
        measured.own_bytes_max >> 20,
        bytes_max >> 20
    );
    println!("  queries: the longest {longest:?}, the limit {QUERY_TIME_MAX:?}");
    println!("  afterwards {processes} processes are left, which used {ticks} ticks in 500 ms");
    println!("  SIGTERM: {stopping:?}");
    assert!(asked > 20, "{asked}");
    assert!(measured.probes > 100 && measured.failed.is_empty(), "{:?}", measured.failed);
    // Bounds of a machine that is busy with other tests; the figures are printed above.
    assert!(measured.slowest < Duration::from_secs(3), "{:?}", measured.slowest);
    assert!(epochs > 8 && late < 6 * INTERVAL, "{epochs} {late:?}");
    assert!(measured.bytes_max < bytes_max, "{}", measured.bytes_max);
    assert!(longest < QUERY_TIME_MAX + Duration::from_secs(10), "{longest:?}");
    assert!(ticks <= 2, "{processes} processes work on");
    assert!(stopping < Duration::from_secs(15), "{stopping:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// The longest time between two epochs, and how many there were.
async fn epoch_gaps(channel: &Channel) -> (Duration, usize) {
    let mut client = FlightSqlServiceClient::new(channel.clone());
    let sql = "SELECT CAST(committed AS BIGINT) FROM system.epochs ORDER BY 1".to_owned();
    let info = client.execute(sql, None).await.unwrap();
    let rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let batches: Vec<_> = rows.try_collect().await.unwrap();
    let mut times = Vec::new();
    for batch in &batches {
        let column = datafusion::arrow::array::AsArray::as_primitive::<
            datafusion::arrow::datatypes::Int64Type,
        >(batch.column(0));
        times.extend(column.values().iter().copied());
    }
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = Duration::from_micros(gaps.max().unwrap_or_default().unsigned_abs());
    (longest, times.len())
}
