//! A loopback HTTP proxy that stands in front of an S3 server and fails as it is told: busy
//! answers, connections that stall, answers that are lost after the request took effect.
//!
//! One request a connection: each is read whole before its fault is chosen, so that a request
//! either takes effect entirely or not at all.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is answered.
    None,
    /// It is refused with 503, and has no effect.
    Busy,
    /// It has no effect and is never answered.
    Stall,
    /// It takes effect, and its answer is 503.
    BusyAfter,
    /// It takes effect, and the connection is closed without an answer.
    Lost,
}

/// A request as faults are chosen by it.
#[derive(Debug)]
pub(super) struct Request {
    /// Its number, from 0.
    pub(super) n: u64,
    pub(super) method: String,
    /// Its path with the query.
    pub(super) path: String,
    whole: Vec<u8>,
}

type Chooser = Box<dyn Fn(&Request) -> Fault + Send + Sync>;

/// A proxy that runs until it is dropped.
pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: u16,
    chooser: Mutex<Arc<Chooser>>,
    requests: AtomicU64,
    faults: AtomicU64,
    stop: AtomicBool,
}

impl Proxy {
    /// A proxy in front of the server on a port of loopback.
    pub(super) fn start(
        upstream: u16,
        chooser: impl Fn(&Request) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream,
            chooser: Mutex::new(Arc::new(Box::new(chooser))),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = Some(std::thread::spawn(move || accept(&listener, &accepting)));
        Self { port, shared, acceptor }
    }

    /// Its port on loopback.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How many requests it has seen.
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// How many of them it has failed.
    pub(super) fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Acquire)
    }

    /// From now on every request is answered.
    pub(super) fn heal(&self) {
        *self.shared.chooser.lock().unwrap() = Arc::new(Box::new(|_| Fault::None));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the acceptor.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        self.acceptor.take().map(JoinHandle::join);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut serving = Vec::new();
    while let Ok((client, _)) = listener.accept() {
        if shared.stop.load(Ordering::Acquire) {
            break;
        }
        let shared = Arc::clone(shared);
        serving.push(std::thread::spawn(move || {
            // A client that has gone away is its own affair.
            serve(client, &shared).ok();
        }));
        serving.retain(|thread: &JoinHandle<()>| !thread.is_finished());
    }
    for thread in serving {
        thread.join().ok();
    }
}

fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let Some(mut request) = read_request(&mut client)? else { return Ok(()) };
    request.n = shared.requests.fetch_add(1, Ordering::AcqRel);
    let chooser = Arc::clone(&shared.chooser.lock().unwrap());
    let fault = chooser(&request);
    shared.faults.fetch_add(u64::from(fault != Fault::None), Ordering::AcqRel);
    match fault {
        Fault::Busy => busy(&mut client),
        Fault::Stall => {
            client.set_read_timeout(Some(Duration::from_millis(10)))?;
            // Until the client gives up, or the test is over.
            while !shared.stop.load(Ordering::Acquire) && !is_closed(&mut client) {
                std::thread::yield_now();
            }
            Ok(())
        }
        Fault::None => client.write_all(&forward(&request, shared.upstream)?),
        Fault::BusyAfter => {
            forward(&request, shared.upstream)?;
            busy(&mut client)
        }
        Fault::Lost => {
            forward(&request, shared.upstream)?;
            client.shutdown(Shutdown::Both)
        }
    }
}

fn busy(client: &mut TcpStream) -> std::io::Result<()> {
    client.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn is_closed(client: &mut TcpStream) -> bool {
    match client.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => {
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        }
    }
}

/// The whole answer of the server.
fn forward(request: &Request, upstream: u16) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    server.write_all(&request.whole)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Reads head and body, and asks for the connection to be closed after the answer.
fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut whole = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let head_end = loop {
        if let Some(at) = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at;
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            read => whole.extend_from_slice(&buffer[..read]),
        }
    };
    let head = String::from_utf8_lossy(&whole[..head_end]).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap());
    while whole.len() < head_end + 4 + length {
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            read => whole.extend_from_slice(&buffer[..read]),
        }
    }
    whole.splice(head_end..head_end, *b"\r\nConnection: close");
    let mut words = head.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    Ok(Some(Request { n: 0, method, path, whole }))
}
