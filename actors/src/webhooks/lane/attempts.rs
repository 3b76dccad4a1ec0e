//! How a lane tries: what is due, as many at a time as the endpoint can take, and what follows from
//! each answer.

use super::*;
use crate::webhooks::{
    backlog::Next,
    courier::{Answer, Content},
    desk::{Tried, Unreadable},
    places::Place,
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
    Unreadable(Unreadable),
}

/// An attempt that is made.
struct Trying {
    delivery: Delivery,
    began: Timestamp,
    /// How often the endpoint had been changed by then.
    changes: u64,
    ticket: Ticket,
}

impl WebhookLane {
    /// Begins as many attempts as may be.
    pub(super) fn try_what_is_due(&mut self, ctx: &mut Context<Self>) {
        while !self.is_asking && self.may_try(ctx) {
            let Some(place) = self.desk.free_place(&self.endpoint.tenant) else {
                return self.ask_for_a_place(ctx);
            };
            if !self.attempt(place, ctx) {
                return;
            }
        }
    }

    /// Whether an attempt may begin now. When one may later, it wakes then.
    fn may_try(&mut self, ctx: &mut Context<Self>) -> bool {
        if !self.is_served() || self.underway >= self.throttle.window() {
            return false;
        }
        let Some(due) = self.backlog.next_due() else { return false };
        let now = self.desk.ambient.now();
        let at = self.throttle.ready_at().map_or(due, |ready| ready.max(due));
        if at > now {
            self.wake_at(at, now, ctx);
        }
        at <= now
    }

    /// Waits for a place, one at a time: so lanes take turns. What is tried then, where, and whether anything is,
    /// is decided when it is there: waiting may take long, and the endpoint be paused or moved meanwhile.
    fn ask_for_a_place(&mut self, ctx: &mut Context<Self>) {
        self.is_asking = true;
        let (desk, tenant) = (Arc::clone(&self.desk), self.endpoint.tenant.clone());
        let asking = async move { desk.place(&tenant).await };
        ctx.spawn(asking.into_actor(self).map(|place, lane, ctx| {
            lane.is_asking = false;
            lane.look_at_endpoint();
            if lane.may_try(ctx) {
                lane.attempt(place, ctx);
            } else {
                drop(place);
            }
            lane.pump(ctx);
        }));
    }

    /// Begins what is due first; whether there is anything.
    fn attempt(&mut self, place: Place, ctx: &mut Context<Self>) -> bool {
        let began = self.desk.ambient.now();
        let Some(Next { delivery, announcement }) = self.backlog.start(began) else { return false };
        self.throttle.begin(began, self.endpoint.webhook.settings.rate_per_second);
        self.underway += 1;
        let (desk, endpoint) = (Arc::clone(&self.desk), Arc::clone(&self.endpoint));
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
            Outcome::Tried(desk.attempt(endpoint, Content::Message(announcement), place).await)
        };
        let made = Trying { delivery, began, changes: self.changes, ticket: self.forgotten.begin() };
        ctx.spawn(trying.into_actor(self).map(move |outcome, lane, ctx| {
            let ticket = made.ticket;
            lane.have_tried(made, outcome, ctx);
            lane.forgotten.end(ticket);
            lane.pump(ctx);
        }));
        true
    }

    fn have_tried(&mut self, made: Trying, outcome: Outcome, ctx: &mut Context<Self>) {
        let Trying { mut delivery, began, changes, .. } = made;
        let now = self.desk.ambient.now();
        delivery.changed_at = now;
        if let Outcome::Unreadable(error) = outcome {
            // No attempt was made, so its place is free at once.
            self.underway -= 1;
            delivery.next_at = Some(self.after_unreadable(&error, delivery.position, now));
            return self.finish(delivery, None);
        }
        self.unreadable.remove(&delivery.position);
        // What was learnt of the endpoint as it was says nothing of it as it is.
        let is_of_before = changes != self.changes;
        let attempt = match outcome {
            Outcome::Tried(tried) => {
                if tried.answer.is_success() {
                    self.succeeded(&mut delivery, is_of_before);
                } else if is_of_before {
                    delivery.next_at = Some(now);
                } else {
                    delivery.tries = delivery.tries.saturating_add(1);
                    self.failed(&mut delivery, &tried.answer, began, ctx);
                }
                attempt_of(tried)
            }
            Outcome::Erased | Outcome::Unreadable(_) => {
                self.give_up(&mut delivery);
                let error = Some("the message is not in the log any more".to_owned());
                Attempt { at: now, duration_ms: 0, status: None, error, answer: Vec::new() }
            }
        };
        self.finish(delivery, Some(attempt));
    }

    /// When a delivery is looked at again whose message could not be read from the log.
    fn after_unreadable(&mut self, error: &Unreadable, position: Position, now: Timestamp) -> Timestamp {
        let (wait, is_new) = self.unreadable.entry(position).or_default().fails();
        if is_new {
            tracing::error!(%error, tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                %position, "a delivery cannot be read from the log; it is tried again");
        }
        now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
    }

    fn finish(&mut self, delivery: Delivery, mut attempt: Option<Attempt>) {
        if self.has_forgotten(delivery.position, &delivery.session) {
            return self.let_go(&delivery, attempt.is_some());
        }
        for changed in self.backlog.finish(delivery) {
            self.outcomes.push((changed, attempt.take()));
        }
    }

    fn succeeded(&mut self, delivery: &mut Delivery, is_of_before: bool) {
        delivery.tries = delivery.tries.saturating_add(1);
        (delivery.status, delivery.next_at) = (DeliveryStatus::Delivered, None);
        if !is_of_before {
            self.throttle.succeed();
            (self.marks.failing_since, self.marks.not_before) = (None, self.throttle.not_before());
        }
    }

    fn failed(
        &mut self,
        delivery: &mut Delivery,
        answer: &Answer,
        began: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        let now = delivery.changed_at;
        let is_overload = answer.status.is_some_and(|status| OVERLOAD.contains(&status));
        self.throttle.fail(now, began, is_overload, answer.retry_after);
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

    /// Stops, and lets it be known. When it could not be noted it goes on, and fails, and tries again.
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
            }
            // By then its status says it, or its owner has enabled it meanwhile, and nobody else would say that:
            // of two changes in a row only the last is seen.
            ctx.run_later(RETRY_AFTER, |lane, ctx| {
                lane.is_given_up = false;
                lane.pump(ctx);
            });
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
