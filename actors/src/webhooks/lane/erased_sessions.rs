//! Which sessions a lane was told to forget, for as long as something of them may still come.
//!
//! What may bring it began before: an attempt, a reading, a search. Each takes a ticket; once those from before
//! are back, and the log is known up to where the sessions end, nothing of them comes any more. On a lane that
//! is never idle too: what begins later does not count.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use amoiq_events::{Position, SessionId};

/// Sessions whose messages up to a position, and at it, are gone.
pub(super) type SessionCutoffs = Arc<HashMap<SessionId, Position>>;

/// Shows that something is underway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkToken(u64);

/// The sessions that are forgotten, and what may bring them.
#[derive(Debug, Default)]
pub(super) struct ErasedSessions {
    /// Each with the first ticket that was given after it.
    sessions: Vec<(WorkToken, SessionCutoffs)>,
    underway: BTreeSet<WorkToken>,
    given: u64,
}

impl ErasedSessions {
    /// Something begins that may bring messages, or what became of one.
    pub(super) fn begin(&mut self) -> WorkToken {
        let ticket = WorkToken(self.given);
        self.given += 1;
        self.underway.insert(ticket);
        ticket
    }

    /// It is back, and what it brought was looked at.
    pub(super) fn end(&mut self, ticket: WorkToken) {
        self.underway.remove(&ticket);
    }

    /// Forgets these from now on.
    pub(super) fn add(&mut self, sessions: SessionCutoffs) {
        self.sessions.push((WorkToken(self.given), sessions));
    }

    /// Whether a message is of a session that was forgotten.
    pub(super) fn holds(&self, position: Position, session: &SessionId) -> bool {
        let is_gone =
            |sessions: &SessionCutoffs| sessions.get(session).is_some_and(|until| position <= *until);
        self.sessions.iter().any(|(_, sessions)| is_gone(sessions))
    }

    /// Drops those of which nothing comes any more, where the log is known up to here.
    pub(super) fn settle(&mut self, known: Position) {
        let oldest = self.underway.first().copied();
        self.sessions.retain(|(since, sessions)| {
            let may_come_back = oldest.is_some_and(|oldest| oldest < *since);
            let is_ahead = |until: &Position| *until > known;
            may_come_back || sessions.values().any(is_ahead)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(until: u64) -> SessionCutoffs {
        Arc::new(HashMap::from([(SessionId::parse("a").unwrap(), Position::from_u64(until))]))
    }

    fn holds(forgotten: &ErasedSessions) -> bool {
        forgotten.holds(Position::from_u64(3), &SessionId::parse("a").unwrap())
    }

    #[test]
    fn what_was_forgotten_is_let_go_when_older_work_is_back_though_newer_goes_on() {
        let mut forgotten = ErasedSessions::default();
        let older = forgotten.begin();
        forgotten.add(sessions(3));
        let newer = forgotten.begin();
        forgotten.settle(Position::from_u64(9));
        assert!(holds(&forgotten), "an attempt from before may bring it");
        forgotten.end(older);
        forgotten.settle(Position::from_u64(9));
        assert!(!holds(&forgotten), "one that began later cannot");
        forgotten.end(newer);
    }

    #[test]
    fn what_the_log_may_still_bring_stays_forgotten() {
        let mut forgotten = ErasedSessions::default();
        forgotten.add(sessions(7));
        forgotten.settle(Position::from_u64(6));
        assert!(holds(&forgotten), "the message at 7 has not come by");
        forgotten.settle(Position::from_u64(7));
        assert!(!holds(&forgotten));
    }
}
