//! How a lane tries: what is due, as many at a time as the endpoint can take, and what follows from
//! each answer.

use super::*;
use amoiq_events::store::ReadError;

use crate::webhooks::{
    backlog::Next,
    courier::{Answer, Content},
    desk::Tried,
};

/// The statuses by which an endpoint, or the proxy before it, says that it has too much to do.
const OVERLOAD: [u16; 3] = [429, 502, 504];

/// The status by which an endpoint says that it will never be there again.
const GONE: u16 = 410;

/// How an attempt ended.
enum Outcome {
    Tried(Tried),
    /// The message was erased from the log.
    Erased,
    Unreadable(ReadError),
}

impl WebhookLane {
    /// Begins as many attempts as may be.
    pub(super) fn try_what_is_due(&mut self, ctx: &mut Context<Self>) {
        while self.is_served() && self.underway < self.throttle.window() {
            let Some(due) = self.backlog.next_due() else { return };
            let now = self.desk.ambient.now();
            let at = self.throttle.ready_at().map_or(due, |ready| ready.max(due));
            if at > now {
                return self.wake_at(at, now, ctx);
            }
            let Some(next) = self.backlog.start(now) else { return };
            self.throttle.begin(now, self.endpoint.webhook.settings.rate_per_second);
            self.attempt(next, ctx);
        }
    }

    fn attempt(&mut self, next: Next, ctx: &mut Context<Self>) {
        self.underway += 1;
        let (desk, endpoint) = (Arc::clone(&self.desk), Arc::clone(&self.endpoint));
        let Next { delivery, announcement } = next;
        let position = delivery.position;
        let trying = async move {
            let announcement = match announcement {
                Some(announcement) => announcement,
                None => match desk.fetch(&endpoint.tenant, position).await {
                    Ok(Some(announcement)) => announcement,
                    Ok(None) => return Outcome::Erased,
                    Err(error) => return Outcome::Unreadable(error),
                },
            };
            Outcome::Tried(desk.attempt(endpoint, Content::Message(announcement)).await)
        };
        ctx.spawn(trying.into_actor(self).map(move |outcome, lane, ctx| {
            lane.have_tried(delivery, outcome, ctx);
            lane.pump(ctx);
        }));
    }

    fn have_tried(&mut self, mut delivery: Delivery, outcome: Outcome, ctx: &mut Context<Self>) {
        let now = self.desk.ambient.now();
        delivery.changed_at = now;
        let attempt = match outcome {
            Outcome::Tried(tried) => {
                delivery.tries = delivery.tries.saturating_add(1);
                if tried.answer.is_success() {
                    self.succeeded(&mut delivery);
                } else {
                    self.failed(&mut delivery, &tried.answer, now, ctx);
                }
                attempt_of(tried)
            }
            Outcome::Erased => {
                self.give_up(&mut delivery);
                let error = Some("the message is not in the log any more".to_owned());
                Attempt { at: now, duration_ms: 0, status: None, error, answer: Vec::new() }
            }
            Outcome::Unreadable(error) => {
                tracing::error!(%error, position = %delivery.position, "a delivery cannot be read from the log");
                let retry_ms = i64::try_from(RETRY_AFTER.as_millis()).unwrap_or(i64::MAX);
                delivery.next_at = Some(now.plus_millis(retry_ms));
                // No attempt was made, so its place is free at once.
                self.underway -= 1;
                return self.finish(delivery, None);
            }
        };
        self.finish(delivery, Some(attempt));
    }

    fn finish(&mut self, delivery: Delivery, mut attempt: Option<Attempt>) {
        if self.has_forgotten(delivery.position, &delivery.session) {
            return self.let_go(&delivery, attempt.is_some());
        }
        for changed in self.backlog.finish(delivery) {
            self.outcomes.push((changed, attempt.take()));
        }
    }

    fn succeeded(&mut self, delivery: &mut Delivery) {
        (delivery.status, delivery.next_at) = (DeliveryStatus::Delivered, None);
        self.throttle.succeed();
        (self.marks.failing_since, self.marks.not_before) = (None, None);
    }

    fn failed(&mut self, delivery: &mut Delivery, answer: &Answer, now: Timestamp, ctx: &mut Context<Self>) {
        let is_overload = answer.status.is_some_and(|status| OVERLOAD.contains(&status));
        self.throttle.fail(now, is_overload, answer.retry_after);
        self.marks.not_before = self.throttle.not_before();
        let since = *self.marks.failing_since.get_or_insert(now);
        let next_at = self.desk.settings.schedule.next(delivery.tries, now, self.desk.random());
        let failing_ms = u128::try_from(now.as_millis() - since.as_millis()).unwrap_or_default();
        if answer.status == Some(GONE) {
            // Not its message's fault: it waits until somebody enables the endpoint again.
            delivery.next_at = Some(now);
            self.disable("the endpoint answered 410 Gone".to_owned(), ctx);
            return;
        }
        if failing_ms >= self.desk.settings.disable_after.as_millis() {
            let hours = self.desk.settings.disable_after.as_secs() / 3_600;
            self.disable(format!("every attempt has failed for {hours} hours"), ctx);
        }
        match next_at {
            Some(next_at) => delivery.next_at = Some(next_at),
            None => self.give_up(delivery),
        }
    }

    fn give_up(&self, delivery: &mut Delivery) {
        (delivery.status, delivery.next_at) = (DeliveryStatus::Failed, None);
        self.desk.counts.gave_up();
        tracing::warn!(
            tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id, message.id = %delivery.message_id,
            tries = delivery.tries, "a delivery has failed for good; it can be asked for again"
        );
    }

    /// Stops, and lets it be known. When it cannot be noted it goes on, and fails, and tries again.
    fn disable(&mut self, reason: String, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_given_up, true) {
            return;
        }
        let (desk, endpoint) = (Arc::clone(&self.desk), Arc::clone(&self.endpoint));
        tracing::warn!(tenant.id = %endpoint.tenant, webhook.id = %endpoint.id, reason, "an endpoint is disabled");
        let disabling = async move { desk.disable(&endpoint, reason).await };
        ctx.spawn(disabling.into_actor(self).map(|result, _, ctx| {
            if let Err(error) = result {
                tracing::error!(%error, "an endpoint could not be disabled");
                ctx.run_later(RETRY_AFTER, |lane, ctx| {
                    lane.is_given_up = false;
                    lane.pump(ctx);
                });
            }
        }));
    }
}

fn attempt_of(tried: Tried) -> Attempt {
    let Tried { answer, at, duration } = tried;
    Attempt {
        at,
        duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
        status: answer.status,
        error: answer.error,
        answer: answer.body,
    }
}
