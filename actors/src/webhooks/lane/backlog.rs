//! The deliveries of one lane that are not settled: which one may be tried next, and how far the lane's
//! cursors may go. A pure structure: what time it is is told; no waiting, no disk.
//!
//! Of a session only the first is tried; the others wait until it is settled or set aside. What is only in memory holds
//! its cursor back, so that a crash finds it in the log again.

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

/// Which reading of the log brought a delivery, and so whose cursor waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryOrigin {
    /// The lane's own way through the log.
    Live,
    /// A replay.
    Replay,
    /// `outbox.db`: no cursor waits for it.
    Stored,
}

/// A delivery that is not settled.
#[derive(Debug, Clone)]
struct BacklogEntry {
    delivery: Delivery,
    /// When it is tried next. Its delivery has the date of that, which is shown and stored.
    due: Instant,
    /// Kept while it is fresh; what is tried again later is read from the log again.
    announcement: Option<Arc<LoggedMessage>>,
    is_in_flight: bool,
}

impl BacklogEntry {
    /// Takes its text out of memory.
    fn forget(&mut self, fresh_bytes: &mut usize) -> bool {
        let forgotten = self.announcement.take();
        *fresh_bytes -= forgotten.as_ref().map_or(0, |announcement| size_of(announcement));
        forgotten.is_some()
    }
}

fn size_of(announcement: &LoggedMessage) -> usize {
    announcement.message.text.as_str().len()
}

/// What is tried next.
#[derive(Debug, Clone)]
pub(super) struct DueDelivery {
    pub(super) delivery: Delivery,
    pub(super) announcement: Option<Arc<LoggedMessage>>,
}

/// The deliveries of one lane that are not settled.
#[derive(Debug, Default)]
pub(super) struct DeliveryBacklog {
    entries: BTreeMap<Position, BacklogEntry>,
    /// Those that hold their followers, by session, in the log's order.
    lines: HashMap<SessionId, BTreeSet<Position>>,
    /// What nobody is in front of, by when it is due.
    due: BTreeSet<(Instant, Position)>,
    /// Not in `outbox.db`, or not yet written as they are: the cursor of their reading waits where that was before it
    /// came to them.
    unwritten: BTreeMap<Position, (DeliveryOrigin, Position)>,
    /// The texts that are kept, in bytes.
    fresh_bytes: usize,
    /// How many were set aside after a refusal.
    set_aside: usize,
}

impl DeliveryBacklog {
    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many were set aside after a refusal: they are tried on and hold nobody.
    pub(super) fn set_aside(&self) -> usize {
        self.set_aside
    }

    /// How many a crash would find in the log again, not in `outbox.db`.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// The texts that are kept, in bytes.
    pub(super) fn fresh_bytes(&self) -> usize {
        self.fresh_bytes
    }

    /// Whether a delivery is held, or was until a moment ago.
    pub(super) fn contains(&self, position: Position) -> bool {
        self.entries.contains_key(&position) || self.unwritten.contains_key(&position)
    }

    /// Whether a session waits for a delivery that failed, so that a follower has to be stored.
    pub(super) fn is_blocked(&self, session: &SessionId) -> bool {
        let first = self.lines.get(session).and_then(BTreeSet::first);
        let entry = first.and_then(|first| self.entries.get(first));
        entry.is_some_and(|entry| entry.announcement.is_none() && !entry.is_in_flight)
    }

    /// Takes one in: fresh from the log with its announcement, or as it is stored. Its reading had come to `after`.
    pub(super) fn add(
        &mut self,
        delivery: Delivery,
        (origin, after): (DeliveryOrigin, Position),
        announcement: Option<Arc<LoggedMessage>>,
        due: Instant,
    ) {
        let position = delivery.position;
        if self.contains(position) {
            return;
        }
        if origin != DeliveryOrigin::Stored {
            self.unwritten.insert(position, (origin, after));
        }
        self.insert(delivery, announcement, due);
    }

    /// What a replay brought and is in memory only.
    pub(super) fn replayed(&self) -> Vec<Delivery> {
        let replayed = self.unwritten.iter().filter(|(_, (origin, _))| *origin == DeliveryOrigin::Replay);
        let held = replayed.filter_map(|(position, _)| self.entries.get(position));
        held.map(|entry| entry.delivery.clone()).collect()
    }

    /// Takes one in that was settled and was asked for again. What became of it before may not be known to be
    /// written yet: the cursor waits for that as it did.
    pub(super) fn add_again(&mut self, delivery: Delivery, due: Instant) {
        if !self.entries.contains_key(&delivery.position) {
            self.insert(delivery, None, due);
        }
    }

    /// The lane's own reading came by one that is held: from now on its cursor waits for it, whoever brought it.
    /// A replay that brought it may be cancelled, and would not bring it again.
    pub(super) fn meet(&mut self, position: Position, after: Position) {
        if let Some(origin) = self.unwritten.get_mut(&position) {
            *origin = (DeliveryOrigin::Live, after);
        }
    }

    fn insert(&mut self, delivery: Delivery, announcement: Option<Arc<LoggedMessage>>, due: Instant) {
        let position = delivery.position;
        let (holds, session) = (delivery.holds, delivery.session.clone());
        self.fresh_bytes += announcement.as_deref().map_or(0, size_of);
        self.set_aside += usize::from(delivery.status == DeliveryStatus::Refused);
        self.entries.insert(position, BacklogEntry { delivery, due, announcement, is_in_flight: false });
        if holds {
            let line = self.lines.entry(session).or_default();
            let first = line.first().copied();
            line.insert(position);
            if let Some(first) = first.filter(|first| *first > position) {
                self.not_due(first);
            }
        }
        self.make_due(position);
    }

    /// Takes out what is due first; it is in flight then. A probe goes to the oldest session whose message was not
    /// refused, else to the oldest: what was refused says little of an endpoint that takes others.
    pub(super) fn start(&mut self, now: Instant, is_probe: bool) -> Option<DueDelivery> {
        let mut due = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, position)| *position);
        let position = if is_probe {
            due.min_by_key(|position| (self.was_refused(*position), *position))
        } else {
            due.next()
        }?;
        self.not_due(position);
        let entry = self.entries.get_mut(&position)?;
        entry.is_in_flight = true;
        Some(DueDelivery { delivery: entry.delivery.clone(), announcement: entry.announcement.clone() })
    }

    fn was_refused(&self, position: Position) -> bool {
        self.entries.get(&position).is_some_and(|entry| entry.delivery.refused_at.is_some())
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An attempt ended, this is what became of its delivery, and it is due then if it is not settled. What has to
    /// be written with it follows: itself, and those behind it that wait in `outbox.db` from now on.
    pub(super) fn finish(&mut self, delivery: Delivery, due: Instant) -> Vec<Delivery> {
        let (position, session) = (delivery.position, delivery.session.clone());
        if delivery.status.is_settled() {
            self.remove(position);
            return vec![delivery];
        }
        let Some(entry) = self.entries.get_mut(&position) else { return vec![delivery] };
        (entry.is_in_flight, entry.due) = (false, due);
        entry.forget(&mut self.fresh_bytes);
        let before = std::mem::replace(&mut entry.delivery, delivery.clone());
        self.set_aside += usize::from(delivery.status == DeliveryStatus::Refused);
        self.set_aside -= usize::from(before.status == DeliveryStatus::Refused);
        if before.holds && !delivery.holds {
            self.leave_line(&session, position);
        }
        self.make_due(position);
        let mut written = vec![delivery];
        if self.first(&session) == Some(position) {
            written.extend(self.store_followers(&session, position));
        }
        written
    }

    /// Takes one out that is not in flight: its owner does not wait for it any more.
    pub(super) fn take_out(&mut self, position: Position) -> Option<Delivery> {
        self.entries.get(&position).filter(|entry| !entry.is_in_flight)?;
        self.remove(position)
    }

    /// Which delivery is of a message.
    pub(super) fn of_message(&self, message: MessageId) -> Option<Position> {
        let mut entries = self.entries.iter();
        entries.find(|(_, entry)| entry.delivery.message_id == message).map(|(position, _)| *position)
    }

    /// Those that meet a condition, in the log's order.
    pub(super) fn matching(&self, mut meets: impl FnMut(&Delivery) -> bool, most: usize) -> Vec<Position> {
        let idle = self.entries.iter().filter(|(_, entry)| !entry.is_in_flight && meets(&entry.delivery));
        idle.take(most).map(|(position, _)| *position).collect()
    }

    fn remove(&mut self, position: Position) -> Option<Delivery> {
        self.not_due(position);
        let mut entry = self.entries.remove(&position)?;
        entry.forget(&mut self.fresh_bytes);
        self.set_aside -= usize::from(entry.delivery.status == DeliveryStatus::Refused);
        self.leave_line(&entry.delivery.session, position);
        Some(entry.delivery)
    }

    /// Who is next in a session then may be tried.
    fn leave_line(&mut self, session: &SessionId, position: Position) {
        let Some(line) = self.lines.get_mut(session) else { return };
        line.remove(&position);
        match line.first().copied() {
            Some(next) => self.make_due(next),
            None => drop(self.lines.remove(session)),
        }
    }

    /// What is behind a failed delivery and only in memory: it is stored now, and read again later.
    fn store_followers(&mut self, session: &SessionId, position: Position) -> Vec<Delivery> {
        let Some(line) = self.lines.get(session) else { return Vec::new() };
        let behind = line.iter().copied().filter(|behind| *behind > position);
        let mut stored = Vec::new();
        for behind in behind {
            if let Some(entry) = self.entries.get_mut(&behind)
                && !entry.is_in_flight
                && entry.forget(&mut self.fresh_bytes)
            {
                stored.push(entry.delivery.clone());
            }
        }
        stored
    }

    /// A delivery that is stored is due now, from the schedule's beginning.
    pub(super) fn hurry(&mut self, position: Position, now: ClockReading) -> Option<Delivery> {
        self.bring_forward(position, now);
        let entry = self.entries.get_mut(&position)?;
        if !entry.is_in_flight {
            entry.delivery.tries = 0;
        }
        Some(entry.delivery.clone())
    }

    /// A delivery that waits for its time is due now.
    pub(super) fn bring_forward(&mut self, position: Position, now: ClockReading) {
        self.not_due(position);
        if let Some(entry) = self.entries.get_mut(&position).filter(|entry| !entry.is_in_flight) {
            (entry.due, entry.delivery.next_at) = (now.instant, Some(now.date));
        }
        self.make_due(position);
    }

    /// Everything that waits for its time is due now, and what was refused before counts no more.
    pub(super) fn hurry_all(&mut self, now: ClockReading) {
        let due: Vec<_> = self.due.iter().map(|(_, position)| *position).collect();
        for position in due {
            if let Some(entry) = self.entries.get_mut(&position).filter(|entry| entry.delivery.holds) {
                entry.delivery.refused_at = None;
            }
            self.bring_forward(position, now);
        }
    }

    /// Drops what meets a condition. What is in flight stays in flight, and unknown.
    pub(super) fn drop_all(&mut self, mut drops: impl FnMut(&Delivery) -> bool) {
        let dropped: Vec<_> =
            self.entries.iter().filter(|(_, entry)| drops(&entry.delivery)).map(|(at, _)| *at).collect();
        for position in dropped {
            self.unwritten.remove(&position);
            self.remove(position);
        }
    }

    /// What became of a delivery is in `outbox.db`.
    pub(super) fn written(&mut self, position: Position) {
        self.unwritten.remove(&position);
    }

    /// How far a cursor may go that has read up to `read`, once changes of `writing` are written.
    pub(super) fn cursor(
        &self,
        origin: DeliveryOrigin,
        read: Position,
        writing: &BTreeSet<Position>,
    ) -> Position {
        let mut unwritten = self.unwritten.iter();
        let held = unwritten.find(|(position, (of, _))| *of == origin && !writing.contains(position));
        held.map_or(read, |(_, (_, after))| (*after).min(read))
    }

    fn first(&self, session: &SessionId) -> Option<Position> {
        self.lines.get(session)?.first().copied()
    }

    fn make_due(&mut self, position: Position) {
        let Some(entry) = self.entries.get(&position) else { return };
        let is_first = !entry.delivery.holds || self.first(&entry.delivery.session) == Some(position);
        if is_first && !entry.is_in_flight {
            self.due.insert((entry.due, position));
        }
    }

    fn not_due(&mut self, position: Position) {
        let Some(entry) = self.entries.get(&position) else { return };
        self.due.remove(&(entry.due, position));
    }
}

#[cfg(test)]
mod tests;
