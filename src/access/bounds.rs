//! Bounds on the connections of a door: how many there are, and how long one may be silent, read
//! slowly, or say nothing that lets it in. Without them, anyone who can reach the address could
//! hold all file descriptors of the process, token or not.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Request;
use axum_server::accept::Accept;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tonic::transport::server::{Connected, TcpIncoming, TlsConnectInfo};
use tower::Service;

use super::places::{Cut, Places, Seat, WAITING_MAX};

/// Longer than any answer takes, for a client of HTTP/1 is silent while it waits for one; one of
/// gRPC answers pings meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what is sent to it.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Accepts as `inner` does, within the bounds.
#[derive(Debug, Clone)]
pub(crate) struct Bounded<A> {
    inner: A,
    places: Places,
}

impl<A> Bounded<A> {
    pub(crate) fn new(inner: A) -> Self {
        Self { inner, places: Places::default() }
    }
}

impl<A, S> Accept<TcpStream, S> for Bounded<A>
where
    A: Accept<Held<TcpStream>, Seated<S>>,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = A::Future;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let held = Held::enter(stream, &self.places);
        let seat = held.seat.clone();
        self.inner.accept(held, Seated { service, seat })
    }
}

/// A service that tells each request which connection it came by.
#[derive(Debug, Clone)]
pub(crate) struct Seated<S> {
    service: S,
    seat: Seat,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Seated<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.seat.clone());
        self.service.call(request)
    }
}

/// The connections of a gRPC server, within the bounds.
pub(crate) fn bounded(
    incoming: TcpIncoming,
) -> impl Stream<Item = io::Result<Held<TcpStream>>> + Send {
    let places = Places::default();
    incoming.map(move |accepted| accepted.map(|one| Held::enter(one, &places)))
}

/// The connection that a gRPC call came by.
pub(crate) fn seat_of(extensions: &tonic::Extensions) -> Option<&Seat> {
    let of_tls = || extensions.get::<TlsConnectInfo<Seat>>().map(TlsConnectInfo::get_ref);
    extensions.get::<Seat>().or_else(of_tls)
}

/// A connection with its bounds.
#[derive(Debug)]
pub(crate) struct Held<I> {
    stream: I,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    /// Runs while the other side takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    stall_max: Duration,
    /// Ends when it has to be let in; none when it was.
    waiting: Option<(Pin<Box<Sleep>>, Cut)>,
    seat: Seat,
}

/// Where a connection comes from.
pub(crate) trait Peer {
    fn peer(&self) -> Option<IpAddr>;
}

impl Peer for TcpStream {
    fn peer(&self) -> Option<IpAddr> {
        Some(self.peer_addr().ok()?.ip().to_canonical())
    }
}

impl<I: Peer> Held<I> {
    fn enter(stream: I, places: &Places) -> Self {
        let (seat, cut) = places.enter(stream.peer());
        Self::new(stream, seat, cut, [SILENCE_MAX, WAITING_MAX, STALL_MAX])
    }
}

impl<I> Held<I> {
    fn new(
        stream: I,
        seat: Seat,
        cut: Cut,
        [silence_max, waiting_max, stall_max]: [Duration; 3],
    ) -> Self {
        let silence = Box::pin(tokio::time::sleep(silence_max));
        let waiting = Some((Box::pin(tokio::time::sleep(waiting_max)), cut));
        Self { stream, silence, silence_max, stall: None, stall_max, waiting, seat }
    }

    /// Whether it has waited for too long, or was pushed out; wakes the reader when it is.
    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        let Some((until, cut)) = &mut self.waiting else { return false };
        if self.seat.is_admitted() {
            self.waiting = None;
            return false;
        }
        cut.poll_unpin(context).is_ready() || until.as_mut().poll(context).is_ready()
    }
}

fn timed_out<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<I: AsyncRead + Unpin> AsyncRead for Held<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return timed_out();
        }
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            let end = Instant::now() + self.silence_max;
            self.silence.as_mut().reset(end);
            return Poll::Ready(read);
        }
        std::task::ready!(self.silence.as_mut().poll(context));
        timed_out()
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Held<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            self.stall = None;
            return Poll::Ready(written);
        }
        let stall_max = self.stall_max;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        std::task::ready!(stall.as_mut().poll(context));
        timed_out()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<I> Connected for Held<I> {
    type ConnectInfo = Seat;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.seat.clone()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn held(
        places: &Places,
        bounds: [Duration; 3],
    ) -> (Held<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(64);
        let (seat, cut) = places.enter(None);
        (Held::new(near, seat, cut, bounds), far)
    }

    async fn is_cut(held: &mut Held<tokio::io::DuplexStream>) -> bool {
        held.read_u8().await.unwrap_err().kind() == io::ErrorKind::TimedOut
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed() {
        let places = Places::default();
        let (mut held, mut far) = held(&places, [Duration::from_millis(50), LONG, LONG]);
        held.seat.admit().unwrap();
        far.write_u8(1).await.unwrap();
        assert_eq!(held.read_u8().await.unwrap(), 1);
        assert!(is_cut(&mut held).await);
    }

    #[tokio::test]
    async fn a_connection_that_trickles_and_is_never_let_in_is_closed() {
        let places = Places::default();
        let (mut slow, mut far) = held(&places, [LONG, Duration::from_millis(500), LONG]);
        let (mut known, mut known_far) = held(&places, [LONG, Duration::from_millis(500), LONG]);
        known.seat.admit().unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            far.write_u8(1).await.unwrap();
            assert_eq!(slow.read_u8().await.unwrap(), 1);
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        far.write_u8(1).await.unwrap();
        assert!(is_cut(&mut slow).await);
        known_far.write_u8(2).await.unwrap();
        assert_eq!(known.read_u8().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_left() {
        let places = Places::default();
        let (mut held, _far) = held(&places, [LONG, LONG, Duration::from_millis(100)]);
        held.seat.admit().unwrap();
        let began = Instant::now();
        let error = held.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_connection_that_shows_nothing_makes_way_for_a_newer_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = Box::pin(bounded(TcpIncoming::from(listener)));
        let (mut clients, mut held) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            clients.push(TcpStream::connect(address).await.unwrap());
            held.push(accepted.next().await.unwrap().unwrap());
        }
        let first = held[0].read_u8().await.unwrap_err();
        assert_eq!(first.kind(), io::ErrorKind::TimedOut);
        clients[99].write_u8(7).await.unwrap();
        assert_eq!(held[99].read_u8().await.unwrap(), 7);
    }
}
