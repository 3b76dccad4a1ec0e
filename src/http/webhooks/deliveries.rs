//! Deliveries of a webhook: `GET /api/webhooks/{id}/deliveries` lists them, `POST …/deliveries/{messageId}/redeliver`
//! repeats one, and `POST …/deliveries/{messageId}/skip` and `POST …/deliveries/skip` skip them.
//!
//! Deliveries that were skipped are listed as skipped and can be repeated; the deliveries after them in their session
//! go on. A delivery that is being tried is not skipped.

use std::ops::Bound;

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{DeliveriesQuery, SkipQuery, WebhookEndpoint, WebhooksHandle};
use amoiq_events::{EventLog, MessageId, Position};

use super::{WebhookAdmin, replay};
use crate::api::{
    field::Validation,
    problem::{Problem, in_time},
    webhooks::deliveries::{
        DeliveriesResponse, DeliveryChangedResponse, DeliveryCursor, DeliveryResponse, ListDeliveriesQuery,
        LogPlace, SkipDeliveriesRequest, SkippedResponse,
    },
};

/// How many deliveries a page has when nothing is said, and at the most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// Lists deliveries, the newest message first.
///
/// # Errors
/// See the catalogue.
pub async fn list(
    admin: WebhookAdmin,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    let (query, limit) = check(admin.0.query()?)?;
    let mut page = in_time(webhooks.deliveries(&endpoint.tenant, &endpoint.id, query)).await?;
    let has_more = page.len() > limit;
    page.truncate(limit);
    let last = page.last().map(|(delivery, _)| DeliveryCursor(delivery.position).to_string());
    let deliveries = page.into_iter();
    let deliveries =
        deliveries.map(|(delivery, attempts)| DeliveryResponse::new(delivery, attempts, &endpoint));
    Ok(HttpResponse::Ok().json(DeliveriesResponse {
        deliveries: deliveries.collect(),
        has_more,
        next_cursor: last.filter(|_| has_more),
    }))
}

/// The query for one delivery more than a page has, to know whether there is another.
fn check(query: ListDeliveriesQuery) -> Result<(DeliveriesQuery, usize), Problem> {
    let mut validation = Validation::new();
    let status = validation.optional("status", query.status).map(|filter| filter.0);
    let before = validation.optional("cursor", query.cursor).map(|cursor| cursor.0);
    let limit = validation.optional("limit", query.limit).unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        validation.refuse("limit", format!("must be 1 to {MAX_LIMIT}"));
    }
    validation.finish()?;
    Ok((DeliveriesQuery { status, before, limit: limit + 1 }, limit as usize))
}

/// Delivers a message again, under the same `webhook-id`.
///
/// # Errors
/// See the catalogue.
pub async fn redeliver(
    admin: WebhookAdmin,
    path: web::Path<(String, String)>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let (endpoint, message_id) = named_delivery(&admin, &path)?;
    in_time(webhooks.redeliver(&endpoint.tenant, &endpoint.id, message_id)).await?;
    Ok(HttpResponse::Accepted().json(DeliveryChangedResponse { success: true, message_id }))
}

/// Skips the delivery of a message. Repeating it changes nothing.
///
/// # Errors
/// See the catalogue.
pub async fn skip(
    admin: WebhookAdmin,
    path: web::Path<(String, String)>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let (endpoint, message_id) = named_delivery(&admin, &path)?;
    in_time(webhooks.skip(&endpoint.tenant, &endpoint.id, message_id)).await?;
    Ok(HttpResponse::Ok().json(DeliveryChangedResponse { success: true, message_id }))
}

/// Skips every delivery of a status, `pending` or `refused`: of one session, of messages before a place in the log, or
/// all that wait by now.
///
/// # Errors
/// See the catalogue. After [`Problem::StoreUnavailable`] some may have been skipped.
pub async fn skip_many(
    mut admin: WebhookAdmin<SkipDeliveriesRequest>,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    store: web::Data<dyn EventLog>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    let body = admin.take_body();
    let mut validation = Validation::new();
    let status = validation.required("status", body.status);
    let session = validation.optional("sessionId", body.session_id).map(|named| named.0);
    let before = validation.optional("before", body.before);
    validation.finish()?;
    let status = status.ok_or(Problem::Internal)?.0;
    let upto = match before {
        None => Position::END,
        Some(LogPlace::Position(position)) => store.newest_within(Bound::Excluded(position)).await?,
        Some(time @ LogPlace::Time(_)) => replay::position_before(time, &**store).await?,
    };
    let query = SkipQuery { status, upto, session };
    let skipped = in_time(webhooks.skip_all(&endpoint.tenant, &endpoint.id, query)).await?;
    Ok(HttpResponse::Ok().json(SkippedResponse { skipped }))
}

/// The endpoint and the message that a path names.
fn named_delivery(
    admin: &WebhookAdmin,
    (id, message): &(String, String),
) -> Result<(WebhookEndpoint, MessageId), Problem> {
    let endpoint = admin.endpoint(id)?;
    let message_id =
        MessageId::parse(message).map_err(|error| Problem::field("messageId", error.to_string()))?;
    Ok((endpoint, message_id))
}
