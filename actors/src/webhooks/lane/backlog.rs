//! The unsettled deliveries of one lane: which one may be attempted next, and how far the lane's cursors may move.
//! Pure: the current time is an argument, and nothing here waits or touches a disk.
//!
//! Only the first delivery of each session is attempted; the others wait until it is settled or set aside. A delivery
//! that is only in memory holds back its cursor, so that the lane reads it from the log again after a crash.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use amoiq_events::{MessageId, Position, SessionId};
use tokio::time::Instant;

use crate::webhooks::{
    delivery::{Delivery, DeliveryStatus},
    pacing::clock_reading::ClockReading,
    sender::LoggedMessage,
};

/// The most deliveries that are only in memory.
const MAX_UNWRITTEN: usize = 256;

/// The most bytes of their texts together.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// One of the two cursors of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneCursor {
    /// The lane's own way through the log.
    Live,
    /// The replay's.
    Replay,
}

/// A delivery from the log that holds back the cursor that came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CursorHold {
    pub(super) cursor: LaneCursor,
    /// Where the cursor was before it came to the delivery.
    pub(super) after: Position,
}

/// A delivery that is not settled.
#[derive(Debug, Clone)]
struct BacklogEntry {
    delivery: Delivery,
    /// When it is attempted next. The delivery has the same time as a date, which is shown and stored.
    due: Instant,
    /// Kept until the first attempt; later attempts read it from the log again.
    message: Option<Arc<LoggedMessage>>,
    is_in_flight: bool,
}

impl BacklogEntry {
    /// Removes the message from memory. Returns whether it was there.
    fn drop_message(&mut self, text_bytes: &mut usize) -> bool {
        let message = self.message.take();
        *text_bytes -= message.as_deref().map_or(0, text_size);
        message.is_some()
    }
}

fn text_size(message: &LoggedMessage) -> usize {
    message.message.text.as_str().len()
}

/// The delivery that is attempted next.
#[derive(Debug, Clone)]
pub(super) struct DueDelivery {
    pub(super) delivery: Delivery,
    pub(super) message: Option<Arc<LoggedMessage>>,
}

/// The unsettled deliveries of one lane.
#[derive(Debug, Default)]
pub(super) struct DeliveryBacklog {
    entries: BTreeMap<Position, BacklogEntry>,
    /// Per session, the deliveries that later ones wait for, in the order of the log.
    queues: HashMap<SessionId, BTreeSet<Position>>,
    /// The deliveries that wait for no other, by the time when they are due.
    due: BTreeSet<(Instant, Position)>,
    /// The deliveries whose present state is not in `outbox.db`.
    unwritten: BTreeMap<Position, CursorHold>,
    /// The bytes of all messages in memory.
    text_bytes: usize,
    /// How many were set aside after a refusal.
    set_aside: usize,
}

impl DeliveryBacklog {
    /// How many deliveries are unsettled.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many were set aside after a refusal. They are still attempted, and no other waits for them.
    pub(super) fn set_aside(&self) -> usize {
        self.set_aside
    }

    /// How many wait in the order of their session.
    pub(super) fn in_order(&self) -> usize {
        self.entries.len() - self.set_aside
    }

    /// Whether a lane that may have `pending` deliveries can add no more.
    pub(super) fn is_full(&self, pending: usize) -> bool {
        self.len() >= pending || self.unwritten.len() >= MAX_UNWRITTEN || self.text_bytes >= MAX_TEXT_BYTES
    }

    /// Whether a read of the log is worth its cost: half of the memory is free. A read returns many events, and costs
    /// the same if only a few of them fit.
    pub(super) fn is_read_worthwhile(&self) -> bool {
        self.unwritten.len() <= MAX_UNWRITTEN / 2 && self.text_bytes <= MAX_TEXT_BYTES / 2
    }

    /// Whether a delivery is here, or was until its last state is written.
    pub(super) fn contains(&self, position: Position) -> bool {
        self.entries.contains_key(&position) || self.unwritten.contains_key(&position)
    }

    /// Whether a session waits for a delivery that failed. A new delivery of it is stored at once.
    pub(super) fn is_blocked(&self, session: &SessionId) -> bool {
        let first = self.queues.get(session).and_then(BTreeSet::first);
        let entry = first.and_then(|first| self.entries.get(first));
        entry.is_some_and(|entry| entry.message.is_none() && !entry.is_in_flight)
    }

    /// Adds a delivery: a new one from the log, or one from `outbox.db`, which holds back no cursor.
    pub(super) fn add(
        &mut self,
        delivery: Delivery,
        hold: Option<CursorHold>,
        message: Option<Arc<LoggedMessage>>,
        due: Instant,
    ) {
        let position = delivery.position;
        if self.contains(position) {
            return;
        }
        if let Some(hold) = hold {
            self.unwritten.insert(position, hold);
        }
        self.insert(delivery, message, due);
    }

    /// The deliveries of a replay that are only in memory.
    pub(super) fn unwritten_replays(&self) -> Vec<Delivery> {
        let replayed = self.unwritten.iter().filter(|(_, hold)| hold.cursor == LaneCursor::Replay);
        let held = replayed.filter_map(|(position, _)| self.entries.get(position));
        held.map(|entry| entry.delivery.clone()).collect()
    }

    /// Adds a settled delivery again. If its last state is not yet written, the cursor still waits for that.
    pub(super) fn add_again(&mut self, delivery: Delivery, due: Instant) {
        if !self.entries.contains_key(&delivery.position) {
            self.insert(delivery, None, due);
        }
    }

    /// The lane's own reading has come from `after` to a delivery that is already here: from now on it holds back the
    /// live cursor. The replay that added it may be cancelled, and would not add it again.
    pub(super) fn claim_for_live(&mut self, position: Position, after: Position) {
        if let Some(hold) = self.unwritten.get_mut(&position) {
            *hold = CursorHold { cursor: LaneCursor::Live, after };
        }
    }

    fn insert(&mut self, delivery: Delivery, message: Option<Arc<LoggedMessage>>, due: Instant) {
        let position = delivery.position;
        let (holds, session) = (delivery.holds, delivery.session.clone());
        self.text_bytes += message.as_deref().map_or(0, text_size);
        self.set_aside += usize::from(delivery.status == DeliveryStatus::Refused);
        self.entries.insert(position, BacklogEntry { delivery, due, message, is_in_flight: false });
        if holds {
            let queue = self.queues.entry(session).or_default();
            let first = queue.first().copied();
            queue.insert(position);
            if let Some(first) = first.filter(|first| *first > position) {
                self.unschedule(first);
            }
        }
        self.schedule(position);
    }

    /// Starts the attempt that is due first. A probe chooses the oldest session whose message was not refused, or else
    /// the oldest session: a refused message says little about an endpoint that takes others.
    pub(super) fn start(&mut self, now: Instant, is_probe: bool) -> Option<DueDelivery> {
        let mut due = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, position)| *position);
        let position = if is_probe {
            due.min_by_key(|position| (self.was_refused(*position), *position))
        } else {
            due.next()
        }?;
        self.unschedule(position);
        let entry = self.entries.get_mut(&position)?;
        entry.is_in_flight = true;
        Some(DueDelivery { delivery: entry.delivery.clone(), message: entry.message.clone() })
    }

    fn was_refused(&self, position: Position) -> bool {
        self.entries.get(&position).is_some_and(|entry| entry.delivery.refused_at.is_some())
    }

    /// When the next delivery is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Ends an attempt: the delivery as it is now, and when it is due if it is not settled. Returns what has to be
    /// written: the delivery, and later ones of its session that have to wait from now on.
    pub(super) fn finish(&mut self, delivery: Delivery, due: Instant) -> Vec<Delivery> {
        let (position, session) = (delivery.position, delivery.session.clone());
        if delivery.status.is_settled() {
            self.remove(position);
            return vec![delivery];
        }
        let Some(entry) = self.entries.get_mut(&position) else { return vec![delivery] };
        (entry.is_in_flight, entry.due) = (false, due);
        entry.drop_message(&mut self.text_bytes);
        let before = std::mem::replace(&mut entry.delivery, delivery.clone());
        self.set_aside += usize::from(delivery.status == DeliveryStatus::Refused);
        self.set_aside -= usize::from(before.status == DeliveryStatus::Refused);
        if before.holds && !delivery.holds {
            self.leave_queue(&session, position);
        }
        self.schedule(position);
        let mut written = vec![delivery];
        if self.first(&session) == Some(position) {
            written.extend(self.store_followers(&session, position));
        }
        written
    }

    /// Removes a delivery unless it is in flight.
    pub(super) fn remove_idle(&mut self, position: Position) -> Option<Delivery> {
        self.entries.get(&position).filter(|entry| !entry.is_in_flight)?;
        self.remove(position)
    }

    /// The position of the delivery of a message.
    pub(super) fn position_of(&self, message: MessageId) -> Option<Position> {
        let mut entries = self.entries.iter();
        entries.find(|(_, entry)| entry.delivery.message_id == message).map(|(position, _)| *position)
    }

    /// The first deliveries that match and are not in flight, in the order of the log.
    pub(super) fn matching(&self, mut matches: impl FnMut(&Delivery) -> bool, limit: usize) -> Vec<Position> {
        let idle = self.entries.iter().filter(|(_, entry)| !entry.is_in_flight && matches(&entry.delivery));
        idle.take(limit).map(|(position, _)| *position).collect()
    }

    fn remove(&mut self, position: Position) -> Option<Delivery> {
        self.unschedule(position);
        let mut entry = self.entries.remove(&position)?;
        entry.drop_message(&mut self.text_bytes);
        self.set_aside -= usize::from(entry.delivery.status == DeliveryStatus::Refused);
        self.leave_queue(&entry.delivery.session, position);
        Some(entry.delivery)
    }

    /// The next delivery of the session may be attempted then.
    fn leave_queue(&mut self, session: &SessionId, position: Position) {
        let Some(queue) = self.queues.get_mut(session) else { return };
        queue.remove(&position);
        match queue.first().copied() {
            Some(next) => self.schedule(next),
            None => drop(self.queues.remove(session)),
        }
    }

    /// Deliveries that follow a failed one and are only in memory are stored now; their messages are read again later.
    fn store_followers(&mut self, session: &SessionId, position: Position) -> Vec<Delivery> {
        let Some(queue) = self.queues.get(session) else { return Vec::new() };
        let followers = queue.iter().copied().filter(|follower| *follower > position);
        let mut stored = Vec::new();
        for follower in followers {
            if let Some(entry) = self.entries.get_mut(&follower)
                && !entry.is_in_flight
                && entry.drop_message(&mut self.text_bytes)
            {
                stored.push(entry.delivery.clone());
            }
        }
        stored
    }

    /// Makes a delivery due now and starts its schedule again. Returns the delivery.
    pub(super) fn restart_schedule(&mut self, position: Position, now: ClockReading) -> Option<Delivery> {
        self.make_due(position, now);
        let entry = self.entries.get_mut(&position)?;
        if !entry.is_in_flight {
            entry.delivery.tries = 0;
        }
        Some(entry.delivery.clone())
    }

    /// Makes a delivery due now, unless it is in flight.
    pub(super) fn make_due(&mut self, position: Position, now: ClockReading) {
        self.unschedule(position);
        if let Some(entry) = self.entries.get_mut(&position).filter(|entry| !entry.is_in_flight) {
            (entry.due, entry.delivery.next_at) = (now.instant, Some(now.date));
        }
        self.schedule(position);
    }

    /// Makes every scheduled delivery due now, and forgets refusals of those that others wait for.
    pub(super) fn make_all_due(&mut self, now: ClockReading) {
        let due: Vec<_> = self.due.iter().map(|(_, position)| *position).collect();
        for position in due {
            if let Some(entry) = self.entries.get_mut(&position).filter(|entry| entry.delivery.holds) {
                entry.delivery.refused_at = None;
            }
            self.make_due(position, now);
        }
    }

    /// Removes the deliveries that match. Attempts in flight go on, but their deliveries are unknown here.
    pub(super) fn discard(&mut self, mut matches: impl FnMut(&Delivery) -> bool) {
        let discarded: Vec<_> =
            self.entries.iter().filter(|(_, entry)| matches(&entry.delivery)).map(|(at, _)| *at).collect();
        for position in discarded {
            self.unwritten.remove(&position);
            self.remove(position);
        }
    }

    /// The state of a delivery is in `outbox.db` now.
    pub(super) fn mark_written(&mut self, position: Position) {
        self.unwritten.remove(&position);
    }

    /// How far a cursor that has read up to `read` may move, once the deliveries in `writing` are written.
    pub(super) fn cursor(
        &self,
        cursor: LaneCursor,
        read: Position,
        writing: &BTreeSet<Position>,
    ) -> Position {
        let mut unwritten = self.unwritten.iter();
        let first = unwritten.find(|(position, hold)| hold.cursor == cursor && !writing.contains(position));
        first.map_or(read, |(_, hold)| hold.after.min(read))
    }

    fn first(&self, session: &SessionId) -> Option<Position> {
        self.queues.get(session)?.first().copied()
    }

    fn schedule(&mut self, position: Position) {
        let Some(entry) = self.entries.get(&position) else { return };
        let is_first = !entry.delivery.holds || self.first(&entry.delivery.session) == Some(position);
        if is_first && !entry.is_in_flight {
            self.due.insert((entry.due, position));
        }
    }

    fn unschedule(&mut self, position: Position) {
        let Some(entry) = self.entries.get(&position) else { return };
        self.due.remove(&(entry.due, position));
    }
}

#[cfg(test)]
mod tests;
