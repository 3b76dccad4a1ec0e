//! What the router follows: the tenants' endpoints, the nodes, and the log.

use std::{pin::pin, sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    cluster::ClusterView,
    store::{EventBatch, LogSubscription, ReadError},
};
use tokio::sync::watch;

use super::{
    GetRoutedPosition, RouteBatch, WebhookRouter,
    reconcile::{ReconcileCause, ReconcileLanes},
};
use crate::webhooks::services::LaneServices;

/// How long the router waits when the log does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long the router leaves the log alone while there are no endpoints: it is not woken for every commit. A lane that starts
/// meanwhile reads for itself what was not routed.
const WITHOUT_LANES: Duration = Duration::from_millis(50);

/// How many batches of the log are routed between two changes of endpoints, if there are so many. Several changes in a
/// row are handled as one; the events of the log are not.
const BATCHES_PER_CHANGE: u32 = 64;

/// Starts the lanes, then follows tenants and log until the router ends.
pub(super) async fn start_and_follow(services: Arc<LaneServices>, router: Addr<WebhookRouter>) {
    let (changes, nodes) = (services.registry.changes(), services.leases.view());
    if router.send(ReconcileLanes(ReconcileCause::Start)).await.is_err() {
        return;
    }
    let Ok(routed) = router.send(GetRoutedPosition).await else { return };
    follow((changes, nodes), services.log.subscribe(routed), &router).await;
}

/// What comes next.
enum RouterStep {
    Change(bool),
    Batch(Result<Option<EventBatch>, ReadError>),
    /// The log has nothing more: changes are due again.
    CaughtUp,
}

/// What lanes there are depends on: the tenants' endpoints, and the nodes.
type LaneSources = (watch::Receiver<()>, watch::Receiver<Arc<ClusterView>>);

/// Follows the tenants, the nodes and the log. The order is fixed, so that a seed of the simulation always gives the same run:
/// changes of endpoints go first. After each change some batches of the log are routed, so that endpoints that change
/// all the time cannot stop the log. A lane that starts after a message has been routed reads that message itself.
async fn follow(mut sources: LaneSources, subscription: LogSubscription, router: &Addr<WebhookRouter>) {
    let mut reading = pin!(next_batch(subscription, Duration::ZERO));
    let mut pause = Duration::ZERO;
    let mut batches_left = 0;
    loop {
        let step = tokio::select! {
            biased;
            is_open = next_change(&mut sources), if batches_left == 0 => RouterStep::Change(is_open),
            (subscription, batch) = &mut reading => {
                // A read is never cancelled: if a change dropped it, it would have to start again.
                reading.set(next_batch(subscription, pause));
                RouterStep::Batch(batch)
            }
            () = std::future::ready(()), if batches_left > 0 => RouterStep::CaughtUp,
        };
        batches_left = match step {
            RouterStep::Change(_) => BATCHES_PER_CHANGE,
            RouterStep::Batch(_) => batches_left.saturating_sub(1),
            RouterStep::CaughtUp => 0,
        };
        let goes_on = match step {
            RouterStep::Change(is_open) => {
                is_open && router.send(ReconcileLanes(ReconcileCause::Change)).await.is_ok()
            }
            RouterStep::Batch(Ok(Some(batch))) => {
                let routed = router.send(RouteBatch(batch)).await;
                pause = if matches!(routed, Ok(false)) { WITHOUT_LANES } else { Duration::ZERO };
                routed.is_ok()
            }
            RouterStep::Batch(Ok(None)) => false,
            RouterStep::Batch(Err(error)) => {
                tracing::error!(%error, "webhooks cannot follow the log; trying again");
                tokio::time::sleep(RETRY_AFTER).await;
                true
            }
            RouterStep::CaughtUp => true,
        };
        if !goes_on {
            return;
        }
    }
}

/// Waits for a change. Returns whether there can be more.
async fn next_change((tenants, nodes): &mut LaneSources) -> bool {
    tokio::select! {
        biased;
        changed = tenants.changed() => changed.is_ok(),
        // A node that has left hears nothing more of the others.
        Ok(()) = nodes.changed() => true,
    }
}

async fn next_batch(
    mut subscription: LogSubscription,
    pause: Duration,
) -> (LogSubscription, Result<Option<EventBatch>, ReadError>) {
    if !subscription.has_more() {
        tokio::time::sleep(pause).await;
    }
    let batch = subscription.next().await;
    (subscription, batch)
}
