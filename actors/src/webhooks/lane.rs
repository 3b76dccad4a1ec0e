//! The actor of one endpoint: it decides which delivery is attempted when, and records how far the endpoint is.
//!
//! The [router](super::router) starts it and offers it the live log. What the lane does not take from the router,
//! because it is full, paused or busy with a replay, it reads for itself later. Its cursor passes an event once that
//! event is delivered or stored in `outbox.db`. So every message arrives at least once, and in order within a session.
//!
//! An attempt counts as running until its outcome is written: a crash repeats no more than the running attempts.
//! Everything in memory is bounded; at a bound the lane stops reading, and the log keeps the rest.
//!
//! It runs on the node that has its lease. It starts no attempt while the node may not rely on the lease, and ends when the
//! lease is over; what it still writes then is refused by the database.
//!
//! The actor connects parts that know nothing of each other and are tested by themselves:
//!
//! | part | decides |
//! |---|---|
//! | [`lane_state`] | whether the endpoint is served, and what may start |
//! | [`log_cursor`] | where the lane and its replay are in the log |
//! | [`attempt_scheduler`] | which delivery is attempted when, and what follows from the outcome |
//! | [`record_queue`] | what is written next |
//! | [`erased_sessions`] | what must not come back after an erasure |

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{Position, cluster::HeldLease, webhook::WebhookStatus};
use tokio::time::Instant;

use super::{
    delivery::{Delivery, LaneProgress},
    delivery_store::LaneId,
    pacing::clock_reading::ClockReading,
    sender::{LoggedMessage, WebhookEndpoint},
    services::LaneServices,
};

mod attempt_scheduler;
mod backlog;
mod commands;
mod erased_sessions;
mod intake;
mod lane_state;
mod log_cursor;
mod record_queue;
mod retry_backoff;
mod sending;
mod skips;
mod writing;

use attempt_scheduler::AttemptScheduler;
pub(super) use commands::{CancelReplay, ForgetSessions, GetLaneStatus, RedeliverMessage, StartReplay};
pub use commands::{LaneError, LaneStatus};
use erased_sessions::ErasedSessions;
use lane_state::{EndpointView, LaneEvent, LaneState};
use log_cursor::LogCursor;
use record_queue::RecordQueue;
use retry_backoff::RetryBackoff;
pub use skips::SkipQuery;
pub(super) use skips::{SkipDelivery, SkipMatching};

/// How many messages wait for a lane. It handles each of them without waiting for anything.
const MAILBOX: usize = 16;

/// How often a lane looks whether it may rely on its lease again.
const LEASE_LOOK: Duration = Duration::from_millis(200);

/// The actor of one endpoint.
pub(super) struct WebhookLane {
    services: Arc<LaneServices>,
    lease: HeldLease,
    id: LaneId,
    /// As the registry showed it last.
    endpoint: Arc<WebhookEndpoint>,
    state: LaneState,
    cursor: LogCursor,
    scheduler: AttemptScheduler,
    records: RecordQueue,
    erased: ErasedSessions,
    read_backoff: RetryBackoff,
    write_backoff: RetryBackoff,
    /// The next wake-up, and the timer of it.
    wake: Option<(Instant, SpawnHandle)>,
}

/// What a lane starts from.
pub(super) struct LaneStart {
    pub(super) lease: HeldLease,
    pub(super) id: LaneId,
    pub(super) endpoint: Arc<WebhookEndpoint>,
    pub(super) progress: LaneProgress,
    pub(super) unsettled: Vec<Delivery>,
    /// The settled deliveries after the cursor.
    pub(super) settled: BTreeSet<Position>,
    /// How far the router has read.
    pub(super) known: Position,
}

impl WebhookLane {
    /// Starts the lane on the caller's arbiter.
    pub(super) fn launch(services: Arc<LaneServices>, start: LaneStart) -> Addr<Self> {
        let LaneStart { lease, id, endpoint, progress, unsettled, settled, known } = start;
        let now = services.now();
        let mut lane = Self {
            scheduler: AttemptScheduler::new(Arc::clone(&services.settings), &progress, now),
            cursor: LogCursor::new(&progress, settled, known),
            records: RecordQueue::new(progress.cursor),
            services,
            lease,
            id,
            endpoint,
            state: LaneState::default(),
            erased: ErasedSessions::default(),
            read_backoff: RetryBackoff::default(),
            write_backoff: RetryBackoff::default(),
            wake: None,
        };
        lane.restore(unsettled, now);
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            lane
        })
    }

    /// Takes the deliveries that wait in `outbox.db`. Those after the cursor join the backlog when the lane reads past
    /// them.
    fn restore(&mut self, unsettled: Vec<Delivery>, now: ClockReading) {
        let passed = self.cursor.passed_at_start();
        for delivery in unsettled {
            self.scheduler.restore_refusal(&delivery, now);
            if delivery.position > passed {
                self.cursor.keep_recovered(delivery);
            } else {
                self.scheduler.add_stored(delivery, now);
            }
        }
    }

    /// Does whatever can be done now: sends, reads, writes.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.lease.is_over() {
            return ctx.stop();
        }
        self.erased.settle(self.cursor.known());
        self.see_endpoint();
        let now = self.services.now();
        if let Some(hold_end) = self.scheduler.review_refusals(now) {
            self.wake_at(hold_end, now.instant, ctx);
        }
        self.send_due(ctx);
        self.read_on(ctx);
        self.write(ctx);
    }

    /// Whether the node may rely on the lease. If not, the lane looks again soon.
    fn has_lease(&mut self, ctx: &mut Context<Self>) -> bool {
        let is_valid = self.lease.is_valid();
        if !is_valid {
            let now = Instant::now();
            self.wake_at(now + LEASE_LOOK, now, ctx);
        }
        is_valid
    }

    /// Looks at the endpoint in the registry. A change is published there before its owner is answered, and before the
    /// router hears of it; so the lane looks before it starts anything.
    fn see_endpoint(&mut self) {
        let snapshot = self.services.registry.current();
        let tenant = snapshot.tenant(&self.endpoint.tenant);
        let Some(webhook) = tenant.and_then(|tenant| tenant.webhook(&self.endpoint.id)) else {
            self.state.apply(LaneEvent::EndpointSeen(EndpointView::Missing));
            return;
        };
        let known = &self.endpoint.webhook;
        let is_new = webhook.status != known.status || webhook.settings.url != known.settings.url;
        let view = match &webhook.status {
            WebhookStatus::Enabled if is_new => EndpointView::EnabledAnew,
            WebhookStatus::Enabled => EndpointView::Enabled,
            WebhookStatus::Paused | WebhookStatus::Disabled { .. } => EndpointView::Stopped,
        };
        if webhook != known {
            self.endpoint = Arc::new(WebhookEndpoint {
                webhook: webhook.clone(),
                ..WebhookEndpoint::clone(&self.endpoint)
            });
        }
        if is_new {
            self.start_anew();
        }
        self.state.apply(LaneEvent::EndpointSeen(view));
    }

    /// The owner changed the endpoint: what was learnt before no longer counts.
    fn start_anew(&mut self) {
        let now = self.services.now();
        self.scheduler.reset(now);
        self.cursor.make_recovered_due(now.date);
        self.records.add_progress();
    }

    /// Wakes up at a time, unless it wakes up earlier.
    fn wake_at(&mut self, at: Instant, now: Instant, ctx: &mut Context<Self>) {
        if self.wake.is_some_and(|(earlier, _)| earlier <= at) {
            return;
        }
        if let Some((_, later)) = self.wake.take() {
            ctx.cancel_future(later);
        }
        let timer = ctx.run_later(at.saturating_duration_since(now), |lane, ctx| {
            lane.wake = None;
            lane.pump(ctx);
        });
        self.wake = Some((at, timer));
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
    /// It starts after this position
    pub(super) after: Position,
    /// and ends with this one.
    pub(super) upto: Position,
    /// The messages for the endpoints of the lane's tenant. Without any, the lane saves its cursor.
    pub(super) messages: Vec<OfferedMessage>,
}

/// A message of the live log.
#[derive(Debug, Clone)]
pub(super) struct OfferedMessage {
    /// The position of the event before it, whichever tenant that is of.
    pub(super) before: Position,
    pub(super) message: Arc<LoggedMessage>,
}

impl Handler<OfferMessages> for WebhookLane {
    type Result = ();

    fn handle(&mut self, offer: OfferMessages, ctx: &mut Self::Context) {
        self.take_offer(&offer);
        if offer.messages.is_empty() {
            self.save_cursor();
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

/// Starts no more attempts. The answer is how many are running.
#[derive(Message)]
#[rtype(usize)]
pub(super) struct DrainLane;

impl Handler<DrainLane> for WebhookLane {
    type Result = usize;

    fn handle(&mut self, _: DrainLane, _: &mut Self::Context) -> usize {
        self.state.apply(LaneEvent::DrainStarted);
        self.scheduler.in_flight()
    }
}

/// The endpoint was deleted, or its lane is another node's: the running attempts are dropped.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopLane;

impl Handler<StopLane> for WebhookLane {
    type Result = ();

    fn handle(&mut self, _: StopLane, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
