//! Whether a refusal is of one message, or the endpoint's failure.

use std::time::Duration;

use super::*;

const HOLD: Duration = Duration::from_secs(300);

const OF_MESSAGE: RefusalVerdict = RefusalVerdict::MessageRefused { is_hold_over: false };
const SET_ASIDE: RefusalVerdict = RefusalVerdict::MessageRefused { is_hold_over: true };
const CHANCE: RefusalVerdict = RefusalVerdict::EndpointFails { is_certain: false };
const BROKEN: RefusalVerdict = RefusalVerdict::EndpointFails { is_certain: true };

/// An endpoint, and a clock that the test moves.
struct Given {
    evidence: RefusalEvidence,
    now: Instant,
}

impl Given {
    fn new() -> Self {
        Self { evidence: RefusalEvidence::new(5), now: Instant::now() }
    }

    /// One that has taken so many.
    fn that_took(count: u64) -> Self {
        let mut given = Self::new();
        (0..count).for_each(|number| given.took(1_000 + number));
        given
    }

    /// A first attempt at the only message of a session is taken.
    fn took(&mut self, position: u64) {
        self.evidence.record_success(Position::from_u64(position), &session(position), true);
    }

    fn refused(&mut self, position: u64) -> RefusalVerdict {
        let is_first = !self.evidence.messages.contains_key(&Position::from_u64(position));
        let holds_until = Some(self.now + HOLD);
        let name = session(position);
        let position = Position::from_u64(position);
        let attempt = RefusedAttempt { position, session: &name, holds_until, is_first_attempt: is_first };
        self.evidence.record_refusal(attempt, self.now)
    }

    fn passes(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn due(&mut self) -> Vec<u64> {
        self.evidence.take_retries(self.now).into_iter().map(Position::as_u64).collect()
    }
}

fn session(position: u64) -> SessionId {
    SessionId::parse(&format!("session-{position}")).unwrap()
}

#[test]
fn a_refusal_is_of_the_message_once_another_session_was_taken_since() {
    let mut given = Given::that_took(3);
    assert_eq!(given.refused(1), CHANCE);
    given.took(2);
    assert_eq!(given.refused(1), OF_MESSAGE);
}

#[test]
fn what_its_own_session_took_says_nothing_of_others() {
    let mut given = Given::that_took(3);
    given.refused(1);
    given.evidence.record_success(Position::from_u64(2), &session(1), false);
    assert_eq!(given.refused(1), CHANCE);
    given.took(3);
    given.evidence.record_success(Position::from_u64(4), &session(1), false);
    assert_eq!(given.refused(1), OF_MESSAGE, "another one was before that");
}

#[test]
fn who_never_took_anything_is_broken_and_so_is_who_refuses_half_of_all_first_attempts() {
    let mut given = Given::new();
    assert_eq!(given.refused(1), BROKEN);
    let mut given = Given::that_took(20);
    for position in 1..=9 {
        assert_eq!(given.refused(position), CHANCE);
        given.took(100 + position);
    }
    assert_eq!(given.refused(1), OF_MESSAGE);
    assert_eq!(given.refused(10), BROKEN);
    assert_eq!(given.refused(1), BROKEN);
}

#[test]
fn too_many_refusals_in_a_row_are_no_refusals_of_messages() {
    let mut given = Given::that_took(20);
    given.refused(1);
    given.took(100);
    for position in 2..=5 {
        assert_eq!(given.refused(position), CHANCE);
    }
    assert_eq!(given.refused(1), OF_MESSAGE);
    given.refused(6);
    assert_eq!(given.refused(1), CHANCE, "five in a row");
    given.took(101);
    assert_eq!(given.refused(1), OF_MESSAGE);
}

#[test]
fn a_message_that_held_its_session_for_long_enough_is_set_aside_at_its_next_refusal() {
    let mut given = Given::that_took(3);
    given.refused(1);
    given.took(2);
    assert_eq!((given.due(), given.evidence.next_hold_end()), (vec![], Some(given.now + HOLD)));
    given.passes(300);
    assert_eq!(given.due(), [1]);
    assert_eq!(given.refused(1), SET_ASIDE);
    given.evidence.set_aside(Position::from_u64(1));
    assert_eq!(
        (given.due(), given.evidence.next_hold_end(), given.evidence.held_sessions()),
        (vec![], None, 0)
    );
    assert_eq!(given.refused(1), OF_MESSAGE, "it holds nobody any more");
}

#[test]
fn a_message_waits_for_a_verdict_until_another_session_is_taken() {
    let mut given = Given::that_took(3);
    given.refused(1);
    given.passes(7_200);
    assert_eq!(given.due(), [0; 0]);
    assert_eq!(given.refused(1), CHANCE, "nothing was taken since");
    assert_eq!(given.due(), [0; 0]);
    given.took(2);
    assert_eq!(given.due(), [1], "it is tried as soon as that may have changed");
    assert_eq!(given.due(), [0; 0], "and once");
    given.evidence.record_failure(Position::from_u64(1), given.now, false);
    given.took(3);
    assert_eq!(given.due(), [1], "what came of it was no verdict");
}

#[test]
fn nothing_is_set_aside_by_one_that_is_broken_however_long_that_lasts() {
    let mut given = Given::that_took(20);
    for minute in 0..120 {
        assert!(matches!(given.refused(minute + 1), RefusalVerdict::EndpointFails { .. }));
        assert!(matches!(given.refused(1), RefusalVerdict::EndpointFails { .. }));
        given.passes(60);
        assert_eq!(given.due(), [0; 0]);
    }
    given.took(500);
    assert_eq!(given.due(), [0; 0], "of the last twenty first attempts most were refused");
    (501..=510).for_each(|position| given.took(position));
    assert!(given.due().len() > 100, "now they are tried, and taken");
}

#[test]
fn nothing_holds_its_session_when_too_much_waits() {
    let mut given = Given::that_took(3);
    given.refused(1);
    given.took(2);
    assert_eq!(given.due(), [0; 0]);
    given.evidence.end_all_holds(given.now);
    assert_eq!((given.due(), given.refused(1)), (vec![1], SET_ASIDE));
}

#[test]
fn what_was_refused_before_the_start_holds_its_session_for_the_rest() {
    let mut given = Given::new();
    given.evidence.restore(Position::from_u64(1), session(1), Some(given.now + Duration::from_secs(7)));
    given.took(2);
    given.passes(6);
    assert_eq!(given.due(), [0; 0]);
    given.passes(1);
    assert_eq!((given.due(), given.refused(1)), (vec![1], SET_ASIDE));
}

#[test]
fn what_is_settled_is_forgotten() {
    let mut given = Given::that_took(3);
    for position in 1..=4 {
        assert_eq!(given.refused(position), CHANCE);
    }
    given.evidence.settle(Position::from_u64(1));
    given.took(2);
    given.evidence.retain(|position| position == Position::from_u64(4));
    assert_eq!((given.evidence.held_sessions(), given.evidence.holds.len()), (1, 1));
    given.passes(300);
    assert_eq!(given.due(), [4]);
    given.evidence.reset();
    assert_eq!((given.evidence.held_sessions(), given.due()), (0, vec![]));
}
