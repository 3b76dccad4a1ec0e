//! What follows from the outcome of an attempt: given some deliveries, when an endpoint answers, then.

use amoiq_events::{EventId, MessageId, SessionId};

use super::*;
use crate::webhooks::pacing::{endpoint_throttle::ThrottleSettings, retry_schedule::RetrySchedule};

const DATE: Timestamp = Timestamp::from_millis(1_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A scheduler, and a clock that the test moves.
struct Given {
    scheduler: AttemptScheduler,
    now: ClockReading,
}

impl Given {
    /// An endpoint with a pending delivery in each of so many sessions, at the positions 1, 2, 3 …
    fn with_deliveries(count: u64) -> Self {
        let settings = LaneSettings {
            schedule: RetrySchedule {
                waits: vec![Duration::ZERO, 5 * SECOND, 60 * SECOND],
                jitter_percent: 0,
            },
            throttle: ThrottleSettings {
                in_flight: 64,
                breaker_failures: 5,
                breaker_min: SECOND,
                breaker_max: 60 * SECOND,
            },
            attempt_timeout: 15 * SECOND,
            in_flight: 64,
            pending: 100,
            refused_hold: 300 * SECOND,
            disable_after: Duration::from_hours(2),
        };
        let now = ClockReading { instant: Instant::now(), date: DATE };
        let progress = LaneProgress::default();
        let mut scheduler = AttemptScheduler::new(Arc::new(settings), &progress, now);
        (1..=count).for_each(|position| scheduler.add_stored(delivery(position), now));
        Self { scheduler, now }
    }

    /// Starts the next attempt, which has to be possible.
    fn start(&mut self) -> StartedAttempt {
        assert_eq!(self.scheduler.next_attempt(self.now.instant), NextAttempt::Now);
        self.scheduler.start(self.now.instant, None).unwrap()
    }

    /// The endpoint answers an attempt. Returns the delivery as it is written, and what follows.
    fn end(&mut self, mut attempt: StartedAttempt, status: Option<u16>) -> (Delivery, AttemptConclusion) {
        let error = (status != Some(200)).then(|| "no success".to_owned());
        let outcome = DeliveryOutcome { status, error, ..DeliveryOutcome::default() };
        let end = AttemptEnd { outcome: &outcome, now: self.now, random: 0 };
        let conclusion = self.scheduler.conclude(&mut attempt, &end);
        let written = self.scheduler.finish(attempt.delivery, conclusion.due, self.now);
        self.scheduler.release(written[0].position, true);
        (written[0].clone(), conclusion)
    }

    /// One attempt, answered with a status.
    fn answer(&mut self, status: u16) -> (Delivery, AttemptConclusion) {
        let attempt = self.start();
        self.end(attempt, Some(status))
    }

    fn wait(&mut self, wait: Duration) {
        self.now = ClockReading { instant: self.now.instant + wait, date: self.now.date + wait };
    }
}

fn delivery(position: u64) -> Delivery {
    let uuid = uuid::Uuid::from_u128(u128::from(position));
    Delivery {
        position: Position::from_u64(position),
        event_id: EventId::from_uuid(uuid),
        message_id: MessageId::from_uuid(uuid),
        session: SessionId::parse(&format!("session-{position}")).unwrap(),
        status: DeliveryStatus::Pending,
        tries: 0,
        next_at: Some(DATE),
        holds: true,
        refused_at: None,
        changed_at: DATE,
    }
}

#[test]
fn a_success_settles_the_delivery() {
    let mut given = Given::with_deliveries(1);
    let (delivered, conclusion) = given.answer(200);
    assert_eq!((delivered.status, delivered.tries, delivered.next_at), (DeliveryStatus::Delivered, 1, None));
    assert_eq!(conclusion, AttemptConclusion::default());
    assert_eq!((given.scheduler.in_flight(), given.scheduler.backlog.len()), (0, 0));
}

#[test]
fn a_failure_is_tried_again_on_the_schedule_and_given_up_at_its_end() {
    let mut given = Given::with_deliveries(1);
    for wait in [5 * SECOND, 60 * SECOND] {
        let (failed, conclusion) = given.answer(500);
        assert_eq!(conclusion.due, Some(given.now.instant + wait));
        assert_eq!((failed.status, failed.next_at.is_some()), (DeliveryStatus::Pending, true));
        assert_eq!(
            given.scheduler.next_attempt(given.now.instant),
            NextAttempt::At(given.now.instant + wait)
        );
        given.wait(wait);
    }
    let (failed, conclusion) = given.answer(500);
    assert_eq!((failed.status, conclusion.is_given_up, conclusion.due), (DeliveryStatus::Failed, true, None));
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_and_its_delivery_stays() {
    let mut given = Given::with_deliveries(1);
    let (waiting, conclusion) = given.answer(410);
    assert_eq!(conclusion.disable.as_deref(), Some("the endpoint answered 410 Gone"));
    assert_eq!((waiting.status, conclusion.due), (DeliveryStatus::Pending, Some(given.now.instant)));
}

#[test]
fn an_endpoint_that_fails_everything_for_long_enough_is_disabled_and_one_success_starts_anew() {
    let mut given = Given::with_deliveries(6);
    assert_eq!(given.answer(500).1.disable, None);
    given.wait(Duration::from_hours(1));
    given.answer(200);
    assert_eq!(given.answer(500).1.disable, None);
    given.wait(Duration::from_hours(2));
    let reason = given.answer(500).1.disable;
    assert_eq!(reason.as_deref(), Some("every attempt has failed for 2 hours"));
}

#[test]
fn what_an_attempt_from_before_a_change_met_says_nothing_about_the_endpoint() {
    let mut given = Given::with_deliveries(2);
    let (first, second) = (given.start(), given.start());
    given.scheduler.reset(given.now);
    let (waiting, conclusion) = given.end(first, Some(500));
    assert_eq!((waiting.tries, conclusion.due), (0, Some(given.now.instant)), "it is due at once");
    assert_eq!(given.scheduler.status(given.now.instant).failing_since, None);
    let (delivered, _) = given.end(second, Some(200));
    assert_eq!(delivered.status, DeliveryStatus::Delivered, "a success counts all the same");
}

#[test]
fn a_message_that_is_refused_while_others_are_taken_is_set_aside_after_its_hold() {
    let mut given = Given::with_deliveries(3);
    let (refused, conclusion) = given.answer(422);
    assert_eq!((refused.holds, conclusion.is_set_aside), (true, false));
    assert_eq!(given.scheduler.status(given.now.instant).held_sessions, 1);
    given.answer(200);
    given.answer(200);
    given.wait(300 * SECOND);
    given.scheduler.review_refusals(given.now);
    let (aside, conclusion) = given.answer(422);
    assert_eq!((aside.status, aside.holds), (DeliveryStatus::Refused, false));
    assert!(conclusion.is_set_aside && conclusion.due.is_some(), "it is still attempted");
    assert_eq!(given.scheduler.status(given.now.instant).held_sessions, 0);
    assert_eq!(given.scheduler.status(given.now.instant).failing_since, None, "the endpoint is well");
}

#[test]
fn no_more_attempts_run_than_the_endpoint_can_take() {
    let mut given = Given::with_deliveries(10);
    let running: Vec<_> = (0..4).map(|_| given.start()).collect();
    assert_eq!(given.scheduler.next_attempt(given.now.instant), NextAttempt::Unknown);
    running.into_iter().for_each(|attempt| drop(given.end(attempt, Some(200))));
    assert_eq!((0..6).map(|_| given.start()).count(), 6, "successes widen the window");
}

#[test]
fn a_delivery_whose_message_was_erased_is_given_up() {
    let mut given = Given::with_deliveries(1);
    let mut attempt = given.start();
    let conclusion = given.scheduler.message_erased(&mut attempt.delivery);
    assert_eq!((attempt.delivery.status, conclusion.is_given_up), (DeliveryStatus::Failed, true));
}

#[test]
fn an_unreadable_message_waits_longer_each_time_and_takes_no_part_of_the_window() {
    let mut given = Given::with_deliveries(1);
    let attempt = given.start();
    let position = attempt.delivery.position;
    assert_eq!(given.scheduler.message_unreadable(position), (SECOND, true));
    assert_eq!(given.scheduler.in_flight(), 0);
    given.scheduler.finish(attempt.delivery, Some(given.now.instant), given.now);
    given.start();
    assert_eq!(given.scheduler.message_unreadable(position), (2 * SECOND, false));
}
