//! `POST /operator/erase`: a session, or every session of a user, is erased from everything that is kept.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::erasure::{EraseError, EraserHandle};
use amoiq_events::{SessionId, UserId, tenant::TenantRefusal};
use serde_json::json;

use super::{OperatorError, OperatorIdentity, OperatorServices, services};
use crate::{api::problem::Problem, http::body};

/// How long it may take. What is not done by then goes on.
const PATIENCE: Duration = Duration::from_secs(600);

/// `tenant`, and `session` or `user`. With `dryRun` nothing is erased: the answer is what would be.
///
/// # Errors
/// When there is no such tenant or session, a field is wrong, or a part of the service does not do it.
pub async fn erase(
    request: HttpRequest,
    payload: web::Payload,
    services: web::Data<OperatorServices>,
    eraser: web::Data<EraserHandle>,
    operator: OperatorIdentity,
) -> Result<HttpResponse, OperatorError> {
    let mut fields = body::read(&request, payload).await?;
    let tenant = fields.id_text("tenant");
    let tenant = fields.required("tenant", tenant);
    let session = fields.id("session", SessionId::parse);
    let user = fields.id("user", UserId::parse);
    let dry_run = fields.flag("dryRun");
    if session.is_some() == user.is_some() {
        fields.refuse("session", "is required, or `user`, and not both");
    }
    fields.finish()?;
    let tenant = services::tenant_id(&tenant.unwrap_or_default())?;
    if !services.snapshot().known().any(|known| *known == tenant) {
        return Err(OperatorError::Tenant(TenantRefusal::NotFound));
    }
    let sessions = match (&session, &user) {
        (Some(session), _) => vec![session.clone()],
        (None, Some(user)) => eraser.sessions_of(&tenant, user).await?,
        (None, None) => Vec::new(),
    };
    if dry_run {
        return Ok(HttpResponse::Ok().json(json!({ "tenant": tenant, "sessions": sessions })));
    }
    let erasing = eraser.erase(tenant.clone(), sessions, user, operator.0);
    let erased = tokio::time::timeout(PATIENCE, erasing).await;
    let erased = erased.map_err(|_elapsed| OperatorError::Erasure(EraseError::Late))??;
    if erased.is_empty() && session.is_some() {
        return Err(Problem::SessionNotFound.into());
    }
    Ok(HttpResponse::Ok().json(json!({ "tenant": tenant, "sessions": erased })))
}
