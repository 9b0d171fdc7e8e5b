//! Bounds on the connections of a door: how many there are, and how long one may be silent. Without
//! them, anyone who can reach the address could hold all file descriptors of the process, token or
//! not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use futures::future::{BoxFuture, ready};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::{Connected, TcpIncoming};

const CONNECTIONS_MAX: usize = 256;
/// Longer than any answer takes, for a client of HTTP/1 is silent while it waits for one; one of
/// gRPC answers pings meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Accepts as `inner` does, within the bounds.
#[derive(Debug, Clone)]
pub(crate) struct Bounded<A> {
    inner: A,
    places: Arc<Semaphore>,
}

impl<A> Bounded<A> {
    pub(crate) fn new(inner: A) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl<A, I, S> Accept<I, S> for Bounded<A>
where
    A: Accept<Held<I>, S>,
    A::Future: Send + 'static,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(A::Stream, A::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => self.inner.accept(Held::new(stream, place, SILENCE_MAX), service).boxed(),
            Err(_) => {
                tracing::warn!(CONNECTIONS_MAX, "a connection was refused: there are too many");
                async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed()
            }
        }
    }
}

/// The connections of a gRPC server, within the bounds.
pub(crate) fn bounded(
    incoming: TcpIncoming,
) -> impl Stream<Item = io::Result<Held<TcpStream>>> + Send {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    incoming.filter_map(move |accepted| {
        let held = accepted.map(|stream| match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => Some(Held::new(stream, place, SILENCE_MAX)),
            Err(_) => {
                tracing::warn!(CONNECTIONS_MAX, "a connection was refused: there are too many");
                None
            }
        });
        ready(held.transpose())
    })
}

/// A connection that has a place, and loses it after too long a silence.
#[derive(Debug)]
pub(crate) struct Held<I> {
    stream: I,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _place: OwnedSemaphorePermit,
}

impl<I> Held<I> {
    fn new(stream: I, place: OwnedSemaphorePermit, silence_max: Duration) -> Self {
        let silence = Box::pin(tokio::time::sleep(silence_max));
        Self { stream, silence, silence_max, _place: place }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Held<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            let end = Instant::now() + self.silence_max;
            self.silence.as_mut().reset(end);
            return Poll::Ready(read);
        }
        std::task::ready!(self.silence.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Held<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<I: Connected> Connected for Held<I> {
    type ConnectInfo = I::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_silent_connection_loses_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (near, mut far) = tokio::io::duplex(64);
        let mut held = Held::new(near, place, Duration::from_millis(50));
        assert!(places.try_acquire().is_err());
        far.write_u8(1).await.unwrap();
        assert_eq!(held.read_u8().await.unwrap(), 1);
        let error = held.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert!(places.try_acquire().is_ok());
    }

    #[tokio::test]
    async fn a_connection_too_many_is_refused() {
        let bounded = Bounded::new(axum_server::accept::DefaultAcceptor::new());
        let mut accepted = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            accepted.push(bounded.accept(tokio::io::duplex(1).0, ()).await.unwrap());
        }
        assert!(bounded.accept(tokio::io::duplex(1).0, ()).await.is_err());
        accepted.pop();
        assert!(bounded.accept(tokio::io::duplex(1).0, ()).await.is_ok());
    }

    #[tokio::test]
    async fn connections_to_grpc_are_bounded_too() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = Box::pin(bounded(TcpIncoming::from(listener)));
        let mut clients = Vec::new();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            clients.push(TcpStream::connect(address).await.unwrap());
            held.push(accepted.next().await.unwrap().unwrap());
        }
        // The one too many is closed, and the next that finds a place is let in.
        let mut refused = TcpStream::connect(address).await.unwrap();
        assert!(accepted.next().now_or_never().is_none());
        let closed = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::select! {
                read = refused.read_u8() => read,
                _ = accepted.next() => unreachable!("it was let in"),
            }
        });
        assert!(closed.await.unwrap().is_err());
        held.pop();
        clients.push(TcpStream::connect(address).await.unwrap());
        assert!(accepted.next().await.unwrap().is_ok());
    }
}
