//! What an endpoint's owner asks of its lane. The answer comes when it is written.

use amoiq_events::MessageId;
use tokio::sync::oneshot;

use super::*;
use crate::webhooks::{delivery::Replay, outbox::OutboxError};

/// Why a lane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LaneRefusal {
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
    Outbox(#[from] OutboxError),
    /// The service is stopping.
    #[error("the lane ended")]
    Gone,
}

/// How an endpoint is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
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
    pub replay: Option<Replay>,
}

/// Delivers a message again, whatever became of it before.
#[derive(Message)]
#[rtype(result = "Result<(), LaneRefusal>")]
pub(in crate::webhooks) struct Redeliver(pub(in crate::webhooks) MessageId);

impl Handler<Redeliver> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneRefusal>>;

    fn handle(&mut self, Redeliver(message): Redeliver, _: &mut Self::Context) -> Self::Result {
        let (desk, id) = (Arc::clone(&self.desk), self.id);
        let ticket = self.forgotten.begin();
        let finding = async move { desk.outbox.find(id, message).await };
        let redelivering = finding.into_actor(self).map(move |found, lane, ctx| {
            let begun = found.map_err(LaneRefusal::from).and_then(|found| lane.redeliver(found, ctx));
            lane.forgotten.end(ticket);
            begun
        });
        Box::pin(redelivering.then(wait))
    }
}

/// Delivers a part of the log again.
#[derive(Message)]
#[rtype(result = "Result<(), LaneRefusal>")]
pub(in crate::webhooks) struct StartReplay {
    /// What stands after this position
    pub(in crate::webhooks) after: Position,
    /// and up to this one, or up to where the lane is.
    pub(in crate::webhooks) until: Option<Position>,
}

impl Handler<StartReplay> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneRefusal>>;

    fn handle(&mut self, asked: StartReplay, ctx: &mut Self::Context) -> Self::Result {
        let begun = self.replay(&asked, ctx);
        Box::pin(fut::ready(begun).then(wait))
    }
}

/// Ends a replay. What it has begun is delivered all the same.
#[derive(Message)]
#[rtype(result = "Result<(), LaneRefusal>")]
pub(in crate::webhooks) struct CancelReplay;

impl Handler<CancelReplay> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneRefusal>>;

    fn handle(&mut self, _: CancelReplay, ctx: &mut Self::Context) -> Self::Result {
        if let Some(replay) = self.marks.replay.as_mut().filter(|replay| !replay.is_over()) {
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
#[rtype(result = "Standing")]
pub(in crate::webhooks) struct AskStanding {
    /// The router brought it what was for it up to here,
    pub(in crate::webhooks) upto: Position,
    /// and has seen nothing for it up to here.
    pub(in crate::webhooks) routed: Position,
}

impl Handler<AskStanding> for WebhookLane {
    type Result = MessageResult<AskStanding>;

    fn handle(&mut self, asked: AskStanding, _: &mut Self::Context) -> Self::Result {
        let is_level = self.read >= asked.upto.max(self.known);
        let read = if is_level { self.read.max(asked.routed) } else { self.read };
        let now = self.desk.now();
        let until = self.throttle.not_before().filter(|until| *until > now.instant);
        MessageResult(Standing {
            cursor: self.backlog.cursor(Origin::Live, read, &BTreeSet::new()),
            pending: self.backlog.len() - self.backlog.set_aside(),
            refused: self.backlog.set_aside(),
            held_sessions: self.reception.holding(),
            in_flight: self.underway,
            failing_since: self.marks.failing_since,
            not_before: until.map(|until| now.date_of(until)),
            replay: self.marks.replay,
        })
    }
}

/// Waits until what was asked for is written.
fn wait(
    noted: Result<oneshot::Receiver<()>, LaneRefusal>,
    lane: &mut WebhookLane,
    _: &mut Context<WebhookLane>,
) -> fut::future::FutureWrap<impl Future<Output = Result<(), LaneRefusal>> + use<>, WebhookLane> {
    async move { noted?.await.map_err(|_stopped| LaneRefusal::Gone) }.into_actor(lane)
}

impl WebhookLane {
    fn redeliver(
        &mut self,
        found: Option<Delivery>,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<()>, LaneRefusal> {
        let is_kept = |delivery: &Delivery| !self.has_forgotten(delivery.position, &delivery.session);
        let delivery = found.filter(is_kept).ok_or(LaneRefusal::NoDelivery)?;
        let now = self.desk.now();
        // One that waits for its place in the log is due once its place comes.
        if let Some(Some(waiting)) = self.stored.get_mut(&delivery.position) {
            (waiting.tries, waiting.next_at) = (0, Some(now.date));
            self.outcomes.push((waiting.clone(), None));
            return Ok(self.note(ctx));
        }
        if let Some(waiting) = self.backlog.hurry(delivery.position, now) {
            self.outcomes.push((waiting, None));
        } else if self.backlog.len() >= self.desk.settings.pending {
            return Err(LaneRefusal::Full);
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
    ) -> Result<oneshot::Receiver<()>, LaneRefusal> {
        if self.marks.replay.is_some_and(|replay| !replay.is_over()) {
            return Err(LaneRefusal::Replaying);
        }
        let until = asked.until.map_or(self.read, |until| until.min(self.read));
        let after = asked.after.min(until);
        self.marks.replay = Some(Replay { after, until, cursor: after, begun: 0, is_cancelled: false });
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
