//! What the owner of an endpoint and an erasure ask of a lane. The answer comes once the consequences are written.

use std::{collections::BTreeSet, sync::Arc};

use actix::prelude::*;
use amoiq_events::{MessageId, Position, Timestamp};
use tokio::sync::oneshot;

use super::{WebhookLane, backlog::LaneCursor, erased_sessions::SessionCutoffs};
use crate::webhooks::{
    delivery::{Delivery, DeliveryStatus, ReplayProgress},
    delivery_store::DeliveryStoreError,
};

/// Why a lane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The endpoint was deleted, or never existed.
    #[error("the webhook does not exist")]
    NoEndpoint,
    /// The endpoint exists, and its lane has not started yet.
    #[error("the webhook's lane has not started")]
    NotStarted,
    /// No delivery of the message is stored.
    #[error("no delivery of this message is kept")]
    NoDelivery,
    /// The delivery is being attempted, or its last attempt is not written yet.
    #[error("the delivery is in flight")]
    InFlight,
    /// The delivery has succeeded, or has failed for good.
    #[error("the delivery is settled")]
    Settled,
    /// Too many deliveries wait already.
    #[error("the endpoint has too many deliveries waiting")]
    Full,
    /// One replay runs at a time.
    #[error("a replay is running")]
    Replaying,
    /// `outbox.db` did not answer.
    #[error(transparent)]
    Store(#[from] DeliveryStoreError),
    /// A lane did not answer in time.
    #[error("a part of the service did not answer in time")]
    Late,
    /// The service is stopping.
    #[error("the lane ended")]
    Gone,
}

/// How an endpoint is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Everything up to here is delivered, or waits for its next attempt.
    pub cursor: Position,
    /// Deliveries that wait in order, including those being attempted.
    pub pending: usize,
    /// Deliveries that were set aside: the endpoint refuses them and takes others. They are still attempted.
    pub refused: usize,
    /// Sessions that wait for a refused message until its hold is over.
    pub held_sessions: usize,
    /// Attempts that are running.
    pub in_flight: usize,
    /// Since when every attempt has failed.
    pub failing_since: Option<Timestamp>,
    /// The endpoint is not called before.
    pub not_before: Option<Timestamp>,
    /// The running replay, or the last one.
    pub replay: Option<ReplayProgress>,
}

/// The future of a handler that answers once everything is written.
type WhenWritten = ResponseActFuture<WebhookLane, Result<(), LaneError>>;

/// Delivers a message again, whatever became of it before.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct RedeliverMessage(pub(in crate::webhooks) MessageId);

impl Handler<RedeliverMessage> for WebhookLane {
    type Result = WhenWritten;

    fn handle(&mut self, RedeliverMessage(message): RedeliverMessage, _: &mut Self::Context) -> Self::Result {
        let (services, id) = (Arc::clone(&self.services), self.id);
        let token = self.erased.start_work();
        let finding = async move { services.deliveries.find(id, message).await };
        let redelivering = finding.into_actor(self).map(move |found, lane, ctx| {
            let result = found.map_err(LaneError::from).and_then(|found| lane.redeliver(found, ctx));
            lane.erased.end_work(token);
            result
        });
        Box::pin(redelivering.then(|written, lane, _| {
            async move { written?.await.map_err(|_stopped| LaneError::Gone) }.into_actor(lane)
        }))
    }
}

/// Delivers a part of the log again.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct StartReplay {
    /// What is after this position
    pub(in crate::webhooks) after: Position,
    /// and up to this one, or up to where the lane is.
    pub(in crate::webhooks) until: Option<Position>,
}

impl Handler<StartReplay> for WebhookLane {
    type Result = WhenWritten;

    fn handle(&mut self, StartReplay { after, until }: StartReplay, ctx: &mut Self::Context) -> Self::Result {
        if self.cursor.replay().is_some_and(|replay| !replay.is_over()) {
            return Box::pin(fut::ready(Err(LaneError::Replaying)));
        }
        self.cursor.start_replay(after, until);
        self.when_written(ctx)
    }
}

/// Ends a replay. The deliveries that it has added stay.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct CancelReplay;

impl Handler<CancelReplay> for WebhookLane {
    type Result = WhenWritten;

    fn handle(&mut self, _: CancelReplay, ctx: &mut Self::Context) -> Self::Result {
        if self.cursor.cancel_replay() {
            // No reading would bring these again after a restart.
            for delivery in self.scheduler.backlog.unwritten_replays() {
                self.records.push(delivery, None);
            }
        }
        self.add_recovered(self.cursor.read());
        self.when_written(ctx)
    }
}

/// Forgets everything about these sessions, each up to a position. The answer comes once nothing of them is on its way
/// into `outbox.db`; what is there already is removed by the caller.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct ForgetSessions(pub(in crate::webhooks) SessionCutoffs);

impl Handler<ForgetSessions> for WebhookLane {
    type Result = WhenWritten;

    fn handle(&mut self, ForgetSessions(sessions): ForgetSessions, ctx: &mut Self::Context) -> Self::Result {
        self.erased.add(sessions);
        let (erased, cursor) = (&self.erased, &mut self.cursor);
        let is_erased = |delivery: &Delivery| erased.contains_delivery(delivery);
        cursor.discard_recovered(is_erased);
        self.scheduler.discard(is_erased, |position| cursor.is_recovered(position));
        for (delivery, attempt) in self.records.remove(is_erased) {
            self.scheduler.release(delivery.position, attempt.is_some());
        }
        self.when_written(ctx)
    }
}

/// Asks how the endpoint is doing.
#[derive(Message)]
#[rtype(result = "LaneStatus")]
pub(in crate::webhooks) struct GetLaneStatus {
    /// The router offered the lane everything up to here,
    pub(in crate::webhooks) offered: Position,
    /// and has seen nothing for it up to here.
    pub(in crate::webhooks) routed: Position,
}

impl Handler<GetLaneStatus> for WebhookLane {
    type Result = MessageResult<GetLaneStatus>;

    fn handle(&mut self, asked: GetLaneStatus, _: &mut Self::Context) -> Self::Result {
        let read = self.cursor.read();
        let is_level = read >= asked.offered.max(self.cursor.known());
        let read = if is_level { read.max(asked.routed) } else { read };
        let now = self.services.now();
        let (backlog, status) = (&self.scheduler.backlog, self.scheduler.status(now.instant));
        MessageResult(LaneStatus {
            cursor: backlog.cursor(LaneCursor::Live, read, &BTreeSet::new()),
            pending: backlog.in_order(),
            refused: backlog.set_aside(),
            held_sessions: status.held_sessions,
            in_flight: status.in_flight,
            failing_since: status.failing_since,
            not_before: status.not_before.map(|until| now.date_of(until)),
            replay: self.cursor.replay(),
        })
    }
}

impl WebhookLane {
    fn redeliver(
        &mut self,
        found: Option<Delivery>,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<()>, LaneError> {
        let delivery = found.filter(|delivery| !self.erased.contains_delivery(delivery));
        let delivery = delivery.ok_or(LaneError::NoDelivery)?;
        let (now, position) = (self.services.now(), delivery.position);
        if let Some(waiting) = self.cursor.restart_recovered(position, now.date) {
            self.records.push(waiting, None);
        } else if let Some(waiting) = self.scheduler.backlog.restart_schedule(position, now) {
            self.records.push(waiting, None);
        } else if self.scheduler.has_all_pending() {
            return Err(LaneError::Full);
        } else {
            let again = Delivery {
                status: DeliveryStatus::Pending,
                tries: 0,
                next_at: Some(now.date),
                holds: false,
                refused_at: None,
                changed_at: now.date,
                ..delivery
            };
            self.records.push(again.clone(), None);
            self.scheduler.backlog.add_again(again, now.instant);
        }
        Ok(self.written(ctx))
    }

    /// Writes everything. Ends when that is done.
    pub(super) fn written(&mut self, ctx: &mut Context<Self>) -> oneshot::Receiver<()> {
        let written = self.records.written();
        self.pump(ctx);
        written
    }

    /// Writes everything, and answers then.
    pub(super) fn when_written(&mut self, ctx: &mut Context<Self>) -> WhenWritten {
        let written = self.written(ctx);
        Box::pin(async move { written.await.map_err(|_stopped| LaneError::Gone) }.into_actor(self))
    }
}
