//! What is measured of a service from outside while others use it: how fast it answers a probe,
//! and what it and the processes of its queries hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::service_process::client;

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) probes: usize,
    pub(super) slowest: Duration,
    pub(super) failed: Vec<String>,
    pub(super) bytes_max: u64,
    pub(super) own_bytes_max: u64,
}

/// Measures until it is told to end.
pub(super) struct Measured {
    probing: JoinSet<Figures>,
    weighing: std::thread::JoinHandle<(u64, u64)>,
}

impl Measured {
    pub(super) fn start(pid: u32, http: &str, over: Arc<AtomicBool>) -> Self {
        let (url, ends) = (format!("{http}/healthz"), Arc::clone(&over));
        let mut probing = JoinSet::new();
        probing.spawn(async move {
            let mut figures = Figures::default();
            while !ends.load(Ordering::SeqCst) {
                let began = Instant::now();
                // A connection of its own, as probes have.
                let answer = client().get(&url).timeout(Duration::from_secs(5)).send().await;
                match answer {
                    Ok(answer) if answer.status() == 200 => {}
                    other => figures.failed.push(format!("{other:?}")),
                }
                figures.slowest = figures.slowest.max(began.elapsed());
                figures.probes += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            figures
        });
        let weighing = std::thread::spawn(move || {
            let (mut most, mut own_most) = (0, 0);
            while !over.load(Ordering::SeqCst) {
                let own = resident(pid);
                let queries: u64 = query_processes(pid).into_iter().map(resident).sum();
                (most, own_most) = (most.max(own + queries), own_most.max(own));
                std::thread::sleep(Duration::from_millis(5));
            }
            (most, own_most)
        });
        Self { probing, weighing }
    }

    pub(super) async fn end(mut self) -> Figures {
        let figures = self.probing.join_next().await.unwrap().unwrap();
        let (bytes_max, own_bytes_max) = self.weighing.join().unwrap();
        Figures { bytes_max, own_bytes_max, ..figures }
    }
}

/// The memory of a process that is its own, in bytes; what is mapped from files is left out.
fn resident(pid: u32) -> u64 {
    tidegauge::service::flight::resident_bytes(Some(pid)).unwrap_or_default()
}

/// The processes that a service runs queries in.
pub(super) fn query_processes(service: u32) -> Vec<u32> {
    let children = format!("/proc/{service}/task");
    let mut found = Vec::new();
    for task in std::fs::read_dir(children).into_iter().flatten().flatten() {
        let listed = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

/// The processor time of a process, in ticks of 10 ms.
pub(super) fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<&str> = after.split_whitespace().collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum()
}
