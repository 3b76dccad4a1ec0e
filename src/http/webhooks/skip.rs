//! `POST /api/webhooks/{id}/deliveries/{messageId}/skip` and `POST …/deliveries/skip`: an endpoint's owner does not
//! wait for deliveries any more. They are listed as skipped and can be asked for again; what is behind them in their
//! session goes on. What is being tried at the moment is not skipped.

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{DeliveryStatus, SkipQuery, WebhooksHandle};
use amoiq_events::{EventStore, Position, SessionId};
use serde_json::json;

use super::{
    Manager,
    deliveries::message_id,
    refusal::ask,
    replay::{Place, place},
};
use crate::{
    api::problem::Problem,
    http::fields::{Fields, id_text},
};

/// Skips the delivery of a message. Doing it again changes nothing.
///
/// # Errors
/// See the catalogue.
pub async fn one(
    manager: Manager,
    path: web::Path<(String, String)>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let (id, message) = path.into_inner();
    let endpoint = manager.endpoint(&id)?;
    let message = message_id(&message)?;
    ask(webhooks.skip(&endpoint.tenant, &endpoint.id, message)).await?;
    Ok(HttpResponse::Ok().json(json!({ "success": true, "messageId": message })))
}

/// Skips every delivery of a status, `pending` or `refused`: of one session, of messages before a place in the log, or
/// all of those that wait by now.
///
/// # Errors
/// See the catalogue. After [`Problem::StoreUnavailable`] a part may be skipped.
pub async fn many(
    mut manager: Manager,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    store: web::Data<dyn EventStore>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    let body = &mut manager.body;
    let status = body.parsed("status", |status| match status {
        "pending" => Ok(DeliveryStatus::Pending),
        "refused" => Ok(DeliveryStatus::Refused),
        _ => Err("must be pending or refused"),
    });
    let status = body.required("status", status);
    let session = session(body);
    let before = place(body, "before");
    body.check()?;
    let status = status.ok_or(Problem::Internal)?;
    let upto = match before {
        None => Position::from_u64(u64::MAX),
        Some(Place::At(position)) => Position::from_u64(position.as_u64().saturating_sub(1)),
        Some(since @ Place::Since(_)) => since.find(&**store).await?,
    };
    let query = SkipQuery { status, upto, session };
    let skipped = ask(webhooks.skip_all(&endpoint.tenant, &endpoint.id, query)).await?;
    Ok(HttpResponse::Ok().json(json!({ "skipped": skipped })))
}

/// The session that is named. An empty name counts as none elsewhere; here that would skip those of every session.
fn session(body: &mut Fields) -> Option<SessionId> {
    let text = match id_text(body.value("sessionId")?) {
        Ok(text) => text.unwrap_or_default(),
        Err(reason) => {
            body.refuse("sessionId", reason);
            return None;
        }
    };
    let parsed = SessionId::parse(&text).map_err(|error| error.to_string());
    parsed.map_err(|error| body.refuse("sessionId", error)).ok()
}
