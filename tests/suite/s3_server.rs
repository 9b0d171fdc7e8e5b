//! An S3 server over HTTP: moto from PyPI, on loopback, on a free port, as long as it is held.
//!
//! Its Python is `TIDEGAUGE_PYTHON`, else `.venv/bin/python` of the repository. It reads its
//! standard input and ends with it, so that it never outlives the tests, whatever becomes of them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path as StorePath;
use tidegauge_commitlog::Storage;

use super::process::Env;

const START_MAX: Duration = Duration::from_secs(30);
const STARTS_MAX: usize = 3;
const SERVER: &str = "
import os, sys, threading
def leave():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=leave, daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

/// A server that runs.
#[derive(Debug)]
pub(super) struct S3Server {
    process: Child,
    port: u16,
}

impl S3Server {
    /// Starts a server with the bucket `tide`. Where no Python has moto, says so and gives none.
    pub(super) fn start() -> Option<Self> {
        let python = match python() {
            Ok(python) => python,
            Err(reason) => {
                eprintln!("SKIPPED: no S3 server: {reason}");
                return None;
            }
        };
        // Another process may take the port between its choice and its use.
        for _ in 0..STARTS_MAX {
            let port = free_port();
            let process = Command::new(&python)
                .args(["-c", SERVER, &port.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut server = Self { process, port };
            if server.answers() {
                assert_eq!(request(port, "PUT", "/tide"), Some(200));
                return Some(server);
            }
        }
        panic!("moto did not start {STARTS_MAX} times");
    }

    /// The port on loopback.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What a process needs to use it.
    pub(super) fn env(&self) -> Env {
        env_of(self.port)
    }

    /// A place in the bucket, for the test itself.
    pub(super) fn storage(&self, prefix: &str) -> Storage {
        let store = AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{}", self.port))
            .with_allow_http(true)
            .with_bucket_name("tide")
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .build()
            .unwrap();
        Storage::from_parts(Arc::new(store), StorePath::parse(prefix).unwrap())
    }

    fn answers(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < START_MAX && self.process.try_wait().unwrap().is_none() {
            if request(self.port, "GET", "/moto-api/") == Some(200) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What a process needs to use an S3 server on this port of loopback.
pub(super) fn env_of(port: u16) -> Env {
    let endpoint = format!("http://127.0.0.1:{port}");
    [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("NO_PROXY", "127.0.0.1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A Python that has moto, or why there is none.
fn python() -> Result<PathBuf, String> {
    let python = match std::env::var_os("TIDEGAUGE_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
    };
    let shown = python.display();
    let output = Command::new(&python)
        .args(["-c", "import moto.server"])
        .output()
        .map_err(|error| format!("{shown}: {error}; set TIDEGAUGE_PYTHON"))?;
    match output.status.success() {
        true => Ok(python),
        false => Err(format!("{shown} has no moto.server; pip install 'moto[server]'")),
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The status of a request without a body, or none where nobody answers.
fn request(port: u16, method: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
