//! How the owner of an endpoint skips waiting deliveries: they are no longer attempted, and later messages of their
//! sessions no longer wait for them. The answer comes once that is written.

use std::sync::Arc;

use actix::prelude::*;
use amoiq_events::{MessageId, Position, SessionId};

use super::{LaneError, WebhookLane};
use crate::webhooks::delivery::{Delivery, DeliveryStatus};

/// The most deliveries that are skipped, and written, at once.
const MAX_SKIPPED_AT_ONCE: usize = 1_000;

/// Which deliveries are skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipQuery {
    /// Those of this status: pending or refused.
    pub status: DeliveryStatus,
    /// Those up to this position in the log.
    pub upto: Position,
    /// Those of this session only.
    pub session: Option<SessionId>,
}

impl SkipQuery {
    fn matches(&self, delivery: &Delivery) -> bool {
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
        let waiting = self.scheduler.backlog.position_of(message);
        let Some(position) = waiting.or_else(|| self.cursor.recovered_position(message)) else {
            return self.explain_not_waiting(message);
        };
        if !self.skip(position) {
            return Box::pin(fut::ready(Err(LaneError::InFlight)));
        }
        self.when_written(ctx)
    }
}

/// Skips deliveries that match a query: all that the lane has, if they are fewer than [`MAX_SKIPPED_AT_ONCE`].
#[derive(Message)]
#[rtype(result = "Result<SkipProgress, LaneError>")]
pub(in crate::webhooks) struct SkipMatching(pub(in crate::webhooks) SkipQuery);

/// What [`SkipMatching`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::webhooks) struct SkipProgress {
    /// How many were skipped.
    pub(in crate::webhooks) count: usize,
    /// There may be more: the lane has them, or is reading the log up to the end of the query.
    pub(in crate::webhooks) has_more: bool,
}

impl Handler<SkipMatching> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<SkipProgress, LaneError>>;

    fn handle(&mut self, SkipMatching(query): SkipMatching, ctx: &mut Self::Context) -> Self::Result {
        let matches = |delivery: &Delivery| query.matches(delivery);
        let mut positions = self.scheduler.backlog.matching(matches, MAX_SKIPPED_AT_ONCE);
        let recovered = self.cursor.recovered().filter(|delivery| matches(delivery));
        positions.extend(recovered.map(|delivery| delivery.position));
        positions.truncate(MAX_SKIPPED_AT_ONCE);
        let count = positions.into_iter().filter(|position| self.skip(*position)).count();
        Box::pin(self.when_written(ctx).map(move |written, lane: &mut Self, _| {
            let has_more = count == MAX_SKIPPED_AT_ONCE || lane.may_find_more(&query);
            written.map(|()| SkipProgress { count, has_more })
        }))
    }
}

impl WebhookLane {
    /// Whether the lane may still read matching deliveries from the log, now that skipping has made room. A lane that is
    /// stopped, or full of other deliveries, reads nothing.
    fn may_find_more(&self, query: &SkipQuery) -> bool {
        let is_pending = query.status == DeliveryStatus::Pending;
        let is_behind = is_pending && self.cursor.read() < query.upto && !self.cursor.is_replaying();
        let has_matching =
            || !self.scheduler.backlog.matching(|delivery| query.matches(delivery), 1).is_empty();
        is_behind && (self.state.is_reading() || has_matching())
    }

    /// Skips a waiting delivery. Returns whether it was waiting.
    fn skip(&mut self, position: Position) -> bool {
        let waiting = self.scheduler.backlog.remove_idle(position);
        let Some(delivery) = waiting.or_else(|| self.cursor.settle_recovered(position)) else { return false };
        self.scheduler.forget(position);
        self.services.counters().record_skipped();
        let (status, changed_at) = (DeliveryStatus::Skipped, self.services.ambient.now());
        self.records.push(Delivery { status, next_at: None, changed_at, ..delivery }, None);
        true
    }

    /// Says why a delivery that does not wait cannot be skipped. Skipping it twice is no error.
    fn explain_not_waiting(&self, message: MessageId) -> ResponseActFuture<Self, Result<(), LaneError>> {
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
