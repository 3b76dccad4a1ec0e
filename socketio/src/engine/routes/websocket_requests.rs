//! The requests for websockets: what such a request has to be by RFC 6455, §4.2.1, and what the websocket is for.

use std::sync::Arc;

use actix::Addr;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Version,
        header::{self, HeaderMap},
    },
};
use actix_web_actors::ws;
use amoiq_connections::{ConnectionTakeover, TakenConnection};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{EngineError, EngineWorker};
use crate::engine::{
    EngineConnection, FrameReader, OutgoingPacket, Protocol,
    connection::{
        ActiveTransport, AttachWebSocket, MovingWebSocket, NewConnection, SharedState, WebSocketTransport,
    },
    connection_limits::ConnectionPermit,
    send_queue::SendQueue,
};

/// The size of a decoded key.
const KEY_BYTES: usize = 16;

impl<P: Protocol> EngineWorker<P> {
    pub(super) fn websocket(
        &self,
        request: &HttpRequest,
        connection: Option<Addr<EngineConnection<P>>>,
    ) -> Result<HttpResponse, EngineError> {
        let client = (self.client)(request);
        let permit = match &connection {
            Some(_) => self.engine.admit_transport(client),
            None => self.engine.admit(client),
        }?;
        self.check_upgrade(request)?;
        check_handshake(request)?;
        let mut response = ws::handshake(request)
            .map_err(|error| {
                tracing::debug!(reason = ?error, "not a websocket handshake");
                EngineError::BadRequest("Not a websocket handshake")
            })?
            .finish();
        let engine = Arc::clone(&self.engine);
        let takeover = match connection {
            Some(connection) => {
                ConnectionTakeover::new(move |taken| attach(&engine, &connection, permit, taken))
            }
            None => {
                let new = self.new_connection(request, client, &[]);
                ConnectionTakeover::new(move |taken| open(engine, new, permit, taken))
            }
        };
        response.extensions_mut().insert(takeover);
        Ok(response)
    }

    /// Checks for the upgrade headers, and logs when they are missing: most often a proxy has dropped them.
    fn check_upgrade(&self, request: &HttpRequest) -> Result<(), EngineError> {
        if asks_for_upgrade(request.headers()) {
            return Ok(());
        }
        if self.engine.missing_upgrade_log.is_due() {
            tracing::warn!(
                peer = ?request.peer_addr(),
                http.version = ?request.version(),
                "a client asked for a websocket without `Connection: Upgrade` and `Upgrade: websocket`: a proxy has \
                 to pass both on"
            );
        }
        Err(EngineError::NoUpgrade)
    }
}

/// Starts a connection on its websocket.
fn open<P: Protocol>(
    engine: Arc<SharedState<P>>,
    new: NewConnection<P>,
    permit: ConnectionPermit,
    taken: TakenConnection,
) {
    let TakenConnection { tcp, head, received, lease } = taken;
    let mut reader = FrameReader::new(engine.settings.max_payload);
    reader.add(&received);
    let first = vec![OutgoingPacket::control(head), OutgoingPacket::text(&new.open_packet(&engine.settings))];
    let is_held = permit.is_held();
    let websocket = WebSocketTransport::new(tcp, reader, permit, lease);
    EngineConnection::start(engine, new, ActiveTransport::WebSocket(websocket), first, is_held);
}

/// Hands a websocket to the connection that is to upgrade to it, which may live on another worker. If the connection has
/// ended in the meantime, the websocket breaks, and the client connects anew.
fn attach<P: Protocol>(
    engine: &SharedState<P>,
    connection: &Addr<EngineConnection<P>>,
    permit: ConnectionPermit,
    TakenConnection { tcp, head, received, lease }: TakenConnection,
) {
    let mut reader = FrameReader::new(engine.settings.max_payload);
    reader.add(&received);
    if !connection.connected() {
        let mut queue = SendQueue::new(engine.settings.queue_bytes, Arc::clone(&engine.metrics));
        queue.push_control(OutgoingPacket::control(head));
        return WebSocketTransport::new(tcp, reader, permit, lease).end(queue, None, true);
    }
    // A kernel that does not take so little from a new connection has lost the client.
    if !tcp.try_write(&head).is_ok_and(|written| written == head.len()) {
        return tracing::debug!("a websocket is lost before it has an answer");
    }
    match tcp.into_std() {
        Ok(tcp) => {
            let attached = connection.send(AttachWebSocket(MovingWebSocket { tcp, reader, permit, lease }));
            actix::spawn(async move {
                let _ended = attached.await;
            });
        }
        Err(error) => tracing::debug!(%error, "a websocket is lost"),
    }
}

/// Whether a request asks to become a websocket (RFC 6455, §4.2.1), and nothing else: actix-http hands over no connection
/// that could become something else too.
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let is = |value: &str, wanted: &str| value.trim().eq_ignore_ascii_case(wanted);
    let values = |header| headers.get_all(header).filter_map(|value| value.to_str().ok());
    values(header::CONNECTION).any(|value| value.split(',').any(|token| is(token, "upgrade")))
        && values(header::UPGRADE).any(|value| is(value, "websocket"))
}

/// Checks what actix does not: what decides where the first frame starts, and whether a proxy in between could take it
/// for a body.
fn check_handshake(request: &HttpRequest) -> Result<(), EngineError> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11 {
        return Err(EngineError::BadRequest("A websocket needs HTTP/1.1"));
    }
    let has_length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(EngineError::BadRequest("A request for a websocket has no body"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    match key {
        Some(key) if key.len() == KEY_BYTES => Ok(()),
        _ => Err(EngineError::BadRequest("Sec-WebSocket-Key must be the base64 of 16 bytes")),
    }
}
