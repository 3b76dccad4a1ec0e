//! How an endpoint's owner lets go of deliveries that wait: they are not tried any more, and what is behind them in
//! their session goes on. The answer comes when it is written.

use amoiq_events::{MessageId, SessionId};

use super::*;

/// The most deliveries that are skipped, and written, at once.
const SKIPPED_AT_ONCE: usize = 1_000;

/// Which deliveries are skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipQuery {
    /// Those of this status: pending, or refused.
    pub status: DeliveryStatus,
    /// Up to this position in the log.
    pub upto: Position,
    /// Of this session only.
    pub session: Option<SessionId>,
}

impl SkipQuery {
    fn meets(&self, delivery: &Delivery) -> bool {
        let is_of_session = self.session.as_ref().is_none_or(|session| *session == delivery.session);
        delivery.status == self.status && delivery.position <= self.upto && is_of_session
    }
}

/// Skips the delivery of a message.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct SkipDelivery(pub(in crate::webhooks) MessageId);

impl Handler<SkipDelivery> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneError>>;

    fn handle(&mut self, SkipDelivery(message): SkipDelivery, ctx: &mut Self::Context) -> Self::Result {
        let held = self.backlog.of_message(message);
        let stored = || self.stored.values().flatten().find(|delivery| delivery.message_id == message);
        let Some(position) = held.or_else(|| stored().map(|delivery| delivery.position)) else {
            return self.not_held(message);
        };
        if !self.skip(position) {
            return Box::pin(fut::ready(Err(LaneError::InFlight)));
        }
        let noted = self.note(ctx);
        Box::pin(async move { noted.await.map_err(|_stopped| LaneError::Gone) }.into_actor(self))
    }
}

/// Skips some of the deliveries that meet a query: all that the lane holds when it is fewer than [`SKIPPED_AT_ONCE`].
#[derive(Message)]
#[rtype(result = "Result<SkipProgress, LaneError>")]
pub(in crate::webhooks) struct SkipMatching(pub(in crate::webhooks) SkipQuery);

/// What became of [`SkipMatching`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::webhooks) struct SkipProgress {
    /// How many were skipped.
    pub(in crate::webhooks) count: usize,
    /// There may be more: the lane holds them, or is reading the log up to where the query ends.
    pub(in crate::webhooks) has_more: bool,
}

impl Handler<SkipMatching> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<SkipProgress, LaneError>>;

    fn handle(&mut self, SkipMatching(query): SkipMatching, ctx: &mut Self::Context) -> Self::Result {
        let held = self.backlog.matching(|delivery| query.meets(delivery), SKIPPED_AT_ONCE);
        let stored = self.stored.values().flatten().filter(|delivery| query.meets(delivery));
        let stored: Vec<_> = stored.map(|delivery| delivery.position).collect();
        let positions: Vec<_> = held.into_iter().chain(stored).take(SKIPPED_AT_ONCE).collect();
        let count = positions.into_iter().filter(|position| self.skip(*position)).count();
        let noted = self.note(ctx);
        let written = async move { noted.await.map_err(|_stopped| LaneError::Gone) };
        Box::pin(written.into_actor(self).map(move |written, lane, _| {
            let has_more = count == SKIPPED_AT_ONCE || lane.brings_more(&query);
            written.map(|()| SkipProgress { count, has_more })
        }))
    }
}

impl WebhookLane {
    /// Whether the log may hold more deliveries that meet a query, and the lane brings them: what was skipped made room.
    /// A lane that is stopped, or full of others, brings nothing.
    fn brings_more(&self, query: &SkipQuery) -> bool {
        let is_behind = query.status == DeliveryStatus::Pending && self.read < query.upto && !self.replays();
        let holds_more = || !self.backlog.matching(|delivery| query.meets(delivery), 1).is_empty();
        is_behind && (self.is_reading || holds_more())
    }

    /// Skips a delivery that waits; whether it does.
    fn skip(&mut self, position: Position) -> bool {
        let stored = || self.stored.get_mut(&position).and_then(Option::take);
        let Some(delivery) = self.backlog.take_out(position).or_else(stored) else { return false };
        self.reception.release(position);
        self.unreadable.remove(&position);
        self.services.counters().record_skipped();
        let (status, changed_at) = (DeliveryStatus::Skipped, self.services.ambient.now());
        self.outcomes.push((Delivery { status, next_at: None, changed_at, ..delivery }, None));
        true
    }

    /// Says of a message that does not wait why it cannot be skipped. One that was skipped already is no error.
    fn not_held(&self, message: MessageId) -> ResponseActFuture<Self, Result<(), LaneError>> {
        let (services, id) = (Arc::clone(&self.services), self.id);
        let finding = async move {
            match services.deliveries.find(id, message).await?.map(|found| found.status) {
                None => Err(LaneError::NoDelivery),
                Some(DeliveryStatus::Skipped) => Ok(()),
                Some(DeliveryStatus::Delivered | DeliveryStatus::Failed) => Err(LaneError::Settled),
                // It was settled a moment ago, and that is not written yet.
                Some(DeliveryStatus::Pending | DeliveryStatus::Refused) => Err(LaneError::InFlight),
            }
        };
        Box::pin(finding.into_actor(self))
    }
}
