//! `POST /webchat/message`: a message from a visitor, an agent or a bot. The answer comes when the
//! message is on disk.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::sessions::{SendOutcome, SessionDirectory};
use amoiq_events::{MessageId, SessionId, ShortText};
use serde::Serialize;

use super::{
    access::{self, Doorkeeper},
    body,
    context::Caller,
    fields::Fields,
    limits::Gate,
};
use crate::{
    api::draft::{Draft, Drafts},
    api::online::OnlineDirectory,
    api::problem::Problem,
    realtime::chat::feed::Echo,
};

/// How long a client waits for the store before it is told that nobody knows.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer waits for the sockets that hear the message: a widget wants its echo first.
const ECHO_PATIENCE: Duration = Duration::from_millis(50);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    success: bool,
    message_id: MessageId,
    session_id: SessionId,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// Takes a message.
///
/// # Errors
/// See the catalogue.
pub async fn send(
    request: HttpRequest,
    payload: web::Payload,
    Caller(context): Caller,
    gate: web::Data<Gate>,
    drafts: web::Data<Drafts>,
    directory: web::Data<SessionDirectory>,
    echo: web::Data<Echo>,
) -> Result<HttpResponse, Problem> {
    context.credential.as_ref().map_err(Clone::clone)?;
    let mut body = body::read(&request, payload).await?;
    let principal = access::principal(&gate, &context, &request, &mut body)?;
    idempotency_key(&request, &mut body);
    let Draft { session: named, message } = drafts.read(body, &principal)?;
    let body_origin = message.page.origin.as_ref().map(ShortText::as_str);
    access::check_site(&principal, &gate, &request, body_origin)?;
    access::check_user(&principal, message.user_id.as_ref())?;
    let bound = access::bound_session(&principal, named)?;
    if let Some(named) = &bound {
        Doorkeeper { gate: &gate, directory: &directory }.claim(&principal, named).await?;
    }
    let session = bound.unwrap_or_else(|| drafts.ambient.session_id());

    let message_id = message.message_id;
    let cause = context.cause(&principal.actor);
    let sending = directory.send(&principal.tenant_id, &session, message, cause);
    let sent = match tokio::time::timeout(PATIENCE, sending).await {
        Ok(sent) => sent?,
        Err(_elapsed) => return Err(Problem::StoreUnavailable),
    };
    let (message_id, duplicate) = match sent {
        SendOutcome::Stored(stored) => {
            if let Some(online) = request.app_data::<web::Data<OnlineDirectory>>() {
                online.stored(&principal.tenant_id, &session, &stored);
            }
            echo.of(stored.position, ECHO_PATIENCE).await;
            (message_id, false)
        }
        SendOutcome::Duplicate(first) => (first, true),
    };
    tracing::debug!(tenant.id = %principal.tenant_id, message.id = %message_id, duplicate, "message taken");
    Ok(HttpResponse::Ok().json(Answer { success: true, message_id, session_id: session, duplicate }))
}

/// The header counts as a field of the same meaning, where the body has none.
fn idempotency_key(request: &HttpRequest, body: &mut Fields) {
    let Some(value) = request.headers().get("idempotency-key") else { return };
    match str::from_utf8(value.as_bytes()) {
        Ok(text) => body.put("Idempotency-Key", text),
        // Passed over it would make a repeat a second message.
        Err(_not_utf8) => body.refuse("Idempotency-Key", access::NOT_UTF8),
    }
}
