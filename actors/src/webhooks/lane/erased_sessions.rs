//! The sessions that a lane was told to forget, for as long as something of them may still arrive.
//!
//! Only work that started before may bring it: an attempt, a read, a search. Each such piece of work holds a token. Once
//! the older work has ended, and the log is known up to where the sessions end, nothing of them can arrive any more. Work
//! that starts later does not count, so that this ends on a busy lane, too.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use amoiq_events::{Position, SessionId};

use crate::webhooks::delivery::Delivery;

/// Sessions whose messages up to and including a position were erased.
pub(super) type SessionCutoffs = Arc<HashMap<SessionId, Position>>;

/// A piece of work that has started and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkToken(u64);

/// The erased sessions, and the work that may still bring something of them.
#[derive(Debug, Default)]
pub(super) struct ErasedSessions {
    /// Each with the first token that was given after it was added.
    sessions: Vec<(WorkToken, SessionCutoffs)>,
    running: BTreeSet<WorkToken>,
    next_token: u64,
}

impl ErasedSessions {
    /// Work starts that may bring messages or deliveries.
    pub(super) fn start_work(&mut self) -> WorkToken {
        let token = WorkToken(self.next_token);
        self.next_token += 1;
        self.running.insert(token);
        token
    }

    /// Work has ended, and what it brought was handled.
    pub(super) fn end_work(&mut self, token: WorkToken) {
        self.running.remove(&token);
    }

    /// Forgets these sessions from now on.
    pub(super) fn add(&mut self, sessions: SessionCutoffs) {
        self.sessions.push((WorkToken(self.next_token), sessions));
    }

    /// Whether a message belongs to an erased session.
    pub(super) fn contains(&self, position: Position, session: &SessionId) -> bool {
        let is_erased =
            |sessions: &SessionCutoffs| sessions.get(session).is_some_and(|until| position <= *until);
        self.sessions.iter().any(|(_, sessions)| is_erased(sessions))
    }

    /// Whether a delivery belongs to an erased session.
    pub(super) fn contains_delivery(&self, delivery: &Delivery) -> bool {
        self.contains(delivery.position, &delivery.session)
    }

    /// Drops the sessions of which nothing can arrive any more, when the log is known up to here.
    pub(super) fn settle(&mut self, known: Position) {
        let oldest = self.running.first().copied();
        self.sessions.retain(|(added, sessions)| {
            let has_older_work = oldest.is_some_and(|oldest| oldest < *added);
            let is_ahead = |until: &Position| *until > known;
            has_older_work || sessions.values().any(is_ahead)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(until: u64) -> SessionCutoffs {
        Arc::new(HashMap::from([(SessionId::parse("a").unwrap(), Position::from_u64(until))]))
    }

    fn contains(erased: &ErasedSessions) -> bool {
        erased.contains(Position::from_u64(3), &SessionId::parse("a").unwrap())
    }

    #[test]
    fn a_session_is_dropped_when_older_work_has_ended_though_newer_goes_on() {
        let mut erased = ErasedSessions::default();
        let older = erased.start_work();
        erased.add(sessions(3));
        let newer = erased.start_work();
        erased.settle(Position::from_u64(9));
        assert!(contains(&erased), "an attempt from before may bring it");
        erased.end_work(older);
        erased.settle(Position::from_u64(9));
        assert!(!contains(&erased), "work that started later cannot");
        erased.end_work(newer);
    }

    #[test]
    fn a_session_stays_erased_while_the_log_may_still_bring_it() {
        let mut erased = ErasedSessions::default();
        erased.add(sessions(7));
        erased.settle(Position::from_u64(6));
        assert!(contains(&erased), "the message at 7 has not been read yet");
        erased.settle(Position::from_u64(7));
        assert!(!contains(&erased));
    }
}
