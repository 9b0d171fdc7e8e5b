//! The HTTP door: what operators, probes and scrapers ask, all answers in JSON but the metrics.

mod answer;
mod api;
mod guard;
mod problem;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::accept::DefaultAcceptor;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::host::Host;
use crate::access::Bounded;
use crate::access::{Door, tls_for_axum};
use crate::error::{Error, Result};

/// How long answers that are under way may take when the door closes.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// How long the head of a request may take, from the end of the one before.
const HEADER_MAX: Duration = Duration::from_secs(20);

/// Gives the text that `/metrics` answers with, in Prometheus' form.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Answers on `listener` until `stop` says so.
///
/// # Errors
/// When the certificate cannot be used, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    host: Arc<Host>,
    door: Door,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let router = api::router(host, metrics, guard::Guard::new(door.token_check()));
    let handle = Handle::new();
    let mut closing = JoinSet::new();
    closing.spawn(close_when_told(handle.clone(), stop));
    let mut server = Server::<SocketAddr>::from_listener(listener).handle(handle).http1_only();
    let http = server.http_builder();
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_MAX);
    let service = Router::into_make_service(router);
    let served = match &door.tls {
        None => server.acceptor(Bounded::new(DefaultAcceptor::new())).serve(service).await,
        Some(files) => {
            let tls = RustlsAcceptor::new(tls_for_axum(files, door.client_ca.as_deref())?);
            server.acceptor(Bounded::new(tls)).serve(service).await
        }
    };
    served.map_err(|error| Error::unavailable("the HTTP door failed").with_source(error))
}

async fn close_when_told(handle: Handle<SocketAddr>, mut stop: watch::Receiver<bool>) {
    // A sender that is gone wants the door closed, too.
    if stop.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("the door closes with its owner");
    }
    handle.graceful_shutdown(Some(CLOSING_MAX));
}
