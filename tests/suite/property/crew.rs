//! Two workers in a runtime of their own, for all drawn cases of the process.

use std::sync::{Arc, OnceLock};

use tidegauge::access::TokenCheck;
use tidegauge::cluster::{Cluster, WorkerAccess, WorkerSettings, serve};
use tidegauge::observe::Metrics;
use tidegauge::runtime::runtime_env;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const MEMORY_BYTES: u64 = 1 << 30;

/// The workers that serve as long as the process runs.
struct Workers {
    _runtime: Runtime,
    _serving: JoinSet<()>,
    addresses: String,
}

static WORKERS: OnceLock<Workers> = OnceLock::new();

/// A coordinator's view of them, for the runtime that it is called in.
pub(super) fn workers_of_this_process() -> Arc<Cluster> {
    let workers = WORKERS.get_or_init(start);
    let list = workers.addresses.parse().unwrap();
    Arc::new(Cluster::new(list, WorkerAccess::default()).unwrap())
}

fn start() -> Workers {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut serving = JoinSet::new();
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        addresses.push(listener.local_addr().unwrap().to_string());
        let settings = WorkerSettings {
            runtime: runtime_env(MEMORY_BYTES).unwrap(),
            tokens: TokenCheck::default(),
            tls: None,
            peers: WorkerAccess::default(),
            metrics: Metrics::off(),
        };
        let worker = async move {
            let listener = TcpListener::from_std(listener).unwrap();
            serve(listener, settings, std::future::pending()).await.unwrap();
        };
        serving.spawn_on(worker, runtime.handle());
    }
    Workers { _runtime: runtime, _serving: serving, addresses: addresses.join(",") }
}
