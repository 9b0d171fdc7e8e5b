//! The server behind an address: connections, TLS, who may, and the end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::FutureExt;
use tidegauge_commitlog::SystemClock;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::door::Door;
use super::queries::Queries;
use super::settings::FlightSettings;
use super::sql_service::FlightSql;
use crate::access::{Role, bounded};
use crate::error::{Error, Result};
use crate::service::Jobs;

/// A client that is silent for this long is asked whether it is there, and left after as long.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Calls of one connection at once.
const CALLS_MAX: u32 = 128;
/// How long the answers that are on their way may take once the server is told to stop.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Answers Flight SQL at `listener` until `shutdown` completes.
///
/// # Errors
/// When the TLS settings cannot be used, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    jobs: Arc<dyn Jobs>,
    settings: FlightSettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let queries = Queries::new(jobs, Arc::new(SystemClock), &settings)
        .map_err(|error| Error::bug("the query session cannot be made").with_source(error))?;
    let service = FlightSql::new(queries)
        .map_err(|error| Error::bug("the query service cannot be made").with_source(error))?;
    let door = FlightServiceServer::new(Door(service));
    let check = settings.tokens.for_role(Role::Reader, "query");
    let guarded = InterceptedService::new(door, check);
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(CALLS_MAX);
    if let Some(tls) = settings.tls {
        server = server.tls_config(tls).map_err(|error| {
            Error::bad_job("the certificate and key of the Flight SQL address cannot be used")
                .with_source(error)
        })?;
    }
    let shutdown = shutdown.shared();
    let incoming = bounded(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let serving =
        server.add_service(guarded).serve_with_incoming_shutdown(incoming, shutdown.clone());
    tokio::select! {
        done = serving => done.map_err(|error| {
            Error::unavailable("the Flight SQL address cannot be served").with_source(error)
        }),
        () = async { shutdown.await; tokio::time::sleep(STOP_MAX).await } => Ok(()),
    }
}
