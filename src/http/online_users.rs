//! `GET /api/chat/online-users`: who is on the tenant's sites now, for agents.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{access, context::Caller, fields::Fields, limits::Gate};
use crate::{api::online::OnlineDirectory, api::problem::Problem};

/// Lists the visitors who are online, the newest first.
///
/// # Errors
/// See the catalogue.
pub async fn list(
    request: HttpRequest,
    Caller(context): Caller,
    gate: web::Data<Gate>,
    directory: web::Data<OnlineDirectory>,
) -> Result<HttpResponse, Problem> {
    let principal = access::principal(&gate, &context, &request, &mut Fields::default())?;
    principal.require_staff()?;
    Ok(HttpResponse::Ok().json(directory.list(&principal.tenant_id).await?))
}
