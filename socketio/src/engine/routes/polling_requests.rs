//! The requests of polling clients: opening a connection, waiting for packets, bringing some.

use std::sync::Arc;

use actix::Addr;
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use amoiq_connections::{BodyError, is_identity, read_body};

use super::{EngineError, EngineWorker};
use crate::engine::{
    EngineConnection, Protocol,
    connection::{ActiveTransport, PollAbandoned, PollStarted, PostReceived, PostStarted},
    decode_payload,
};

impl<P: Protocol> EngineWorker<P> {
    pub(super) fn open_polling(&self, request: &HttpRequest) -> Result<HttpResponse, EngineError> {
        let client = (self.client)(request);
        let permit = self.engine.admit(client)?;
        let new = self.new_connection(request, client, &["websocket"]);
        let packet = new.open_packet(&self.engine.settings);
        let is_held = permit.is_held();
        let transport = ActiveTransport::polling(permit);
        EngineConnection::start(Arc::clone(&self.engine), new, transport, Vec::new(), is_held);
        Ok(payload_response(packet.to_string()))
    }

    pub(super) async fn post(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        connection: Addr<EngineConnection<P>>,
    ) -> Result<HttpResponse, EngineError> {
        let max_payload = self.engine.settings.max_payload;
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/octet-stream")) {
            // The binary payload of an older version.
            return Err(EngineError::BadRequest(
                "Binary goes as base64 in a text, not as application/octet-stream",
            ));
        }
        if !is_identity(request.headers()) {
            return Err(EngineError::Encoded);
        }
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok());
        if declared.and_then(|size| size.parse().ok()).is_some_and(|size: u64| size > max_payload as u64) {
            // The body is not read: it would be thrown away.
            let _closed = connection.send(PostReceived::TooLarge).await;
            return Err(EngineError::TooLarge);
        }
        connection.send(PostStarted).await??;
        let received = match read_body(request, payload, max_payload).await {
            Ok(body) => PostReceived::Whole(decode_payload(body)),
            Err(BodyError::TooLarge) => PostReceived::TooLarge,
            Err(BodyError::Broken | BodyError::TooSlow) => PostReceived::Nothing,
        };
        let is_too_large = matches!(received, PostReceived::TooLarge);
        let handled = connection.send(received).await?;
        handled.map_err(|error| if is_too_large { EngineError::TooLarge } else { error.into() })?;
        Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/html")).body("ok"))
    }
}

/// Waits for packets. If the client goes away while it waits, its connection closes.
pub(super) async fn poll<P: Protocol>(
    connection: Addr<EngineConnection<P>>,
) -> Result<HttpResponse, EngineError> {
    let mut guard = PollGuard(Some(connection.clone()));
    let payload = connection.send(PollStarted).await;
    guard.0 = None;
    Ok(payload_response(payload??))
}

/// Notices that a poll is abandoned: actix drops the handler of a client that is gone.
struct PollGuard<P: Protocol>(Option<Addr<EngineConnection<P>>>);

impl<P: Protocol> Drop for PollGuard<P> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // If the mailbox is full, the heartbeat finds out.
            let _full = connection.try_send(PollAbandoned);
        }
    }
}

fn payload_response(payload: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=UTF-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(payload)
}
