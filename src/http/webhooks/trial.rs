//! `POST /api/webhooks/{id}/test`: sends a signed `webhook.test` and tells what came back. It goes beside
//! what the endpoint waits for, is not kept, and is sent to one that is paused or disabled too.

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{WebhooksHandle, fair_semaphore::FairSemaphore};
use amoiq_events::TenantId;
use serde::Serialize;

use super::{Manager, deliveries::text};
use crate::api::problem::Problem;

/// Of the tests at the same time, those of one tenant are at most one in so many.
const TENANT_PART: usize = 8;

/// Tests at the same time: they take places of deliveries.
pub struct Trials(FairSemaphore<TenantId>);

impl Trials {
    /// At most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(FairSemaphore::new(most, most / TENANT_PART))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    success: bool,
    status: Option<u16>,
    duration_ms: u64,
    error: Option<String>,
    answer: Option<String>,
}

/// Tests an endpoint.
///
/// # Errors
/// See the catalogue. An endpoint that does not take it is no error of this request.
pub async fn test(
    manager: Manager,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    trials: web::Data<Trials>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    let Some(place) = trials.0.try_acquire(&endpoint.tenant) else { return Err(Problem::Overloaded) };
    // It is held by the attempt: that goes on when the caller hangs up.
    let (answer, duration) = webhooks.test(endpoint, place).await?;
    Ok(HttpResponse::Ok().json(Answer {
        success: answer.is_success(),
        status: answer.status,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        answer: text(&answer.body),
        error: answer.error,
    }))
}
