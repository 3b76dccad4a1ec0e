//! How a lane tries: what is due, as many at a time as the endpoint can take, and what follows from
//! each answer.

use super::{refusals::is_first_attempt, *};
use crate::webhooks::{
    attempt_runner::FinishedAttempt,
    fair_semaphore::FairPermit,
    lane::backlog::DueDelivery,
    lane::refusal_evidence::RefusalVerdict,
    message_reader::MessageReadError,
    pacing::endpoint_throttle::EndpointFailure,
    sender::{SendOutcome, WebhookPayload},
};

/// The status by which an endpoint says that it will never be there again.
const GONE: u16 = 410;

/// How an attempt ended.
enum AttemptOutcome {
    Finished(FinishedAttempt),
    /// The message was erased from the log.
    Erased,
    Unreadable(MessageReadError),
}

/// An attempt that is made.
struct RunningAttempt {
    delivery: Delivery,
    began: Instant,
    /// How often the endpoint had been changed by then.
    changes: u64,
    ticket: WorkToken,
}

impl WebhookLane {
    /// Begins as many attempts as may be.
    pub(super) fn try_what_is_due(&mut self, ctx: &mut Context<Self>) {
        while !self.is_asking && self.may_try(ctx) {
            let Some(permit) = self.services.attempts.try_acquire(&self.endpoint.tenant) else {
                return self.wait_for_permit(ctx);
            };
            if !self.attempt(permit, ctx) {
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

    /// Waits for a permit, one at a time: so lanes take turns. What is tried then, where, and whether anything is,
    /// is decided when it is there: waiting may take long, and the endpoint be paused or moved meanwhile.
    fn wait_for_permit(&mut self, ctx: &mut Context<Self>) {
        self.is_asking = true;
        let (services, tenant) = (Arc::clone(&self.services), self.endpoint.tenant.clone());
        let asking = async move { services.attempts.acquire(&tenant).await };
        ctx.spawn(asking.into_actor(self).map(|permit, lane, ctx| {
            lane.is_asking = false;
            lane.look_at_endpoint();
            if lane.may_try(ctx) {
                lane.attempt(permit, ctx);
            } else {
                drop(permit);
            }
            lane.pump(ctx);
        }));
    }

    /// Begins what is due first; whether there is anything.
    fn attempt(&mut self, permit: FairPermit, ctx: &mut Context<Self>) -> bool {
        let (began, is_probe) = (Instant::now(), self.throttle.is_open());
        let Some(DueDelivery { delivery, announcement }) = self.backlog.start(began, is_probe) else {
            return false;
        };
        self.throttle.begin(began, self.endpoint.webhook.settings.rate_per_second);
        self.underway += 1;
        let (services, endpoint) = (Arc::clone(&self.services), Arc::clone(&self.endpoint));
        let position = delivery.position;
        let trying = async move {
            let announcement = match announcement {
                Some(announcement) => announcement,
                None => match services.messages.message_at(&endpoint.tenant, position).await {
                    Ok(Some(announcement)) => announcement,
                    Ok(None) => return AttemptOutcome::Erased,
                    Err(error) => return AttemptOutcome::Unreadable(error),
                },
            };
            AttemptOutcome::Finished(
                services.attempts.run(endpoint, WebhookPayload::Message(announcement), permit).await,
            )
        };
        let made = RunningAttempt { delivery, began, changes: self.changes, ticket: self.forgotten.begin() };
        ctx.spawn(trying.into_actor(self).map(move |outcome, lane, ctx| {
            let ticket = made.ticket;
            lane.have_tried(made, outcome, ctx);
            lane.forgotten.end(ticket);
            lane.pump(ctx);
        }));
        true
    }

    fn have_tried(&mut self, made: RunningAttempt, outcome: AttemptOutcome, ctx: &mut Context<Self>) {
        let RunningAttempt { mut delivery, began, changes, .. } = made;
        let now = self.services.now();
        delivery.changed_at = now.date;
        if let AttemptOutcome::Unreadable(error) = outcome {
            // No attempt was made, so its place is free at once.
            self.underway -= 1;
            let due = later(now.instant, self.after_unreadable(&error, delivery.position));
            return self.finish(delivery, None, Some(due), now);
        }
        self.unreadable.remove(&delivery.position);
        // What was learnt of the endpoint as it was says nothing of it as it is.
        let is_of_before = changes != self.changes;
        let (attempt, due) = match outcome {
            AttemptOutcome::Finished(tried) => {
                let due = if tried.outcome.is_success() {
                    self.succeeded(&mut delivery, is_of_before, now);
                    None
                } else if is_of_before {
                    delivery.refused_at = delivery.refused_at.filter(|_| !delivery.holds);
                    Some(now.instant)
                } else {
                    delivery.tries = delivery.tries.saturating_add(1);
                    self.failed(&mut delivery, &tried.outcome, began, now, ctx)
                };
                (attempt_of(tried), due)
            }
            AttemptOutcome::Erased | AttemptOutcome::Unreadable(_) => {
                self.give_up(&mut delivery);
                let error = Some("the message is not in the log any more".to_owned());
                (
                    DeliveryAttempt { at: now.date, duration_ms: 0, status: None, error, answer: Vec::new() },
                    None,
                )
            }
        };
        self.finish(delivery, Some(attempt), due, now);
    }

    /// How long it waits until a delivery is looked at again whose message could not be read from the log.
    fn after_unreadable(&mut self, error: &MessageReadError, position: Position) -> Duration {
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
        mut attempt: Option<DeliveryAttempt>,
        due: Option<Instant>,
        now: ClockReading,
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

    fn succeeded(&mut self, delivery: &mut Delivery, is_of_before: bool, now: ClockReading) {
        delivery.tries = delivery.tries.saturating_add(1);
        delivery.status = DeliveryStatus::Delivered;
        if !is_of_before {
            self.throttle.succeed();
            self.reception.took(delivery.position, &delivery.session, is_first_attempt(delivery));
            (self.progress.failing_since, self.failing) = (None, None);
            self.mark_hold_off(now);
        }
    }

    /// When it is tried again; never when it was given up.
    fn failed(
        &mut self,
        delivery: &mut Delivery,
        answer: &SendOutcome,
        began: Instant,
        now: ClockReading,
        ctx: &mut Context<Self>,
    ) -> Option<Instant> {
        if let Some(failure) = failure_of(answer) {
            self.reception.failed(delivery.position, now.instant, is_first_attempt(delivery));
            self.throttle.fail(now.instant, began, failure, answer.retry_after);
        } else {
            match self.refused(delivery, now) {
                RefusalVerdict::OfMessage { is_held_enough } => {
                    return self.refused_alone(delivery, is_held_enough, now);
                }
                RefusalVerdict::OfEndpoint { is_certain: true } => {
                    self.throttle.fail(now.instant, began, EndpointFailure::Refusal, None);
                }
                RefusalVerdict::OfEndpoint { is_certain: false } => {}
            }
        }
        self.mark_hold_off(now);
        self.progress.failing_since.get_or_insert(now.date);
        let (since, before) = *self.failing.get_or_insert((now.instant, Duration::ZERO));
        if answer.status == Some(GONE) {
            // Not its message's fault: it waits until somebody enables the endpoint again.
            self.disable("the endpoint answered 410 Gone".to_owned(), ctx);
            return Some(now.instant);
        }
        if before.saturating_add(now.instant - since) >= self.services.settings.disable_after {
            let hours = self.services.settings.disable_after.as_secs() / 3_600;
            self.disable(format!("every attempt has failed for {hours} hours"), ctx);
        }
        self.try_again(delivery, now)
    }

    /// When its schedule tries it again. When that is exhausted it is given up.
    pub(super) fn try_again(&self, delivery: &mut Delivery, now: ClockReading) -> Option<Instant> {
        let wait = self.services.settings.schedule.wait(delivery.tries, self.services.random());
        if wait.is_none() {
            self.give_up(delivery);
        }
        wait.map(|wait| later(now.instant, wait))
    }

    /// Notes how long the endpoint is left alone, for the next start.
    fn mark_hold_off(&mut self, now: ClockReading) {
        self.progress.hold_off = self.throttle.not_before().map(|until| HoldOff {
            until: now.date_of(until),
            wait: until.saturating_duration_since(now.instant),
        });
    }

    pub(super) fn give_up(&self, delivery: &mut Delivery) {
        delivery.status = DeliveryStatus::Failed;
        self.services.counters().record_given_up();
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
        let (services, endpoint) = (Arc::clone(&self.services), Arc::clone(&self.endpoint));
        tracing::warn!(tenant.id = %endpoint.tenant, webhook.id = %endpoint.id, reason, "an endpoint is disabled");
        let disabling = async move { services.disable(&endpoint, reason).await };
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
fn failure_of(answer: &SendOutcome) -> Option<EndpointFailure> {
    match answer.status {
        None | Some(408 | 503) => Some(EndpointFailure::Silence),
        Some(429 | 502 | 504) => Some(EndpointFailure::Overload),
        Some(410 | 425) => Some(EndpointFailure::Answer),
        Some(400..=499) => None,
        Some(_) => Some(EndpointFailure::Answer),
    }
}

fn attempt_of(tried: FinishedAttempt) -> DeliveryAttempt {
    let FinishedAttempt { outcome, started_at, duration } = tried;
    DeliveryAttempt {
        at: started_at,
        duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
        status: outcome.status,
        error: outcome.error,
        answer: outcome.body,
    }
}
