//! `POST /api/chat/sessions/{sessionId}/close`: an agent is done with a conversation.

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::sessions::SessionDirectory;
use amoiq_events::{SessionId, session::ConversationCloseReason};
use serde_json::json;

use super::{access, body, context::Caller, limits::Gate, send::PATIENCE};
use crate::api::problem::Problem;

/// Closes a conversation until the next message. Closing a closed one changes nothing.
///
/// # Errors
/// See the catalogue.
pub async fn close(
    request: HttpRequest,
    payload: web::Payload,
    path: web::Path<String>,
    Caller(context): Caller,
    gate: web::Data<Gate>,
    directory: web::Data<SessionDirectory>,
) -> Result<HttpResponse, Problem> {
    context.credential.as_ref().map_err(Clone::clone)?;
    let mut body = body::read_optional(&request, payload).await?;
    let principal = access::principal(&gate, &context, &request, &mut body)?;
    principal.require_staff()?;
    let session = SessionId::parse(&path).map_err(|error| Problem::field("sessionId", error.to_string()))?;
    let cause = context.cause(&principal.actor);
    let closing = directory.close(&principal.tenant_id, &session, ConversationCloseReason::Agent, cause);
    match tokio::time::timeout(PATIENCE, closing).await {
        Ok(closed) => closed?,
        Err(_elapsed) => return Err(Problem::StoreUnavailable),
    }
    Ok(HttpResponse::Ok().json(json!({ "success": true, "sessionId": session })))
}
