//! How an endpoint receives what it is sent: whether a refusal is of one message, or the endpoint's failure. A pure
//! structure: what time it is is told.
//!
//! An endpoint that refuses a message (a 4xx) and takes others has no use for that message. One whose route, secret or
//! handler broke refuses everything. So a refusal is of the message alone while
//!
//! - since the message was first refused a delivery of another session was taken,
//! - fewer than half of the last [`FIRST_ATTEMPTS`] first attempts were refused,
//! - and not too many refusals of which that cannot be said came in a row since the last delivery that was taken.
//!
//! It is asked with each refusal. A message that was refused for long enough holds its session no longer once
//! the answer is yes; where it was no, the message is tried again as soon as it may have become yes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use amoiq_events::{Position, SessionId};
use tokio::time::Instant;

/// Of so many first attempts it is known whether they were refused.
pub(super) const FIRST_ATTEMPTS: usize = 20;

/// What a refusal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalVerdict {
    /// The endpoint takes others: it is about the message.
    OfMessage {
        /// The message has held its session for long enough.
        is_held_enough: bool,
    },
    /// The endpoint has failed.
    OfEndpoint {
        /// It takes nothing, as far as is known. Otherwise the refusals may be chance.
        is_certain: bool,
    },
}

/// A message that was refused and is not settled.
#[derive(Debug)]
struct RefusedMessage {
    session: SessionId,
    /// How many deliveries the endpoint had taken when it was first refused.
    since: u64,
    /// Until when it holds its session; nothing when it does not.
    holds_until: Option<Instant>,
}

/// How an endpoint receives what it is sent.
#[derive(Debug)]
pub(super) struct RefusalEvidence {
    /// So many refusals in a row are the endpoint's failure.
    most_in_a_row: u32,
    /// Whether the last first attempts were refused.
    first_attempts: VecDeque<bool>,
    /// How many deliveries were taken,
    taken: u64,
    /// of which session the last one was,
    last: Option<SessionId>,
    /// and which of them was the last of another session.
    last_of_others: u64,
    /// Refusals since then that may be the endpoint's failure.
    in_a_row: u32,
    refusals: BTreeMap<Position, RefusedMessage>,
    /// Those that hold their session, by when that ends.
    ending: BTreeSet<(Instant, Position)>,
    /// Those that held it for long enough, and wait for a verdict.
    overdue: BTreeSet<Position>,
    /// Something came that may change a verdict.
    is_news: bool,
}

impl RefusalEvidence {
    /// Of an endpoint of which nothing is known.
    pub(super) fn new(most_in_a_row: u32) -> Self {
        Self {
            most_in_a_row,
            first_attempts: VecDeque::with_capacity(FIRST_ATTEMPTS),
            taken: 0,
            last: None,
            last_of_others: 0,
            in_a_row: 0,
            refusals: BTreeMap::new(),
            ending: BTreeSet::new(),
            overdue: BTreeSet::new(),
            is_news: false,
        }
    }

    /// A message was refused before the start, and holds its session until then.
    pub(super) fn recall(&mut self, position: Position, session: SessionId, holds_until: Option<Instant>) {
        self.refusals.insert(position, RefusedMessage { session, since: self.taken, holds_until });
        self.wait(position, None);
    }

    /// The endpoint took a delivery.
    pub(super) fn took(&mut self, position: Position, session: &SessionId, is_first_attempt: bool) {
        self.release(position);
        if self.last.as_ref() != Some(session) {
            self.last_of_others = self.taken;
            self.last = Some(session.clone());
        }
        self.taken += 1;
        self.in_a_row = 0;
        self.is_news = true;
        self.note(is_first_attempt, false);
    }

    /// An attempt failed in another way than by a refusal.
    pub(super) fn failed(&mut self, position: Position, now: Instant, is_first_attempt: bool) {
        self.note(is_first_attempt, false);
        self.wait(position, Some(now));
    }

    /// The endpoint refused a message, which holds its session until then unless that ends before.
    pub(super) fn refused(
        &mut self,
        (position, session): (Position, &SessionId),
        now: Instant,
        holds_until: Option<Instant>,
        is_first_attempt: bool,
    ) -> RefusalVerdict {
        self.note(is_first_attempt, true);
        let since = self.taken;
        let refusal = self.refusals.entry(position);
        let refusal =
            refusal.or_insert_with(|| RefusedMessage { session: session.clone(), since, holds_until });
        let is_held_enough = refusal.holds_until.is_some_and(|until| until <= now);
        self.wait(position, Some(now));
        if self.takes_others(position) && self.is_choosy() {
            return RefusalVerdict::OfMessage { is_held_enough };
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        RefusalVerdict::OfEndpoint { is_certain: self.taken == 0 || !self.takes_most() }
    }

    /// No message holds its session longer than until now: too much waits behind them.
    pub(super) fn end_holds(&mut self, now: Instant) {
        if self.ending.is_empty() {
            return;
        }
        for refusal in self.refusals.values_mut() {
            refusal.holds_until = refusal.holds_until.map(|until| until.min(now));
        }
        let ending = std::mem::take(&mut self.ending);
        self.is_news = true;
        self.overdue.extend(ending.into_iter().map(|(_, position)| position));
    }

    /// What held its session for long enough and is to be tried now: the endpoint takes others by now.
    pub(super) fn due_again(&mut self, now: Instant) -> Vec<Position> {
        while let Some((_, position)) = self.ending.first().copied().filter(|(until, _)| *until <= now) {
            self.ending.pop_first();
            self.overdue.insert(position);
            self.is_news = true;
        }
        if !self.is_news || !self.is_choosy() {
            return Vec::new();
        }
        self.is_news = false;
        let due: Vec<_> =
            self.overdue.iter().copied().filter(|position| self.takes_others(*position)).collect();
        self.overdue.retain(|position| due.binary_search(position).is_err());
        due
    }

    /// When the next message has held its session for long enough.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ending.first().map(|(until, _)| *until)
    }

    /// How many messages hold their session after a refusal.
    pub(super) fn holding(&self) -> usize {
        self.refusals.values().filter(|refusal| refusal.holds_until.is_some()).count()
    }

    /// A message holds its session no more; it is tried on.
    pub(super) fn let_go(&mut self, position: Position) {
        self.unwait(position);
        if let Some(refusal) = self.refusals.get_mut(&position) {
            refusal.holds_until = None;
        }
    }

    /// A message is settled.
    pub(super) fn release(&mut self, position: Position) {
        self.unwait(position);
        self.refusals.remove(&position);
    }

    /// Forgets what is not held any more.
    pub(super) fn retain(&mut self, mut is_held: impl FnMut(Position) -> bool) {
        let gone: Vec<_> = self.refusals.keys().copied().filter(|position| !is_held(*position)).collect();
        gone.into_iter().for_each(|position| self.release(position));
    }

    /// Its owner did something about the endpoint: what was learnt before counts no more.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.most_in_a_row);
    }

    fn note(&mut self, is_first_attempt: bool, was_refused: bool) {
        if is_first_attempt {
            if self.first_attempts.len() == FIRST_ATTEMPTS {
                self.first_attempts.pop_front();
            }
            self.first_attempts.push_back(was_refused);
        }
    }

    /// Whether a delivery of another session was taken since a message was first refused.
    fn takes_others(&self, position: Position) -> bool {
        let Some(refusal) = self.refusals.get(&position) else { return false };
        let is_other = self.last.as_ref() != Some(&refusal.session);
        let last_of_others = if is_other { self.taken } else { self.last_of_others };
        last_of_others > refusal.since
    }

    /// Whether the endpoint refuses some and takes the rest.
    fn is_choosy(&self) -> bool {
        self.takes_most() && self.in_a_row < self.most_in_a_row
    }

    fn takes_most(&self) -> bool {
        self.first_attempts.iter().filter(|was_refused| **was_refused).count() * 2 < FIRST_ATTEMPTS
    }

    /// A message that was tried waits for the end of its hold, or for a verdict after it.
    fn wait(&mut self, position: Position, now: Option<Instant>) {
        self.unwait(position);
        let Some(until) = self.refusals.get(&position).and_then(|refusal| refusal.holds_until) else {
            return;
        };
        if now.is_some_and(|now| until <= now) {
            self.overdue.insert(position);
        } else {
            self.ending.insert((until, position));
        }
    }

    fn unwait(&mut self, position: Position) {
        self.overdue.remove(&position);
        if let Some(until) = self.refusals.get(&position).and_then(|refusal| refusal.holds_until) {
            self.ending.remove(&(until, position));
        }
    }
}

#[cfg(test)]
mod tests;
