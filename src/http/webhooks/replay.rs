//! `POST`, `GET` and `DELETE /api/webhooks/{id}/replay`: delivers a part of the log again, under the same
//! `webhook-id`s. New messages wait until it is done, so that the order of each session holds.

use std::ops::Bound;

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{ReplayProgress, WebhookEndpoint, WebhooksHandle};
use amoiq_events::{EventLog, Position};

use super::WebhookAdmin;
use crate::api::{
    field::Validation,
    problem::{Problem, in_time},
    webhooks::deliveries::{LogPlace, ReplayRequest, ReplayResponse},
};

/// Starts a replay.
///
/// # Errors
/// See the catalogue.
pub async fn start(
    mut admin: WebhookAdmin<ReplayRequest>,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    store: web::Data<dyn EventLog>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    let body = admin.take_body();
    let mut validation = Validation::new();
    let from = validation.required("from", body.from);
    let to = validation.optional("to", body.to);
    validation.finish()?;
    let from = from.ok_or(Problem::Internal)?;
    // Compared as they are named, too: after the newest event all positions are one place in the log.
    if let (LogPlace::Position(from), Some(LogPlace::Position(to))) = (from, to)
        && to < from
    {
        return Err(to_before_from());
    }
    let from = position_before(from, &**store).await?;
    let to = match to {
        Some(to) => Some(position_before(to, &**store).await?),
        None => None,
    };
    if to.is_some_and(|to| to < from) {
        return Err(to_before_from());
    }
    in_time(webhooks.replay(&endpoint.tenant, &endpoint.id, from, to)).await?;
    let replay = current(&endpoint, &webhooks).await?;
    Ok(HttpResponse::Accepted().json(ReplayResponse::from(replay)))
}

fn to_before_from() -> Problem {
    Problem::field("to", "must not be before `from`")
}

/// A position, or the last one before a time.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn position_before(place: LogPlace, store: &dyn EventLog) -> Result<Position, Problem> {
    match place {
        LogPlace::Position(position) => Ok(store.newest_within(Bound::Included(position)).await?),
        LogPlace::Time(time) => Ok(store.position_at(time).await?),
    }
}

/// Shows the replay that runs, or the last one.
///
/// # Errors
/// See the catalogue.
pub async fn progress(
    admin: WebhookAdmin,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let replay = current(&admin.endpoint(&id)?, &webhooks).await?;
    Ok(HttpResponse::Ok().json(ReplayResponse::from(replay)))
}

/// Ends the replay that runs. Deliveries that it has started are completed all the same.
///
/// # Errors
/// See the catalogue.
pub async fn cancel(
    admin: WebhookAdmin,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    in_time(webhooks.cancel_replay(&endpoint.tenant, &endpoint.id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn current(endpoint: &WebhookEndpoint, webhooks: &WebhooksHandle) -> Result<ReplayProgress, Problem> {
    let standing = in_time(webhooks.status(&endpoint.tenant, &endpoint.id)).await?;
    standing.replay.ok_or(Problem::NotKept("no replay of this webhook was started"))
}
