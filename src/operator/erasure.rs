//! `POST /operator/erase`: erases a session, or every session of a user, from everything that is stored.

use std::time::Duration;

use actix_web::web;
use amoiq_actors::erasure::{EraseError, EraserHandle};
use amoiq_events::tenant::TenantRefusal;

use super::{ChangeRequest, OperatorError, OperatorServices};
use crate::api::{
    operator::erasure::{EraseRequest, EraseResponse, ErasureSubject},
    problem::Problem,
};

/// How long a request waits for the erasure, which continues afterwards.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Erases, or lists in a dry run what would be erased.
///
/// # Errors
/// When the tenant or the session does not exist, a field is invalid, or a part of the service could not erase.
pub async fn erase(
    ChangeRequest { operator, body }: ChangeRequest<EraseRequest>,
    services: web::Data<OperatorServices>,
    eraser: web::Data<EraserHandle>,
) -> Result<web::Json<EraseResponse>, OperatorError> {
    let (tenant, subject, is_dry_run) = body.validated()?;
    if !services.snapshot().known().any(|known| *known == tenant) {
        return Err(OperatorError::Tenant(TenantRefusal::NotFound));
    }
    let (sessions, user) = match subject {
        ErasureSubject::Session(session) => (vec![session], None),
        ErasureSubject::User(user) => (eraser.sessions_of(&tenant, &user).await?, Some(user)),
    };
    if is_dry_run {
        return Ok(web::Json(EraseResponse { tenant, sessions }));
    }
    let is_of_user = user.is_some();
    // Otherwise the next message would store again what is erased.
    services.notes.erase(&tenant, &sessions, user.as_ref());
    let erasing = eraser.erase(tenant.clone(), sessions, user, operator.0);
    let erased = tokio::time::timeout(TIMEOUT, erasing).await;
    let sessions = erased.map_err(|_elapsed| OperatorError::Erasure(EraseError::Late))??;
    if sessions.is_empty() && !is_of_user {
        return Err(Problem::SessionNotFound.into());
    }
    Ok(web::Json(EraseResponse { tenant, sessions }))
}
