//! `GET /api/webhooks/{id}`: an endpoint, and how it is doing.

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{LaneStatus, WebhooksHandle};
use amoiq_events::{EventStore, Position, Timestamp};
use serde::Serialize;

use super::{Manager, refusal::ask, view::EndpointView};
use crate::api::problem::Problem;

/// How an endpoint is doing, as its owner and operators are shown it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandingView {
    /// Events of the whole log, and not only those that are for it.
    lag_events: u64,
    pending: usize,
    refused: usize,
    in_flight: usize,
    failing_since: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

impl StandingView {
    /// Shows a standing; the log ends at `head`.
    #[must_use]
    pub fn of(standing: &LaneStatus, head: Position) -> Self {
        Self {
            lag_events: head.as_u64().saturating_sub(standing.cursor.as_u64()),
            pending: standing.pending,
            refused: standing.refused,
            in_flight: standing.in_flight,
            failing_since: standing.failing_since,
            not_before: standing.not_before,
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    endpoint: EndpointView<'a>,
    standing: StandingView,
}

/// Shows one endpoint.
///
/// # Errors
/// See the catalogue.
pub async fn read(
    manager: Manager,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    store: web::Data<dyn EventStore>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    let standing = ask(webhooks.status(&endpoint.tenant, &endpoint.id)).await?;
    let standing = StandingView::of(&standing, store.head());
    Ok(HttpResponse::Ok().json(Answer { endpoint: EndpointView::of(&endpoint), standing }))
}
