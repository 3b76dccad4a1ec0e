//! Makes the lanes follow the tenants' endpoints: a lane for each, and none for one that was deleted.
//!
//! An endpoint whose part of `outbox.db` cannot be read keeps nobody else from being served; it is looked at
//! again with the next sweep.

use super::*;
use crate::webhooks::outbox::damaged;

/// Makes the lanes follow the tenants' endpoints. The first time it also decides where the router begins.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Reconcile {
    pub(super) is_first: bool,
}

impl Handler<Reconcile> for WebhookRouter {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Reconcile { is_first }: Reconcile, ctx: &mut Self::Context) -> Self::Result {
        let wanted = endpoints(&self.desk);
        let has_ended = self.end_others(&wanted);
        self.lanes.values_mut().for_each(|links| links.retain(|_, link| link.lane.connected()));
        let mut updates = Vec::new();
        let mut missing = Vec::new();
        for endpoint in wanted {
            if self.is_served(&endpoint) {
                continue;
            }
            let of_tenant = self.lanes.get_mut(&endpoint.tenant);
            match of_tenant.and_then(|links| links.get_mut(&endpoint.id)) {
                Some(link) => {
                    link.endpoint = endpoint;
                    updates.push(link.lane.send(Look));
                }
                None => missing.push(endpoint),
            }
        }
        // One that never had its lane may be among those that went.
        if is_first || has_ended || self.is_incomplete {
            self.forget_deleted(ctx);
        }
        let desk = Arc::clone(&self.desk);
        let work = async move {
            for update in updates {
                let _deleted = update.await;
            }
            let mut beginnings = Vec::new();
            let mut is_incomplete = false;
            for endpoint in missing {
                match beginning(&desk, Arc::clone(&endpoint)).await {
                    Ok(beginning) => beginnings.push(beginning),
                    Err(error) => {
                        is_incomplete = true;
                        tracing::error!(%error, tenant.id = %endpoint.tenant, webhook.id = %endpoint.id,
                            "an endpoint waits for outbox.db");
                    }
                }
            }
            (beginnings, is_incomplete)
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(
            move |(beginnings, is_incomplete), router, _| {
                router.is_incomplete = is_incomplete;
                router.begin(beginnings, is_first);
            },
        )))
    }
}

impl WebhookRouter {
    /// Starts lanes for endpoints that have none.
    fn begin(&mut self, beginnings: Vec<Beginning>, is_first: bool) {
        if is_first {
            let head = self.desk.store.head();
            let cursors = beginnings.iter().map(|beginning| beginning.marks.cursor);
            let earliest = Position::from_u64(head.as_u64().saturating_sub(LOOK_BACK));
            self.routed = cursors.min().unwrap_or(head).clamp(earliest, head);
        }
        for mut beginning in beginnings {
            beginning.known = self.routed;
            let (id, endpoint) = (beginning.id, Arc::clone(&beginning.endpoint));
            let lane = WebhookLane::launch(Arc::clone(&self.desk), beginning);
            let of_tenant = self.lanes.entry(endpoint.tenant.clone()).or_default();
            let link = Link { lane, id, endpoint, upto: self.routed, routed: self.routed };
            of_tenant.insert(link.endpoint.id.clone(), link);
        }
    }

    /// Whether an endpoint has its lane, which knows it as it is.
    fn is_served(&self, endpoint: &Endpoint) -> bool {
        self.link(&endpoint.tenant, &endpoint.id).is_some_and(|link| *link.endpoint == *endpoint)
    }

    /// Removes what deleted endpoints left, beside the routing: a long history goes in many steps. Once at a time.
    pub(super) fn forget_deleted(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_forgetting, true) {
            self.forgets_again = true;
            return;
        }
        self.forgets_again = false;
        let forgetting = forget_deleted(Arc::clone(&self.desk)).into_actor(self);
        ctx.spawn(forgetting.map(|is_done, router, _| {
            router.is_forgetting = false;
            router.forgets_again |= !is_done;
        }));
    }

    /// Ends the lanes whose endpoint is not there any more; whether there were any.
    fn end_others(&mut self, wanted: &[Arc<Endpoint>]) -> bool {
        let wanted: BTreeSet<_> = wanted.iter().map(|endpoint| (&endpoint.tenant, &endpoint.id)).collect();
        let mut has_ended = false;
        for of_tenant in self.lanes.values_mut() {
            of_tenant.retain(|_, link| {
                let stays = wanted.contains(&(&link.endpoint.tenant, &link.endpoint.id));
                if !stays && let Err(error) = link.lane.try_send(Stop) {
                    tracing::warn!(%error, "a lane does not hear that its endpoint was deleted");
                }
                has_ended |= !stays;
                stays
            });
        }
        has_ended
    }
}

/// The endpoints of all tenants that are served, the paused and disabled ones among them, in one order.
fn endpoints(desk: &Desk) -> Vec<Arc<Endpoint>> {
    let snapshot = desk.registry.current();
    let mut endpoints = Vec::new();
    for (tenant, known) in snapshot.tenants() {
        for (id, webhook) in known.webhooks() {
            let (tenant, id, webhook) = (tenant.clone(), id.clone(), webhook.clone());
            endpoints.push(Arc::new(Endpoint { tenant, id, webhook }));
        }
    }
    endpoints.sort_by(|one, other| (&one.tenant, &one.id).cmp(&(&other.tenant, &other.id)));
    endpoints
}

/// Forgets the lanes of endpoints that were deleted, also those of which a crash left something. Whether all of them
/// went. One whose row is damaged is nobody's, and stays.
async fn forget_deleted(desk: Arc<Desk>) -> bool {
    let lanes = match desk.outbox.lanes().await {
        Ok(lanes) => lanes,
        Err(error) => {
            tracing::error!(%error, "deleted endpoints stay in outbox.db until the next look");
            return false;
        }
    };
    let mut is_done = true;
    for (lane, names) in lanes {
        let Ok((tenant, webhook)) = names.inspect_err(|error| damaged(lane, error)) else { continue };
        let is_deleted = desk.registry.current().is_deleted(&tenant, &webhook);
        if is_deleted && let Err(error) = desk.outbox.remove(lane).await {
            is_done = false;
            tracing::error!(%error, tenant.id = %tenant, webhook.id = %webhook,
                "a deleted endpoint stays in outbox.db until the next look");
        }
    }
    is_done
}

async fn beginning(desk: &Desk, endpoint: Arc<Endpoint>) -> Result<Beginning, OutboxError> {
    let start = endpoint.webhook.registered.position;
    let (id, marks) = desk.outbox.lane(&endpoint.tenant, &endpoint.id, start).await?;
    let pending = desk.outbox.unsettled(id).await?;
    let settled = desk.outbox.settled_after(id, marks.cursor).await?;
    Ok(Beginning { id, endpoint, marks, pending, settled, known: Position::START })
}
