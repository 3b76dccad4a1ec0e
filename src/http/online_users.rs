//! `GET /api/chat/online-users`: who is on the tenant's sites now, for agents.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::{access, context::Caller, fields::Fields, limits::Gate};
use crate::problem::Problem;

#[derive(Serialize)]
struct Answer {
    users: [(); 0],
    total: usize,
}

/// Lists the visitors who are online. A visitor is online while a socket of theirs is open; there are
/// no sockets yet, so there is nobody.
///
/// # Errors
/// See the catalogue.
pub async fn list(
    request: HttpRequest,
    Caller(context): Caller,
    gate: web::Data<Gate>,
) -> Result<HttpResponse, Problem> {
    let principal = access::principal(&gate, &context, &request, &mut Fields::default())?;
    principal.require_staff()?;
    Ok(HttpResponse::Ok().json(Answer { users: [], total: 0 }))
}
