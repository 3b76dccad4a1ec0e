//! Decides which delivery is attempted when, and what follows from each outcome. Pure: the current time and random
//! numbers are arguments.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use amoiq_events::{Position, Timestamp};
use tokio::time::Instant;

use super::{
    backlog::{DeliveryBacklog, DueDelivery},
    retry_backoff::RetryBackoff,
};
use crate::webhooks::{
    delivery::{Delivery, DeliveryStatus, LaneProgress},
    pacing::{
        clock_reading::{ClockReading, later},
        endpoint_throttle::{EndpointFailure, EndpointThrottle},
    },
    sender::{DeliveryOutcome, LoggedMessage},
    services::LaneSettings,
};

mod endpoint_health;
mod refusal_evidence;

use endpoint_health::{EndpointHealth, failure_of};
use refusal_evidence::{RefusalEvidence, RefusalVerdict, RefusedAttempt};

/// The HTTP status of an endpoint that will never be there again.
const GONE: u16 = 410;

/// If one in this many of the places for deliveries waits in order, no refused message may hold back its session: the
/// lane would soon stop reading.
const CROWDED_FRACTION: usize = 4;

/// At most one in this many of the places is for deliveries that were set aside. One more is given up.
const SET_ASIDE_FRACTION: usize = 2;

/// When the next attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextAttempt {
    Now,
    At(Instant),
    /// Not before something else happens.
    Unknown,
}

/// An attempt that was started.
#[derive(Debug)]
pub(super) struct StartedAttempt {
    pub(super) delivery: Delivery,
    /// Absent when it has to be read from the log.
    pub(super) message: Option<Arc<LoggedMessage>>,
    started: Instant,
    /// Which generation of the endpoint is called.
    generation: u64,
}

/// How an attempt ended.
pub(super) struct AttemptEnd<'a> {
    pub(super) outcome: &'a DeliveryOutcome,
    pub(super) now: ClockReading,
    /// Any number, for the jitter.
    pub(super) random: u64,
}

/// What follows from the end of an attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AttemptConclusion {
    /// When the delivery is due again; `None` once it is settled.
    pub(super) due: Option<Instant>,
    pub(super) is_given_up: bool,
    pub(super) is_set_aside: bool,
    /// The endpoint has to be disabled, for this reason.
    pub(super) disable: Option<String>,
}

/// Decides about the attempts of one lane.
#[derive(Debug)]
pub(super) struct AttemptScheduler {
    settings: Arc<LaneSettings>,
    pub(super) backlog: DeliveryBacklog,
    throttle: EndpointThrottle,
    refusals: RefusalEvidence,
    health: EndpointHealth,
    /// Attempts that run, or whose outcome is not yet written: after a crash no more than these are repeated.
    in_flight: usize,
    /// How often the owner has changed the endpoint. The outcome of an attempt from before says nothing about the
    /// endpoint as it is now.
    generation: u64,
    /// Deliveries whose message could not be read from the log.
    unreadable: BTreeMap<Position, RetryBackoff>,
}

/// How an endpoint is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SchedulerStatus {
    pub(super) held_sessions: usize,
    pub(super) in_flight: usize,
    pub(super) failing_since: Option<Timestamp>,
    /// The endpoint is not called before.
    pub(super) not_before: Option<Instant>,
}

impl AttemptScheduler {
    /// Starts from what was saved.
    pub(super) fn new(settings: Arc<LaneSettings>, progress: &LaneProgress, now: ClockReading) -> Self {
        let not_before = progress.hold_off.map(|hold_off| now.instant_of(hold_off.until, hold_off.wait));
        Self {
            throttle: EndpointThrottle::new(settings.throttle.clone(), not_before),
            refusals: RefusalEvidence::new(settings.throttle.breaker_failures),
            health: EndpointHealth::restore(progress, now),
            settings,
            backlog: DeliveryBacklog::default(),
            in_flight: 0,
            generation: 0,
            unreadable: BTreeMap::new(),
        }
    }

    /// Whether no more deliveries fit.
    pub(super) fn is_full(&self) -> bool {
        self.backlog.is_full(self.settings.pending)
    }

    /// Whether so many are unsettled that none may be asked for again.
    pub(super) fn has_all_pending(&self) -> bool {
        self.backlog.len() >= self.settings.pending
    }

    /// Adds a delivery from `outbox.db`. Its date is of the wall clock, which may have been set since.
    pub(super) fn add_stored(&mut self, mut delivery: Delivery, now: ClockReading) {
        let longest = self.settings.schedule.longest_wait(delivery.tries);
        let due = delivery.next_at.map_or(now.instant, |date| now.instant_of(date, longest));
        delivery.next_at = Some(now.date_of(due));
        self.backlog.add(delivery, None, None, due);
    }

    /// Remembers that a delivery was refused before the start.
    pub(super) fn restore_refusal(&mut self, delivery: &Delivery, now: ClockReading) {
        let Some(refused_at) = delivery.refused_at else { return };
        let hold = self.settings.refused_hold;
        let holds_until = delivery.holds.then(|| now.instant_of(refused_at + hold, hold));
        self.refusals.restore(delivery.position, delivery.session.clone(), holds_until);
    }

    /// When the next attempt may start.
    pub(super) fn next_attempt(&self, now: Instant) -> NextAttempt {
        if self.in_flight >= self.throttle.window() {
            return NextAttempt::Unknown;
        }
        let Some(due) = self.backlog.next_due() else { return NextAttempt::Unknown };
        let at = self.throttle.ready_at().map_or(due, |ready| ready.max(due));
        if at > now { NextAttempt::At(at) } else { NextAttempt::Now }
    }

    /// Whether attempts, or the log, wait until others have ended and are written.
    pub(super) fn is_held_up(&self) -> bool {
        self.is_full() || self.in_flight >= self.throttle.window() && self.backlog.next_due().is_some()
    }

    /// Starts the attempt that is due first.
    pub(super) fn start(&mut self, now: Instant, rate_per_second: Option<u32>) -> Option<StartedAttempt> {
        let DueDelivery { delivery, message } = self.backlog.start(now, self.throttle.is_open())?;
        self.throttle.begin(now, rate_per_second);
        self.in_flight += 1;
        Some(StartedAttempt { delivery, message, started: now, generation: self.generation })
    }

    /// The message of a delivery could not be read, so no attempt was made. Returns how long to wait, and whether this
    /// is its first failure.
    pub(super) fn message_unreadable(&mut self, position: Position) -> (Duration, bool) {
        self.in_flight -= 1;
        self.unreadable.entry(position).or_default().record_failure()
    }

    /// An attempt was not made after all.
    pub(super) fn attempt_omitted(&mut self) {
        self.in_flight -= 1;
    }

    /// The message of a delivery was erased from the log.
    pub(super) fn message_erased(&mut self, delivery: &mut Delivery) -> AttemptConclusion {
        self.unreadable.remove(&delivery.position);
        give_up(delivery)
    }

    /// An attempt has ended. Updates its delivery.
    pub(super) fn conclude(
        &mut self,
        attempt: &mut StartedAttempt,
        end: &AttemptEnd<'_>,
    ) -> AttemptConclusion {
        let is_current = attempt.generation == self.generation;
        let started = attempt.started;
        let delivery = &mut attempt.delivery;
        self.unreadable.remove(&delivery.position);
        if end.outcome.is_success() {
            self.succeeded(delivery, is_current, end.now);
            AttemptConclusion::default()
        } else if is_current {
            delivery.tries = delivery.tries.saturating_add(1);
            self.failed(delivery, started, end)
        } else {
            delivery.refused_at = delivery.refused_at.filter(|_| !delivery.holds);
            AttemptConclusion { due: Some(end.now.instant), ..AttemptConclusion::default() }
        }
    }

    fn succeeded(&mut self, delivery: &mut Delivery, is_current: bool, now: ClockReading) {
        delivery.tries = delivery.tries.saturating_add(1);
        delivery.status = DeliveryStatus::Delivered;
        if is_current {
            self.throttle.succeed();
            self.refusals.record_success(delivery.position, &delivery.session, is_first_attempt(delivery));
            self.health.record_success();
            self.health.note_hold_off(self.throttle.not_before(), now);
        }
    }

    fn failed(
        &mut self,
        delivery: &mut Delivery,
        started: Instant,
        end: &AttemptEnd<'_>,
    ) -> AttemptConclusion {
        let AttemptEnd { outcome, now, .. } = *end;
        if let Some(failure) = failure_of(outcome) {
            self.refusals.record_failure(delivery.position, now.instant, is_first_attempt(delivery));
            self.throttle.fail(now.instant, started, failure, outcome.retry_after);
        } else {
            match self.refused(delivery, now) {
                RefusalVerdict::MessageRefused { is_hold_over } => {
                    return self.message_refused(delivery, is_hold_over, end);
                }
                RefusalVerdict::EndpointFails { is_certain: true } => {
                    self.throttle.fail(now.instant, started, EndpointFailure::Refusal, None);
                }
                RefusalVerdict::EndpointFails { is_certain: false } => {}
            }
        }
        self.health.note_hold_off(self.throttle.not_before(), now);
        let failing_for = self.health.record_failure(now);
        if outcome.status == Some(GONE) {
            // That is not the message's fault: it waits until somebody enables the endpoint again.
            let disable = Some("the endpoint answered 410 Gone".to_owned());
            return AttemptConclusion { due: Some(now.instant), disable, ..AttemptConclusion::default() };
        }
        let disable = (failing_for >= self.settings.disable_after).then(|| {
            let hours = self.settings.disable_after.as_secs() / 3_600;
            format!("every attempt has failed for {hours} hours")
        });
        AttemptConclusion { disable, ..self.try_again(delivery, end) }
    }

    /// The endpoint refused a delivery. Returns whether that is about the message alone.
    fn refused(&mut self, delivery: &mut Delivery, now: ClockReading) -> RefusalVerdict {
        let is_first_attempt = is_first_attempt(delivery);
        delivery.refused_at.get_or_insert(now.date);
        let hold = if self.is_crowded() { Duration::ZERO } else { self.settings.refused_hold };
        let holds_until = delivery.holds.then(|| later(now.instant, hold));
        let (position, session) = (delivery.position, &delivery.session);
        let attempt = RefusedAttempt { position, session, holds_until, is_first_attempt };
        self.refusals.record_refusal(attempt, now.instant)
    }

    /// An endpoint that takes others refused a message.
    fn message_refused(
        &mut self,
        delivery: &mut Delivery,
        is_hold_over: bool,
        end: &AttemptEnd<'_>,
    ) -> AttemptConclusion {
        if !is_hold_over || !delivery.holds {
            return self.try_again(delivery, end);
        }
        if self.backlog.set_aside() >= self.settings.pending / SET_ASIDE_FRACTION {
            return give_up(delivery);
        }
        (delivery.status, delivery.holds) = (DeliveryStatus::Refused, false);
        self.refusals.set_aside(delivery.position);
        AttemptConclusion { is_set_aside: true, ..self.try_again(delivery, end) }
    }

    /// Schedules the next attempt, or gives the delivery up if the schedule is exhausted.
    fn try_again(&self, delivery: &mut Delivery, end: &AttemptEnd<'_>) -> AttemptConclusion {
        match self.settings.schedule.wait(delivery.tries, end.random) {
            Some(wait) => {
                AttemptConclusion { due: Some(later(end.now.instant, wait)), ..AttemptConclusion::default() }
            }
            None => give_up(delivery),
        }
    }

    /// Ends an attempt in the backlog. Returns what has to be written.
    pub(super) fn finish(
        &mut self,
        mut delivery: Delivery,
        due: Option<Instant>,
        now: ClockReading,
    ) -> Vec<Delivery> {
        if delivery.status.is_settled() {
            self.refusals.settle(delivery.position);
        }
        delivery.next_at = due.map(|due| now.date_of(due));
        self.backlog.finish(delivery, due.unwrap_or(now.instant))
    }

    /// The outcome of a delivery is written, or is not going to be. Its attempt, if it had one, no longer counts.
    pub(super) fn release(&mut self, position: Position, had_attempt: bool) {
        self.backlog.mark_written(position);
        if had_attempt {
            self.in_flight -= 1;
        }
    }

    /// Forgets what is known about a delivery beside the backlog.
    pub(super) fn forget(&mut self, position: Position) {
        self.refusals.settle(position);
        self.unreadable.remove(&position);
    }

    /// Removes the deliveries that match; `exists` says of others than these whether they still wait elsewhere.
    pub(super) fn discard(
        &mut self,
        matches: impl FnMut(&Delivery) -> bool,
        exists: impl Fn(Position) -> bool,
    ) {
        self.backlog.discard(matches);
        let backlog = &self.backlog;
        self.unreadable.retain(|position, _| backlog.contains(*position));
        self.refusals.retain(|position| backlog.contains(position) || exists(position));
    }

    /// Makes refused messages due whose hold is over, once the endpoint is known to take others. Returns when to look
    /// again.
    pub(super) fn review_refusals(&mut self, now: ClockReading) -> Option<Instant> {
        if self.is_crowded() {
            self.refusals.end_all_holds(now.instant);
        }
        for position in self.refusals.take_retries(now.instant) {
            self.backlog.make_due(position, now);
        }
        self.refusals.next_hold_end()
    }

    /// The owner changed the endpoint: what was learnt before no longer counts, and everything is due now.
    pub(super) fn reset(&mut self, now: ClockReading) {
        self.throttle.reset();
        self.refusals.reset();
        self.health = EndpointHealth::default();
        self.backlog.make_all_due(now);
        self.generation += 1;
    }

    /// Copies into `progress` what has to be saved.
    pub(super) fn save(&self, progress: &mut LaneProgress) {
        (progress.failing_since, progress.hold_off) = (self.health.failing_since(), self.health.hold_off());
    }

    /// How many attempts run or wait to be written.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn status(&self, now: Instant) -> SchedulerStatus {
        SchedulerStatus {
            held_sessions: self.refusals.held_sessions(),
            in_flight: self.in_flight,
            failing_since: self.health.failing_since(),
            not_before: self.throttle.not_before().filter(|until| *until > now),
        }
    }

    fn is_crowded(&self) -> bool {
        self.backlog.in_order() >= (self.settings.pending / CROWDED_FRACTION).max(1)
    }
}

fn give_up(delivery: &mut Delivery) -> AttemptConclusion {
    delivery.status = DeliveryStatus::Failed;
    AttemptConclusion { is_given_up: true, ..AttemptConclusion::default() }
}

/// Whether an attempt that was just made, and counted, is the first of its delivery.
fn is_first_attempt(delivery: &Delivery) -> bool {
    delivery.tries == 1 && delivery.refused_at.is_none()
}

#[cfg(test)]
mod tests;
