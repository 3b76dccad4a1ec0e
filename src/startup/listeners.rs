//! How many connections the service and its operators have.

use std::sync::Arc;

use super::DRAIN_SECONDS;
use crate::{
    config::{Config, Realtime},
    connections::{
        Serving,
        descriptors::Descriptors,
        ledger::{Ledger, Listener},
    },
};

/// Connections that may ask after the service's health when there are as many as it serves.
const HEALTH_RESERVE: usize = 32;

/// Connections of operators at the same time, if there are files for so many.
const OPERATORS: usize = 64;

/// The longest pause between pings that proxies usually let pass: haproxy ends a tunnel after 50 s.
const PROXY_PATIENCE_MS: u64 = 50_000;

/// The connections of the service and of operators.
#[derive(Clone)]
pub struct Listeners {
    /// Over both.
    pub ledger: Arc<Ledger>,
    /// `server.bind`
    pub service: Arc<Listener>,
    /// `operator.bind`
    pub operator: Arc<Listener>,
    /// What there is for them.
    pub descriptors: Descriptors,
}

impl Listeners {
    /// Raises the limit of open files as far as it goes, and shares them out.
    pub(super) fn of(config: &Config) -> Self {
        let descriptors = Descriptors::raise(config.webhooks.in_flight);
        let of_address = config.server.connections_per_ip.unwrap_or_else(|| descriptors.of_address());
        let ledger = Ledger::new(of_address, config.server.trusted_proxies.clone());
        let reserve = HEALTH_RESERVE.min(descriptors.connections / 8);
        let service = Listener::new(&ledger, descriptors.connections - reserve, reserve);
        let operator = Listener::new(&ledger, OPERATORS.min(descriptors.of_operators()), 0);
        Self { ledger, service, operator, descriptors }
    }

    /// How the service is served, with so many threads.
    pub(super) fn serving(&self, workers: usize) -> Serving {
        Serving { workers, drain_seconds: DRAIN_SECONDS, listener: Arc::clone(&self.service) }
    }

    /// Says so when there are too few files for the sockets that may come, and when they are silent for longer than
    /// proxies usually allow.
    pub(super) fn warn(&self, realtime: &Realtime) {
        self.descriptors.compare(realtime);
        if realtime.ping_interval_ms > PROXY_PATIENCE_MS {
            tracing::warn!(
                realtime.ping_interval_ms = realtime.ping_interval_ms,
                "proxies cut connections that are silent for so long: haproxy after 50 s, nginx and others after 60 s \
                 unless they are told otherwise; realtime.ping_interval_ms should be {PROXY_PATIENCE_MS} at the most"
            );
        }
    }
}
