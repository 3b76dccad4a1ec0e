//! How a lane sends: it starts the attempts that are due, as many at a time as the endpoint can take, and applies what
//! the scheduler concludes from each outcome.

use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    LaneEvent, WebhookLane,
    attempt_scheduler::{AttemptEnd, NextAttempt, StartedAttempt},
    erased_sessions::WorkToken,
    retry_backoff::FIRST_WAIT,
};
use crate::webhooks::{
    attempt_runner::FinishedAttempt,
    delivery::{Delivery, DeliveryAttempt},
    fair_semaphore::FairPermit,
    message_reader::MessageReadError,
    pacing::clock_reading::{ClockReading, later},
    sender::WebhookPayload,
};

/// How a started attempt ended.
enum AttemptOutcome {
    Finished(FinishedAttempt),
    /// The message was erased from the log.
    Erased,
    Unreadable(MessageReadError),
    /// The lease ended while the message was read: another node may send it already.
    LeaseOver,
}

impl WebhookLane {
    /// Starts as many attempts as possible.
    pub(super) fn send_due(&mut self, ctx: &mut Context<Self>) {
        while self.state.may_send() && self.has_lease(ctx) && self.is_attempt_due(ctx) {
            let Some(permit) = self.services.attempts.try_acquire(&self.endpoint.tenant) else {
                return self.await_permit(ctx);
            };
            if !self.start_attempt(permit, ctx) {
                return;
            }
        }
    }

    /// Whether an attempt may start now. If one may start later, the lane wakes up then.
    fn is_attempt_due(&mut self, ctx: &mut Context<Self>) -> bool {
        let now = Instant::now();
        match self.scheduler.next_attempt(now) {
            NextAttempt::Now => true,
            NextAttempt::At(at) => {
                self.wake_at(at, now, ctx);
                false
            }
            NextAttempt::Unknown => false,
        }
    }

    /// Waits for one permit, so that lanes take turns. Which delivery is sent, and whether any is, is decided when the
    /// permit is there: that may take long, and the owner may pause or move the endpoint meanwhile.
    fn await_permit(&mut self, ctx: &mut Context<Self>) {
        self.state.apply(LaneEvent::PermitRequested);
        let (services, tenant) = (Arc::clone(&self.services), self.endpoint.tenant.clone());
        let acquiring = async move { services.attempts.acquire(&tenant).await };
        ctx.spawn(acquiring.into_actor(self).map(|permit, lane, ctx| {
            lane.state.apply(LaneEvent::PermitGranted);
            lane.see_endpoint();
            if lane.state.may_send() && lane.has_lease(ctx) && lane.is_attempt_due(ctx) {
                lane.start_attempt(permit, ctx);
            } else {
                drop(permit);
            }
            lane.pump(ctx);
        }));
    }

    /// Starts the attempt that is due first. Returns whether there was one.
    fn start_attempt(&mut self, permit: FairPermit, ctx: &mut Context<Self>) -> bool {
        let rate_per_second = self.endpoint.webhook.settings.rate_per_second;
        let Some(started) = self.scheduler.start(Instant::now(), rate_per_second) else { return false };
        let (services, endpoint) = (Arc::clone(&self.services), Arc::clone(&self.endpoint));
        let (position, message) = (started.delivery.position, started.message.clone());
        let lease = self.lease.clone();
        let sending = async move {
            let message = match message {
                Some(message) => message,
                None => match services.messages.message_at(&endpoint.tenant, position).await {
                    Ok(Some(message)) => message,
                    Ok(None) => return AttemptOutcome::Erased,
                    Err(error) => return AttemptOutcome::Unreadable(error),
                },
            };
            if !lease.is_valid() {
                return AttemptOutcome::LeaseOver;
            }
            let payload = WebhookPayload::Message(message);
            AttemptOutcome::Finished(services.attempts.run(endpoint, payload, permit).await)
        };
        let token = self.erased.start_work();
        ctx.spawn(sending.into_actor(self).map(move |outcome, lane, ctx| {
            lane.end_attempt(started, outcome, token, ctx);
            lane.pump(ctx);
        }));
        true
    }

    fn end_attempt(
        &mut self,
        mut started: StartedAttempt,
        outcome: AttemptOutcome,
        token: WorkToken,
        ctx: &mut Context<Self>,
    ) {
        let now = self.services.now();
        started.delivery.changed_at = now.date;
        let (conclusion, attempt) = match outcome {
            AttemptOutcome::Unreadable(error) => {
                let due = self.retry_unreadable(&error, &started.delivery, now);
                self.finish(started.delivery, None, Some(due), now);
                return self.erased.end_work(token);
            }
            AttemptOutcome::LeaseOver => {
                self.scheduler.attempt_omitted();
                self.finish(started.delivery, None, Some(now.instant), now);
                return self.erased.end_work(token);
            }
            AttemptOutcome::Erased => {
                let conclusion = self.scheduler.message_erased(&mut started.delivery);
                (conclusion, attempt_without_message(now))
            }
            AttemptOutcome::Finished(finished) => {
                let random = self.services.random();
                let end = AttemptEnd { outcome: &finished.outcome, now, random };
                (self.scheduler.conclude(&mut started, &end), stored_attempt(finished))
            }
        };
        if conclusion.is_set_aside {
            self.report_set_aside(&started.delivery);
        }
        if conclusion.is_given_up {
            self.report_given_up(&started.delivery);
        }
        if let Some(reason) = conclusion.disable {
            self.disable(reason, ctx);
        }
        self.finish(started.delivery, Some(attempt), conclusion.due, now);
        self.erased.end_work(token);
    }

    /// When a delivery is due again whose message could not be read from the log.
    fn retry_unreadable(
        &mut self,
        error: &MessageReadError,
        delivery: &Delivery,
        now: ClockReading,
    ) -> Instant {
        let (wait, is_new) = self.scheduler.message_unreadable(delivery.position);
        if is_new {
            tracing::error!(%error, tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                position = %delivery.position, "the message of a delivery cannot be read; trying again");
        }
        later(now.instant, wait)
    }

    /// Records a delivery after an attempt, and when it is due again, unless its session was erased meanwhile.
    fn finish(
        &mut self,
        delivery: Delivery,
        mut attempt: Option<DeliveryAttempt>,
        due: Option<Instant>,
        now: ClockReading,
    ) {
        if self.erased.contains_delivery(&delivery) {
            self.scheduler.forget(delivery.position);
            return self.scheduler.release(delivery.position, attempt.is_some());
        }
        for changed in self.scheduler.finish(delivery, due, now) {
            self.records.push(changed, attempt.take());
        }
    }

    fn report_set_aside(&self, delivery: &Delivery) {
        self.services.counters().record_set_aside();
        tracing::info!(
            tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id, message.id = %delivery.message_id,
            "a refused delivery was set aside; its session continues"
        );
    }

    fn report_given_up(&self, delivery: &Delivery) {
        self.services.counters().record_given_up();
        tracing::warn!(
            tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id, message.id = %delivery.message_id,
            tries = delivery.tries, "a delivery has failed for good; its owner can ask for it again"
        );
    }

    /// Stops sending and has the endpoint disabled. If that fails, the lane goes on, fails, and tries again.
    fn disable(&mut self, reason: String, ctx: &mut Context<Self>) {
        if !self.state.apply(LaneEvent::GaveUp) {
            return;
        }
        let (services, endpoint) = (Arc::clone(&self.services), Arc::clone(&self.endpoint));
        tracing::warn!(tenant.id = %endpoint.tenant, webhook.id = %endpoint.id, reason, "an endpoint is disabled");
        let disabling = async move { services.disable(&endpoint, reason).await };
        ctx.spawn(disabling.into_actor(self).map(|result, _, ctx| {
            if let Err(error) = result {
                tracing::error!(%error, "an endpoint could not be disabled");
            }
            // By then the registry shows it. If the owner has enabled the endpoint again by then, only this ends the
            // waiting: of two changes in a row the lane sees only the last.
            ctx.run_later(FIRST_WAIT, |lane, ctx| {
                lane.state.apply(LaneEvent::DisablingEnded);
                lane.pump(ctx);
            });
        }));
    }
}

fn stored_attempt(finished: FinishedAttempt) -> DeliveryAttempt {
    let FinishedAttempt { outcome, started_at, duration } = finished;
    DeliveryAttempt {
        at: started_at,
        duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
        status: outcome.status,
        error: outcome.error,
        answer: outcome.body,
    }
}

fn attempt_without_message(now: ClockReading) -> DeliveryAttempt {
    let error = Some("the message is not in the log any more".to_owned());
    DeliveryAttempt { at: now.date, duration_ms: 0, status: None, error, answer: Vec::new() }
}
