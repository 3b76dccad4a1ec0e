//! What one session holds in memory, counted while it is there.
//!
//! The session's actor says after each request how much it holds; the shard asks when all of them together hold
//! too much. Counted are the bytes of texts and tables and what an actor costs, not what the allocator adds.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::directory_counters::DirectoryCounters;

/// What a session takes before it knows anything: its actor, its mailbox and its place in the shard.
const ACTOR_BYTES: usize = 2_048;

/// The share of one session. It counts for nothing once the last of those who hold it is gone.
#[derive(Debug)]
pub(crate) struct SessionMemory {
    bytes: AtomicUsize,
    counters: Arc<DirectoryCounters>,
    shard: usize,
}

impl SessionMemory {
    /// The share of a session that has just been started.
    pub(super) fn new(counters: &Arc<DirectoryCounters>, shard: usize) -> Self {
        let memory = Self { bytes: AtomicUsize::new(0), counters: Arc::clone(counters), shard };
        memory.holds(0);
        memory
    }

    /// The session knows so many bytes now.
    pub(crate) fn holds(&self, known_bytes: usize) {
        self.set(ACTOR_BYTES + known_bytes);
    }

    /// The session is leaving: it counts no more, although its actor may take a moment to end.
    pub(super) fn leave(&self) {
        self.set(0);
    }

    /// What it counts for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    fn set(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Relaxed);
        self.counters.resize(self.shard, before, bytes);
    }
}

impl Drop for SessionMemory {
    fn drop(&mut self) {
        self.leave();
    }
}
