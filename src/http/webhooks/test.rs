//! `POST /api/webhooks/{id}/test`: sends a signed `webhook.test` and tells the endpoint's answer. It overtakes
//! deliveries that wait, is not stored, and is sent to a webhook that is paused or disabled too.

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{WebhooksHandle, fair_semaphore::FairSemaphore};
use amoiq_events::TenantId;

use super::WebhookAdmin;
use crate::api::{
    problem::Problem,
    webhooks::deliveries::{WebhookTestResponse, answer_text},
};

/// Of the tests at the same time, those of one tenant are at most one in so many.
const TENANT_PART: usize = 8;

/// Tests at the same time: they take places of deliveries.
pub struct WebhookTests(FairSemaphore<TenantId>);

impl WebhookTests {
    /// At most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(FairSemaphore::new(most, most / TENANT_PART))
    }
}

/// Tests an endpoint.
///
/// # Errors
/// See the catalogue. An endpoint that does not take the test is no error of this request.
pub async fn test(
    admin: WebhookAdmin,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    tests: web::Data<WebhookTests>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    let Some(place) = tests.0.try_acquire(&endpoint.tenant) else { return Err(Problem::Overloaded) };
    // The attempt holds the place: it goes on when the caller hangs up.
    let (answer, duration) = webhooks.test(endpoint, place).await?;
    Ok(HttpResponse::Ok().json(WebhookTestResponse {
        success: answer.is_success(),
        status: answer.status,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        answer: answer_text(&answer.body),
        error: answer.error,
    }))
}
