//! The requests for websockets: what such a request has to be by RFC 6455, §4.2.1, and what the websocket is for.

use std::sync::Arc;

use actix::Addr;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Version,
        header::{self, HeaderMap, HeaderName},
    },
    web,
};
use actix_web_actors::ws::{HandshakeError, WsResponseBuilder};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{EngineError, EngineWorker};
use crate::engine::{
    EngineConnection, FrameGuard, Protocol,
    connection::{WebSocketPump, WebSocketRole},
};

/// The size of a decoded key.
const KEY_BYTES: usize = 16;

impl<P: Protocol> EngineWorker<P> {
    pub(super) fn websocket(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        connection: Option<Addr<EngineConnection<P>>>,
    ) -> Result<HttpResponse, EngineError> {
        let client = (self.client)(request);
        let permit = match &connection {
            Some(_) => self.engine.admit_transport(client),
            None => self.engine.admit(client),
        }?;
        self.check_upgrade(request)?;
        check_handshake(request)?;
        let role = match connection {
            Some(connection) if connection.connected() => WebSocketRole::Upgrade(connection),
            Some(_closed) => WebSocketRole::Unwanted,
            None => WebSocketRole::Open(Box::new(self.new_connection(request, client, &[]))),
        };
        let max_payload = self.engine.settings.max_payload;
        let (guarded, progress) = FrameGuard::new(payload, max_payload);
        let pump = WebSocketPump::new(role, progress, Arc::clone(&self.engine), permit);
        WsResponseBuilder::new(pump, request, guarded).frame_size(max_payload).start().map_err(|error| {
            tracing::debug!(reason = ?error.as_error::<HandshakeError>(), "not a websocket handshake");
            EngineError::BadRequest("Not a websocket handshake")
        })
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

/// Whether a request asks to become a websocket (RFC 6455, §4.2.1).
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let names = |header: HeaderName, wanted: &str| {
        let mut values = headers.get_all(header).filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted)))
    };
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, "websocket")
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
