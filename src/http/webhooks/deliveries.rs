//! `GET /api/webhooks/{id}/deliveries` and `POST …/deliveries/{messageId}/redeliver`: what was sent to an
//! endpoint, what became of it, and once more.

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::webhooks::{
    DeliveriesQuery, Delivery, DeliveryAttempt, DeliveryStatus, WebhookEndpoint, WebhooksHandle,
};
use amoiq_events::{EventId, MessageId, Position, SessionId, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::{Manager, refusal::ask};
use crate::{api::problem::Problem, http::fields::Fields, webhooks::failure_texts};

/// How many deliveries a page has when nothing is said, and at the most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// What a cursor begins with.
const CURSOR: &str = "d.";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryView {
    message_id: MessageId,
    session_id: SessionId,
    status: &'static str,
    event_id: EventId,
    next_attempt_at: Option<Timestamp>,
    attempts: Vec<AttemptView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptView {
    at: Timestamp,
    status: Option<u16>,
    duration_ms: u32,
    error: Option<String>,
    answer: Option<String>,
}

impl DeliveryView {
    fn of(delivery: Delivery, attempts: Vec<DeliveryAttempt>, endpoint: &WebhookEndpoint) -> Self {
        Self {
            message_id: delivery.message_id,
            session_id: delivery.session,
            status: delivery.status.as_str(),
            event_id: delivery.event_id,
            next_attempt_at: delivery.next_at,
            attempts: attempts.into_iter().map(|attempt| AttemptView::of(attempt, endpoint)).collect(),
        }
    }
}

impl AttemptView {
    fn of(attempt: DeliveryAttempt, endpoint: &WebhookEndpoint) -> Self {
        Self {
            at: attempt.at,
            status: attempt.status,
            duration_ms: attempt.duration_ms,
            error: attempt.error.map(|error| failure_texts::told(error, &endpoint.webhook.settings.url)),
            answer: text(&attempt.answer),
        }
    }
}

/// What an endpoint answered, as text; nothing when that was nothing.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    deliveries: Vec<DeliveryView>,
    has_more: bool,
    next_cursor: Option<String>,
}

/// Lists deliveries, the newest message first.
///
/// # Errors
/// See the catalogue.
pub async fn list(
    request: HttpRequest,
    manager: Manager,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    let (query, limit) = parse(Fields::of_query(request.query_string()))?;
    let mut page = ask(webhooks.deliveries(&endpoint.tenant, &endpoint.id, query)).await?;
    let has_more = page.len() > limit;
    page.truncate(limit);
    let last = page.last().map(|(delivery, _)| format!("{CURSOR}{}", delivery.position.as_u64()));
    Ok(HttpResponse::Ok().json(Answer {
        deliveries: page
            .into_iter()
            .map(|(delivery, attempts)| DeliveryView::of(delivery, attempts, &endpoint))
            .collect(),
        has_more,
        next_cursor: last.filter(|_| has_more),
    }))
}

/// What is asked for: one more than a page has, to know whether there is another.
fn parse(mut fields: Fields) -> Result<(DeliveriesQuery, usize), Problem> {
    let status = fields.parsed("status", |named| {
        let status = DeliveryStatus::ALL.into_iter().find(|status| status.as_str() == named);
        status.ok_or("must be pending, delivered, failed, refused or skipped")
    });
    let before = fields.parsed("cursor", |cursor| {
        let position = cursor.strip_prefix(CURSOR).and_then(|position| position.parse().ok());
        position.map(Position::from_u64).ok_or("is not one that this service gave")
    });
    let limit = fields.number("limit").unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        fields.refuse("limit", format!("must be 1 to {MAX_LIMIT}"));
    }
    fields.finish()?;
    Ok((DeliveriesQuery { status, before, limit: limit + 1 }, limit as usize))
}

/// Delivers a message once more, under the same `webhook-id`.
///
/// # Errors
/// See the catalogue.
pub async fn redeliver(
    manager: Manager,
    path: web::Path<(String, String)>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let (id, message) = path.into_inner();
    let endpoint = manager.endpoint(&id)?;
    let message = message_id(&message)?;
    ask(webhooks.redeliver(&endpoint.tenant, &endpoint.id, message)).await?;
    Ok(HttpResponse::Accepted().json(json!({ "success": true, "messageId": message })))
}

/// The message that a path names.
///
/// # Errors
/// [`Problem::Validation`]
pub(super) fn message_id(text: &str) -> Result<MessageId, Problem> {
    MessageId::parse(text).map_err(|error| Problem::field("messageId", error.to_string()))
}
