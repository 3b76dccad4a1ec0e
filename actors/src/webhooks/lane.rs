//! The actor of one endpoint: it decides what is tried when, and how far the endpoint is.
//!
//! [`super::router`] starts it and brings it the live log. What it did not take from the router, because
//! it was full, paused or busy with a replay, it reads for itself. Its place in the log passes an event once
//! that is delivered or stands in `outbox.db`; so whatever happens, every message comes at least once,
//! and of a session in order.
//!
//! An attempt holds its place until what became of it is written: a crash repeats no more than the
//! attempts that are underway. Everything it holds is bounded; at a bound it stops reading, and the log
//! keeps the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use amoiq_events::{Position, Timestamp, webhook::WebhookStatus};
use tokio::{sync::oneshot, time::Instant};

use super::{
    delivery::{Delivery, DeliveryAttempt, DeliveryStatus, HoldOff, LaneProgress},
    delivery_store::LaneId,
    pacing::{
        clock_reading::{ClockReading, later},
        endpoint_throttle::EndpointThrottle,
    },
    sender::{LoggedMessage, WebhookEndpoint},
    services::LaneServices,
};

mod attempts;
mod backlog;
mod commands;
mod erased_sessions;
mod erasure;
mod reading;
mod refusal_evidence;
mod refusals;
mod retry_backoff;
mod skips;
mod writing;

use backlog::{DeliveryBacklog, DeliveryOrigin};
pub(super) use commands::{CancelReplay, GetLaneStatus, RedeliverMessage, StartReplay};
pub use commands::{LaneError, LaneStatus};
use erased_sessions::{ErasedSessions, WorkToken};
pub(super) use erasure::ForgetSessions;
use refusal_evidence::RefusalEvidence;
use retry_backoff::RetryBackoff;
pub use skips::SkipQuery;
pub(super) use skips::{SkipDelivery, SkipMatching};

/// How many messages wait for a lane. It works through them without ever waiting.
const MAILBOX: usize = 16;

/// Deliveries that are only in memory.
const FRESH: usize = 256;

/// Their texts together, in bytes.
const FRESH_BYTES: usize = 1024 * 1024;

/// How long it waits first when the log or `outbox.db` does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The actor of one endpoint.
pub(super) struct WebhookLane {
    services: Arc<LaneServices>,
    id: LaneId,
    /// As it was when it was looked at last.
    endpoint: Arc<WebhookEndpoint>,
    backlog: DeliveryBacklog,
    throttle: EndpointThrottle,
    reception: RefusalEvidence,
    /// Since when everything has failed in this process, and for how long it had before.
    failing: Option<(Instant, Duration)>,
    /// As they are written; the cursors among them follow from the backlog.
    progress: LaneProgress,
    /// Everything up to here was taken in,
    read: Position,
    /// the same of the replay that runs,
    replay_read: Position,
    /// and the log goes on at least to here.
    known: Position,
    /// What stands in `outbox.db` behind the cursor since before the start: settled, or pending. It takes its
    /// place when the lane comes by: what is before it in its session may stand in the log alone.
    stored: BTreeMap<Position, Option<Delivery>>,
    /// Attempts that are made, or whose outcome is not written yet.
    underway: usize,
    /// Waits to be written.
    outcomes: Vec<(Delivery, Option<DeliveryAttempt>)>,
    /// Wait for what is written next.
    acks: Vec<oneshot::Sender<()>>,
    /// Sessions that were erased, until nothing of them can come any more: some seconds.
    forgotten: ErasedSessions,
    /// How often its owner did something about it: what an attempt from before met says nothing of the endpoint
    /// as it is now.
    changes: u64,
    /// How the log fails, how `outbox.db` does, and how the log does for deliveries that are read again.
    reading_trouble: RetryBackoff,
    writing_trouble: RetryBackoff,
    unreadable: BTreeMap<Position, RetryBackoff>,
    /// It waits for a place.
    is_asking: bool,
    is_writing: bool,
    is_reading: bool,
    /// The progress have changed since they were written.
    is_marked: bool,
    /// The endpoint was deleted, or its tenant is not served any more.
    is_over: bool,
    /// It asked to be disabled.
    is_given_up: bool,
    /// The service is stopping: nothing new is begun.
    is_draining: bool,
    wake: Option<(Instant, SpawnHandle)>,
}

/// What a lane starts from.
pub(super) struct LaneStart {
    pub(super) id: LaneId,
    pub(super) endpoint: Arc<WebhookEndpoint>,
    pub(super) progress: LaneProgress,
    pub(super) unsettled: Vec<Delivery>,
    pub(super) settled: BTreeSet<Position>,
    /// What the router has passed already.
    pub(super) known: Position,
}

impl WebhookLane {
    /// Starts the lane on the caller's arbiter.
    pub(super) fn launch(services: Arc<LaneServices>, start: LaneStart) -> Addr<Self> {
        let LaneStart { id, endpoint, progress, unsettled, settled, known } = start;
        let now = services.now();
        let stored = settled.into_iter().map(|position| (position, None)).collect();
        let not_before = progress.hold_off.map(|hold_off| now.instant_of(hold_off.until, hold_off.wait));
        let mut lane = Self {
            throttle: EndpointThrottle::new(services.settings.throttle.clone(), not_before),
            reception: RefusalEvidence::new(services.settings.throttle.breaker_failures),
            failing: progress.failing_since.map(|since| (now.instant, now.since(since))),
            services,
            id,
            endpoint,
            backlog: DeliveryBacklog::default(),
            read: progress.cursor,
            replay_read: progress.replay.map(|replay| replay.cursor).unwrap_or_default(),
            progress,
            known,
            stored,
            underway: 0,
            outcomes: Vec::new(),
            acks: Vec::new(),
            forgotten: ErasedSessions::default(),
            changes: 0,
            reading_trouble: RetryBackoff::default(),
            writing_trouble: RetryBackoff::default(),
            unreadable: BTreeMap::new(),
            is_asking: false,
            is_writing: false,
            is_reading: false,
            is_marked: false,
            is_over: false,
            is_given_up: false,
            is_draining: false,
            wake: None,
        };
        lane.recall(unsettled, now);
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            lane
        })
    }

    /// Takes in what waits in `outbox.db`. What its place has not come for yet waits for that.
    fn recall(&mut self, pending: Vec<Delivery>, now: ClockReading) {
        let replay = self.progress.replay.filter(|replay| !replay.is_over());
        let passed = replay.map_or(self.progress.cursor, |replay| replay.cursor.min(self.progress.cursor));
        for delivery in pending {
            self.recall_refusal(&delivery, now);
            if delivery.position > passed {
                self.stored.insert(delivery.position, Some(delivery));
            } else {
                self.add_stored(delivery, now);
            }
        }
    }

    /// A delivery from `outbox.db` takes its place. Its date was of the wall clock, which may have been set since.
    fn add_stored(&mut self, mut delivery: Delivery, now: ClockReading) {
        let longest = self.services.settings.schedule.longest_wait(delivery.tries);
        let due = delivery.next_at.map_or(now.instant, |date| now.instant_of(date, longest));
        delivery.next_at = Some(now.date_of(due));
        self.backlog.add(delivery, (DeliveryOrigin::Stored, self.read), None, due);
    }

    fn is_served(&self) -> bool {
        let is_on = self.endpoint.webhook.status == WebhookStatus::Enabled && !self.is_over;
        is_on && !self.is_given_up && !self.is_draining
    }

    /// Does whatever can be done now: tries, reads, writes.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.forgotten.settle(self.known);
        self.look_at_endpoint();
        self.review_refusals(ctx);
        self.try_what_is_due(ctx);
        self.read_on(ctx);
        self.write(ctx);
    }

    /// Sees what became of the endpoint. A change is published before its owner is answered; the router hears of it
    /// later, and what was said after it may be here before that. So it is looked at before anything is begun.
    fn look_at_endpoint(&mut self) {
        let snapshot = self.services.registry.current();
        let tenant = snapshot.tenant(&self.endpoint.tenant);
        let Some(webhook) = tenant.and_then(|tenant| tenant.webhook(&self.endpoint.id)) else {
            self.is_over = true;
            return;
        };
        self.is_over = false;
        if *webhook == self.endpoint.webhook {
            return;
        }
        let is_resumed = webhook.status != self.endpoint.webhook.status;
        let is_elsewhere = webhook.settings.url != self.endpoint.webhook.settings.url;
        self.endpoint =
            Arc::new(WebhookEndpoint { webhook: webhook.clone(), ..WebhookEndpoint::clone(&self.endpoint) });
        if is_resumed || is_elsewhere {
            self.begin_anew();
        }
    }

    /// Its owner did something about the endpoint: what was learnt before counts no more.
    fn begin_anew(&mut self) {
        self.throttle.reset();
        self.reception.reset();
        let now = self.services.now();
        self.backlog.hurry_all(now);
        self.stored.values_mut().flatten().for_each(|delivery| delivery.next_at = Some(now.date));
        (self.progress.failing_since, self.progress.hold_off, self.failing) = (None, None, None);
        (self.is_marked, self.is_given_up) = (true, false);
        self.changes += 1;
    }

    /// Wakes at a moment, unless it wakes before.
    fn wake_at(&mut self, at: Instant, now: Instant, ctx: &mut Context<Self>) {
        if self.wake.is_some_and(|(earlier, _)| earlier <= at) {
            return;
        }
        if let Some((_, later)) = self.wake.take() {
            ctx.cancel_future(later);
        }
        let handle = ctx.run_later(at.saturating_duration_since(now), |lane, ctx| {
            lane.wake = None;
            lane.pump(ctx);
        });
        self.wake = Some((at, handle));
    }
}

impl Actor for WebhookLane {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.pump(ctx);
    }
}

/// A part of the live log.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct OfferMessages {
    /// It begins after this position
    pub(super) after: Position,
    /// and ends with this one.
    pub(super) upto: Position,
    /// What it says to the endpoints of the lane's tenant; nothing, when the lane is to note how far it is.
    pub(super) messages: Vec<Arc<LoggedMessage>>,
}

impl Handler<OfferMessages> for WebhookLane {
    type Result = ();

    fn handle(&mut self, offer: OfferMessages, ctx: &mut Self::Context) {
        self.take(&offer);
        if offer.messages.is_empty() {
            self.note_progress();
        }
        self.pump(ctx);
    }
}

/// The endpoint has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RefreshEndpoint;

impl Handler<RefreshEndpoint> for WebhookLane {
    type Result = ();

    fn handle(&mut self, _: RefreshEndpoint, ctx: &mut Self::Context) {
        self.pump(ctx);
    }
}

/// Nothing new is begun; the answer is how many attempts are underway.
#[derive(Message)]
#[rtype(usize)]
pub(super) struct DrainLane;

impl Handler<DrainLane> for WebhookLane {
    type Result = usize;

    fn handle(&mut self, _: DrainLane, _: &mut Self::Context) -> usize {
        self.is_draining = true;
        self.underway
    }
}

/// The endpoint was deleted: whatever is underway is dropped.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopLane;

impl Handler<StopLane> for WebhookLane {
    type Result = ();

    fn handle(&mut self, _: StopLane, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
