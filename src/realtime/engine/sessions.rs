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

use super::{Connection, Protocol};
use crate::network::network;

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

/// The connections of one engine.
pub struct Sessions<P: Protocol> {
    shards: [Mutex<HashMap<Sid, Addr<Connection<P>>>>; SHARDS],
    hasher: RandomState,
    census: Arc<Census>,
}

impl<P: Protocol> Sessions<P> {
    pub(super) fn new(max_total: usize, max_per_address: usize) -> Self {
        let census = Census { max_total, max_per_address, counts: Mutex::default() };
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            census: Arc::new(census),
        }
    }

    /// Counts a connection, as long as the ticket is kept.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Ticket, Refusal> {
        Census::admit(&self.census, network(client))
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
    max_total: usize,
    max_per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Census {
    fn admit(census: &Arc<Self>, address: IpAddr) -> Result<Ticket, Refusal> {
        let mut counts = census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if census.max_total > 0 && counts.total >= census.max_total {
            return Err(Refusal::Total);
        }
        let here = counts.by_address.get(&address).copied().unwrap_or_default();
        if census.max_per_address > 0 && here >= census.max_per_address {
            return Err(Refusal::Address);
        }
        counts.total += 1;
        counts.by_address.insert(address, here + 1);
        Ok(Ticket { address, census: Arc::clone(census) })
    }
}

/// A place in the census; given back when it is dropped. Whoever holds the client's socket holds it.
pub struct Ticket {
    address: IpAddr,
    census: Arc<Census>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        let left = counts.by_address.get(&self.address).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            counts.by_address.remove(&self.address);
        } else {
            counts.by_address.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(max_total: usize, max_per_address: usize) -> Arc<Census> {
        Arc::new(Census { max_total, max_per_address, counts: Mutex::default() })
    }

    #[test]
    fn a_place_is_free_again_when_its_ticket_is_given_back() {
        let census = census(3, 2);
        let [a, b]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let first = Census::admit(&census, a);
        let second = Census::admit(&census, a);
        assert_eq!(Census::admit(&census, a).err(), Some(Refusal::Address));
        let third = Census::admit(&census, b);
        assert_eq!(Census::admit(&census, b).err(), Some(Refusal::Total));
        drop((first, second, third));
        assert_eq!(census.counts.lock().unwrap().by_address.len(), 0);
        assert!(Census::admit(&census, a).is_ok());
    }
}
