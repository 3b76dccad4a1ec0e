//! The sockets: one engine over all workers, rooms on each worker, and their subscription to the log.

use std::{
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use actix_web::{HttpRequest, web};
use amoiq_actors::{presence::PresenceSignal, tenants::TenantRegistry};
use amoiq_connections::ListenerConnections;
use amoiq_events::Ambient;
use amoiq_socketio::{
    engine::{Engine, EngineMetrics, EngineSettings},
    random::RandomSource,
    socket::{NamespaceServer, RoomRegistry, SocketNotice, SocketSettings},
};
use tokio::sync::mpsc;

use super::{app_services::AppServices, core_services::CoreServices};
use crate::{
    access::{auth::origin::WidgetOrigins, forwarded::TrustedProxies},
    config::Config,
    realtime::{
        ChatApplication, ChatProtocol, ChatRoom, ChatServices,
        event_feed::{EventFeed, FeedProgress, PresenceFeed},
        recovery_table::RecoveryTable,
        recovery_tokens::offset_writer,
    },
};

/// The path of the engine.
const PATH: &str = "/socket.io/";

/// The request headers that the chat reads: credentials, the tenant, where the page is, and whether a proxy forwarded
/// the request.
const KEPT_HEADERS: [&str; 7] =
    ["authorization", "forwarded", "origin", "referer", "x-forwarded-for", "x-tenant-id", "x-website-origin"];

/// The sockets of the service.
#[derive(Clone)]
pub(super) struct SocketServer {
    engine: Engine<ChatProtocol>,
    rooms: Arc<RoomRegistry<ChatRoom>>,
    services: ChatServices,
    settings: SocketSettings,
    last_socket: Arc<AtomicU64>,
    feed: Arc<EventFeed>,
    progress: web::Data<FeedProgress>,
    proxies: web::Data<TrustedProxies>,
}

impl SocketServer {
    /// Subscribes to the log. `signals` are about visitors who have not written yet.
    pub(super) fn start(
        core: &CoreServices,
        services: &AppServices,
        listener: &Arc<ListenerConnections>,
        signals: mpsc::Receiver<PresenceSignal>,
    ) -> Self {
        let CoreServices { config, log, ambient, registry, .. } = core;
        let rooms: Arc<RoomRegistry<ChatRoom>> = Arc::default();
        let offsets = offset_writer(services.authenticator.clone(), log.epoch());
        let presence = PresenceFeed { signals, users: services.online.users.clone() };
        let (to_rooms, with_offsets) = (Arc::clone(&rooms), Arc::clone(&offsets));
        let feed = EventFeed::new(Arc::clone(log), log.head(), to_rooms, with_offsets, presence);
        let chat = ChatServices {
            authenticator: services.authenticator.clone(),
            guard: services.guard.clone(),
            widget_origins: WidgetOrigins(config.server.widget_origins.clone()),
            limiter: services.socket_limiter.clone(),
            directory: services.directory.as_ref().clone(),
            online: services.online.as_ref().clone(),
            proven: services.proven.clone(),
            intake: services.intake.as_ref().clone(),
            event_bytes: config.limits.body_bytes,
            store: Arc::clone(log),
            ambient: ambient.clone(),
            recovery: Arc::new(RecoveryTable::new(
                Duration::from_secs(config.realtime.recovery_seconds),
                config.realtime.outbox_bytes,
                // Other nodes, of which each remembers its own clients.
                core.node.signals.is_some(),
            )),
            offsets,
        };
        let settings = SocketSettings {
            connect_timeout: Duration::from_millis(config.realtime.connect_timeout_ms),
            events_per_second: config.rate_limit.socket_per_second as usize,
            max_event_bytes: config.realtime.max_payload_bytes,
        };
        let listener = Arc::clone(listener);
        let may_hold = Box::new(move || listener.has_room_to_wait());
        let engine = Engine::with_hold_policy(engine_settings(config), random_source(ambient), may_hold);
        review_on_change(engine.clone(), registry);
        let (progress, proxies) = (web::Data::new(feed.progress()), services.proxies.clone());
        let last_socket = Arc::default();
        Self { engine, rooms, services: chat, settings, last_socket, feed, progress, proxies }
    }

    /// Adds the routes to one worker and serves its sockets. One of the workers follows the log for all.
    pub(super) fn configure(&self, routes: &mut web::ServiceConfig) {
        self.feed.follow_here();
        let chat = ChatApplication::new(self.services.clone(), self.rooms.start_worker());
        let random = random_source(&self.services.ambient);
        let server = NamespaceServer::new(chat, self.settings.clone(), random, Arc::clone(&self.last_socket));
        let proxies = self.proxies.clone();
        let client = move |request: &HttpRequest| proxies.client_of(request);
        let protocol = move |handshake| server.protocol(handshake);
        routes.app_data(self.progress.clone());
        self.engine.configure(PATH, routes, Rc::new(client), Rc::new(protocol));
    }

    /// The counters of the connections, for operators.
    pub(super) fn metrics(&self) -> Arc<EngineMetrics> {
        Arc::clone(self.engine.metrics())
    }

    /// How many clients came back, and recovered what they missed.
    pub(super) fn recovery(&self) -> Arc<RecoveryTable> {
        Arc::clone(&self.services.recovery)
    }

    /// Closes every connection, spread over this time.
    pub(super) async fn drain(&self, over: Duration) {
        self.engine.drain(over).await;
    }
}

/// Lets every connection check its rights again when tenants or keys change.
fn review_on_change(engine: Engine<ChatProtocol>, registry: &TenantRegistry) {
    let mut changes = registry.changes();
    actix::spawn(async move {
        while changes.changed().await.is_ok() {
            engine.notify_all(|| SocketNotice::Review).await;
        }
    });
}

fn random_source(ambient: &Ambient) -> RandomSource {
    let ambient = ambient.clone();
    RandomSource::new(move || ambient.bytes())
}

fn engine_settings(config: &Config) -> EngineSettings {
    let realtime = &config.realtime;
    EngineSettings {
        ping_interval: Duration::from_millis(realtime.ping_interval_ms),
        ping_timeout: Duration::from_millis(realtime.ping_timeout_ms),
        max_payload: realtime.max_payload_bytes,
        upgrade_timeout: Duration::from_millis(realtime.upgrade_timeout_ms),
        queue_bytes: realtime.outbox_bytes,
        max_connections: realtime.max_connections,
        connections_per_ip: realtime.connections_per_ip,
        held_connections: realtime.held_connections,
        kept_headers: &KEPT_HEADERS,
        node: Some(&*config.cluster.node).filter(|node| !node.is_empty()).map(Into::into),
        ..EngineSettings::default()
    }
}
