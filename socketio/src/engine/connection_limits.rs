//! How many connections there may be, in all and for each address.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use super::EngineSettings;

/// Which limit a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitReached {
    /// The server has as many as it serves.
    Total,
    /// The address has as many as one may have.
    Address,
}

#[derive(Debug, Clone, Copy)]
struct ConnectionLimits {
    /// Served at the same time. 0: no limit.
    total: usize,
    /// Served for one address, and as many held. 0: no limit.
    per_address: usize,
    /// Held at the same time, in addition to those that are served.
    held: usize,
}

/// Counts connections, in all and for each address.
pub(super) struct ConnectionCounter {
    limits: ConnectionLimits,
    counts: Mutex<ConnectionCounts>,
}

#[derive(Default)]
struct ConnectionCounts {
    served: AddressCounts,
    held: AddressCounts,
}

#[derive(Default)]
struct AddressCounts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl ConnectionCounter {
    pub(super) fn new(settings: &EngineSettings) -> Arc<Self> {
        let limits = ConnectionLimits {
            total: settings.max_connections,
            per_address: settings.connections_per_ip,
            held: settings.held_connections,
        };
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// Counts a connection that is served.
    pub(super) fn serve(counter: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        let ConnectionLimits { total, per_address, .. } = counter.limits;
        let mut counts = counter.counts();
        let served = &mut counts.served;
        if total > 0 && served.total >= total {
            return Err(LimitReached::Total);
        }
        if per_address > 0 && served.of(address) >= per_address {
            return Err(LimitReached::Address);
        }
        served.add(address);
        Ok(ConnectionPermit { address, is_held: false, counter: Arc::clone(counter) })
    }

    /// Counts a connection that is held, unless there are too many of those too.
    pub(super) fn hold(counter: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let ConnectionLimits { held: total, per_address, .. } = counter.limits;
        let mut counts = counter.counts();
        let held = &mut counts.held;
        if held.total >= total || per_address > 0 && held.of(address) >= per_address {
            return None;
        }
        held.add(address);
        Some(ConnectionPermit { address, is_held: true, counter: Arc::clone(counter) })
    }

    fn counts(&self) -> MutexGuard<'_, ConnectionCounts> {
        self.counts.lock()
    }
}

impl AddressCounts {
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

/// Keeps a connection in the counts until it is dropped. The owner of the client's transport owns it.
pub(super) struct ConnectionPermit {
    address: IpAddr,
    is_held: bool,
    counter: Arc<ConnectionCounter>,
}

impl ConnectionPermit {
    /// Whether the connection is over a limit and only held.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.counter.counts();
        let counts = if self.is_held { &mut counts.held } else { &mut counts.served };
        counts.remove(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [IpAddr; 2] =
        [IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2))];

    fn counter(total: usize, per_address: usize, held: usize) -> Arc<ConnectionCounter> {
        ConnectionCounter::new(&EngineSettings {
            max_connections: total,
            connections_per_ip: per_address,
            held_connections: held,
            ..EngineSettings::default()
        })
    }

    #[test]
    fn a_connection_counts_until_its_permit_is_dropped() {
        let counter = counter(3, 2, 0);
        let [a, b] = ADDRESSES;
        let first = ConnectionCounter::serve(&counter, a);
        let second = ConnectionCounter::serve(&counter, a);
        assert_eq!(ConnectionCounter::serve(&counter, a).err(), Some(LimitReached::Address));
        let third = ConnectionCounter::serve(&counter, b);
        assert_eq!(ConnectionCounter::serve(&counter, b).err(), Some(LimitReached::Total));
        assert!(ConnectionCounter::hold(&counter, b).is_none(), "none is held");
        drop((first, second, third));
        assert_eq!(counter.counts().served.by_address.len(), 0);
        assert!(ConnectionCounter::serve(&counter, a).is_ok());
    }

    #[test]
    fn held_connections_are_limited_in_all_and_for_each_address() {
        let counter = counter(1, 2, 3);
        let [a, b] = ADDRESSES;
        let mut held: Vec<_> = (0..2).filter_map(|_| ConnectionCounter::hold(&counter, a)).collect();
        assert!(
            ConnectionCounter::hold(&counter, a).is_none(),
            "the address has as many as it may be served"
        );
        held.extend(ConnectionCounter::hold(&counter, b));
        assert_eq!(held.len(), 3);
        assert!(ConnectionCounter::hold(&counter, b).is_none(), "no more are held");
        assert!(ConnectionCounter::serve(&counter, b).is_ok(), "served connections count separately");
        drop(held);
        assert_eq!(counter.counts().held.by_address.len(), 0);
        assert!(ConnectionCounter::hold(&counter, a).is_some_and(|permit| permit.is_held()));
    }
}
