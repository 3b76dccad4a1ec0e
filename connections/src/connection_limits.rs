//! How many connections there are: of each listener, and of each address over all listeners.
//!
//! A connection is counted once, a request never. Loopback and trusted proxies are not counted by address, since they
//! carry many clients; deadlines and the reserve for health checks protect against those.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use ipnet::IpNet;
use parking_lot::{Mutex, MutexGuard};

use super::fixed_responses::ErrorBodies;

/// Why a connection is refused when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// Its address has as many connections as it may.
    AddressLimit,
    /// No descriptor is left for it.
    NoDescriptor,
}

/// Why the server ends a connection that its client would keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The head of a request did not arrive in time.
    SlowHead,
    /// The body of a request arrived too slowly; the request was answered.
    SlowBody,
    /// The client took an answer too slowly.
    SlowReader,
    /// There was no request for a while.
    Idle,
    /// It kept the server waiting when another client needed its descriptor.
    Displaced,
    /// The client did not send HTTP; it got an answer.
    Unparsable,
}

/// The names in metrics and logs.
const REFUSALS: [(RefusalReason, &str); 2] =
    [(RefusalReason::AddressLimit, "address"), (RefusalReason::NoDescriptor, "full")];

const ENDS: [(EndReason, &str); 6] = [
    (EndReason::SlowHead, "slow_head"),
    (EndReason::SlowBody, "slow_body"),
    (EndReason::SlowReader, "slow_reader"),
    (EndReason::Idle, "idle"),
    (EndReason::Displaced, "displaced"),
    (EndReason::Unparsable, "unparsable"),
];

/// Limits the connections of each address over all listeners, and counts refusals and ends.
pub struct AddressLimiter {
    /// 0 is no limit.
    per_address: usize,
    trusted_proxies: Vec<IpNet>,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    refused: [AtomicU64; REFUSALS.len()],
    ended: [AtomicU64; ENDS.len()],
}

impl AddressLimiter {
    /// A limiter without connections. A limit of 0 is none.
    #[must_use]
    pub fn new(per_address: usize, trusted_proxies: Vec<IpNet>) -> Arc<Self> {
        let (addresses, refused, ended) = Default::default();
        Arc::new(Self { per_address, trusted_proxies, addresses, refused, ended })
    }

    /// How many connections were refused, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REFUSALS.iter().zip(&self.refused).map(|((_, name), count)| (*name, count.load(Relaxed)))
    }

    /// How many connections the server ended, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ENDS.iter().zip(&self.ended).map(|((_, name), count)| (*name, count.load(Relaxed)))
    }

    /// The address that a peer is counted by, if it is counted.
    fn counted_address(&self, peer: IpAddr) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let is_shared = peer.is_loopback() || self.trusted_proxies.iter().any(|known| known.contains(&peer));
        (self.per_address > 0 && !is_shared).then(|| client_network(peer))
    }

    /// Counts a connection of an address, unless the address has as many as it may.
    fn add(&self, address: IpAddr) -> bool {
        let mut addresses = self.addresses();
        let count = addresses.entry(address).or_default();
        let has_room = *count < self.per_address;
        *count += usize::from(has_room);
        has_room
    }

    fn remove(&self, address: IpAddr) {
        let mut addresses = self.addresses();
        if let Some(count) = addresses.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock()
    }
}

/// The address that a client counts as: an IPv4 address itself; of an IPv6 address the /64, because one client usually
/// owns all of it.
#[must_use]
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// How many connections a listener may have, and what it answers beyond that.
#[derive(Debug, Clone, Copy)]
pub struct ListenerSettings {
    /// As many connections as it serves.
    pub max_connections: usize,
    /// As many more as it accepts for health checks alone.
    pub health_reserve: usize,
    /// The bodies of answers that no handler writes.
    pub error_bodies: ErrorBodies,
}

/// The connections of one listener.
pub struct ListenerConnections {
    limiter: Arc<AddressLimiter>,
    open: AtomicUsize,
    settings: ListenerSettings,
}

impl ListenerConnections {
    /// A listener without connections.
    #[must_use]
    pub fn new(limiter: &Arc<AddressLimiter>, settings: ListenerSettings) -> Arc<Self> {
        Arc::new(Self { limiter: Arc::clone(limiter), open: AtomicUsize::new(0), settings })
    }

    /// How many connections one worker accepts at the most. The kernel keeps the others.
    pub(super) fn max_of_worker(&self, workers: usize) -> usize {
        let ListenerSettings { max_connections, health_reserve, .. } = self.settings;
        max_connections.saturating_add(health_reserve).div_ceil(workers.max(1)).saturating_add(1)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How many there may be.
    #[must_use]
    pub fn max(&self) -> usize {
        self.settings.max_connections
    }

    /// The bodies of answers that no handler writes.
    pub(super) fn error_bodies(&self) -> &ErrorBodies {
        &self.settings.error_bodies
    }

    /// Whether descriptors run short: idle connections end sooner then.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.open() >= self.max() - self.max() / 4
    }

    /// Whether there is room for connections that only wait and are not served.
    #[must_use]
    pub fn has_room_to_wait(&self) -> bool {
        self.open() < self.max() - self.max() / 16
    }

    /// Counts a connection until its slot is dropped.
    ///
    /// # Errors
    /// When its address has as many as it may.
    pub(super) fn take_slot(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionSlot, RefusalReason> {
        let address = self.limiter.counted_address(peer);
        if address.is_some_and(|address| !self.limiter.add(address)) {
            return Err(RefusalReason::AddressLimit);
        }
        let number = self.open.fetch_add(1, Relaxed);
        Ok(ConnectionSlot { listener: Arc::clone(self), address, number })
    }

    pub(super) fn count_refused(&self, reason: RefusalReason) {
        let counted = REFUSALS.iter().zip(&self.limiter.refused).find(|((known, _), _)| *known == reason);
        if let Some((_, count)) = counted {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn count_ended(&self, reason: EndReason) {
        let counted = ENDS.iter().zip(&self.limiter.ended).find(|((known, _), _)| *known == reason);
        if let Some(((_, name), count)) = counted {
            count.fetch_add(1, Relaxed);
            tracing::debug!(reason = name, "the server ends a connection");
        }
    }
}

/// One connection in the counts, until it is dropped.
pub struct ConnectionSlot {
    listener: Arc<ListenerConnections>,
    address: Option<IpAddr>,
    /// How many connections were open before it.
    number: usize,
}

/// What a connection may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// Everything.
    Regular,
    /// A health check, unless another connection can be displaced.
    HealthCheck,
    /// Nothing, unless another connection can be displaced.
    Beyond,
}

impl ConnectionSlot {
    pub(super) fn kind(&self) -> SlotKind {
        let ListenerSettings { max_connections, health_reserve, .. } = self.listener.settings;
        match self.number.checked_sub(max_connections) {
            None => SlotKind::Regular,
            Some(beyond) if beyond < health_reserve => SlotKind::HealthCheck,
            Some(_) => SlotKind::Beyond,
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Relaxed);
        if let Some(address) = self.address {
            self.listener.limiter.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed_responses::TEST_BODIES;

    fn listener(
        limiter: &Arc<AddressLimiter>,
        max_connections: usize,
        health_reserve: usize,
    ) -> Arc<ListenerConnections> {
        let settings = ListenerSettings { max_connections, health_reserve, error_bodies: TEST_BODIES };
        ListenerConnections::new(limiter, settings)
    }

    /// Connects these peers: the listener, the refusals, and the slots.
    fn connect(
        limiter: &Arc<AddressLimiter>,
        peers: &[&str],
    ) -> (Arc<ListenerConnections>, Vec<Option<RefusalReason>>, Vec<ConnectionSlot>) {
        let listener = listener(limiter, 100, 0);
        let (mut refused, mut slots) = (Vec::new(), Vec::new());
        for peer in peers {
            match listener.take_slot(peer.parse().unwrap()) {
                Ok(slot) => {
                    refused.push(None);
                    slots.push(slot);
                }
                Err(reason) => refused.push(Some(reason)),
            }
        }
        (listener, refused, slots)
    }

    #[test]
    fn an_address_counts_over_all_listeners_and_gets_its_slots_back() {
        let limiter = AddressLimiter::new(2, Vec::new());
        let (_, refused, first) = connect(&limiter, &["203.0.113.1", "203.0.113.2"]);
        assert_eq!(refused, [None, None]);
        let (second, refused, _slots) = connect(&limiter, &["203.0.113.1", "203.0.113.1", "203.0.113.2"]);
        assert_eq!(refused, [None, Some(RefusalReason::AddressLimit), None]);
        drop(first);
        assert!(second.take_slot([203, 0, 113, 1].into()).is_ok());
        assert_eq!(second.open(), 2, "closed and refused connections are not counted");
    }

    #[test]
    fn ipv6_counts_by_its_network_and_mapped_ipv4_as_ipv4() {
        let limiter = AddressLimiter::new(1, Vec::new());
        let peers =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", "::ffff:203.0.113.1", "203.0.113.1"];
        let (_, refused, _slots) = connect(&limiter, &peers);
        let limit = Some(RefusalReason::AddressLimit);
        assert_eq!(refused, [None, limit, None, None, limit]);
    }

    #[test]
    fn loopback_and_proxies_are_not_counted_and_nobody_is_without_a_limit() {
        let limiter = AddressLimiter::new(1, vec!["10.0.0.0/8".parse().unwrap()]);
        let shared = ["127.0.0.1", "127.0.0.1", "::1", "::1", "10.1.2.3", "10.1.2.3", "::ffff:10.1.2.3"];
        assert_eq!(connect(&limiter, &shared).1, [None; 7]);
        assert_eq!(connect(&AddressLimiter::new(0, Vec::new()), &["203.0.113.1"; 3]).1, [None; 3]);
    }

    #[test]
    fn connections_beyond_the_limit_are_for_health_checks() {
        let limiter = AddressLimiter::new(0, Vec::new());
        let listener = listener(&limiter, 4, 2);
        let slots: Vec<_> = (0..7).map(|_| listener.take_slot([127, 0, 0, 1].into()).unwrap()).collect();
        let kinds: Vec<_> = slots.iter().map(ConnectionSlot::kind).collect();
        assert_eq!(kinds[..4], [SlotKind::Regular; 4]);
        assert_eq!(kinds[4..], [SlotKind::HealthCheck, SlotKind::HealthCheck, SlotKind::Beyond]);
        assert!(listener.is_short());
    }
}
