//! Makes the lanes match the tenants' endpoints: one lane for each endpoint, on the node that has its lease, and none for a
//! deleted one.
//!
//! If the rows of one endpoint cannot be read, the others are served all the same; the next sweep tries
//! again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::prelude::*;
use amoiq_events::{
    Position,
    cluster::{HeldLease, LeaseName},
};

use super::{LaneLink, WebhookRouter};
use crate::webhooks::{
    delivery_store::{DeliveryStoreError, log_damaged},
    lane::{LaneStart, RefreshEndpoint, StopLane, WebhookLane},
    sender::WebhookEndpoint,
    services::LaneServices,
};

/// The kind of the leases of lanes. A router hands each over to the node that is preferred for it.
pub const LANE_LEASES: &str = "webhook";

/// How far before the head the router starts reading at the most, in positions. Lanes further behind read for
/// themselves.
const LOOK_BACK: u64 = 100_000;

/// Why lanes are made to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReconcileCause {
    /// The router starts: it also decides where it starts to read.
    Start,
    /// Tenants or nodes have changed.
    Change,
    /// Some time has passed. Leases that are rather for another node are asked for too: it may not want them.
    Sweep,
}

/// Makes the lanes match the tenants' endpoints, as far as they are this node's.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReconcileLanes(pub(super) ReconcileCause);

impl Handler<ReconcileLanes> for WebhookRouter {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, ReconcileLanes(cause): ReconcileLanes, ctx: &mut Self::Context) -> Self::Result {
        let wanted = all_endpoints(&self.services);
        let given_up = self.stop_unwanted(&wanted);
        let has_stopped = !given_up.is_empty();
        self.lanes.values_mut().for_each(|links| links.retain(|_, link| link.lane.connected()));
        let mut updates = Vec::new();
        let mut missing = Vec::new();
        for endpoint in wanted {
            if self.is_up_to_date(&endpoint) {
                continue;
            }
            let of_tenant = self.lanes.get_mut(&endpoint.tenant);
            match of_tenant.and_then(|links| links.get_mut(&endpoint.id)) {
                Some(link) => {
                    link.endpoint = endpoint;
                    updates.push(link.lane.send(RefreshEndpoint));
                }
                None => missing.push(endpoint),
            }
        }
        // An endpoint may have been deleted before it ever had its lane.
        if cause == ReconcileCause::Start || has_stopped || self.is_incomplete {
            self.remove_deleted(ctx);
        }
        self.hand_over(ctx);
        let services = Arc::clone(&self.services);
        let work = async move {
            for update in updates {
                let _deleted = update.await;
            }
            if has_stopped && let Err(error) = services.leases.release(given_up).await {
                tracing::warn!(%error, "leases of deleted endpoints stay until this node leaves");
            }
            start_missing(&services, missing, cause).await
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(move |started, router, _| {
            router.is_incomplete = started.is_incomplete;
            router.is_partial = started.is_partial;
            router.start_lanes(started.lanes, cause);
        })))
    }
}

impl WebhookRouter {
    fn start_lanes(&mut self, starts: Vec<LaneStart>, cause: ReconcileCause) {
        if cause == ReconcileCause::Start {
            let head = self.services.log.head();
            let cursors = starts.iter().map(|start| start.progress.cursor);
            let near = cursors.filter(|cursor| self.services.log.events_after(*cursor) <= LOOK_BACK);
            self.routed = near.min().unwrap_or(head).min(head);
        }
        for mut start in starts {
            start.known = self.routed;
            let (id, lease, endpoint) = (start.id, start.lease.clone(), Arc::clone(&start.endpoint));
            let lane = WebhookLane::launch(Arc::clone(&self.services), start);
            let of_tenant = self.lanes.entry(endpoint.tenant.clone()).or_default();
            let link = LaneLink { lane, id, endpoint, lease, offered: self.routed, routed: self.routed };
            of_tenant.insert(link.endpoint.id.clone(), link);
        }
    }

    /// Whether an endpoint has a lane that knows its present settings.
    fn is_up_to_date(&self, endpoint: &WebhookEndpoint) -> bool {
        self.link(&endpoint.tenant, &endpoint.id).is_some_and(|link| *link.endpoint == *endpoint)
    }

    /// Removes what deleted endpoints left in `outbox.db`, in many short steps and beside the routing. One removal runs
    /// at a time.
    pub(super) fn remove_deleted(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_removing, true) {
            self.removes_again = true;
            return;
        }
        self.removes_again = false;
        let removing = remove_deleted(Arc::clone(&self.services)).into_actor(self);
        ctx.spawn(removing.map(|is_complete, router, _| {
            router.is_removing = false;
            router.removes_again |= !is_complete;
        }));
    }

    /// Stops the lanes of endpoints that no longer exist, and those that are not this node's any more. Returns the leases of
    /// the first.
    fn stop_unwanted(&mut self, wanted: &[Arc<WebhookEndpoint>]) -> Vec<HeldLease> {
        let wanted: BTreeSet<_> = wanted.iter().map(|endpoint| (&endpoint.tenant, &endpoint.id)).collect();
        let mut given_up = Vec::new();
        for of_tenant in self.lanes.values_mut() {
            of_tenant.retain(|_, link| {
                let is_wanted = wanted.contains(&(&link.endpoint.tenant, &link.endpoint.id));
                if !is_wanted {
                    given_up.push(link.lease.clone());
                }
                let stays = is_wanted && !link.lease.is_over();
                if !stays && let Err(SendError::Full(_)) = link.lane.try_send(StopLane) {
                    tracing::warn!("a lane could not be told that it is over");
                }
                stays
            });
        }
        given_up
    }
}

/// The endpoints of all served tenants, including paused and disabled ones, sorted.
fn all_endpoints(services: &LaneServices) -> Vec<Arc<WebhookEndpoint>> {
    let snapshot = services.registry.current();
    let mut endpoints = Vec::new();
    for (tenant_id, tenant) in snapshot.tenants() {
        for (id, webhook) in tenant.webhooks() {
            let (tenant, id, webhook) = (tenant_id.clone(), id.clone(), webhook.clone());
            endpoints.push(Arc::new(WebhookEndpoint { tenant, id, webhook }));
        }
    }
    endpoints.sort_by(|one, other| (&one.tenant, &one.id).cmp(&(&other.tenant, &other.id)));
    endpoints
}

/// Removes the lanes of deleted endpoints from `outbox.db`, including what a crash left. Returns whether all of them are
/// gone. A lane whose row is damaged cannot be assigned to an endpoint, and stays.
async fn remove_deleted(services: Arc<LaneServices>) -> bool {
    let lanes = match services.deliveries.lanes().await {
        Ok(lanes) => lanes,
        Err(error) => {
            tracing::error!(%error, "deleted endpoints stay in outbox.db until the next attempt");
            return false;
        }
    };
    let mut is_complete = true;
    for (lane, owner) in lanes {
        let Ok((tenant, webhook)) = owner.inspect_err(|error| log_damaged(lane, error)) else { continue };
        let is_deleted = services.registry.current().is_deleted(&tenant, &webhook);
        if is_deleted && let Err(error) = services.deliveries.remove(lane).await {
            is_complete = false;
            tracing::error!(%error, tenant.id = %tenant, webhook.id = %webhook,
                "a deleted endpoint stays in outbox.db until the next attempt");
        }
    }
    is_complete
}

/// What came of starting the lanes of some endpoints.
#[derive(Default)]
struct StartedLanes {
    lanes: Vec<LaneStart>,
    /// Something did not answer.
    is_incomplete: bool,
    /// Some are another node's.
    is_partial: bool,
}

/// Asks for the leases of endpoints without a lane, and reads what the lanes start from whose leases are granted.
async fn start_missing(
    services: &LaneServices,
    missing: Vec<Arc<WebhookEndpoint>>,
    cause: ReconcileCause,
) -> StartedLanes {
    let mut started = StartedLanes::default();
    let mut asked = BTreeMap::new();
    {
        let view = services.leases.view();
        let view = view.borrow();
        for endpoint in missing {
            let name = lease_name(&endpoint);
            if cause == ReconcileCause::Sweep || view.is_preferred(&name) {
                asked.insert(name, endpoint);
            } else {
                started.is_partial = true;
            }
        }
    }
    if asked.is_empty() {
        return started;
    }
    let granted = match services.leases.acquire(asked.keys().cloned().collect()).await {
        Ok(granted) => granted,
        Err(error) => {
            tracing::warn!(%error, "endpoints have no lane on this node until leases are granted");
            return StartedLanes { is_incomplete: true, ..started };
        }
    };
    for lease in granted {
        let Some(endpoint) = asked.remove(lease.name()) else { continue };
        match load(services, Arc::clone(&endpoint), lease).await {
            Ok(start) => started.lanes.push(start),
            Err(error) => {
                started.is_incomplete = true;
                tracing::error!(%error, tenant.id = %endpoint.tenant, webhook.id = %endpoint.id,
                    "an endpoint has no lane until the outbox answers");
            }
        }
    }
    started.is_partial |= !asked.is_empty();
    started
}

/// The lease that the lane of an endpoint needs.
fn lease_name(endpoint: &WebhookEndpoint) -> LeaseName {
    LeaseName::new(LANE_LEASES, &format!("{}/{}", endpoint.tenant, endpoint.id))
}

/// Reads what a lane starts from.
async fn load(
    services: &LaneServices,
    endpoint: Arc<WebhookEndpoint>,
    lease: HeldLease,
) -> Result<LaneStart, DeliveryStoreError> {
    let registered = endpoint.webhook.registered.position;
    let (id, mut progress) = services.deliveries.lane(&endpoint.tenant, &endpoint.id, registered).await?;
    // One that another history set back gets nothing from before it was registered.
    progress.cursor = progress.cursor.max(registered);
    let unsettled = services.deliveries.unsettled(id).await?;
    let settled = services.deliveries.settled_after(id, progress.cursor).await?;
    Ok(LaneStart { lease, id, endpoint, progress, unsettled, settled, known: Position::START })
}
