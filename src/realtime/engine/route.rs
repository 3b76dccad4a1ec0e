//! The HTTP side: one path, by method, `transport` and `sid`.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::prelude::*;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, HeaderMap},
    },
    web,
};
use actix_web_actors::ws::{HandshakeError, WsResponseBuilder};
use amoiq_events::Ambient;
use bytestring::ByteString;
use serde::Serialize;

use super::{
    CloseReason, Connection, Handshake, Metrics, Protocol, Settings,
    connection::End,
    guard::Guard,
    payload,
    polling::{Abandoned, Announced, Poll, Posted},
    query::Query,
    refused::Refused,
    sessions::{MayHold, Sessions, Sid, Ticket},
    upgrade,
    websocket::{Pump, PumpId, Role},
};
use crate::{
    connections::body::{self, BodyLoss},
    http::body::is_identity,
    telemetry::logging::throttle::LogThrottle,
};

/// In so many batches connections are closed when the service stops, so that clients do not all come
/// back at once.
const DRAIN_BATCHES: usize = 20;

/// What all connections of an engine share.
pub(super) struct Shared<P: Protocol> {
    pub(super) settings: Settings,
    pub(super) sessions: Arc<Sessions<P>>,
    pub(super) metrics: Arc<Metrics>,
    pumps: AtomicU64,
    /// Connections are being closed. A client that comes back on an HTTP connection which it still has
    /// open would only be closed once more.
    drains: AtomicBool,
    /// For the line about websockets whose upgrade was left out on the way.
    no_upgrade: LogThrottle,
    /// For the line about clients that speak another version of the protocol.
    versions: LogThrottle,
    ambient: Ambient,
}

impl<P: Protocol> Shared<P> {
    pub(super) fn next_pump(&self) -> PumpId {
        PumpId(self.pumps.fetch_add(1, Ordering::Relaxed))
    }

    /// How long a client is held that comes now: at random, so that a crowd comes back one by one.
    pub(super) fn hold(&self) -> Duration {
        let (least, most) = (*self.settings.hold.start(), *self.settings.hold.end());
        let part = f64::from(u32::from_le_bytes(self.ambient.bytes())) / f64::from(u32::MAX);
        least + most.saturating_sub(least).mul_f64(part)
    }
}

/// An engine: its connections, over all workers.
pub struct Engine<P: Protocol>(Arc<Shared<P>>);

impl<P: Protocol> Clone for Engine<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Makes what a new connection speaks.
pub type Speaks<P> = Rc<dyn Fn(Handshake) -> P>;

/// Says whose address a request comes from, behind proxies that are trusted.
pub type ClientAddress = Rc<dyn Fn(&HttpRequest) -> IpAddr>;

impl<P: Protocol> Engine<P> {
    /// An engine without connections.
    #[must_use]
    pub fn new(settings: Settings, ambient: Ambient) -> Self {
        Self::holding_while(settings, ambient, Box::new(|| true))
    }

    /// The same, which holds clients only while there is room for them.
    #[must_use]
    pub fn holding_while(settings: Settings, ambient: Ambient, may_hold: MayHold) -> Self {
        let sessions = Arc::new(Sessions::new(&settings, may_hold));
        let (metrics, pumps, drains, no_upgrade, versions) = Default::default();
        let shared = Shared { settings, sessions, metrics, pumps, drains, no_upgrade, versions, ambient };
        Self(Arc::new(shared))
    }

    /// Serves the engine at a path (`/socket.io/`), on the worker whose routes these are.
    pub fn configure(
        &self,
        path: &str,
        routes: &mut web::ServiceConfig,
        client: ClientAddress,
        speaks: Speaks<P>,
    ) {
        let worker = Worker { shared: Arc::clone(&self.0), client, speaks };
        let handler = move |request: HttpRequest, payload: web::Payload| {
            let worker = worker.clone();
            async move { worker.serve(request, payload).await }
        };
        routes.service(web::resource([path, path.trim_end_matches('/')]).to(handler));
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Tells every connection something.
    pub async fn tell_all(&self, note: impl Fn() -> P::Note) {
        for connection in self.0.sessions.all() {
            // A connection that is gone need not know.
            let _gone = connection.send(super::link::Told(note())).await;
        }
    }

    /// Takes no more connections, and closes those that there are in batches spread over a time.
    pub async fn drain(&self, over: Duration) {
        self.0.drains.store(true, Ordering::Release);
        let connections = self.0.sessions.all();
        let batch = connections.len().div_ceil(DRAIN_BATCHES).max(1);
        let pause = over / u32::try_from(connections.len().div_ceil(batch)).unwrap_or(1).max(1);
        for some in connections.chunks(batch) {
            for connection in some {
                let _gone = connection.try_send(End(CloseReason::ShuttingDown));
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// A connection that is about to be opened.
pub(super) struct Opening<P> {
    pub(super) sid: Sid,
    pub(super) protocol: P,
    upgrades: &'static [&'static str],
}

impl<P> Opening<P> {
    /// The open packet.
    pub(super) fn packet(&self, settings: &Settings) -> ByteString {
        let open = Open {
            sid: self.sid.as_str(),
            upgrades: self.upgrades,
            ping_interval: millis(settings.ping_interval),
            ping_timeout: millis(settings.ping_timeout),
            max_payload: settings.max_payload,
        };
        // Texts and numbers can always be written.
        format!("0{}", serde_json::to_string(&open).unwrap_or_default()).into()
    }
}

/// What a client is told first: exactly these fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Open<'a> {
    sid: &'a str,
    upgrades: &'a [&'a str],
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: usize,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An engine on one worker.
struct Worker<P: Protocol> {
    shared: Arc<Shared<P>>,
    client: ClientAddress,
    speaks: Speaks<P>,
}

impl<P: Protocol> Clone for Worker<P> {
    fn clone(&self) -> Self {
        let Self { shared, client, speaks } = self;
        Self { shared: Arc::clone(shared), client: Rc::clone(client), speaks: Rc::clone(speaks) }
    }
}

impl<P: Protocol> Worker<P> {
    async fn serve(&self, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Refused> {
        let query = Query::of(request.query_string());
        let is_websocket = match query.transport.as_deref() {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(Refused::UnknownTransport),
        };
        if query.version.as_deref() != Some("4") {
            self.report_version(&request, query.version.as_deref().unwrap_or_default());
            return Err(Refused::UnsupportedVersion);
        }
        let found = match &query.sid {
            Some(sid) => Some(self.shared.sessions.find(sid).ok_or(Refused::UnknownSid)?),
            None => None,
        };
        match (is_websocket, found) {
            _ if query.sid.is_none() && *request.method() != Method::GET => Err(Refused::BadMethod),
            (_, None) if self.shared.drains.load(Ordering::Acquire) => Err(Refused::Stopping),
            (true, found) => self.websocket(&request, payload, found),
            (false, None) => self.open_polling(&request),
            (false, Some(connection)) if *request.method() == Method::GET => poll(connection).await,
            (false, Some(connection)) if *request.method() == Method::POST => {
                self.post(&request, payload, connection).await
            }
            (false, Some(_)) => Err(Refused::BadMethod),
        }
    }

    fn open(&self, request: &HttpRequest, client: IpAddr, upgrades: &'static [&'static str]) -> Opening<P> {
        let handshake = Handshake::of(request, client);
        Opening { sid: Sid::new(&self.shared.ambient), protocol: (self.speaks)(handshake), upgrades }
    }

    /// Says that a client is too old, or too new, to be served: its owner sees no more than that it does not connect.
    fn report_version(&self, request: &HttpRequest, version: &str) {
        // A version is a digit. Anything else is nobody's client.
        let is_version = version.len() == 1 && version.bytes().all(|byte| byte.is_ascii_digit());
        if !is_version || !self.shared.versions.is_due() {
            return;
        }
        let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        tracing::info!(
            eio = version, client.address = %(self.client)(request), origin,
            "a client is refused: it speaks another Engine.IO than 4, as socket.io-client 2 does"
        );
    }

    /// A place for a client that opens a connection, or for a transport of one that is open.
    fn admit(&self, client: IpAddr, is_open: bool) -> Result<Ticket, Refused> {
        let sessions = &self.shared.sessions;
        let admitted = if is_open { sessions.admit_served(client) } else { sessions.admit(client) };
        admitted.map_err(|refusal| {
            self.shared.metrics.refused();
            refusal.into()
        })
    }

    fn websocket(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        found: Option<Addr<Connection<P>>>,
    ) -> Result<HttpResponse, Refused> {
        let client = (self.client)(request);
        let ticket = self.admit(client, found.is_some())?;
        self.check_upgrade(request)?;
        upgrade::check(request)?;
        let role = match found {
            Some(connection) if connection.connected() => Role::Probes(connection),
            Some(_ended) => Role::Spare,
            None => Role::Opens(Box::new(self.open(request, client, &[]))),
        };
        let max_payload = self.shared.settings.max_payload;
        let (guarded, progress) = Guard::new(payload, max_payload);
        let pump = Pump::new(role, progress, Arc::clone(&self.shared), ticket);
        WsResponseBuilder::new(pump, request, guarded).frame_size(max_payload).start().map_err(|error| {
            tracing::debug!(reason = ?error.as_error::<HandshakeError>(), "not a websocket handshake");
            Refused::BadRequest("Not a websocket handshake")
        })
    }

    /// Says so when the upgrade was left out: most often by a proxy.
    fn check_upgrade(&self, request: &HttpRequest) -> Result<(), Refused> {
        if asks_for_upgrade(request.headers()) {
            return Ok(());
        }
        if self.shared.no_upgrade.is_due() {
            tracing::warn!(
                peer = ?request.peer_addr(),
                http.version = ?request.version(),
                "a client asked for a websocket without `Connection: Upgrade` and `Upgrade: websocket`: a proxy in \
                 front has to pass both on (docs/OPERATIONS.md, Behind a proxy)"
            );
        }
        Err(Refused::NoUpgrade)
    }

    fn open_polling(&self, request: &HttpRequest) -> Result<HttpResponse, Refused> {
        let client = (self.client)(request);
        let ticket = self.admit(client, false)?;
        let opening = self.open(request, client, &["websocket"]);
        let packet = opening.packet(&self.shared.settings);
        Connection::start_polling(Arc::clone(&self.shared), opening.sid, opening.protocol, ticket);
        Ok(answer(packet.to_string()))
    }

    async fn post(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        connection: Addr<Connection<P>>,
    ) -> Result<HttpResponse, Refused> {
        let max_payload = self.shared.settings.max_payload;
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/octet-stream")) {
            // It was the binary payload of an older version.
            return Err(Refused::BadRequest(
                "Binary goes as base64 in a text, not as application/octet-stream",
            ));
        }
        if !is_identity(request.headers()) {
            return Err(Refused::Encoded);
        }
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok());
        if declared.and_then(|size| size.parse().ok()).is_some_and(|size: u64| size > max_payload as u64) {
            // Before its body comes: it would be thrown away.
            let _ended = connection.send(Posted::TooLarge).await;
            return Err(Refused::TooLarge);
        }
        connection.send(Announced).await.map_err(gone)??;
        let posted = match body::whole(request, payload, max_payload).await {
            Ok(body) => Posted::Whole(payload::decode(body)),
            Err(BodyLoss::TooLarge) => Posted::TooLarge,
            Err(BodyLoss::Broken | BodyLoss::TooSlow) => Posted::Nothing,
        };
        let is_over = matches!(posted, Posted::TooLarge);
        let taken = connection.send(posted).await.map_err(gone)?;
        taken.map_err(|why| if is_over { Refused::TooLarge } else { why.into() })?;
        Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/html")).body("ok"))
    }
}

/// Whether a request asks to go on as a websocket (RFC 6455, 4.2.1).
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let names = |header: header::HeaderName, wanted: &str| {
        let mut values = headers.get_all(header).filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted)))
    };
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, "websocket")
}

fn gone(_: MailboxError) -> Refused {
    Refused::UnknownSid
}

fn answer(body: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=UTF-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

/// Waits for packets. A client that goes away while it waits takes its connection with it.
async fn poll<P: Protocol>(connection: Addr<Connection<P>>) -> Result<HttpResponse, Refused> {
    let mut watch = PollWatch(Some(connection.clone()));
    let polled = connection.send(Poll).await;
    watch.0 = None;
    Ok(answer(polled.map_err(gone)??))
}

/// Notices that a poll is given up: actix drops the handler of a client that is gone.
struct PollWatch<P: Protocol>(Option<Addr<Connection<P>>>);

impl<P: Protocol> Drop for PollWatch<P> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // When its mailbox is full the heartbeat finds out.
            let _told = connection.try_send(Abandoned);
        }
    }
}
