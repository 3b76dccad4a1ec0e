//! Decides whether a refusal is about one message or means that the endpoint fails. Pure: the current time is an
//! argument.
//!
//! An endpoint that refuses a message (a 4xx) and takes others has no use for that message. An endpoint whose route,
//! secret or handler is broken refuses everything. So a refusal is about the message while all of this is true:
//!
//! - since the message was first refused, the endpoint took a delivery of another session,
//! - fewer than half of the last [`FIRST_ATTEMPTS`] first attempts were refused,
//! - and not too many refusals for which this was not true came in a row since the last success.
//!
//! The decision is made at each refusal. A refused message holds back its session for some time. After that time it is
//! set aside once a refusal is found to be about the message. Until then it is attempted again whenever that may have
//! become true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use amoiq_events::{Position, SessionId};
use tokio::time::Instant;

/// The number of recent first attempts that are remembered.
pub(super) const FIRST_ATTEMPTS: usize = 20;

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalVerdict {
    /// The endpoint takes others: the refusal is about the message.
    MessageRefused {
        /// The message has held back its session for long enough.
        is_hold_over: bool,
    },
    /// The endpoint fails.
    EndpointFails {
        /// As far as is known it takes nothing. Otherwise the refusals may be chance.
        is_certain: bool,
    },
}

/// An attempt that was refused.
pub(super) struct RefusedAttempt<'a> {
    pub(super) position: Position,
    pub(super) session: &'a SessionId,
    /// Until when the message holds back its session at the longest; `None` if it does not.
    pub(super) holds_until: Option<Instant>,
    pub(super) is_first_attempt: bool,
}

/// A message that was refused and is not settled.
#[derive(Debug)]
struct RefusedMessage {
    session: SessionId,
    /// How many deliveries had succeeded when it was first refused.
    successes_before: u64,
    /// Until when it holds back its session; `None` if it does not.
    holds_until: Option<Instant>,
}

/// What is known about how an endpoint refuses messages.
#[derive(Debug)]
pub(super) struct RefusalEvidence {
    /// This many refusals in a row mean that the endpoint fails.
    max_in_a_row: u32,
    /// Whether each of the last first attempts was refused.
    first_attempts: VecDeque<bool>,
    /// How many deliveries have succeeded,
    successes: u64,
    /// the session of the last of them,
    last_session: Option<SessionId>,
    /// and the number of the last one of another session.
    last_success_of_others: u64,
    /// Refusals since the last success that may mean that the endpoint fails.
    in_a_row: u32,
    messages: BTreeMap<Position, RefusedMessage>,
    /// Messages that hold back their session, by the end of the hold.
    holds: BTreeSet<(Instant, Position)>,
    /// Messages whose hold is over and that wait for a decision.
    overdue: BTreeSet<Position>,
    /// Something happened that may change a decision.
    has_news: bool,
}

impl RefusalEvidence {
    /// Nothing is known about the endpoint.
    pub(super) fn new(max_in_a_row: u32) -> Self {
        Self {
            max_in_a_row,
            first_attempts: VecDeque::with_capacity(FIRST_ATTEMPTS),
            successes: 0,
            last_session: None,
            last_success_of_others: 0,
            in_a_row: 0,
            messages: BTreeMap::new(),
            holds: BTreeSet::new(),
            overdue: BTreeSet::new(),
            has_news: false,
        }
    }

    /// Adds a message that was refused before the service started.
    pub(super) fn restore(&mut self, position: Position, session: SessionId, holds_until: Option<Instant>) {
        let successes_before = self.successes;
        self.messages.insert(position, RefusedMessage { session, successes_before, holds_until });
        self.await_hold(position, None);
    }

    /// The endpoint took a delivery.
    pub(super) fn record_success(&mut self, position: Position, session: &SessionId, is_first_attempt: bool) {
        self.settle(position);
        if self.last_session.as_ref() != Some(session) {
            self.last_success_of_others = self.successes;
            self.last_session = Some(session.clone());
        }
        self.successes += 1;
        self.in_a_row = 0;
        self.has_news = true;
        self.remember(is_first_attempt, false);
    }

    /// An attempt failed in another way than by a refusal.
    pub(super) fn record_failure(&mut self, position: Position, now: Instant, is_first_attempt: bool) {
        self.remember(is_first_attempt, false);
        self.await_hold(position, Some(now));
    }

    /// The endpoint refused a message. If the message was refused before, its hold stays as it was.
    pub(super) fn record_refusal(&mut self, attempt: RefusedAttempt<'_>, now: Instant) -> RefusalVerdict {
        let RefusedAttempt { position, session, holds_until, is_first_attempt } = attempt;
        self.remember(is_first_attempt, true);
        let successes_before = self.successes;
        let message = self.messages.entry(position).or_insert_with(|| RefusedMessage {
            session: session.clone(),
            successes_before,
            holds_until,
        });
        let is_hold_over = message.holds_until.is_some_and(|until| until <= now);
        self.await_hold(position, Some(now));
        if self.took_others_since(position) && self.refuses_selectively() {
            return RefusalVerdict::MessageRefused { is_hold_over };
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        RefusalVerdict::EndpointFails { is_certain: self.successes == 0 || !self.takes_most() }
    }

    /// Ends all holds now: too many deliveries wait for them.
    pub(super) fn end_all_holds(&mut self, now: Instant) {
        if self.holds.is_empty() {
            return;
        }
        for message in self.messages.values_mut() {
            message.holds_until = message.holds_until.map(|until| until.min(now));
        }
        let ended = std::mem::take(&mut self.holds);
        self.has_news = true;
        self.overdue.extend(ended.into_iter().map(|(_, position)| position));
    }

    /// Takes the messages whose hold is over and that are worth another attempt, because the endpoint takes others by
    /// now.
    pub(super) fn take_retries(&mut self, now: Instant) -> Vec<Position> {
        while let Some((_, position)) = self.holds.first().copied().filter(|(until, _)| *until <= now) {
            self.holds.pop_first();
            self.overdue.insert(position);
            self.has_news = true;
        }
        if !self.has_news || !self.refuses_selectively() {
            return Vec::new();
        }
        self.has_news = false;
        let retries: Vec<_> =
            self.overdue.iter().copied().filter(|position| self.took_others_since(*position)).collect();
        self.overdue.retain(|position| retries.binary_search(position).is_err());
        retries
    }

    /// When the next hold ends.
    pub(super) fn next_hold_end(&self) -> Option<Instant> {
        self.holds.first().map(|(until, _)| *until)
    }

    /// How many messages hold back their session.
    pub(super) fn held_sessions(&self) -> usize {
        self.messages.values().filter(|message| message.holds_until.is_some()).count()
    }

    /// A message was set aside: it no longer holds back its session, and is still attempted.
    pub(super) fn set_aside(&mut self, position: Position) {
        self.stop_awaiting(position);
        if let Some(message) = self.messages.get_mut(&position) {
            message.holds_until = None;
        }
    }

    /// A message is settled.
    pub(super) fn settle(&mut self, position: Position) {
        self.stop_awaiting(position);
        self.messages.remove(&position);
    }

    /// Removes the messages whose deliveries no longer exist.
    pub(super) fn retain(&mut self, mut exists: impl FnMut(Position) -> bool) {
        let gone: Vec<_> = self.messages.keys().copied().filter(|position| !exists(*position)).collect();
        gone.into_iter().for_each(|position| self.settle(position));
    }

    /// Forgets everything: the owner changed the endpoint.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.max_in_a_row);
    }

    fn remember(&mut self, is_first_attempt: bool, was_refused: bool) {
        if is_first_attempt {
            if self.first_attempts.len() == FIRST_ATTEMPTS {
                self.first_attempts.pop_front();
            }
            self.first_attempts.push_back(was_refused);
        }
    }

    /// Whether the endpoint took a delivery of another session since a message was first refused.
    fn took_others_since(&self, position: Position) -> bool {
        let Some(message) = self.messages.get(&position) else { return false };
        let is_other = self.last_session.as_ref() != Some(&message.session);
        let last_of_others = if is_other { self.successes } else { self.last_success_of_others };
        last_of_others > message.successes_before
    }

    /// Whether the endpoint refuses some messages and takes the rest.
    fn refuses_selectively(&self) -> bool {
        self.takes_most() && self.in_a_row < self.max_in_a_row
    }

    fn takes_most(&self) -> bool {
        self.first_attempts.iter().filter(|was_refused| **was_refused).count() * 2 < FIRST_ATTEMPTS
    }

    /// Waits for the end of a message's hold, or for a decision if the hold is over.
    fn await_hold(&mut self, position: Position, now: Option<Instant>) {
        self.stop_awaiting(position);
        let Some(until) = self.messages.get(&position).and_then(|message| message.holds_until) else {
            return;
        };
        if now.is_some_and(|now| until <= now) {
            self.overdue.insert(position);
        } else {
            self.holds.insert((until, position));
        }
    }

    fn stop_awaiting(&mut self, position: Position) {
        self.overdue.remove(&position);
        if let Some(until) = self.messages.get(&position).and_then(|message| message.holds_until) {
            self.holds.remove(&(until, position));
        }
    }
}

#[cfg(test)]
mod tests;
