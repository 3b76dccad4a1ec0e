//! The numbers that the parts of the service keep: store, projections, actors, sockets, limits.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use actix_web::web;
use amoiq_actors::{
    presence::OnlineUsers, projections::ProjectionProgress, sessions::DirectoryCounters,
    tenants::TenantRegistry, webhooks::WebhooksHandle,
};
use amoiq_events::{
    Ambient, EventStore, Position,
    store::{StoreHealth, sqlite::SqliteStore},
};

use super::{deliveries, sheet::Sheet};
use crate::{
    http::limits::Gate,
    operator::last_backup,
    realtime::{chat::recovery::Recovery, engine},
    telemetry::logging::Losses,
};

/// The files of the data directory that grow.
const FILES: [&str; 6] = ["log.db", "log.db-wal", "views.db", "views.db-wal", "outbox.db", "outbox.db-wal"];

/// Where the numbers are.
pub struct Sources {
    /// The log.
    pub store: Arc<SqliteStore>,
    /// Its directory.
    pub data: PathBuf,
    /// Time.
    pub ambient: Ambient,
    /// Tenants.
    pub registry: Arc<TenantRegistry>,
    /// Sessions in memory.
    pub census: Arc<DirectoryCounters>,
    /// The inbox's.
    pub inbox: ProjectionProgress,
    /// Who is online.
    pub online: OnlineUsers,
    /// Connections.
    pub engine: Arc<engine::Metrics>,
    /// Clients that came back.
    pub recovery: Arc<Recovery>,
    /// Limits.
    pub gate: web::Data<Gate>,
    /// Deliveries.
    pub webhooks: WebhooksHandle,
    /// Lines that nobody read in time.
    pub losses: Losses,
}

impl Sources {
    /// Puts all of them down.
    pub(super) async fn fill(&self, sheet: &mut Sheet) {
        sheet.gauges(
            "amoiq_build_info",
            "The release that runs",
            "version",
            [(env!("CARGO_PKG_VERSION"), 1.0)],
        );
        self.store(sheet);
        self.projections(sheet).await;
        self.actors(sheet);
        self.sockets(sheet);
        self.limits(sheet);
        let lost = self.losses.lines();
        sheet.counter("amoiq_log_lines_lost", "Log lines that found the queue to standard output full", lost);
        if let Some(spans) = self.losses.spans() {
            sheet.counters("amoiq_spans", "Spans for the collector", "outcome", spans);
        }
        deliveries::fill(self, sheet).await;
    }

    fn store(&self, sheet: &mut Sheet) {
        let meter = self.store.meter();
        sheet.counter("amoiq_store_appends", "Appends that are durable", meter.appends());
        sheet.counter("amoiq_store_events", "Events that are durable", meter.events());
        sheet.counters("amoiq_store_append_errors", "Appends that failed", "kind", meter.errors());
        sheet.histogram(
            "amoiq_store_commit_duration_seconds",
            "How long commits take, with their sync",
            meter.commit_times.counts(),
            1e6,
        );
        sheet.histogram(
            "amoiq_store_commit_events",
            "Events that were committed together",
            meter.commit_events.counts(),
            1.0,
        );
        sheet.gauge(
            "amoiq_store_head_position",
            "Position of the newest durable event",
            self.store.head().as_u64(),
        );
        let is_writable = !matches!(self.store.health(), StoreHealth::Failing(_));
        sheet.gauge("amoiq_store_writable", "1 while the store takes writes", is_writable);
        let size = |file: &'static str| {
            std::fs::metadata(self.data.join(file)).ok().map(|metadata| (file, metadata.len()))
        };
        let sizes: Vec<_> = FILES.into_iter().filter_map(size).collect();
        sheet.gauges("amoiq_store_file_size_bytes", "Sizes of the data directory's files", "file", sizes);
        let backup_seconds = last_backup::noted(&self.data).map_or(0, |at| at.as_millis() / 1_000);
        sheet.gauge(
            "amoiq_last_backup_timestamp_seconds",
            "When `amoiq backup` made the last one, in seconds since 1970; 0 when none is known of",
            u64::try_from(backup_seconds).unwrap_or_default(),
        );
    }

    async fn projections(&self, sheet: &mut Sheet) {
        let (mut positions, mut events, mut seconds, mut failing) = (vec![], vec![], vec![], vec![]);
        for (name, progress) in [("inbox", &self.inbox), ("online", self.online.progress())] {
            let position = progress.position();
            positions.push((name, position.as_u64()));
            events.push((name, self.store.head().as_u64().saturating_sub(position.as_u64())));
            seconds.push((name, self.behind_seconds(progress).await));
            failing.push((name, progress.failure().is_some()));
        }
        let label = "projection";
        sheet.gauges("amoiq_projection_position", "Everything up to here is folded in", label, positions);
        sheet.gauges("amoiq_projection_lag_events", "Positions that are not folded in", label, events);
        sheet.gauges(
            "amoiq_projection_lag_seconds",
            "How old the first event is that is not folded in",
            label,
            seconds,
        );
        sheet.gauges("amoiq_projection_failing", "1 while it does not follow the log", label, failing);
    }

    /// The age of the first event that a projection lacks. The one that it has last may be old because
    /// nothing happened since, so it says nothing.
    async fn behind_seconds(&self, progress: &ProjectionProgress) -> f64 {
        self.age_after(progress.position()).await
    }

    /// How old the first event after a position is.
    pub(super) async fn age_after(&self, position: Position) -> f64 {
        if position >= self.store.head() {
            return 0.0;
        }
        match self.store.read_all(position, 1).await.as_deref() {
            Ok([next, ..]) => {
                let millis = self.ambient.now().as_millis().saturating_sub(next.event.time.as_millis());
                f64::from(i32::try_from(millis.max(0)).unwrap_or(i32::MAX)) / 1_000.0
            }
            // Removed meanwhile, or a store that does not read, which shows elsewhere.
            Ok([]) | Err(_) => 0.0,
        }
    }

    fn actors(&self, sheet: &mut Sheet) {
        let census = &self.census;
        let connections = self.engine.snapshot();
        let alive =
            [("session", census.sessions()), ("connection", connections.polling + connections.websocket)];
        sheet.gauges("amoiq_actors", "Actors in memory", "kind", alive);
        sheet.counter("amoiq_session_starts", "Sessions' actors that were started", census.started());
        sheet.gauge(
            "amoiq_session_memory_bytes",
            "What the sessions in memory hold, at most sessions.max_memory_bytes",
            census.bytes(),
        );
        sheet.counter(
            "amoiq_session_evictions",
            "Sessions that left memory because they were too many or held too much",
            census.evicted(),
        );
        sheet.counter(
            "amoiq_session_restarts",
            "Sessions' actors that were found dead and started again from the log",
            census.died(),
        );
        sheet.counters(
            "amoiq_mailbox_rejections",
            "Requests that a full mailbox did not take",
            "mailbox",
            [("session", census.refused())],
        );
        sheet.gauge("amoiq_tenants", "Tenants that are served", self.registry.current().tenants().count());
        sheet.gauge("amoiq_presence_users", "Visitors who are online", self.online.total());
    }

    fn sockets(&self, sheet: &mut Sheet) {
        let now = self.engine.snapshot();
        let open = [("polling", now.polling), ("websocket", now.websocket)];
        sheet.gauges("amoiq_connections", "Open connections of clients", "transport", open);
        sheet.counter("amoiq_connections_opened", "Connections that were opened", now.opened);
        let ended = now.ended.iter().map(|(reason, count)| (reason.name(), *count));
        sheet.counters("amoiq_connections_closed", "Connections that ended", "reason", ended);
        sheet.gauge(
            "amoiq_connections_held",
            "Connections over a limit that wait without an answer",
            now.held,
        );
        sheet.counter("amoiq_connections_refused", "Connections over every limit", now.refused);
        sheet.counter("amoiq_connection_upgrades", "Upgrades from polling to a websocket", now.upgrades);
        let packets = [("received", now.packets_received), ("sent", now.packets_sent)];
        sheet.counters("amoiq_socket_packets", "Packets of clients", "direction", packets);
        let bytes = [("received", now.bytes_received), ("sent", now.bytes_sent)];
        sheet.counters("amoiq_socket_bytes", "Bytes of packets of clients", "direction", bytes);
        sheet.gauge("amoiq_socket_queued_bytes", "What waits for clients", now.queued_bytes);
        let (recovered, not_recovered) = self.recovery.counts();
        sheet.counters(
            "amoiq_socket_recoveries",
            "Clients that came back and asked for what they missed",
            "outcome",
            [("recovered", recovered), ("not_recovered", not_recovered)],
        );
    }

    fn limits(&self, sheet: &mut Sheet) {
        let refused = [
            ("requests", self.gate.requests.refused()),
            ("session_misses", self.gate.misses.refused()),
            ("socket_messages", self.gate.refused_messages.load(Relaxed)),
            ("socket_messages_of_client", self.gate.sockets.messages.refused()),
            ("socket_connects_of_client", self.gate.sockets.connects.refused()),
        ];
        sheet.counters(
            "amoiq_rate_limit_refusals",
            "What was refused because it was too often",
            "limit",
            refused,
        );
        sheet.counter(
            "amoiq_untrusted_forwarded_requests",
            "Requests with X-Forwarded-For or Forwarded from a peer that is not in server.trusted_proxies",
            self.gate.proxies.ignored(),
        );
    }
}
