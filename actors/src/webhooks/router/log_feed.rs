//! Follows the tenants' endpoints and the log, and tells the router about both.

use std::{pin::pin, sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::store::{EventBatch, LogSubscription, ReadError};
use tokio::sync::watch;

use super::{GetRoutedPosition, RouteBatch, WebhookRouter, reconcile::ReconcileLanes};
use crate::webhooks::services::LaneServices;

/// How long it waits when the log does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many batches of the log are routed between two changes of endpoints, if there are so many. Several changes in a
/// row are handled as one; the events of the log are not.
const BATCHES_PER_CHANGE: u32 = 64;

/// Starts the lanes, then follows tenants and log until the router ends.
pub(super) async fn run(services: Arc<LaneServices>, router: Addr<WebhookRouter>) {
    let changes = services.registry.changes();
    if router.send(ReconcileLanes { is_first: true }).await.is_err() {
        return;
    }
    let Ok(routed) = router.send(GetRoutedPosition).await else { return };
    follow(changes, services.log.subscribe(routed), &router).await;
}

/// What comes next.
enum FeedStep {
    Change(bool),
    Batch(Result<Option<EventBatch>, ReadError>),
    /// The log has nothing more: changes are due again.
    CaughtUp,
}

/// Follows the tenants and the log. The order is fixed, so that a seed of the simulation always gives the same run:
/// changes of endpoints go first. After each change some batches of the log are routed, so that endpoints that change
/// all the time cannot stop the log. A lane that starts after a message has been routed reads that message itself.
async fn follow(
    mut changes: watch::Receiver<()>,
    subscription: LogSubscription,
    router: &Addr<WebhookRouter>,
) {
    let mut reading = pin!(next(subscription));
    let mut batches_left = 0;
    loop {
        let step = tokio::select! {
            biased;
            changed = changes.changed(), if batches_left == 0 => FeedStep::Change(changed.is_ok()),
            (subscription, batch) = &mut reading => {
                // A read is never cancelled: if a change dropped it, it would have to start again.
                reading.set(next(subscription));
                FeedStep::Batch(batch)
            }
            () = std::future::ready(()), if batches_left > 0 => FeedStep::CaughtUp,
        };
        batches_left = match step {
            FeedStep::Change(_) => BATCHES_PER_CHANGE,
            FeedStep::Batch(_) => batches_left.saturating_sub(1),
            FeedStep::CaughtUp => 0,
        };
        let goes_on = match step {
            FeedStep::Change(is_open) => {
                is_open && router.send(ReconcileLanes { is_first: false }).await.is_ok()
            }
            FeedStep::Batch(Ok(Some(batch))) => router.send(RouteBatch(batch)).await.is_ok(),
            FeedStep::Batch(Ok(None)) => false,
            FeedStep::Batch(Err(error)) => {
                tracing::error!(%error, "webhooks cannot follow the log; trying again");
                tokio::time::sleep(RETRY_AFTER).await;
                true
            }
            FeedStep::CaughtUp => true,
        };
        if !goes_on {
            return;
        }
    }
}

async fn next(mut subscription: LogSubscription) -> (LogSubscription, Result<Option<EventBatch>, ReadError>) {
    let batch = subscription.next().await;
    (subscription, batch)
}
