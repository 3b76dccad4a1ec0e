//! Which connections there are, and how many there may be.
//!
//! Connections live on the worker that accepted them; a poll may come in on another one and finds its
//! connection here.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::Addr;
use amoiq_events::Ambient;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Connection, Protocol, Settings};
use crate::access::network::network;

/// The table is split so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// An engine's own id of a connection: 120 random bits, since it is all that a poll has to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sid(Arc<str>);

impl Sid {
    /// A new one.
    #[must_use]
    pub fn new(ambient: &Ambient) -> Self {
        Self(URL_SAFE_NO_PAD.encode(ambient.bytes::<15>()).into())
    }

    /// As the client knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The service has as many as it takes.
    Total,
    /// The address has as many as one may have.
    Address,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Served at the same time. 0: no limit.
    total: usize,
    /// Of one address: served, and as many held. 0: no limit.
    per_address: usize,
    /// Held at the same time, beside those that are served.
    held: usize,
}

/// The connections of one engine.
pub struct Sessions<P: Protocol> {
    shards: [Mutex<HashMap<Sid, Addr<Connection<P>>>>; SHARDS],
    hasher: RandomState,
    census: Arc<Census>,
    may_hold: MayHold,
}

/// Says whether there is room for connections that are held: descriptors, for example.
pub type MayHold = Box<dyn Fn() -> bool + Send + Sync>;

impl<P: Protocol> Sessions<P> {
    pub(super) fn new(settings: &Settings, may_hold: MayHold) -> Self {
        let limits = Limits {
            total: settings.max_connections,
            per_address: settings.connections_per_ip,
            held: settings.held_connections,
        };
        let census = Census { limits, counts: Mutex::default() };
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            census: Arc::new(census),
            may_hold,
        }
    }

    /// Counts a connection as long as the ticket is kept: among those that are served, else among those that are
    /// held.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Ticket, Refusal> {
        let hold = |refusal| {
            let held = (self.may_hold)().then(|| Census::hold(&self.census, network(client)));
            held.flatten().ok_or(refusal)
        };
        self.admit_served(client).or_else(hold)
    }

    /// The same for a transport that is of no use while it is held.
    pub(super) fn admit_served(&self, client: IpAddr) -> Result<Ticket, Refusal> {
        Census::serve(&self.census, network(client))
    }

    pub(super) fn insert(&self, sid: Sid, connection: Addr<Connection<P>>) {
        self.shard(sid.as_str()).insert(sid, connection);
    }

    pub(super) fn remove(&self, sid: &Sid) {
        self.shard(sid.as_str()).remove(sid);
    }

    pub(super) fn find(&self, sid: &str) -> Option<Addr<Connection<P>>> {
        self.shard(sid).get(&Sid(sid.into())).cloned()
    }

    /// Every connection there is at the moment.
    pub(super) fn all(&self) -> Vec<Addr<Connection<P>>> {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.values().cloned().collect::<Vec<_>>()).collect()
    }

    fn shard(&self, sid: &str) -> MutexGuard<'_, HashMap<Sid, Addr<Connection<P>>>> {
        let number = usize::try_from(self.hasher.hash_one(sid) % SHARDS as u64).unwrap_or_default();
        let shard = self.shards.get(number).or(self.shards.first());
        // There are SHARDS of them.
        let Some(shard) = shard else { unreachable!("an array that is not empty") };
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many connections there are, together and for each address.
struct Census {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    served: Tally,
    held: Tally,
}

#[derive(Default)]
struct Tally {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Census {
    fn serve(census: &Arc<Self>, address: IpAddr) -> Result<Ticket, Refusal> {
        let Limits { total, per_address, .. } = census.limits;
        let mut counts = census.counts();
        let served = &mut counts.served;
        if total > 0 && served.total >= total {
            return Err(Refusal::Total);
        }
        if per_address > 0 && served.of(address) >= per_address {
            return Err(Refusal::Address);
        }
        served.add(address);
        Ok(Ticket { address, is_held: false, census: Arc::clone(census) })
    }

    fn hold(census: &Arc<Self>, address: IpAddr) -> Option<Ticket> {
        let Limits { held: total, per_address, .. } = census.limits;
        let mut counts = census.counts();
        let held = &mut counts.held;
        if held.total >= total || per_address > 0 && held.of(address) >= per_address {
            return None;
        }
        held.add(address);
        Some(Ticket { address, is_held: true, census: Arc::clone(census) })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).copied().unwrap_or_default()
    }

    fn add(&mut self, address: IpAddr) {
        self.total += 1;
        *self.by_address.entry(address).or_default() += 1;
    }

    fn remove(&mut self, address: IpAddr) {
        self.total = self.total.saturating_sub(1);
        let left = self.of(address).saturating_sub(1);
        if left == 0 {
            self.by_address.remove(&address);
        } else {
            self.by_address.insert(address, left);
        }
    }
}

/// A place in the census; given back when it is dropped. Whoever holds the client's socket holds it.
pub struct Ticket {
    address: IpAddr,
    is_held: bool,
    census: Arc<Census>,
}

impl Ticket {
    /// Whether the connection is one too many, and is only held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_held
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.census.counts();
        let tally = if self.is_held { &mut counts.held } else { &mut counts.served };
        tally.remove(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [IpAddr; 2] =
        [IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2))];

    fn census(total: usize, per_address: usize, held: usize) -> Arc<Census> {
        let limits = Limits { total, per_address, held };
        Arc::new(Census { limits, counts: Mutex::default() })
    }

    #[test]
    fn a_place_is_free_again_when_its_ticket_is_given_back() {
        let census = census(3, 2, 0);
        let [a, b] = ADDRESSES;
        let first = Census::serve(&census, a);
        let second = Census::serve(&census, a);
        assert_eq!(Census::serve(&census, a).err(), Some(Refusal::Address));
        let third = Census::serve(&census, b);
        assert_eq!(Census::serve(&census, b).err(), Some(Refusal::Total));
        assert!(Census::hold(&census, b).is_none(), "none is held");
        drop((first, second, third));
        assert_eq!(census.counts().served.by_address.len(), 0);
        assert!(Census::serve(&census, a).is_ok());
    }

    #[test]
    fn so_many_are_held_and_an_address_has_no_more_of_them_than_it_may_have_served() {
        let census = census(1, 2, 3);
        let [a, b] = ADDRESSES;
        let mut held: Vec<_> = (0..2).filter_map(|_| Census::hold(&census, a)).collect();
        assert!(Census::hold(&census, a).is_none(), "the address has its share");
        held.extend(Census::hold(&census, b));
        assert_eq!(held.len(), 3);
        assert!(Census::hold(&census, b).is_none(), "there are no more places");
        assert!(Census::serve(&census, b).is_ok(), "who is served has a place of another kind");
        drop(held);
        assert_eq!(census.counts().held.by_address.len(), 0);
        assert!(Census::hold(&census, a).is_some_and(|ticket| ticket.is_held()));
    }
}
