//! The newest ids, to recognise a repeated append that expects no version.

use std::{collections::VecDeque, hash::BuildHasher};

use crate::{
    EventId, NewEvent, Position,
    store::{AppendReceipt, REMEMBERED_IDS},
};

/// The ids of the newest events, including those of the current transaction: of two waiting appends with the same ids, the
/// second gets the receipt of the first.
#[derive(Default)]
pub(in crate::store::sqlite) struct RecentIds {
    known: foldhash::HashMap<EventId, RememberedId>,
    /// From the oldest to the newest; an id may be here twice, and the position says which one counts.
    order: VecDeque<(EventId, Position)>,
    /// How many at the end of `order` belong to the current transaction.
    pending: usize,
}

struct RememberedId {
    /// A hash of its name: the name itself would keep the memory of every event's.
    stream: u64,
    place: AppendReceipt,
}

impl RecentIds {
    /// Records an event of the current transaction.
    pub(in crate::store::sqlite) fn note(&mut self, stream: &str, id: EventId, place: AppendReceipt) {
        let stream = self.known.hasher().hash_one(stream);
        self.known.insert(id, RememberedId { stream, place });
        self.order.push_back((id, place.position));
        self.pending += 1;
    }

    /// The transaction is durable: all but the newest [`REMEMBERED_IDS`] are forgotten.
    pub(in crate::store::sqlite) fn committed(&mut self) {
        self.pending = 0;
        while self.order.len() > REMEMBERED_IDS
            && let Some((oldest, position)) = self.order.pop_front()
        {
            self.forget(oldest, position);
        }
    }

    /// The transaction failed: none of it happened.
    pub(in crate::store::sqlite) fn failed(&mut self) {
        for _ in 0..std::mem::take(&mut self.pending) {
            if let Some((id, position)) = self.order.pop_back() {
                self.forget(id, position);
            }
        }
    }

    /// Forgets an event that was removed: its id can be appended again.
    pub(in crate::store::sqlite) fn forget(&mut self, id: EventId, position: Position) {
        if self.known.get(&id).is_some_and(|known| known.place.position == position) {
            self.known.remove(&id);
        }
    }

    /// The first receipt, if exactly these events are consecutive in this stream.
    pub(in crate::store::sqlite) fn answer(
        &self,
        stream: &str,
        events: &[NewEvent],
    ) -> Option<AppendReceipt> {
        let stream = self.known.hasher().hash_one(stream);
        let before = |event: &NewEvent| self.known.get(&event.id).filter(|known| known.stream == stream);
        let first = before(events.first()?)?.place.version;
        let mut last = None;
        for (offset, event) in (0..).zip(events) {
            last = Some(before(event)?.place).filter(|place| place.version == first.plus(offset));
            last?;
        }
        last
    }
}
