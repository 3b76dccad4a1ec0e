//! How a lane tries: what is due, as many at a time as the endpoint can take, and what follows from
//! each answer.

use super::{refusing::is_first_attempt, *};
use crate::webhooks::{
    backlog::Next,
    courier::{Answer, Content},
    desk::{Tried, Unreadable},
    places::Place,
    reception::Verdict,
    throttle::Failure,
};

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
    began: Instant,
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
        let now = Instant::now();
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
        let (began, is_probe) = (Instant::now(), self.throttle.is_open());
        let Some(Next { delivery, announcement }) = self.backlog.start(began, is_probe) else { return false };
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
        let now = self.desk.now();
        delivery.changed_at = now.date;
        if let Outcome::Unreadable(error) = outcome {
            // No attempt was made, so its place is free at once.
            self.underway -= 1;
            let due = later(now.instant, self.after_unreadable(&error, delivery.position));
            return self.finish(delivery, None, Some(due), now);
        }
        self.unreadable.remove(&delivery.position);
        // What was learnt of the endpoint as it was says nothing of it as it is.
        let is_of_before = changes != self.changes;
        let (attempt, due) = match outcome {
            Outcome::Tried(tried) => {
                let due = if tried.answer.is_success() {
                    self.succeeded(&mut delivery, is_of_before, now);
                    None
                } else if is_of_before {
                    delivery.refused_at = delivery.refused_at.filter(|_| !delivery.holds);
                    Some(now.instant)
                } else {
                    delivery.tries = delivery.tries.saturating_add(1);
                    self.failed(&mut delivery, &tried.answer, began, now, ctx)
                };
                (attempt_of(tried), due)
            }
            Outcome::Erased | Outcome::Unreadable(_) => {
                self.give_up(&mut delivery);
                let error = Some("the message is not in the log any more".to_owned());
                (Attempt { at: now.date, duration_ms: 0, status: None, error, answer: Vec::new() }, None)
            }
        };
        self.finish(delivery, Some(attempt), due, now);
    }

    /// How long it waits until a delivery is looked at again whose message could not be read from the log.
    fn after_unreadable(&mut self, error: &Unreadable, position: Position) -> Duration {
        let (wait, is_new) = self.unreadable.entry(position).or_default().fails();
        if is_new {
            tracing::error!(%error, tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                %position, "a delivery cannot be read from the log; it is tried again");
        }
        wait
    }

    /// Notes what became of a delivery: when it is due again, unless it is settled.
    fn finish(
        &mut self,
        mut delivery: Delivery,
        mut attempt: Option<Attempt>,
        due: Option<Instant>,
        now: Moment,
    ) {
        if delivery.status.is_settled() {
            self.reception.release(delivery.position);
        }
        if self.has_forgotten(delivery.position, &delivery.session) {
            self.reception.release(delivery.position);
            return self.let_go(&delivery, attempt.is_some());
        }
        delivery.next_at = due.map(|due| now.date_of(due));
        for changed in self.backlog.finish(delivery, due.unwrap_or(now.instant)) {
            self.outcomes.push((changed, attempt.take()));
        }
    }

    fn succeeded(&mut self, delivery: &mut Delivery, is_of_before: bool, now: Moment) {
        delivery.tries = delivery.tries.saturating_add(1);
        delivery.status = DeliveryStatus::Delivered;
        if !is_of_before {
            self.throttle.succeed();
            self.reception.took(delivery.position, &delivery.session, is_first_attempt(delivery));
            (self.marks.failing_since, self.failing) = (None, None);
            self.mark_hold_off(now);
        }
    }

    /// When it is tried again; never when it was given up.
    fn failed(
        &mut self,
        delivery: &mut Delivery,
        answer: &Answer,
        began: Instant,
        now: Moment,
        ctx: &mut Context<Self>,
    ) -> Option<Instant> {
        if let Some(failure) = failure_of(answer) {
            self.reception.failed(delivery.position, now.instant, is_first_attempt(delivery));
            self.throttle.fail(now.instant, began, failure, answer.retry_after);
        } else {
            match self.refused(delivery, now) {
                Verdict::OfMessage { is_held_enough } => {
                    return self.refused_alone(delivery, is_held_enough, now);
                }
                Verdict::OfEndpoint { is_certain: true } => {
                    self.throttle.fail(now.instant, began, Failure::Refusal, None);
                }
                Verdict::OfEndpoint { is_certain: false } => {}
            }
        }
        self.mark_hold_off(now);
        self.marks.failing_since.get_or_insert(now.date);
        let (since, before) = *self.failing.get_or_insert((now.instant, Duration::ZERO));
        if answer.status == Some(GONE) {
            // Not its message's fault: it waits until somebody enables the endpoint again.
            self.disable("the endpoint answered 410 Gone".to_owned(), ctx);
            return Some(now.instant);
        }
        if before.saturating_add(now.instant - since) >= self.desk.settings.disable_after {
            let hours = self.desk.settings.disable_after.as_secs() / 3_600;
            self.disable(format!("every attempt has failed for {hours} hours"), ctx);
        }
        self.try_again(delivery, now)
    }

    /// When its schedule tries it again. When that is exhausted it is given up.
    pub(super) fn try_again(&self, delivery: &mut Delivery, now: Moment) -> Option<Instant> {
        let wait = self.desk.settings.schedule.wait(delivery.tries, self.desk.random());
        if wait.is_none() {
            self.give_up(delivery);
        }
        wait.map(|wait| later(now.instant, wait))
    }

    /// Notes how long the endpoint is left alone, for the next start.
    fn mark_hold_off(&mut self, now: Moment) {
        self.marks.hold_off = self.throttle.not_before().map(|until| HoldOff {
            until: now.date_of(until),
            wait: until.saturating_duration_since(now.instant),
        });
    }

    pub(super) fn give_up(&self, delivery: &mut Delivery) {
        delivery.status = DeliveryStatus::Failed;
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

/// How an endpoint failed that did not take a delivery; nothing when it refused it: that may be about the message alone.
/// 408 and 503 stand for no answer.
fn failure_of(answer: &Answer) -> Option<Failure> {
    match answer.status {
        None | Some(408 | 503) => Some(Failure::Silence),
        Some(429 | 502 | 504) => Some(Failure::Overload),
        Some(410 | 425) => Some(Failure::Answer),
        Some(400..=499) => None,
        Some(_) => Some(Failure::Answer),
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
