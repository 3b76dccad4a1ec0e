//! What a server of this protocol can be told.

use std::{ops::RangeInclusive, time::Duration};

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long after the last sign of life the server asks for another.
    pub ping_interval: Duration,
    /// How long the client may take to answer.
    pub ping_timeout: Duration,
    /// The largest message, and the largest polling body, in bytes.
    pub max_payload: usize,
    /// How long an upgrade may take.
    pub upgrade_timeout: Duration,
    /// The most that waits for a client, in bytes; one that reads slower is cut.
    pub outbox_bytes: usize,
    /// The most connections. 0: no limit.
    pub max_connections: usize,
    /// The most connections of one client address (IPv6: of one /64). 0: no limit.
    pub connections_per_ip: usize,
    /// The most connections beyond these two limits that are accepted and held instead of refused. One address
    /// has at most `connections_per_ip` of them. 0: none is held.
    pub held_connections: usize,
    /// How long a connection is held, at random within this range.
    pub hold: RangeInclusive<Duration>,
}

impl Default for Settings {
    /// What Node's server does, and no limits of connections.
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            upgrade_timeout: Duration::from_secs(10),
            outbox_bytes: 1024 * 1024,
            max_connections: 0,
            connections_per_ip: 0,
            held_connections: 0,
            hold: Duration::from_secs(5)..=Duration::from_secs(15),
        }
    }
}
