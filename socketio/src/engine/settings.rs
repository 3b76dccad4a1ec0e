//! The options of an engine.

use std::{ops::RangeInclusive, time::Duration};

/// The options of an engine.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// How long after the last sign of life the server sends a ping.
    pub ping_interval: Duration,
    /// How long the client may take to answer it.
    pub ping_timeout: Duration,
    /// The largest message, and the largest polling body, in bytes.
    pub max_payload: usize,
    /// How long an upgrade to a websocket may take.
    pub upgrade_timeout: Duration,
    /// How much may wait for a client, in bytes. The server cuts a client that reads more slowly.
    pub queue_bytes: usize,
    /// The most connections. 0: no limit.
    pub max_connections: usize,
    /// The most connections of one client address (IPv6: of one /64). 0: no limit.
    pub connections_per_ip: usize,
    /// How many connections beyond these two limits the server accepts and holds instead of refusing them. One
    /// address gets at most `connections_per_ip` of them. 0: none.
    pub held_connections: usize,
    /// How long a connection is held, chosen at random from this range.
    pub hold: RangeInclusive<Duration>,
    /// The request headers that a handshake keeps, in lower case. A connection lives for hours, so it does not keep
    /// the others.
    pub kept_headers: &'static [&'static str],
    /// The name of this server among those behind one balancer: letters, digits, `-`, `_` and `.`. It is the end of each
    /// `sid`, after a dot, so that the balancer finds the server of a request whose client sends no cookies.
    pub node: Option<Box<str>>,
}

impl Default for EngineSettings {
    /// As Node's server, without limits of connections.
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            upgrade_timeout: Duration::from_secs(10),
            queue_bytes: 1024 * 1024,
            max_connections: 0,
            connections_per_ip: 0,
            held_connections: 0,
            hold: Duration::from_secs(5)..=Duration::from_secs(15),
            kept_headers: &["authorization", "origin", "referer"],
            node: None,
        }
    }
}
