//! Reads the log once for all endpoints and offers each lane the messages of its tenant; starts a lane for each
//! endpoint, and stops the lanes of deleted ones.
//!
//! It never waits for a lane that is too slow: that lane notices the gap and reads the log for itself.

use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix::prelude::*;
use amoiq_events::{
    Position, RecordedEvent, SessionId, TenantId, WebhookId, cluster::HeldLease, store::EventBatch,
    stream::StreamKind,
};

use super::{
    delivery_store::LaneId,
    lane::{ForgetSessions, GetLaneStatus, LaneError, OfferMessages, OfferedMessage, WebhookLane},
    message_reader::decode_message,
    sender::WebhookEndpoint,
    services::LaneServices,
};

mod following;
mod hand_over;
mod reconcile;

pub use reconcile::LANE_LEASES;
use reconcile::{ReconcileCause, ReconcileLanes};

/// How many messages wait for the router.
const MAILBOX: usize = 64;

/// How often lanes save their cursor although there was nothing for them.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How long the router waits for lanes to forget sessions. A lane that can write takes milliseconds; meanwhile the
/// erasures of all tenants wait.
const FORGET_PATIENCE: Duration = Duration::from_secs(5);

/// A lane, as the router knows it.
#[derive(Clone)]
pub(super) struct LaneLink {
    pub(super) lane: Addr<WebhookLane>,
    pub(super) id: LaneId,
    pub(super) endpoint: Arc<WebhookEndpoint>,
    lease: HeldLease,
    /// The lane was offered everything up to here.
    offered: Position,
    /// How far the router had read when it gave out this link: between `offered` and here was nothing for the lane.
    routed: Position,
}

impl LaneLink {
    /// Asks the lane how it is doing.
    pub(super) fn status(&self) -> Request<WebhookLane, GetLaneStatus> {
        self.lane.send(GetLaneStatus { offered: self.offered, routed: self.routed })
    }
}

/// The actor that offers the log to lanes.
pub(super) struct WebhookRouter {
    services: Arc<LaneServices>,
    /// Sorted, so that a seed of the simulation always gives the same run.
    lanes: BTreeMap<TenantId, BTreeMap<WebhookId, LaneLink>>,
    /// Every lane was offered everything up to here.
    routed: Position,
    /// An endpoint has no lane yet, because the outbox or the leases did not answer,
    is_incomplete: bool,
    /// or because its lane is another node's.
    is_partial: bool,
    /// What deleted endpoints left in `outbox.db` is being removed;
    is_removing: bool,
    /// and has to be looked for again: a removal failed, or another endpoint was deleted meanwhile.
    removes_again: bool,
    /// Some lanes are being given up for another node.
    is_handing_over: bool,
}

impl WebhookRouter {
    /// Starts the router on an arbiter.
    pub(super) fn launch(services: Arc<LaneServices>, arbiter: &ArbiterHandle) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, |ctx| Self::new(services, ctx))
    }

    /// Starts the router on the caller's own thread.
    pub(super) fn launch_here(services: Arc<LaneServices>) -> Addr<Self> {
        Self::create(|ctx| Self::new(services, ctx))
    }

    fn new(services: Arc<LaneServices>, ctx: &mut Context<Self>) -> Self {
        ctx.set_mailbox_capacity(MAILBOX);
        Self {
            services,
            lanes: BTreeMap::new(),
            routed: Position::START,
            is_incomplete: false,
            is_partial: false,
            is_removing: false,
            removes_again: false,
            is_handing_over: false,
        }
    }

    pub(super) fn services(&self) -> Arc<LaneServices> {
        Arc::clone(&self.services)
    }

    fn link(&self, tenant: &TenantId, webhook: &WebhookId) -> Option<&LaneLink> {
        self.lanes.get(tenant)?.get(webhook)
    }

    fn links(&self) -> impl Iterator<Item = &LaneLink> {
        self.lanes.values().flat_map(BTreeMap::values)
    }
}

impl Actor for WebhookRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (services, router) = (Arc::clone(&self.services), ctx.address());
        ctx.spawn(following::start_and_follow(services, router).into_actor(self));
        ctx.run_interval(SWEEP_EVERY, |_, ctx| ctx.notify(SweepLanes));
    }
}

/// Asks how far the router has read.
#[derive(Message)]
#[rtype(result = "Position")]
struct GetRoutedPosition;

impl Handler<GetRoutedPosition> for WebhookRouter {
    type Result = MessageResult<GetRoutedPosition>;

    fn handle(&mut self, _: GetRoutedPosition, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.routed)
    }
}

/// Offers the lanes a part of the log.
#[derive(Message)]
#[rtype(result = "bool")]
struct RouteBatch(EventBatch);

impl Handler<RouteBatch> for WebhookRouter {
    type Result = AtomicResponse<Self, bool>;

    fn handle(&mut self, RouteBatch(batch): RouteBatch, _: &mut Self::Context) -> Self::Result {
        let mut by_tenant: BTreeMap<TenantId, TenantMessages> = BTreeMap::new();
        // Without endpoints no name of a stream is taken apart.
        let events = if self.lanes.is_empty() { &[] } else { &batch.events[..] };
        for event in events {
            let before = std::mem::replace(&mut self.routed, event.position);
            let Some(StreamKind::Session(tenant, _)) = event.stream.kind() else { continue };
            if self.lanes.contains_key(&tenant) {
                by_tenant.entry(tenant).or_default().push(event, before);
            }
        }
        self.routed = batch.upto;
        let mut offers = Vec::new();
        for (tenant, messages) in by_tenant.into_iter().filter(|(_, messages)| !messages.is_empty()) {
            for link in self.lanes.get_mut(&tenant).into_iter().flat_map(BTreeMap::values_mut) {
                let after = std::mem::replace(&mut link.offered, self.routed);
                messages.offers(after, self.routed).for_each(|offer| offers.push(link.lane.send(offer)));
            }
        }
        let has_lanes = !self.lanes.is_empty();
        AtomicResponse::new(Box::pin(send_all(offers).into_actor(self).map(move |(), _, _| has_lanes)))
    }
}

/// The part of a batch that is for one tenant's endpoints.
#[derive(Default)]
struct TenantMessages {
    messages: Vec<OfferedMessage>,
    /// The positions before an event that a newer release wrote, and of the event itself. Lanes are offered what comes
    /// before it, and then read for themselves.
    unreadable: Option<(Position, Position)>,
}

impl TenantMessages {
    /// Adds an event; `before` is the position of the event before it.
    fn push(&mut self, event: &RecordedEvent, before: Position) {
        if self.unreadable.is_some() {
            return;
        }
        match decode_message(event) {
            Ok(message) => self.messages.extend(message.map(|message| OfferedMessage { before, message })),
            Err(_newer) => self.unreadable = Some((before, event.position)),
        }
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.unreadable.is_none()
    }

    /// The same as offers. A gap between two offers makes a lane read what is in it.
    fn offers(&self, after: Position, upto: Position) -> impl Iterator<Item = OfferMessages> {
        let messages = self.messages.clone();
        let first =
            OfferMessages { after, upto: self.unreadable.map_or(upto, |(before, _)| before), messages };
        let rest = self.unreadable.map(|(_, after)| OfferMessages { after, upto, messages: Vec::new() });
        [Some(first), rest].into_iter().flatten()
    }
}

/// A lane handles an offer without waiting for anything, so this is quick. A lane that is gone was deleted.
async fn send_all(offers: Vec<Request<WebhookLane, OfferMessages>>) {
    for offer in offers {
        let _deleted = offer.await;
    }
}

/// Makes every lane save its cursor, and repairs what could not be done before.
#[derive(Message)]
#[rtype(result = "()")]
struct SweepLanes;

impl Handler<SweepLanes> for WebhookRouter {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: SweepLanes, ctx: &mut Self::Context) -> Self::Result {
        let has_ended = self.links().any(|link| !link.lane.connected() && !link.lease.is_over());
        if has_ended {
            tracing::error!("a webhook lane has ended unexpectedly; it starts again from its saved cursor");
        }
        let is_lost = self.links().any(|link| link.lease.is_over());
        if has_ended || is_lost || self.is_incomplete || self.is_partial {
            ctx.notify(ReconcileLanes(ReconcileCause::Sweep));
        }
        if self.removes_again {
            self.remove_deleted(ctx);
        }
        let upto = self.routed;
        let sweep = |link: &mut LaneLink| {
            let after = std::mem::replace(&mut link.offered, upto);
            link.lane.send(OfferMessages { after, upto, messages: Vec::new() })
        };
        let offers = self.lanes.values_mut().flat_map(BTreeMap::values_mut).map(sweep).collect();
        AtomicResponse::new(Box::pin(send_all(offers).into_actor(self)))
    }
}

/// Makes all lanes of a tenant forget erased sessions, even if one of them fails.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(super) struct ForgetTenantSessions {
    pub(super) tenant: TenantId,
    /// Each up to a position.
    pub(super) sessions: Arc<HashMap<SessionId, Position>>,
}

impl Handler<ForgetTenantSessions> for WebhookRouter {
    type Result = ResponseFuture<Result<(), LaneError>>;

    fn handle(&mut self, forget: ForgetTenantSessions, _: &mut Self::Context) -> Self::Result {
        let ForgetTenantSessions { tenant, sessions } = forget;
        let links = self.lanes.get(&tenant).into_iter().flat_map(BTreeMap::values);
        let requests = links.map(|link| Box::pin(link.lane.send(ForgetSessions(Arc::clone(&sessions)))));
        let forgetting = forget_all(requests.collect());
        Box::pin(async move {
            tokio::time::timeout(FORGET_PATIENCE, forgetting).await.map_err(|_elapsed| LaneError::Late)?
        })
    }
}

/// Waits for all requests at the same time: a lane with a full mailbox is asked only while somebody waits for it.
async fn forget_all(
    mut requests: Vec<Pin<Box<Request<WebhookLane, ForgetSessions>>>>,
) -> Result<(), LaneError> {
    let mut result = Ok(());
    poll_fn(|context| {
        requests.retain_mut(|request| match request.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(Ok(Err(error))) => {
                result = std::mem::replace(&mut result, Ok(())).and(Err(error));
                false
            }
            // A lane that is gone was deleted together with its deliveries.
            Poll::Ready(_) => false,
        });
        if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    result
}

/// Finds the lane of an endpoint.
#[derive(Message)]
#[rtype(result = "Option<LaneLink>")]
pub(super) struct FindLane(pub(super) TenantId, pub(super) WebhookId);

impl Handler<FindLane> for WebhookRouter {
    type Result = MessageResult<FindLane>;

    fn handle(&mut self, FindLane(tenant, webhook): FindLane, _: &mut Self::Context) -> Self::Result {
        let found = self.link(&tenant, &webhook).cloned();
        MessageResult(found.map(|link| LaneLink { routed: self.routed, ..link }))
    }
}

/// Lists all lanes.
#[derive(Message)]
#[rtype(result = "Vec<LaneLink>")]
pub(super) struct ListLanes;

impl Handler<ListLanes> for WebhookRouter {
    type Result = MessageResult<ListLanes>;

    fn handle(&mut self, _: ListLanes, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.links().cloned().map(|link| LaneLink { routed: self.routed, ..link }).collect())
    }
}
