//! Which rooms a worker may have: so that a broadcast wakes only the workers with listeners.
//!
//! It counts memberships by a hash of the room's name, in a fixed number of counters. Two rooms with one counter wake a
//! worker in vain; no listener is ever missed.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU32, Ordering},
};

/// The number of counters, a power of two.
const COUNTERS: usize = 1 << 14;

/// Counts the memberships of one worker.
pub(super) struct RoomIndex {
    counters: Box<[AtomicU32]>,
}

impl RoomIndex {
    pub(super) fn new() -> Self {
        Self { counters: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// A socket has joined a room of this number. Whoever broadcasts after that finds it.
    pub(super) fn joined(&self, number: RoomNumber) {
        self.counter(number).map(|counter| counter.fetch_add(1, Ordering::AcqRel));
    }

    /// A socket has left a room of this number.
    pub(super) fn left(&self, number: RoomNumber) {
        self.counter(number).map(|counter| counter.fetch_sub(1, Ordering::AcqRel));
    }

    /// Whether a room of this number may have a socket.
    pub(super) fn may_have(&self, number: RoomNumber) -> bool {
        self.counter(number).is_some_and(|counter| counter.load(Ordering::Acquire) > 0)
    }

    fn counter(&self, RoomNumber(number): RoomNumber) -> Option<&AtomicU32> {
        self.counters.get(number)
    }
}

/// The counter of a room, the same on all workers.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomNumber(usize);

impl RoomNumber {
    pub(super) fn of(room: &impl Hash, hasher: &RandomState) -> Self {
        Self(usize::try_from(hasher.hash_one(room) % COUNTERS as u64).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_found_from_the_first_join_to_the_last_leave() {
        let (index, hasher) = (RoomIndex::new(), RandomState::new());
        let number = RoomNumber::of(&"room", &hasher);
        assert!(!index.may_have(number));
        index.joined(number);
        index.joined(number);
        index.left(number);
        assert!(index.may_have(number));
        index.left(number);
        assert!(!index.may_have(number));
    }
}
