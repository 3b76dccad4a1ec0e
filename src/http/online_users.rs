//! `GET /api/chat/online-users`: who is on the tenant's sites now, for agents.

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::OnlineUsers;
use amoiq_events::EventStore;

use super::{access, context::Caller, fields::Fields, limits::Gate};
use crate::{problem::Problem, realtime::chat::feed};

/// How many users a list names: `presence.list_limit`.
#[derive(Debug, Clone, Copy)]
pub struct ListLimit(pub usize);

/// Lists the visitors who are online, the newest first.
///
/// # Errors
/// See the catalogue.
pub async fn list(
    request: HttpRequest,
    Caller(context): Caller,
    gate: web::Data<Gate>,
    online: web::Data<OnlineUsers>,
    store: web::Data<dyn EventStore>,
    limit: web::Data<ListLimit>,
) -> Result<HttpResponse, Problem> {
    let principal = access::principal(&gate, &context, &request, &mut Fields::default())?;
    principal.require_staff()?;
    let online = online.list(&principal.tenant_id, limit.0, store.head()).await?;
    Ok(HttpResponse::Ok().json(feed::online_list(&online)))
}
