//! The deliveries of one lane that are not settled: which one may be tried next, and how far the lane's
//! cursors may go. A pure structure: no time, no waiting, no disk.
//!
//! Of a session only the first is tried; the others wait until it is settled. What is only in memory holds
//! its cursor back, so that a crash finds it in the log again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use amoiq_events::{Position, SessionId, Timestamp};

use super::{
    courier::Announcement,
    delivery::{Delivery, DeliveryStatus},
};

/// Which reading of the log brought a delivery, and so whose cursor waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The lane's own way through the log.
    Live,
    /// A replay.
    Replay,
    /// `outbox.db`: no cursor waits for it.
    Stored,
}

/// A delivery that is not settled.
#[derive(Debug, Clone)]
struct Entry {
    delivery: Delivery,
    /// Kept while it is fresh; what is tried again later is read from the log again.
    announcement: Option<Arc<Announcement>>,
    is_in_flight: bool,
}

impl Entry {
    /// Takes its text out of memory.
    fn forget(&mut self, fresh_bytes: &mut usize) -> bool {
        let forgotten = self.announcement.take();
        *fresh_bytes -= forgotten.as_ref().map_or(0, |announcement| size_of(announcement));
        forgotten.is_some()
    }
}

fn size_of(announcement: &Announcement) -> usize {
    announcement.message.text.as_str().len()
}

/// What is tried next.
#[derive(Debug, Clone)]
pub(super) struct Next {
    pub(super) delivery: Delivery,
    pub(super) announcement: Option<Arc<Announcement>>,
}

/// The deliveries of one lane that are not settled.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    entries: BTreeMap<Position, Entry>,
    /// Those that hold their followers, by session, in the log's order.
    lines: HashMap<SessionId, BTreeSet<Position>>,
    /// What nobody is in front of, by when it is due.
    due: BTreeSet<(Timestamp, Position)>,
    /// Not in `outbox.db`, or not yet written as they are: their cursor waits.
    unwritten: BTreeMap<Position, Origin>,
    /// The texts that are kept, in bytes.
    fresh_bytes: usize,
}

impl Backlog {
    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
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

    /// Takes one in: fresh from the log with its announcement, or as it is stored.
    pub(super) fn add(
        &mut self,
        delivery: Delivery,
        origin: Origin,
        announcement: Option<Arc<Announcement>>,
    ) {
        let position = delivery.position;
        if self.contains(position) {
            return;
        }
        if origin != Origin::Stored {
            self.unwritten.insert(position, origin);
        }
        self.insert(delivery, announcement);
    }

    /// What a replay brought and is in memory only.
    pub(super) fn replayed(&self) -> Vec<Delivery> {
        let replayed = self.unwritten.iter().filter(|(_, origin)| **origin == Origin::Replay);
        let held = replayed.filter_map(|(position, _)| self.entries.get(position));
        held.map(|entry| entry.delivery.clone()).collect()
    }

    /// Takes one in that was settled and was asked for again. What became of it before may not be known to be
    /// written yet: the cursor waits for that as it did.
    pub(super) fn add_again(&mut self, delivery: Delivery) {
        if !self.entries.contains_key(&delivery.position) {
            self.insert(delivery, None);
        }
    }

    /// The lane's own reading came by one that is held: from now on its cursor waits for it, whoever brought it.
    /// A replay that brought it may be cancelled, and would not bring it again.
    pub(super) fn meet(&mut self, position: Position) {
        if let Some(origin) = self.unwritten.get_mut(&position) {
            *origin = Origin::Live;
        }
    }

    fn insert(&mut self, delivery: Delivery, announcement: Option<Arc<Announcement>>) {
        let position = delivery.position;
        let (holds, session) = (delivery.holds, delivery.session.clone());
        self.fresh_bytes += announcement.as_deref().map_or(0, size_of);
        self.entries.insert(position, Entry { delivery, announcement, is_in_flight: false });
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

    /// Takes out what is due first; it is in flight then.
    pub(super) fn start(&mut self, now: Timestamp) -> Option<Next> {
        let (_, position) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.not_due(position);
        let entry = self.entries.get_mut(&position)?;
        entry.is_in_flight = true;
        Some(Next { delivery: entry.delivery.clone(), announcement: entry.announcement.clone() })
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An attempt ended, and this is what became of its delivery; what has to be written with it
    /// follows: itself, and those behind it that wait in `outbox.db` from now on.
    pub(super) fn finish(&mut self, delivery: Delivery) -> Vec<Delivery> {
        let (position, session) = (delivery.position, delivery.session.clone());
        let Some(entry) = self.entries.get_mut(&position) else { return vec![delivery] };
        entry.is_in_flight = false;
        if delivery.status == DeliveryStatus::Pending {
            entry.delivery = delivery.clone();
            entry.forget(&mut self.fresh_bytes);
            self.make_due(position);
            let mut written = vec![delivery];
            if self.first(&session) == Some(position) {
                written.extend(self.store_followers(&session, position));
            }
            return written;
        }
        if let Some(mut entry) = self.entries.remove(&position) {
            entry.forget(&mut self.fresh_bytes);
        }
        if let Some(line) = self.lines.get_mut(&session) {
            line.remove(&position);
            match line.first().copied() {
                Some(next) => self.make_due(next),
                None => drop(self.lines.remove(&session)),
            }
        }
        vec![delivery]
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
    pub(super) fn hurry(&mut self, position: Position, now: Timestamp) -> Option<Delivery> {
        self.not_due(position);
        let entry = self.entries.get_mut(&position)?;
        if !entry.is_in_flight {
            entry.delivery.tries = 0;
            entry.delivery.next_at = Some(now);
        }
        let delivery = entry.delivery.clone();
        self.make_due(position);
        Some(delivery)
    }

    /// Everything that waits for its time is due now.
    pub(super) fn hurry_all(&mut self, now: Timestamp) {
        let due: Vec<_> = self.due.iter().map(|(_, position)| *position).collect();
        for position in due {
            self.not_due(position);
            if let Some(entry) = self.entries.get_mut(&position) {
                entry.delivery.next_at = Some(now);
            }
            self.make_due(position);
        }
    }

    /// Drops what meets a condition. What is in flight stays in flight, and unknown.
    pub(super) fn drop_all(&mut self, mut drops: impl FnMut(&Delivery) -> bool) {
        let dropped: Vec<_> =
            self.entries.iter().filter(|(_, entry)| drops(&entry.delivery)).map(|(at, _)| *at).collect();
        for position in dropped {
            self.not_due(position);
            self.unwritten.remove(&position);
            let Some(mut entry) = self.entries.remove(&position) else { continue };
            entry.forget(&mut self.fresh_bytes);
            let session = entry.delivery.session;
            let next = self.lines.get_mut(&session).and_then(|line| {
                line.remove(&position);
                line.first().copied()
            });
            match next {
                Some(next) => self.make_due(next),
                None => drop(self.lines.remove(&session)),
            }
        }
    }

    /// What became of a delivery is in `outbox.db`.
    pub(super) fn written(&mut self, position: Position) {
        self.unwritten.remove(&position);
    }

    /// How far a cursor may go that has read up to `read`, once changes of `writing` are written.
    pub(super) fn cursor(&self, origin: Origin, read: Position, writing: &BTreeSet<Position>) -> Position {
        let held = self.unwritten.iter().find(|(position, of)| **of == origin && !writing.contains(position));
        let before = held.map(|(position, _)| Position::from_u64(position.as_u64().saturating_sub(1)));
        before.map_or(read, |before| before.min(read))
    }

    fn first(&self, session: &SessionId) -> Option<Position> {
        self.lines.get(session)?.first().copied()
    }

    fn make_due(&mut self, position: Position) {
        let Some(entry) = self.entries.get(&position) else { return };
        let is_first = !entry.delivery.holds || self.first(&entry.delivery.session) == Some(position);
        if is_first && !entry.is_in_flight {
            self.due.insert((entry.delivery.next_at.unwrap_or_default(), position));
        }
    }

    fn not_due(&mut self, position: Position) {
        let Some(entry) = self.entries.get(&position) else { return };
        self.due.remove(&(entry.delivery.next_at.unwrap_or_default(), position));
    }
}

#[cfg(test)]
mod tests;
