//! `GET /api/chat/online-users`: who is on the tenant's sites now, for agents.

use actix_web::{HttpResponse, web};

use super::authenticated::Authenticated;
use crate::api::{online::OnlineDirectory, problem::Problem};

/// Lists the visitors who are online, the newest first.
///
/// # Errors
/// See the catalogue.
pub async fn list(
    caller: Authenticated,
    directory: web::Data<OnlineDirectory>,
) -> Result<HttpResponse, Problem> {
    caller.principal.require_staff()?;
    Ok(HttpResponse::Ok().json(directory.list(&caller.principal.tenant_id).await?))
}
