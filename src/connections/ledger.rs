//! How many connections there are: of each listener, and of each address over all listeners.
//!
//! They are counted once for a connection, never for a request. Loopback and trusted proxies are not counted by
//! address, since many clients are behind one: for these the deadlines and the reserve are the defence.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use ipnet::IpNet;

use crate::access::network::network;

/// Why a connection is refused when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its address has `server.connections_per_ip`.
    Address,
    /// There is no descriptor for it.
    Full,
}

/// Why a connection is ended although its client would go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A request's head did not come in time.
    SlowHead,
    /// A request's body came too slowly; it was answered.
    SlowBody,
    /// An answer was taken too slowly.
    SlowReader,
    /// There was no request for a while.
    Idle,
    /// It kept the service waiting when another client needed its descriptor.
    Displaced,
    /// What it sent is not HTTP; it was answered.
    Unparsable,
}

/// As metrics and the log name them.
const REFUSED: [(Refused, &str); 2] = [(Refused::Address, "address"), (Refused::Full, "full")];

const ENDED: [(Ended, &str); 6] = [
    (Ended::SlowHead, "slow_head"),
    (Ended::SlowBody, "slow_body"),
    (Ended::SlowReader, "slow_reader"),
    (Ended::Idle, "idle"),
    (Ended::Displaced, "displaced"),
    (Ended::Unparsable, "unparsable"),
];

/// The connections of all listeners, by address.
pub struct Ledger {
    /// `server.connections_per_ip`; 0 is no limit.
    of_address: usize,
    trusted_proxies: Vec<IpNet>,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    refused: [AtomicU64; REFUSED.len()],
    ended: [AtomicU64; ENDED.len()],
}

impl Ledger {
    /// Without connections.
    #[must_use]
    pub fn new(of_address: usize, trusted_proxies: Vec<IpNet>) -> Arc<Self> {
        let (addresses, refused, ended) = Default::default();
        Arc::new(Self { of_address, trusted_proxies, addresses, refused, ended })
    }

    /// How many were refused, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REFUSED.iter().zip(&self.refused).map(|((_, name), count)| (*name, count.load(Relaxed)))
    }

    /// How many were ended, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ENDED.iter().zip(&self.ended).map(|((_, name), count)| (*name, count.load(Relaxed)))
    }

    /// The address that a peer is counted by, if it is counted.
    fn counted(&self, peer: IpAddr) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let is_shared = peer.is_loopback() || self.trusted_proxies.iter().any(|known| known.contains(&peer));
        (self.of_address > 0 && !is_shared).then(|| network(peer))
    }

    /// Counts a connection of an address, if it may have another.
    fn enter(&self, address: IpAddr) -> bool {
        let mut addresses = self.addresses();
        let here = addresses.entry(address).or_default();
        let has_room = *here < self.of_address;
        *here += usize::from(has_room);
        has_room
    }

    fn leave(&self, address: IpAddr) {
        let mut addresses = self.addresses();
        if let Some(here) = addresses.get_mut(&address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                addresses.remove(&address);
            }
        }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections of one listener.
pub struct Listener {
    ledger: Arc<Ledger>,
    open: AtomicUsize,
    /// As many as it serves.
    most: usize,
    /// Beyond these, as many as may ask after the service's health and nothing else.
    reserve: usize,
}

impl Listener {
    /// One that serves so many connections, and has so many more for health checks.
    #[must_use]
    pub fn new(ledger: &Arc<Ledger>, most: usize, reserve: usize) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::clone(ledger), open: AtomicUsize::new(0), most, reserve })
    }

    /// As many as one of its workers takes over from the kernel. The others wait there.
    pub(super) fn at_most_of_worker(&self, workers: usize) -> usize {
        self.most.saturating_add(self.reserve).div_ceil(workers.max(1)).saturating_add(1)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How many there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether few more can be opened: those that do nothing are not kept for long then.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.open() >= self.most - self.most / 4
    }

    /// Whether there is room for sockets that are not served and only wait: not when the last places are in use.
    #[must_use]
    pub fn has_room_to_wait(&self) -> bool {
        self.open() < self.most - self.most / 16
    }

    /// Counts a connection for as long as its place is kept.
    ///
    /// # Errors
    /// When its address has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Refused> {
        let address = self.ledger.counted(peer);
        if address.is_some_and(|address| !self.ledger.enter(address)) {
            return Err(Refused::Address);
        }
        let others = self.open.fetch_add(1, Relaxed);
        Ok(Place { listener: Arc::clone(self), address, others })
    }

    /// Counts a refusal.
    pub(super) fn count_refused(&self, reason: Refused) {
        let place = REFUSED.iter().zip(&self.ledger.refused).find(|((known, _), _)| *known == reason);
        if let Some((_, count)) = place {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts an end.
    pub(super) fn count_ended(&self, reason: Ended) {
        let place = ENDED.iter().zip(&self.ledger.ended).find(|((known, _), _)| *known == reason);
        if let Some(((_, name), count)) = place {
            count.fetch_add(1, Relaxed);
            tracing::debug!(reason = name, "a connection is ended");
        }
    }
}

/// A connection's place, given back when it is dropped.
pub struct Place {
    listener: Arc<Listener>,
    address: Option<IpAddr>,
    /// How many there were before.
    others: usize,
}

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Everything.
    Any,
    /// A health check, if no other connection can be displaced.
    Health,
    /// Nothing, if no other connection can be displaced.
    None,
}

impl Place {
    pub(super) fn room(&self) -> Room {
        match self.others.checked_sub(self.listener.most) {
            None => Room::Any,
            Some(beyond) if beyond < self.listener.reserve => Room::Health,
            Some(_) => Room::None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Relaxed);
        if let Some(address) = self.address {
            self.listener.ledger.leave(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(ledger: &Arc<Ledger>, peers: &[&str]) -> (Arc<Listener>, Vec<Option<Refused>>, Vec<Place>) {
        let listener = Listener::new(ledger, 100, 0);
        let (mut refused, mut places) = (Vec::new(), Vec::new());
        for peer in peers {
            match listener.enter(peer.parse().unwrap()) {
                Ok(place) => {
                    refused.push(None);
                    places.push(place);
                }
                Err(reason) => refused.push(Some(reason)),
            }
        }
        (listener, refused, places)
    }

    #[test]
    fn an_address_counts_over_all_listeners_and_gets_its_places_back() {
        let ledger = Ledger::new(2, Vec::new());
        let (_, refused, first) = listener(&ledger, &["203.0.113.1", "203.0.113.2"]);
        assert_eq!(refused, [None, None]);
        let (second, refused, _places) = listener(&ledger, &["203.0.113.1", "203.0.113.1", "203.0.113.2"]);
        assert_eq!(refused, [None, Some(Refused::Address), None]);
        drop(first);
        assert!(second.enter([203, 0, 113, 1].into()).is_ok());
        assert_eq!(second.open(), 2, "what was dropped and refused is not counted");
    }

    #[test]
    fn ipv6_counts_by_its_network_and_ipv4_in_it_as_itself() {
        let ledger = Ledger::new(1, Vec::new());
        let peers =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", "::ffff:203.0.113.1", "203.0.113.1"];
        let (_, refused, _places) = listener(&ledger, &peers);
        assert_eq!(refused, [None, Some(Refused::Address), None, None, Some(Refused::Address)]);
    }

    #[test]
    fn loopback_proxies_and_everybody_when_it_is_off_are_not_counted() {
        let ledger = Ledger::new(1, vec!["10.0.0.0/8".parse().unwrap()]);
        let shared = ["127.0.0.1", "127.0.0.1", "::1", "::1", "10.1.2.3", "10.1.2.3", "::ffff:10.1.2.3"];
        assert_eq!(listener(&ledger, &shared).1, [None; 7]);
        assert_eq!(listener(&Ledger::new(0, Vec::new()), &["203.0.113.1"; 3]).1, [None; 3]);
    }

    #[test]
    fn what_is_beyond_the_bound_is_for_health_checks() {
        let ledger = Ledger::new(0, Vec::new());
        let listener = Listener::new(&ledger, 4, 2);
        let places: Vec<_> = (0..7).map(|_| listener.enter([127, 0, 0, 1].into()).unwrap()).collect();
        let rooms: Vec<_> = places.iter().map(Place::room).collect();
        assert_eq!(rooms[..4], [Room::Any; 4]);
        assert_eq!(rooms[4..], [Room::Health, Room::Health, Room::None]);
        assert!(listener.is_short());
    }
}
