//! What all connections of an engine share: options, limits, counters, and the table of connections.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use amoiq_connections::{LogThrottle, client_network};
use parking_lot::{Mutex, MutexGuard};

use super::{
    EngineMetrics, EngineSettings,
    connection_limits::{ConnectionCounter, ConnectionPermit, LimitReached},
};
use crate::random::RandomSource;

/// The table is split so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// The engine's id of a connection: 120 random bits, since it is all that a polling client proves itself with, and the name
/// of the server, if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EngineSid(Arc<str>);

impl EngineSid {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Says whether there is room for connections that are only held: free descriptors, for example.
pub type HoldPolicy = Box<dyn Fn() -> bool + Send + Sync>;

/// What all connections of an engine share. `C` is the address of a connection's actor.
pub(super) struct EngineState<C> {
    pub(super) settings: EngineSettings,
    pub(super) connections: ConnectionTable<C>,
    pub(super) metrics: Arc<EngineMetrics>,
    counter: Arc<ConnectionCounter>,
    may_hold: HoldPolicy,
    websockets: AtomicU64,
    /// Connections are being closed. A client that returns on an HTTP connection that is still open would only be
    /// closed once more.
    is_draining: AtomicBool,
    /// For the line about websocket requests whose upgrade headers are missing.
    pub(super) missing_upgrade_log: LogThrottle,
    /// For the line about clients of another protocol version.
    pub(super) version_log: LogThrottle,
    random: RandomSource,
}

impl<C: Clone> EngineState<C> {
    pub(super) fn new(settings: EngineSettings, random: RandomSource, may_hold: HoldPolicy) -> Self {
        let counter = ConnectionCounter::new(&settings);
        let (metrics, websockets, is_draining, missing_upgrade_log, version_log) = Default::default();
        let connections = ConnectionTable::new();
        Self {
            settings,
            connections,
            metrics,
            counter,
            may_hold,
            websockets,
            is_draining,
            missing_upgrade_log,
            version_log,
            random,
        }
    }

    pub(super) fn new_sid(&self) -> EngineSid {
        let id = self.random.id();
        EngineSid(match &self.settings.node {
            Some(node) => format!("{id}.{node}").into(),
            None => id.into(),
        })
    }

    /// A number that no other websocket of this engine has.
    pub(super) fn next_websocket(&self) -> u64 {
        self.websockets.fetch_add(1, Ordering::Relaxed)
    }

    /// How long to hold a client: at random, so that a crowd does not return all at once.
    pub(super) fn hold_time(&self) -> Duration {
        let (least, most) = (*self.settings.hold.start(), *self.settings.hold.end());
        least + most.saturating_sub(least).mul_f64(self.random.fraction())
    }

    /// Counts a new connection: as served, or as held when a limit is reached.
    pub(super) fn admit(&self, client: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        self.admit_served(client).or_else(|limit| {
            let held =
                (self.may_hold)().then(|| ConnectionCounter::hold(&self.counter, client_network(client)));
            held.flatten().ok_or_else(|| self.refuse(limit))
        })
    }

    /// Counts a further transport of an open connection, which would be useless if it was held.
    pub(super) fn admit_transport(&self, client: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        self.admit_served(client).map_err(|limit| self.refuse(limit))
    }

    fn admit_served(&self, client: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        ConnectionCounter::serve(&self.counter, client_network(client))
    }

    fn refuse(&self, limit: LimitReached) -> LimitReached {
        self.metrics.refused();
        limit
    }

    pub(super) fn start_drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }
}

/// The open connections by id. A connection lives on the worker that accepted it; a poll may arrive on another one and
/// finds its connection here.
pub(super) struct ConnectionTable<C> {
    shards: [Mutex<HashMap<EngineSid, C>>; SHARDS],
    hasher: RandomState,
}

impl<C: Clone> ConnectionTable<C> {
    fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    pub(super) fn insert(&self, sid: EngineSid, connection: C) {
        self.shard(sid.as_str()).insert(sid, connection);
    }

    pub(super) fn remove(&self, sid: &EngineSid) {
        self.shard(sid.as_str()).remove(sid);
    }

    pub(super) fn find(&self, sid: &str) -> Option<C> {
        self.shard(sid).get(&EngineSid(sid.into())).cloned()
    }

    pub(super) fn all(&self) -> Vec<C> {
        let shards = self.shards.iter().map(|shard| shard.lock());
        shards.flat_map(|shard| shard.values().cloned().collect::<Vec<_>>()).collect()
    }

    fn shard(&self, sid: &str) -> MutexGuard<'_, HashMap<EngineSid, C>> {
        let number = usize::try_from(self.hasher.hash_one(sid) % SHARDS as u64).unwrap_or_default();
        let shard = self.shards.get(number).or(self.shards.first());
        let Some(shard) = shard else { unreachable!("there are {SHARDS} shards") };
        shard.lock()
    }
}
