//! How many connections the service and its operators may have.

use std::{sync::Arc, time::Duration};

use amoiq_connections::{
    AddressLimiter, DescriptorBudget, ErrorBodies, ListenerConnections, ListenerSettings, ServeSettings,
};

use crate::config::{Config, RealtimeConfig};

/// Connections that health checks may still open when all others are in use.
const HEALTH_RESERVE: usize = 32;

/// Connections to the operator interface at the same time, if there are enough file descriptors.
const OPERATOR_CONNECTIONS: usize = 64;

/// The longest silence that proxies usually tolerate: haproxy closes a tunnel after 50 s.
const PROXY_TIMEOUT_MS: u64 = 50_000;

/// The contract's error bodies for answers that no handler writes.
const ERROR_BODIES: ErrorBodies = ErrorBodies {
    head_timeout: r#"{"error":"The request's head did not arrive in time","code":"REQUEST_TIMEOUT","details":{}}"#,
    address_limit: r#"{"error":"Too many connections from this address","code":"RATE_LIMIT_EXCEEDED","details":{}}"#,
    overloaded: r#"{"error":"The service is overloaded","code":"OVERLOADED","details":{}}"#,
    malformed: r#"{"error":"The request is not valid HTTP/1.1","code":"MALFORMED_REQUEST","details":{}}"#,
    head_too_large: r#"{"error":"The request's head is too large","code":"HEADERS_TOO_LARGE","details":{}}"#,
};

/// The connections of the service and of operators.
#[derive(Clone)]
pub(super) struct ServiceListeners {
    /// Limits each address over both.
    pub(super) limiter: Arc<AddressLimiter>,
    /// `server.bind`
    pub(super) service: Arc<ListenerConnections>,
    /// `operator.bind`
    pub(super) operator: Arc<ListenerConnections>,
    /// The file descriptors that they share.
    pub(super) descriptors: DescriptorBudget,
}

impl ServiceListeners {
    /// Raises the limit of open files as far as it goes, and divides them.
    pub(super) fn of(config: &Config) -> Self {
        // Each webhook delivery takes a descriptor too.
        let descriptors = DescriptorBudget::raise_limit(config.webhooks.in_flight);
        let per_address = config.server.connections_per_ip.unwrap_or_else(|| descriptors.per_address());
        let limiter = AddressLimiter::new(per_address, config.server.trusted_proxies.clone());
        let listener = |max_connections, health_reserve| {
            let settings = ListenerSettings { max_connections, health_reserve, error_bodies: ERROR_BODIES };
            ListenerConnections::new(&limiter, settings)
        };
        let reserve = HEALTH_RESERVE.min(descriptors.connections / 8);
        let service = listener(descriptors.connections - reserve, reserve);
        let operator = listener(OPERATOR_CONNECTIONS.min(descriptors.for_operators()), 0);
        Self { limiter, service, operator, descriptors }
    }

    /// How the service is served, with this number of threads, and this time for requests in flight when it stops.
    pub(super) fn serve_settings(&self, workers: usize, finish: Duration) -> ServeSettings {
        ServeSettings { workers, drain_seconds: finish.as_secs(), connections: Arc::clone(&self.service) }
    }

    /// Warns when there are too few file descriptors for the configured sockets, and when pings are further apart than
    /// proxies usually tolerate.
    pub(super) fn warn(&self, realtime: &RealtimeConfig) {
        let DescriptorBudget { limit, connections } = self.descriptors;
        let sockets = realtime.max_connections.saturating_add(realtime.held_connections);
        if realtime.max_connections > 0 && sockets > connections {
            tracing::warn!(
                files = limit,
                connections,
                realtime.max_connections = realtime.max_connections,
                realtime.held_connections = realtime.held_connections,
                "the process may not open enough files for realtime.max_connections and realtime.held_connections: \
                 raise the hard limit (LimitNOFILE= of systemd, `ulimit -Hn`, --ulimit nofile= of a container) or \
                 lower the settings"
            );
        }
        if realtime.ping_interval_ms > PROXY_TIMEOUT_MS {
            tracing::warn!(
                realtime.ping_interval_ms = realtime.ping_interval_ms,
                "proxies close connections that are silent for this long: haproxy after 50 s, nginx and others after \
                 60 s by default; realtime.ping_interval_ms should be at most {PROXY_TIMEOUT_MS}"
            );
        }
    }
}
