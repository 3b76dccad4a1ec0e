//! Reads the log once for all endpoints and hands each lane what is for it; starts a lane for each
//! endpoint that there is, and ends those whose endpoint was deleted.
//!
//! A lane that does not keep up is not waited for: it notices the gap and reads for itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use amoiq_events::{Position, SessionId, TenantId, WebhookId, store::Batch};

use super::{
    courier::{Announcement, Endpoint},
    desk::{Desk, announce},
    lane::{AskStanding, Beginning, Forget, LaneRefusal, Offer, Stop, Update, WebhookLane},
    outbox::{LaneId, OutboxError},
};

/// How many messages wait for the router.
const MAILBOX: usize = 64;

/// How often lanes note how far they are although there was nothing for them.
const SWEEP: Duration = Duration::from_secs(10);

/// How long it waits when the log or `outbox.db` does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far back the router begins after a start, in positions: lanes that are further behind read for
/// themselves.
const LOOK_BACK: u64 = 100_000;

/// A lane, as the router knows it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) lane: Addr<WebhookLane>,
    pub(super) id: LaneId,
    pub(super) endpoint: Arc<Endpoint>,
    /// It was brought everything up to here, or passed it by.
    upto: Position,
    /// The router has seen nothing for it up to here, when it was asked for the link.
    routed: Position,
}

impl Link {
    /// Asks its lane how it is doing.
    pub(super) fn standing(&self) -> Request<WebhookLane, AskStanding> {
        self.lane.send(AskStanding { upto: self.upto, routed: self.routed })
    }
}

/// The actor that brings lanes the log.
pub(super) struct WebhookRouter {
    desk: Arc<Desk>,
    /// In one order, so that a simulation's seed is one run.
    lanes: BTreeMap<TenantId, BTreeMap<WebhookId, Link>>,
    /// Every lane was brought everything up to here.
    routed: Position,
}

impl WebhookRouter {
    /// Starts the router on an arbiter.
    pub(super) fn launch(desk: Arc<Desk>, arbiter: &ArbiterHandle) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, |ctx| Self::new(desk, ctx))
    }

    /// Starts the router on the caller's own thread.
    pub(super) fn launch_here(desk: Arc<Desk>) -> Addr<Self> {
        Self::create(|ctx| Self::new(desk, ctx))
    }

    fn new(desk: Arc<Desk>, ctx: &mut Context<Self>) -> Self {
        ctx.set_mailbox_capacity(MAILBOX);
        Self { desk, lanes: BTreeMap::new(), routed: Position::START }
    }

    /// Starts lanes for endpoints that have none. The first time it also decides where the router begins.
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

    pub(super) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    fn link(&self, tenant: &TenantId, webhook: &WebhookId) -> Option<&Link> {
        self.lanes.get(tenant)?.get(webhook)
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.lanes.values().flat_map(BTreeMap::values)
    }

    /// Whether an endpoint has its lane, which knows it as it is.
    fn is_served(&self, endpoint: &Endpoint) -> bool {
        self.link(&endpoint.tenant, &endpoint.id).is_some_and(|link| *link.endpoint == *endpoint)
    }

    /// Ends the lanes whose endpoint is not there any more.
    fn end_others(&mut self, wanted: &[Arc<Endpoint>]) {
        let wanted: BTreeSet<_> = wanted.iter().map(|endpoint| (&endpoint.tenant, &endpoint.id)).collect();
        for of_tenant in self.lanes.values_mut() {
            of_tenant.retain(|_, link| {
                let stays = wanted.contains(&(&link.endpoint.tenant, &link.endpoint.id));
                if !stays && let Err(error) = link.lane.try_send(Stop) {
                    tracing::warn!(%error, "a lane does not hear that its endpoint was deleted");
                }
                stays
            });
        }
    }
}

impl Actor for WebhookRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (desk, router) = (Arc::clone(&self.desk), ctx.address());
        ctx.spawn(run(desk, router).into_actor(self));
        ctx.run_interval(SWEEP, |_, ctx| ctx.notify(Sweep));
    }
}

/// Takes the outbox over, then follows the tenants and the log.
async fn run(desk: Arc<Desk>, router: Addr<WebhookRouter>) {
    let mut changes = desk.registry.changes();
    while let Err(error) = desk.outbox.adopt(desk.store.epoch(), desk.store.head()).await {
        tracing::error!(%error, "webhooks wait for outbox.db");
        tokio::time::sleep(RETRY_AFTER).await;
    }
    while !reconcile(&router, true).await {
        tokio::time::sleep(RETRY_AFTER).await;
    }
    let Ok(routed) = router.send(AskRouted).await else { return };
    let mut subscription = desk.store.subscribe(routed);
    loop {
        tokio::select! {
            // Endpoints first: what was appended after a change is for those that there are then.
            biased;
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                while !reconcile(&router, false).await {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            batch = subscription.next() => match batch {
                Ok(Some(batch)) => {
                    if router.send(Route(batch)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "webhooks do not follow the log; they try again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

async fn reconcile(router: &Addr<WebhookRouter>, is_first: bool) -> bool {
    match router.send(Reconcile { is_first }).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "endpoints wait for outbox.db");
            false
        }
        Err(_stopping) => true,
    }
}

/// Where the router is.
#[derive(Message)]
#[rtype(result = "Position")]
struct AskRouted;

impl Handler<AskRouted> for WebhookRouter {
    type Result = MessageResult<AskRouted>;

    fn handle(&mut self, _: AskRouted, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.routed)
    }
}

/// Brings the lanes a part of the log.
#[derive(Message)]
#[rtype(result = "()")]
struct Route(Batch);

impl Handler<Route> for WebhookRouter {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Route(batch): Route, _: &mut Self::Context) -> Self::Result {
        let mut announcements: BTreeMap<TenantId, Vec<Arc<Announcement>>> = BTreeMap::new();
        for event in batch.iter() {
            if let Some(announcement) = announce(event).filter(|one| self.lanes.contains_key(&one.tenant)) {
                announcements.entry(announcement.tenant.clone()).or_default().push(announcement);
            }
        }
        self.routed = batch.last().map_or(self.routed, |last| last.position);
        let mut offers = Vec::new();
        for (tenant, announcements) in announcements {
            for link in self.lanes.get_mut(&tenant).into_iter().flat_map(BTreeMap::values_mut) {
                let after = std::mem::replace(&mut link.upto, self.routed);
                let offer = Offer { after, upto: self.routed, announcements: announcements.clone() };
                offers.push(link.lane.send(offer));
            }
        }
        AtomicResponse::new(Box::pin(deliver(offers).into_actor(self)))
    }
}

/// A lane never waits, so this takes as long as they need to look at it. One that is gone was deleted.
async fn deliver(offers: Vec<Request<WebhookLane, Offer>>) {
    for offer in offers {
        let _deleted = offer.await;
    }
}

/// Lets every lane note how far it is.
#[derive(Message)]
#[rtype(result = "()")]
struct Sweep;

impl Handler<Sweep> for WebhookRouter {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Sweep, ctx: &mut Self::Context) -> Self::Result {
        if self.links().any(|link| !link.lane.connected()) {
            tracing::error!("a webhook lane had ended by itself; it is started again from where it was");
            ctx.notify(Reconcile { is_first: false });
        }
        let upto = self.routed;
        let sweep = |link: &mut Link| {
            let after = std::mem::replace(&mut link.upto, upto);
            link.lane.send(Offer { after, upto, announcements: Vec::new() })
        };
        let offers = self.lanes.values_mut().flat_map(BTreeMap::values_mut).map(sweep).collect();
        AtomicResponse::new(Box::pin(deliver(offers).into_actor(self)))
    }
}

/// Makes the lanes follow the tenants' endpoints.
#[derive(Message)]
#[rtype(result = "Result<(), OutboxError>")]
struct Reconcile {
    is_first: bool,
}

impl Handler<Reconcile> for WebhookRouter {
    type Result = AtomicResponse<Self, Result<(), OutboxError>>;

    fn handle(&mut self, Reconcile { is_first }: Reconcile, _: &mut Self::Context) -> Self::Result {
        let wanted = endpoints(&self.desk);
        self.end_others(&wanted);
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
                    link.endpoint = Arc::clone(&endpoint);
                    updates.push(link.lane.send(Update(endpoint)));
                }
                None => missing.push(endpoint),
            }
        }
        let desk = Arc::clone(&self.desk);
        let work = async move {
            for update in updates {
                let _deleted = update.await;
            }
            forget_deleted(&desk).await?;
            let mut beginnings = Vec::new();
            for endpoint in missing {
                beginnings.push(beginning(&desk, endpoint).await?);
            }
            Ok::<_, OutboxError>(beginnings)
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(move |beginnings, router, _| {
            router.begin(beginnings?, is_first);
            Ok(())
        })))
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

/// Forgets the lanes of endpoints that were deleted, also those of which a crash left something.
async fn forget_deleted(desk: &Desk) -> Result<(), OutboxError> {
    for (lane, tenant, webhook) in desk.outbox.lanes().await? {
        let is_deleted = desk.registry.current().is_deleted(&tenant, &webhook);
        if is_deleted {
            desk.outbox.remove(lane).await?;
        }
    }
    Ok(())
}

async fn beginning(desk: &Desk, endpoint: Arc<Endpoint>) -> Result<Beginning, OutboxError> {
    let start = endpoint.webhook.registered.position;
    let (id, marks) = desk.outbox.lane(&endpoint.tenant, &endpoint.id, start).await?;
    let pending = desk.outbox.pending(id).await?;
    let settled = desk.outbox.settled_after(id, marks.cursor).await?;
    Ok(Beginning { id, endpoint, marks, pending, settled, known: Position::START })
}

/// Has a tenant's lanes forget sessions that were erased.
#[derive(Message)]
#[rtype(result = "Result<(), LaneRefusal>")]
pub(super) struct ForgetAll {
    pub(super) tenant: TenantId,
    /// Each before a position.
    pub(super) sessions: Arc<HashMap<SessionId, Position>>,
}

impl Handler<ForgetAll> for WebhookRouter {
    type Result = ResponseFuture<Result<(), LaneRefusal>>;

    fn handle(&mut self, ForgetAll { tenant, sessions }: ForgetAll, _: &mut Self::Context) -> Self::Result {
        let links = self.lanes.get(&tenant).into_iter().flat_map(BTreeMap::values);
        let forget = |link: &Link| link.lane.send(Forget(Arc::clone(&sessions)));
        let asked: Vec<_> = links.map(forget).collect();
        Box::pin(async move {
            for one in asked {
                // A lane that is gone was deleted, with everything of it.
                if let Ok(forgotten) = one.await {
                    forgotten?;
                }
            }
            Ok(())
        })
    }
}

/// Finds the lane of an endpoint.
#[derive(Message)]
#[rtype(result = "Option<Link>")]
pub(super) struct Find(pub(super) TenantId, pub(super) WebhookId);

impl Handler<Find> for WebhookRouter {
    type Result = MessageResult<Find>;

    fn handle(&mut self, Find(tenant, webhook): Find, _: &mut Self::Context) -> Self::Result {
        let found = self.link(&tenant, &webhook).cloned();
        MessageResult(found.map(|link| Link { routed: self.routed, ..link }))
    }
}

/// All lanes.
#[derive(Message)]
#[rtype(result = "Vec<Link>")]
pub(super) struct All;

impl Handler<All> for WebhookRouter {
    type Result = MessageResult<All>;

    fn handle(&mut self, _: All, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.links().cloned().map(|link| Link { routed: self.routed, ..link }).collect())
    }
}
