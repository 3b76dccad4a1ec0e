//! What an endpoint's owner asks of its lane. The answer comes when it is written.

use amoiq_events::MessageId;
use tokio::sync::oneshot;

use super::*;
use crate::webhooks::{delivery::ReplayProgress, delivery_store::DeliveryStoreError};

/// Why a lane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The endpoint is deleted, or was never there.
    #[error("the webhook does not exist")]
    NoEndpoint,
    /// The endpoint is there, its lane is not yet.
    #[error("the webhook's lane has not started")]
    NotStarted,
    /// No such delivery is kept.
    #[error("no delivery of this message is kept")]
    NoDelivery,
    /// It is being tried, or has been a moment ago.
    #[error("the delivery is in flight")]
    InFlight,
    /// It was delivered, or has failed for good.
    #[error("the delivery is settled")]
    Settled,
    /// So many wait already.
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
    /// Deliveries that wait in order, those that are tried at the moment among them.
    pub pending: usize,
    /// Deliveries that the endpoint refuses while it takes others: set aside, and tried on.
    pub refused: usize,
    /// Sessions that wait for a message that was refused, for as long as that holds them.
    pub held_sessions: usize,
    /// Attempts that are made at the moment.
    pub in_flight: usize,
    /// Since when everything has failed.
    pub failing_since: Option<Timestamp>,
    /// It is left alone until then.
    pub not_before: Option<Timestamp>,
    /// The replay that runs, or the last one.
    pub replay: Option<ReplayProgress>,
}

/// Delivers a message again, whatever became of it before.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct RedeliverMessage(pub(in crate::webhooks) MessageId);

impl Handler<RedeliverMessage> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneError>>;

    fn handle(&mut self, RedeliverMessage(message): RedeliverMessage, _: &mut Self::Context) -> Self::Result {
        let (services, id) = (Arc::clone(&self.services), self.id);
        let ticket = self.forgotten.begin();
        let finding = async move { services.deliveries.find(id, message).await };
        let redelivering = finding.into_actor(self).map(move |found, lane, ctx| {
            let begun = found.map_err(LaneError::from).and_then(|found| lane.redeliver(found, ctx));
            lane.forgotten.end(ticket);
            begun
        });
        Box::pin(redelivering.then(wait))
    }
}

/// Delivers a part of the log again.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct StartReplay {
    /// What stands after this position
    pub(in crate::webhooks) after: Position,
    /// and up to this one, or up to where the lane is.
    pub(in crate::webhooks) until: Option<Position>,
}

impl Handler<StartReplay> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneError>>;

    fn handle(&mut self, asked: StartReplay, ctx: &mut Self::Context) -> Self::Result {
        let begun = self.replay(&asked, ctx);
        Box::pin(fut::ready(begun).then(wait))
    }
}

/// Ends a replay. What it has begun is delivered all the same.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct CancelReplay;

impl Handler<CancelReplay> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneError>>;

    fn handle(&mut self, _: CancelReplay, ctx: &mut Self::Context) -> Self::Result {
        if let Some(replay) = self.progress.replay.as_mut().filter(|replay| !replay.is_over()) {
            replay.is_cancelled = true;
            // No reading brings it after a restart.
            let begun = self.backlog.replayed().into_iter();
            self.outcomes.extend(begun.map(|delivery| (delivery, None)));
        }
        self.take_stored(self.read);
        let noted = self.note(ctx);
        Box::pin(fut::ready(Ok(noted)).then(wait))
    }
}

/// Asks how it is doing.
#[derive(Message)]
#[rtype(result = "LaneStatus")]
pub(in crate::webhooks) struct GetLaneStatus {
    /// The router brought it what was for it up to here,
    pub(in crate::webhooks) offered: Position,
    /// and has seen nothing for it up to here.
    pub(in crate::webhooks) routed: Position,
}

impl Handler<GetLaneStatus> for WebhookLane {
    type Result = MessageResult<GetLaneStatus>;

    fn handle(&mut self, asked: GetLaneStatus, _: &mut Self::Context) -> Self::Result {
        let is_level = self.read >= asked.offered.max(self.known);
        let read = if is_level { self.read.max(asked.routed) } else { self.read };
        let now = self.services.now();
        let until = self.throttle.not_before().filter(|until| *until > now.instant);
        MessageResult(LaneStatus {
            cursor: self.backlog.cursor(DeliveryOrigin::Live, read, &BTreeSet::new()),
            pending: self.backlog.len() - self.backlog.set_aside(),
            refused: self.backlog.set_aside(),
            held_sessions: self.reception.holding(),
            in_flight: self.underway,
            failing_since: self.progress.failing_since,
            not_before: until.map(|until| now.date_of(until)),
            replay: self.progress.replay,
        })
    }
}

/// Waits until what was asked for is written.
fn wait(
    noted: Result<oneshot::Receiver<()>, LaneError>,
    lane: &mut WebhookLane,
    _: &mut Context<WebhookLane>,
) -> fut::future::FutureWrap<impl Future<Output = Result<(), LaneError>> + use<>, WebhookLane> {
    async move { noted?.await.map_err(|_stopped| LaneError::Gone) }.into_actor(lane)
}

impl WebhookLane {
    fn redeliver(
        &mut self,
        found: Option<Delivery>,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<()>, LaneError> {
        let is_kept = |delivery: &Delivery| !self.has_forgotten(delivery.position, &delivery.session);
        let delivery = found.filter(is_kept).ok_or(LaneError::NoDelivery)?;
        let now = self.services.now();
        // One that waits for its place in the log is due once its place comes.
        if let Some(Some(waiting)) = self.stored.get_mut(&delivery.position) {
            (waiting.tries, waiting.next_at) = (0, Some(now.date));
            self.outcomes.push((waiting.clone(), None));
            return Ok(self.note(ctx));
        }
        if let Some(waiting) = self.backlog.hurry(delivery.position, now) {
            self.outcomes.push((waiting, None));
        } else if self.backlog.len() >= self.services.settings.pending {
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
            self.outcomes.push((again.clone(), None));
            self.backlog.add_again(again, now.instant);
        }
        Ok(self.note(ctx))
    }

    fn replay(
        &mut self,
        asked: &StartReplay,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<()>, LaneError> {
        if self.progress.replay.is_some_and(|replay| !replay.is_over()) {
            return Err(LaneError::Replaying);
        }
        let until = asked.until.map_or(self.read, |until| until.min(self.read));
        let after = asked.after.min(until);
        self.progress.replay =
            Some(ReplayProgress { after, until, cursor: after, begun: 0, is_cancelled: false });
        self.replay_read = after;
        Ok(self.note(ctx))
    }

    /// Sees to it that everything is written; the answer comes then.
    pub(super) fn note(&mut self, ctx: &mut Context<Self>) -> oneshot::Receiver<()> {
        let (ack, noted) = oneshot::channel();
        self.acks.push(ack);
        self.pump(ctx);
        noted
    }
}
