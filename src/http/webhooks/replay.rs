//! `POST`, `GET` and `DELETE /api/webhooks/{id}/replay`: a part of the log is delivered again, under the same
//! `webhook-id`s. What is new waits until it is done, so that the order of each session holds.

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{ReplayProgress, WebhookEndpoint, WebhooksHandle};
use amoiq_events::{EventStore, Position, Timestamp, store::position_at};
use serde::Serialize;

use super::{Manager, refusal::ask};
use crate::{api::problem::Problem, http::fields::Fields};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplayView {
    from: u64,
    to: u64,
    position: u64,
    begun: u64,
    status: &'static str,
}

impl ReplayView {
    fn of(replay: ReplayProgress) -> Self {
        Self {
            from: replay.after.as_u64(),
            to: replay.until.as_u64(),
            position: replay.cursor.as_u64(),
            begun: replay.begun,
            status: match replay {
                ReplayProgress { is_cancelled: true, .. } => "cancelled",
                replay if replay.is_over() => "done",
                _ => "running",
            },
        }
    }
}

/// A place in the log, as it can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A position.
    At(Position),
    /// A moment.
    Since(Timestamp),
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let position = text.parse().ok().map(|position| Self::At(Position::from_u64(position)));
        position.or_else(|| Timestamp::parse(text).map(Self::Since))
    }

    /// The position that ends what is before it.
    pub(super) async fn find(self, store: &dyn EventStore) -> Result<Position, Problem> {
        match self {
            Self::At(position) => Ok(position),
            Self::Since(time) => Ok(position_at(store, time).await?),
        }
    }
}

/// Starts a replay.
///
/// # Errors
/// See the catalogue.
pub async fn start(
    mut manager: Manager,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    store: web::Data<dyn EventStore>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    let from = place(&mut manager.body, "from");
    let from = manager.body.required("from", from);
    let to = place(&mut manager.body, "to");
    manager.body.check()?;
    let from = from.ok_or(Problem::Internal)?.find(&**store).await?;
    let to = match to {
        Some(to) => Some(to.find(&**store).await?),
        None => None,
    };
    if to.is_some_and(|to| to < from) {
        return Err(Problem::field("to", "must not be before `from`"));
    }
    ask(webhooks.replay(&endpoint.tenant, &endpoint.id, from, to)).await?;
    let replay = of(&endpoint, &webhooks).await?;
    Ok(HttpResponse::Accepted().json(ReplayView::of(replay)))
}

/// The place that a field names.
pub(super) fn place(body: &mut Fields, name: &'static str) -> Option<Place> {
    let text = body.moment(name)?;
    let place = Place::parse(text.as_str());
    if place.is_none() {
        body.refuse(name, "must be an RFC 3339 time, or a position");
    }
    place
}

/// Shows the replay that runs, or the last one.
///
/// # Errors
/// See the catalogue.
pub async fn progress(
    manager: Manager,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let replay = of(&manager.endpoint(&id)?, &webhooks).await?;
    Ok(HttpResponse::Ok().json(ReplayView::of(replay)))
}

/// Ends the replay that runs. What it has begun is delivered all the same.
///
/// # Errors
/// See the catalogue.
pub async fn cancel(
    manager: Manager,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    ask(webhooks.cancel_replay(&endpoint.tenant, &endpoint.id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn of(endpoint: &WebhookEndpoint, webhooks: &WebhooksHandle) -> Result<ReplayProgress, Problem> {
    let standing = ask(webhooks.status(&endpoint.tenant, &endpoint.id)).await?;
    standing.replay.ok_or(Problem::NotKept("no replay of this webhook was started"))
}
