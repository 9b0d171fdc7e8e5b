//! Who may hold a connection to a door, and for how long.
//!
//! ```text
//!  accepted --> waiting ---- a request that is let in ----> admitted: at most ADMITTED_MAX,
//!                  |                                          by one peer ADMITTED_PEER_MAX
//!                  | nothing such within WAITING_MAX,
//!                  | or pushed out by a newer one
//!                  v
//!                closed
//! ```
//!
//! Who shows no token holds no place for good: the oldest that waits makes way for the newest, of
//! its own peer first. So a probe, which is answered at once and never takes a place, gets through
//! whoever else holds connections.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Connections of a door that have shown who they are, or need not.
const ADMITTED_MAX: usize = 256;
/// Of those, from one address. A proxy in front is one address.
const ADMITTED_PEER_MAX: usize = 192;
/// Connections of a door that have shown nothing yet.
const WAITING_CONNECTIONS_MAX: usize = 256;
/// Of those, from one address.
const WAITING_PEER_MAX: usize = 64;
/// How long one may show nothing, its TLS handshake included.
pub(super) const WAITING_MAX: Duration = Duration::from_secs(10);
/// Warnings of one door are this far apart.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// The places of one door.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    shared: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// The oldest first.
    waiting: VecDeque<Waiting>,
    admitted: HashMap<u64, Option<IpAddr>>,
    warned: Option<Instant>,
    unwarned: u64,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    peer: Option<IpAddr>,
    /// Closes the connection when it is dropped before it has been let in.
    _cut: oneshot::Sender<()>,
}

/// One connection's claim, as its requests have it.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    claim: Arc<Claim>,
}

#[derive(Debug)]
struct Claim {
    id: u64,
    peer: Option<IpAddr>,
    places: Places,
}

/// Ends when the connection has lost its claim.
pub(crate) type Cut = oneshot::Receiver<()>;

impl Places {
    /// A connection that was accepted; it waits.
    pub(crate) fn enter(&self, peer: Option<IpAddr>) -> (Seat, Cut) {
        let (sender, cut) = oneshot::channel();
        let mut held = self.shared.lock();
        let id = held.next;
        held.next += 1;
        let of_peer = |waiting: &Waiting| waiting.peer == peer;
        let pushed = match held.waiting.iter().filter(|one| of_peer(one)).count() {
            full if full >= WAITING_PEER_MAX => held.waiting.iter().position(of_peer),
            _ if held.waiting.len() >= WAITING_CONNECTIONS_MAX => Some(0),
            _ => None,
        };
        if let Some(oldest) = pushed {
            drop(held.waiting.remove(oldest));
            held.warn("connections that show nothing make way for newer ones");
        }
        held.waiting.push_back(Waiting { id, peer, _cut: sender });
        drop(held);
        (Seat { claim: Arc::new(Claim { id, peer, places: self.clone() }) }, cut)
    }
}

impl Seat {
    /// Whether the connection has a place of its own, from now on.
    ///
    /// # Errors
    /// That there are too many.
    pub(crate) fn admit(&self) -> Result<(), &'static str> {
        let Claim { id, peer, places } = self.claim.as_ref();
        let mut held = places.shared.lock();
        if held.admitted.contains_key(id) {
            return Ok(());
        }
        let of_peer = held.admitted.values().filter(|one| *one == peer).count();
        if held.admitted.len() >= ADMITTED_MAX || of_peer >= ADMITTED_PEER_MAX {
            held.warn("a request was refused: there are too many connections");
            return Err("there are too many connections; close some, and ask again");
        }
        // The connection sees that it is let in before it sees that nobody can push it out.
        held.admitted.insert(*id, *peer);
        held.waiting.retain(|waiting| waiting.id != *id);
        Ok(())
    }

    /// Whether it was let in.
    pub(crate) fn is_admitted(&self) -> bool {
        self.claim.places.shared.lock().admitted.contains_key(&self.claim.id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.places.shared.lock();
        if held.admitted.remove(&self.id).is_none()
            && let Some(at) = held.waiting.iter().position(|waiting| waiting.id == self.id)
        {
            drop(held.waiting.remove(at));
        }
    }
}

impl Held {
    /// At most one line a second, with how many were left out.
    fn warn(&mut self, what: &str) {
        self.unwarned += 1;
        let now = Instant::now();
        if self.warned.is_none_or(|last| now.duration_since(last) >= WARN_EVERY) {
            tracing::warn!(times = self.unwarned, "{what}");
            (self.warned, self.unwarned) = (Some(now), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, n]))
    }

    #[tokio::test]
    async fn the_newest_that_waits_pushes_the_oldest_of_its_peer_out() {
        let places = Places::default();
        let (_other, mut others) = places.enter(peer(2));
        let mut seats: Vec<_> = (0..WAITING_PEER_MAX).map(|_| places.enter(peer(1))).collect();
        assert!(
            seats
                .iter_mut()
                .all(|(_, cut)| cut.try_recv() == Err(oneshot::error::TryRecvError::Empty))
        );
        let _newest = places.enter(peer(1));
        let lost: Vec<bool> = seats
            .iter_mut()
            .map(|(_, cut)| cut.try_recv() == Err(oneshot::error::TryRecvError::Closed))
            .collect();
        assert!(lost[0] && !lost[1..].contains(&true));
        assert_eq!(others.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }

    #[tokio::test]
    async fn who_is_admitted_stays_and_others_are_told_when_it_is_full() {
        let places = Places::default();
        let mut admitted = Vec::new();
        for n in 0..ADMITTED_PEER_MAX {
            let (seat, cut) = places.enter(peer(1));
            seat.admit().unwrap_or_else(|why| panic!("{n}: {why}"));
            admitted.push((seat, cut));
        }
        let (one_too_many, _cut) = places.enter(peer(1));
        assert!(one_too_many.admit().is_err() && !one_too_many.is_admitted());
        for n in 0..ADMITTED_MAX - ADMITTED_PEER_MAX {
            let (seat, cut) = places.enter(peer(2));
            seat.admit().unwrap_or_else(|why| panic!("{n}: {why}"));
            admitted.push((seat, cut));
        }
        assert!(places.enter(peer(3)).0.admit().is_err());
        // Those that wait never push them out, however many come.
        let waiting: Vec<_> = (0..500).map(|n| places.enter(peer((n % 200) as u8))).collect();
        assert!(admitted.iter().all(|(seat, _)| seat.admit().is_ok() && seat.is_admitted()));
        drop((admitted.pop(), waiting));
        places.enter(peer(3)).0.admit().unwrap();
    }
}
