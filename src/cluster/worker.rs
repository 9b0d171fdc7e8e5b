//! A worker: it runs what coordinators send it, and keeps nothing.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion_distributed::{DistributedExt, Worker, WorkerQueryContext};
use futures::Future;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};

use super::channel::{Channels, WorkerAccess, engine_version};
use super::codec::EngineCodec;
use super::task::{self, TaskObserver};
use crate::access::{Role, TokenCheck, bounded};
use crate::error::{Error, Result};
use crate::observe::Metrics;
use crate::sql::{register_functions, register_plan_functions};

/// How a worker serves.
pub struct WorkerSettings {
    /// Memory pool and spill files, for all that runs at once.
    pub runtime: Arc<RuntimeEnv>,
    /// Who may send it plans.
    pub tokens: TokenCheck,
    /// How connections to it are secured.
    pub tls: Option<ServerTlsConfig>,
    /// How it reaches other workers. The token is that of the coordinator that it works for.
    pub peers: WorkerAccess,
    /// What counts its requests to storage, for the jobs that it works for.
    pub metrics: Metrics,
}

/// Serves until `shutdown`; connections that are open then are closed.
///
/// # Errors
/// When TLS cannot be set up, or the door fails.
pub async fn serve(
    listener: TcpListener,
    settings: WorkerSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let peers = Arc::new(Channels::new(WorkerAccess { token: None, ..settings.peers })?);
    let worker = Worker::from_session_builder(move |context: WorkerQueryContext| {
        let (peers, metrics) = (Arc::clone(&peers), settings.metrics.clone());
        async move { session(context, peers, &metrics) }
    })
    .with_runtime_env(settings.runtime)
    .with_version(engine_version());
    // A plan reads and writes whatever it says, so no location can be held against a token.
    let check = settings.tokens.for_role(Role::Admin, "send plans to a worker");
    let service = InterceptedService::new(worker.into_worker_server(), check);
    let mut server = Server::builder();
    if let Some(tls) = settings.tls {
        server = server.tls_config(tls).map_err(|error| {
            Error::bad_job("the worker's TLS cannot be set up").with_source(error)
        })?;
    }
    let incoming = bounded(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let serving = server.add_service(service).serve_with_incoming(incoming);
    tokio::select! {
        done = serving => {
            done.map_err(|error| Error::unavailable("the worker's door failed").with_source(error))
        }
        () = shutdown => Ok(()),
    }
}

/// The session that one task runs in.
fn session(
    context: WorkerQueryContext,
    peers: Arc<Channels>,
    metrics: &Metrics,
) -> std::result::Result<SessionState, DataFusionError> {
    let builder = context
        .builder
        .with_distributed_user_codec(EngineCodec)
        .with_distributed_channel_resolver(
            peers as Arc<dyn datafusion_distributed::ChannelResolver + Send + Sync>,
        )
        .with_distributed_passthrough_headers(task::sent_on(&context.headers))?;
    let mut state = builder.build();
    let observer = TaskObserver::new(&context.headers, metrics)?;
    state.config_mut().set_extension(Arc::new(observer));
    register_functions(&mut state);
    register_plan_functions(&mut state);
    Ok(state)
}
