//! What a lane does with a message that the endpoint refuses: while the endpoint takes others, the message holds its
//! session for a while, and is set aside then. [`RefusalEvidence`] says whether it does.

use super::*;
use crate::webhooks::lane::refusal_evidence::RefusalVerdict;

/// A lane of whose places for deliveries so large a part waits in order lets no refused message hold its session: the
/// lane would soon read no further.
const CROWDED_PART: usize = 4;

/// At most so large a part of the places is for what was set aside. One more has failed.
const SET_ASIDE_PART: usize = 2;

/// Whether an attempt that was just made, and counted, is the delivery's first.
pub(super) fn is_first_attempt(delivery: &Delivery) -> bool {
    delivery.tries == 1 && delivery.refused_at.is_none()
}

impl WebhookLane {
    /// The endpoint refused a delivery: whether that is about the message alone.
    pub(super) fn refused(&mut self, delivery: &mut Delivery, now: ClockReading) -> RefusalVerdict {
        let is_first_attempt = is_first_attempt(delivery);
        delivery.refused_at.get_or_insert(now.date);
        let hold = if self.is_crowded() { Duration::ZERO } else { self.services.settings.refused_hold };
        let holds_until = delivery.holds.then(|| later(now.instant, hold));
        let refused = (delivery.position, &delivery.session);
        self.reception.refused(refused, now.instant, holds_until, is_first_attempt)
    }

    /// A message is refused by an endpoint that takes others. When it is tried again; never when it was given up.
    pub(super) fn refused_alone(
        &mut self,
        delivery: &mut Delivery,
        is_held_enough: bool,
        now: ClockReading,
    ) -> Option<Instant> {
        if is_held_enough && delivery.holds {
            if self.backlog.set_aside() >= self.services.settings.pending / SET_ASIDE_PART {
                self.give_up(delivery);
                return None;
            }
            (delivery.status, delivery.holds) = (DeliveryStatus::Refused, false);
            self.reception.let_go(delivery.position);
            self.services.counters().record_set_aside();
            tracing::info!(
                tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                message.id = %delivery.message_id, "a delivery is refused and was set aside; its session goes on"
            );
        }
        self.try_again(delivery, now)
    }

    /// A delivery was refused before the start.
    pub(super) fn recall_refusal(&mut self, delivery: &Delivery, now: ClockReading) {
        let Some(refused_at) = delivery.refused_at else { return };
        let hold = self.services.settings.refused_hold;
        let hold_ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        let holds_until = delivery.holds.then(|| now.instant_of(refused_at.plus_millis(hold_ms), hold));
        self.reception.recall(delivery.position, delivery.session.clone(), holds_until);
    }

    /// Tries what held its session for long enough, once the endpoint is known to take others.
    pub(super) fn review_refusals(&mut self, ctx: &mut Context<Self>) {
        let now = self.services.now();
        if self.is_crowded() {
            self.reception.end_holds(now.instant);
        }
        for position in self.reception.due_again(now.instant) {
            self.backlog.bring_forward(position, now);
        }
        if let Some(end) = self.reception.next_end() {
            self.wake_at(end, now.instant, ctx);
        }
    }

    fn is_crowded(&self) -> bool {
        let in_order = self.backlog.len() - self.backlog.set_aside();
        in_order >= (self.services.settings.pending / CROWDED_PART).max(1)
    }
}
