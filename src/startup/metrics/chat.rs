//! The numbers of the chat: sessions and tenants in memory, sockets, and limits.

use std::sync::Arc;

use actix_web::web;
use amoiq_actors::{presence::OnlineUsers, sessions::DirectoryCounters, tenants::TenantRegistry};

use super::super::{app_services::AppServices, core_services::CoreServices, sockets::SocketServer};
use amoiq_socketio::engine::EngineMetrics;

use crate::{
    access::{
        forwarded::TrustedProxies,
        rate_limit::{RequestLimiter, SocketLimiter},
        session_guard::SessionGuard,
    },
    realtime::recovery_table::RecoveryTable,
    telemetry::metrics::{Collected, MetricCollector, MetricFamilies},
};

pub(super) struct SessionCollector {
    directory: Arc<DirectoryCounters>,
    engine: Arc<EngineMetrics>,
    registry: Arc<TenantRegistry>,
    online: OnlineUsers,
}

impl SessionCollector {
    pub(super) fn new(core: &CoreServices, services: &AppServices, sockets: &SocketServer) -> Self {
        Self {
            directory: Arc::clone(services.directory.counters()),
            engine: sockets.metrics(),
            registry: Arc::clone(&core.registry),
            online: services.online.users.clone(),
        }
    }
}

impl MetricCollector for SessionCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        let directory = &self.directory;
        let connections = self.engine.snapshot();
        let alive =
            [("session", directory.sessions()), ("connection", connections.polling + connections.websocket)];
        families.gauges("amoiq_actors", "Actors in memory", "kind", alive);
        families.counter("amoiq_session_starts", "Session actors that were started", directory.started());
        families.gauge(
            "amoiq_session_memory_bytes",
            "What the sessions in memory hold, at most sessions.max_memory_bytes",
            directory.bytes(),
        );
        families.counter(
            "amoiq_session_evictions",
            "Sessions that left memory because they were too many or held too much",
            directory.evicted(),
        );
        families.counter(
            "amoiq_session_restarts",
            "Session actors that were found dead and started again from the log",
            directory.died(),
        );
        let rejected = [("session", directory.refused())];
        families.counters(
            "amoiq_mailbox_rejections",
            "Requests that a full mailbox did not take",
            "mailbox",
            rejected,
        );
        let tenants = self.registry.current().tenants().count();
        families.gauge("amoiq_tenants", "Tenants that are served", tenants);
        families.gauge("amoiq_presence_users", "Visitors who are online", self.online.total());
        Box::pin(async {})
    }
}

pub(super) struct SocketCollector {
    engine: Arc<EngineMetrics>,
    recovery: Arc<RecoveryTable>,
}

impl SocketCollector {
    pub(super) fn new(sockets: &SocketServer) -> Self {
        Self { engine: sockets.metrics(), recovery: sockets.recovery() }
    }
}

impl MetricCollector for SocketCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        let now = self.engine.snapshot();
        let open = [("polling", now.polling), ("websocket", now.websocket)];
        families.gauges("amoiq_connections", "Open connections of clients", "transport", open);
        families.counter("amoiq_connections_opened", "Connections that were opened", now.opened);
        let ended = now.ended.iter().map(|(reason, count)| (reason.name(), *count));
        families.counters("amoiq_connections_closed", "Connections that ended", "reason", ended);
        families.gauge(
            "amoiq_connections_held",
            "Connections over a limit that wait without an answer",
            now.held,
        );
        families.counter("amoiq_connections_refused", "Connections over every limit", now.refused);
        families.counter("amoiq_connection_upgrades", "Upgrades from polling to a websocket", now.upgrades);
        let packets = [("received", now.packets_received), ("sent", now.packets_sent)];
        families.counters("amoiq_socket_packets", "Packets of clients", "direction", packets);
        let bytes = [("received", now.bytes_received), ("sent", now.bytes_sent)];
        families.counters("amoiq_socket_bytes", "Bytes of packets of clients", "direction", bytes);
        families.gauge("amoiq_socket_queued_bytes", "Bytes that wait for clients", now.queued_bytes);
        let (recovered, not_recovered) = self.recovery.counts();
        families.counters(
            "amoiq_socket_recoveries",
            "Clients that came back and asked for what they missed",
            "outcome",
            [("recovered", recovered), ("not_recovered", not_recovered)],
        );
        Box::pin(async {})
    }
}

pub(super) struct LimitCollector {
    requests: web::Data<RequestLimiter>,
    sessions: web::Data<SessionGuard>,
    sockets: web::Data<SocketLimiter>,
    proxies: web::Data<TrustedProxies>,
}

impl LimitCollector {
    pub(super) fn new(services: &AppServices) -> Self {
        Self {
            requests: services.request_limiter.clone(),
            sessions: services.guard.clone(),
            sockets: services.socket_limiter.clone(),
            proxies: services.proxies.clone(),
        }
    }
}

impl MetricCollector for LimitCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        let refused = [
            ("requests", self.requests.refused()),
            ("session_misses", self.sessions.refused()),
            ("socket_messages", self.sockets.refused_by_sockets()),
            ("socket_messages_of_client", self.sockets.refused_messages()),
            ("socket_connects_of_client", self.sockets.refused_connects()),
        ];
        families.counters("amoiq_rate_limit_refusals", "What a rate limit refused", "limit", refused);
        families.counter(
            "amoiq_untrusted_forwarded_requests",
            "Requests with X-Forwarded-For or Forwarded from a peer that is not in server.trusted_proxies",
            self.proxies.ignored(),
        );
        Box::pin(async {})
    }
}
