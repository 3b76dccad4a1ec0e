//! `POST /api/chat/sessions/{sessionId}/close`: an agent is done with a conversation. What a widget asks for its session is in
//! [`widget`].

use actix_web::{HttpResponse, web};
use amoiq_actors::sessions::SessionDirectory;
use amoiq_events::{SessionId, session::ConversationCloseReason};

use super::authenticated::Authenticated;
use crate::api::{
    problem::{Problem, in_time},
    sessions::{SessionResponse, TenantRequest},
};

pub mod public_origin;
pub mod widget;

/// Closes a conversation until the next message. Closing a closed one changes nothing.
///
/// # Errors
/// See the catalogue.
pub async fn close(
    caller: Authenticated<TenantRequest>,
    path: web::Path<String>,
    directory: web::Data<SessionDirectory>,
) -> Result<HttpResponse, Problem> {
    caller.principal.require_staff()?;
    let session_id =
        SessionId::parse(&path).map_err(|error| Problem::field("sessionId", error.to_string()))?;
    let closing = directory.close(
        &caller.principal.tenant_id,
        &session_id,
        ConversationCloseReason::Agent,
        caller.cause,
    );
    in_time(closing).await?;
    Ok(HttpResponse::Ok().json(SessionResponse { success: true, session_id }))
}
