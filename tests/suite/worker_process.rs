//! Workers as child processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{self, Env, RUN_MAX};

/// A worker process on a free port of loopback; it ends with this value.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    child: Child,
    pub(super) address: String,
}

impl WorkerProcess {
    pub(super) fn start(arguments: &[&str], env: &Env) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegauge"))
            .args(["worker", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("worker ").expect(&line).to_owned();
        Self { child, address }
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(mut self) {
        process::signal(&self.child, "TERM");
        let started = Instant::now();
        let ended = loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                break ended;
            }
            assert!(started.elapsed() < RUN_MAX, "a worker does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(ended.success(), "{ended}");
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill();
        }
    }
}

/// Two workers and the list that names them.
pub(super) fn two_workers() -> (Vec<WorkerProcess>, String) {
    two_workers_in(&vec![])
}

/// Two workers with an environment of their own, and the list of them.
pub(super) fn two_workers_in(env: &Env) -> (Vec<WorkerProcess>, String) {
    let workers: Vec<_> = (0..2).map(|_| WorkerProcess::start(&[], env)).collect();
    let list: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    let list = list.join(",");
    (workers, list)
}
