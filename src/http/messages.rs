//! `POST /webchat/message`: a message from a visitor, an agent or a bot. The answer comes when the message is on disk.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::sessions::SentMessage;
use amoiq_events::{ClientMessageId, ShortText};

use super::authenticated::{Authenticated, NOT_UTF8};
use crate::{
    access::{
        message_intake::{MessageDraft, MessageIntake, response},
        session_guard::SessionGuard,
    },
    api::{
        field::{Field, Validation},
        messages::SendMessageRequest,
        problem::Problem,
    },
    realtime::event_feed::FeedProgress,
};

/// How long an answer waits for the sockets that get the message: a widget wants its echo first.
const ECHO_PATIENCE: Duration = Duration::from_millis(50);

/// Takes a message.
///
/// # Errors
/// See the catalogue.
pub async fn send(
    mut caller: Authenticated<SendMessageRequest>,
    guard: web::Data<SessionGuard>,
    intake: web::Data<MessageIntake>,
    feed: web::Data<FeedProgress>,
) -> Result<HttpResponse, Problem> {
    let mut body = std::mem::take(&mut caller.body);
    if let Some(key) = idempotency_key(&caller.request) {
        body.idempotency_key = key;
    }
    let principal = &caller.principal;
    let MessageDraft { session: named, message } = intake.read(body, principal, Validation::new())?;
    caller.check_site(message.page.origin.as_ref().map(ShortText::as_str))?;
    principal.check_user(message.user_id.as_ref())?;
    let bound = principal.bound_session(named)?;
    if let Some(named) = &bound {
        guard.check_claim(principal, named).await?;
    }
    let session = bound.unwrap_or_else(|| intake.ambient.session_id());

    let sent = intake.send(principal, &session, message, caller.cause.clone()).await?;
    if let SentMessage::Stored(stored) = &sent {
        feed.wait_for(stored.position, ECHO_PATIENCE).await;
    }
    let response = response(&sent, session);
    let (tenant, message, duplicate) = (&principal.tenant_id, response.message_id, response.duplicate);
    tracing::debug!(tenant.id = %tenant, message.id = %message, duplicate, "message taken");
    Ok(HttpResponse::Ok().json(response))
}

/// The header that counts as a field of the same meaning, where the body has none.
fn idempotency_key(request: &HttpRequest) -> Option<Field<ClientMessageId>> {
    let value = request.headers().get("idempotency-key")?;
    Some(match str::from_utf8(value.as_bytes()) {
        Ok(text) => Field::read(text.into()),
        // Ignoring it would turn a repeat into a second message.
        Err(_not_utf8) => Field::Invalid(NOT_UTF8.into()),
    })
}
