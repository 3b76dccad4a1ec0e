//! `POST /api/webhooks/{id}/test`: sends a signed `webhook.test` and tells what came back. It goes beside
//! what the endpoint waits for, is not kept, and is sent to one that is paused or disabled too.

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::Webhooks;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{Manager, deliveries::text};
use crate::problem::Problem;

/// Tests at the same time, of all tenants: they take places of deliveries.
pub struct Trials(Semaphore);

impl Trials {
    /// At most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Semaphore::new(most))
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
    webhooks: web::Data<Webhooks>,
    trials: web::Data<Trials>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    let Ok(_place) = trials.0.try_acquire() else { return Err(Problem::Overloaded) };
    let (answer, duration) = webhooks.test(endpoint).await?;
    Ok(HttpResponse::Ok().json(Answer {
        success: answer.is_success(),
        status: answer.status,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        answer: text(&answer.body),
        error: answer.error,
    }))
}
