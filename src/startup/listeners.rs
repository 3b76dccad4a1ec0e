//! How many connections the service and its operators may have.

use std::sync::Arc;

use super::DRAIN_SECONDS;
use crate::{
    config::{Config, RealtimeConfig},
    connections::{
        Serving,
        descriptors::Descriptors,
        ledger::{Ledger, Listener},
    },
};

/// Connections that health checks may still open when all others are in use.
const HEALTH_RESERVE: usize = 32;

/// Connections to the operator interface at the same time, if there are enough file descriptors.
const OPERATOR_CONNECTIONS: usize = 64;

/// The longest silence that proxies usually tolerate: haproxy closes a tunnel after 50 s.
const PROXY_TIMEOUT_MS: u64 = 50_000;

/// The connections of the service and of operators.
#[derive(Clone)]
pub(super) struct ServiceListeners {
    /// Counts the connections of both.
    pub(super) ledger: Arc<Ledger>,
    /// `server.bind`
    pub(super) service: Arc<Listener>,
    /// `operator.bind`
    pub(super) operator: Arc<Listener>,
    /// The file descriptors that they share.
    pub(super) descriptors: Descriptors,
}

impl ServiceListeners {
    /// Raises the limit of open files as far as it goes, and divides them.
    pub(super) fn of(config: &Config) -> Self {
        let descriptors = Descriptors::raise(config.webhooks.in_flight);
        let of_address = config.server.connections_per_ip.unwrap_or_else(|| descriptors.of_address());
        let ledger = Ledger::new(of_address, config.server.trusted_proxies.clone());
        let reserve = HEALTH_RESERVE.min(descriptors.connections / 8);
        let service = Listener::new(&ledger, descriptors.connections - reserve, reserve);
        let operator = Listener::new(&ledger, OPERATOR_CONNECTIONS.min(descriptors.of_operators()), 0);
        Self { ledger, service, operator, descriptors }
    }

    /// How the service is served, with this number of threads.
    pub(super) fn serving(&self, workers: usize) -> Serving {
        Serving { workers, drain_seconds: DRAIN_SECONDS, listener: Arc::clone(&self.service) }
    }

    /// Warns when there are too few file descriptors for the configured sockets, and when pings are further apart than
    /// proxies usually tolerate.
    pub(super) fn warn(&self, realtime: &RealtimeConfig) {
        self.descriptors.compare(realtime);
        if realtime.ping_interval_ms > PROXY_TIMEOUT_MS {
            tracing::warn!(
                realtime.ping_interval_ms = realtime.ping_interval_ms,
                "proxies close connections that are silent for this long: haproxy after 50 s, nginx and others after \
                 60 s by default; realtime.ping_interval_ms should be at most {PROXY_TIMEOUT_MS}"
            );
        }
    }
}
