//! `POST /webchat/message`: a message from a visitor, an agent or a bot. The answer comes when the
//! message is on disk.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::{Directory, session::Sent};
use amoiq_events::{
    Ambient, ClientMessageId, MessageId, MessageText, SessionId, ShortText, UserId,
    session::{Page, SendMessage},
};
use serde::Serialize;

use super::{access, body, context::Caller, fields::Fields, limits::Gate};
use crate::{
    auth::{Principal, Role},
    problem::Problem,
};

/// How long a client waits for the store before it is told that nobody knows.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What a message may be.
#[derive(Debug, Clone, Copy)]
pub struct MessageLimits {
    /// `limits.text_characters`
    pub text_characters: usize,
    /// `limits.user_info_bytes`
    pub user_info_bytes: usize,
}

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
    limits: web::Data<MessageLimits>,
    directory: web::Data<Directory>,
    ambient: web::Data<Ambient>,
) -> Result<HttpResponse, Problem> {
    context.credential.as_ref().map_err(Clone::clone)?;
    let mut body = body::read(&request, payload).await?;
    let principal = access::principal(&gate, &context, &request, &mut body)?;
    let (named, message) = parse(body, &request, &principal, &limits, &ambient)?;
    let body_origin = message.page.origin.as_ref().map(ShortText::as_str);
    access::check_site(&principal, &gate, &request, body_origin)?;
    access::check_user(&principal, message.user_id.as_ref())?;
    let session = access::bound_session(&principal, named)?.unwrap_or_else(|| ambient.session_id());

    let message_id = message.message_id;
    let cause = context.cause(&principal.actor);
    let sending = directory.send(&principal.tenant_id, &session, message, cause);
    let sent = match tokio::time::timeout(PATIENCE, sending).await {
        Ok(sent) => sent?,
        Err(_elapsed) => return Err(Problem::StoreUnavailable),
    };
    let (message_id, duplicate) = match sent {
        Sent::Stored(_) => (message_id, false),
        Sent::Duplicate(first) => (first, true),
    };
    tracing::debug!(tenant.id = %principal.tenant_id, message.id = %message_id, duplicate, "message taken");
    Ok(HttpResponse::Ok().json(Answer { success: true, message_id, session_id: session, duplicate }))
}

/// The message that a body describes, and the session that it names.
fn parse(
    mut body: Fields,
    request: &HttpRequest,
    principal: &Principal,
    limits: &MessageLimits,
    ambient: &Ambient,
) -> Result<(Option<SessionId>, SendMessage), Problem> {
    let session = body.parsed("sessionId", SessionId::parse);
    let text = body.parsed("text", |text| MessageText::parse(text, limits.text_characters));
    let has_text_error = text.is_none();
    let client_message_id = body
        .first_id(&["clientMessageId", "temp_id"], ClientMessageId::parse)
        .or_else(|| idempotency_key(request, &mut body));
    let user_id = body.parsed("userId", UserId::parse);
    let user_info = body.object("userInfo", limits.user_info_bytes);
    let fingerprint = body.label("fingerprint");
    let client_timestamp = body.moment("timestamp");
    let page = Page {
        domain: body.cut("domain"),
        origin: body.cut("origin"),
        url: body.cut("url"),
        referrer: body.cut("referrer"),
        site_id: body.label("siteId"),
    };
    let sender_name = match &principal.role {
        Role::Staff { name, .. } => {
            body.cut("senderName").or_else(|| name.as_deref().and_then(ShortText::cut))
        }
        Role::Bot => body.cut("senderName"),
        Role::WidgetKey | Role::Visitor { .. } => None,
    };
    if has_text_error {
        body.refuse("text", "is required");
    }
    body.finish()?;
    let message = SendMessage {
        message_id: ambient.message_id(),
        caller: principal.caller(),
        sender: principal.sender(),
        text: text.ok_or(Problem::Internal)?,
        sender_name,
        client_message_id,
        client_timestamp,
        user_id,
        user_info,
        fingerprint,
        page,
    };
    Ok((session, message))
}

fn idempotency_key(request: &HttpRequest, body: &mut Fields) -> Option<ClientMessageId> {
    let value = request.headers().get("idempotency-key").filter(|value| !value.is_empty())?;
    match ClientMessageId::parse(value.to_str().unwrap_or_default()) {
        Ok(id) => Some(id),
        Err(error) => {
            body.refuse("Idempotency-Key", error.to_string());
            None
        }
    }
}
