//! Reads the log once for all endpoints and hands each lane what is for it; starts a lane for each
//! endpoint that there is, and ends those whose endpoint was deleted.
//!
//! A lane that does not keep up is not waited for: it notices the gap and reads for itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix::prelude::*;
use amoiq_events::{
    Position, RecordedEvent, SessionId, TenantId, WebhookId,
    store::{EventBatch, LogSubscription, ReadError},
    stream::StreamKind,
};
use tokio::sync::watch;

use super::{
    courier::{Announcement, Endpoint},
    desk::{Desk, announce},
    lane::{AskStanding, Beginning, Forget, LaneRefusal, Look, Offer, Stop, WebhookLane},
    outbox::{LaneId, OutboxError},
};
use crate::erasure::EraseError;

mod reconcile;

use reconcile::Reconcile;

/// How many messages wait for the router.
const MAILBOX: usize = 64;

/// How often lanes note how far they are although there was nothing for them.
const SWEEP: Duration = Duration::from_secs(10);

/// How long it waits when the log or `outbox.db` does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many batches of the log are brought between two changes of endpoints, when there are so many: changes that come
/// in a row are seen as one, their events are not.
const LOG_TURNS: u32 = 64;

/// How long lanes are waited for that forget. One that writes has done it in milliseconds; while another is waited
/// for, erasures for all tenants wait.
const FORGET_PATIENCE: Duration = Duration::from_secs(5);

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
    /// An endpoint has no lane yet, because `outbox.db` did not give it.
    is_incomplete: bool,
    /// What deleted endpoints left is being removed;
    is_forgetting: bool,
    /// or has to be looked for once more: something kept it from being removed, or another endpoint went meanwhile.
    forgets_again: bool,
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
        Self {
            desk,
            lanes: BTreeMap::new(),
            routed: Position::START,
            is_incomplete: false,
            is_forgetting: false,
            forgets_again: false,
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
}

impl Actor for WebhookRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (desk, router) = (Arc::clone(&self.desk), ctx.address());
        ctx.spawn(run(desk, router).into_actor(self));
        ctx.run_interval(SWEEP, |_, ctx| ctx.notify(Sweep));
    }
}

/// Follows the tenants and the log.
async fn run(desk: Arc<Desk>, router: Addr<WebhookRouter>) {
    let changes = desk.registry.changes();
    if router.send(Reconcile { is_first: true }).await.is_err() {
        return;
    }
    let Ok(routed) = router.send(AskRouted).await else { return };
    follow(changes, desk.store.subscribe(routed), &router).await;
}

/// What comes next.
enum Turn {
    Change(bool),
    Batch(Result<Option<EventBatch>, ReadError>),
    Neither,
}

/// Follows the tenants and the log. In one order, so that a simulation's seed is one run: endpoints first; and after
/// each change the log has its turns, so that endpoints that change all the time do not keep it from going on. What
/// comes by before its endpoint has a lane is read by that lane.
async fn follow(
    mut changes: watch::Receiver<()>,
    subscription: LogSubscription,
    router: &Addr<WebhookRouter>,
) {
    let mut reading = pin!(next(subscription));
    let mut turns = 0;
    loop {
        let turn = tokio::select! {
            biased;
            changed = changes.changed(), if turns == 0 => Turn::Change(changed.is_ok()),
            (subscription, batch) = &mut reading => {
                // A reading that a change would end begins from the start again.
                reading.set(next(subscription));
                Turn::Batch(batch)
            }
            () = std::future::ready(()), if turns > 0 => Turn::Neither,
        };
        turns = match turn {
            Turn::Change(_) => LOG_TURNS,
            Turn::Batch(_) => turns.saturating_sub(1),
            Turn::Neither => 0,
        };
        let goes_on = match turn {
            Turn::Change(is_open) => is_open && router.send(Reconcile { is_first: false }).await.is_ok(),
            Turn::Batch(Ok(Some(batch))) => router.send(Route(batch)).await.is_ok(),
            Turn::Batch(Ok(None)) => false,
            Turn::Batch(Err(error)) => {
                tracing::error!(%error, "webhooks do not follow the log; they try again");
                tokio::time::sleep(RETRY_AFTER).await;
                true
            }
            Turn::Neither => true,
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
struct Route(EventBatch);

impl Handler<Route> for WebhookRouter {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Route(batch): Route, _: &mut Self::Context) -> Self::Result {
        let mut parts: BTreeMap<TenantId, Part> = BTreeMap::new();
        for event in batch.iter() {
            let Some(StreamKind::Session(tenant, _)) = event.stream.kind() else { continue };
            if self.lanes.contains_key(&tenant) {
                parts.entry(tenant).or_default().push(event);
            }
        }
        self.routed = batch.last().map_or(self.routed, |last| last.position);
        let mut offers = Vec::new();
        for (tenant, part) in parts.into_iter().filter(|(_, part)| part.says_anything()) {
            for link in self.lanes.get_mut(&tenant).into_iter().flat_map(BTreeMap::values_mut) {
                let after = std::mem::replace(&mut link.upto, self.routed);
                part.offers(after, self.routed).for_each(|offer| offers.push(link.lane.send(offer)));
            }
        }
        AtomicResponse::new(Box::pin(deliver(offers).into_actor(self)))
    }
}

/// What a part of the log says to one tenant's endpoints.
#[derive(Default)]
struct Part {
    announcements: Vec<Arc<Announcement>>,
    /// A newer release wrote this: lanes are brought what is before it, and see for themselves how they go on.
    unreadable: Option<Position>,
}

impl Part {
    fn push(&mut self, event: &RecordedEvent) {
        if self.unreadable.is_some() {
            return;
        }
        match announce(event) {
            Ok(announcement) => self.announcements.extend(announcement),
            Err(_newer) => self.unreadable = Some(event.position),
        }
    }

    fn says_anything(&self) -> bool {
        !self.announcements.is_empty() || self.unreadable.is_some()
    }

    /// The same as offers. A gap between two makes a lane read what is in it.
    fn offers(&self, after: Position, upto: Position) -> impl Iterator<Item = Offer> {
        let announcements = self.announcements.clone();
        let before = |position: Position| Position::from_u64(position.as_u64().saturating_sub(1));
        let first = Offer { after, upto: self.unreadable.map_or(upto, before), announcements };
        let rest = self.unreadable.map(|after| Offer { after, upto, announcements: Vec::new() });
        [Some(first), rest].into_iter().flatten()
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
        let has_ended = self.links().any(|link| !link.lane.connected());
        if has_ended {
            tracing::error!("a webhook lane had ended by itself; it is started again from where it was");
        }
        if has_ended || self.is_incomplete {
            ctx.notify(Reconcile { is_first: false });
        }
        if self.forgets_again {
            self.forget_deleted(ctx);
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

/// Has a tenant's lanes forget sessions that were erased, whatever becomes of one of them.
#[derive(Message)]
#[rtype(result = "Result<(), EraseError>")]
pub(super) struct ForgetAll {
    pub(super) tenant: TenantId,
    /// Each before a position.
    pub(super) sessions: Arc<HashMap<SessionId, Position>>,
}

impl Handler<ForgetAll> for WebhookRouter {
    type Result = ResponseFuture<Result<(), EraseError>>;

    fn handle(&mut self, ForgetAll { tenant, sessions }: ForgetAll, _: &mut Self::Context) -> Self::Result {
        let links = self.lanes.get(&tenant).into_iter().flat_map(BTreeMap::values);
        let forget = |link: &Link| link.lane.send(Forget(Arc::clone(&sessions)));
        let forgetting = forgotten(links.map(forget).map(Box::pin).collect());
        Box::pin(async move {
            let forgotten = tokio::time::timeout(FORGET_PATIENCE, forgetting).await;
            Ok(forgotten.map_err(|_elapsed| EraseError::Late)??)
        })
    }
}

/// Waits for all of them at once: one whose mailbox is full is asked only while it is waited for.
async fn forgotten(mut asked: Vec<Pin<Box<Request<WebhookLane, Forget>>>>) -> Result<(), LaneRefusal> {
    let mut ended = Ok(());
    poll_fn(|context| {
        asked.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(Ok(Err(error))) => {
                ended = std::mem::replace(&mut ended, Ok(())).and(Err(error));
                false
            }
            // A lane that is gone was deleted, with everything of it.
            Poll::Ready(_) => false,
        });
        if asked.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    ended
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
