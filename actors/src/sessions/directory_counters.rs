//! What operators see of the directory: sessions in memory and the bytes that they take, starts, and refused requests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// What a session takes before it knows anything: its actor, its mailbox and its entry in the shard.
const ACTOR_BYTES: usize = 2_048;

/// Counters of one directory.
#[derive(Debug)]
pub struct DirectoryCounters {
    /// One for each shard, which is the only writer.
    sessions: Box<[AtomicUsize]>,
    /// The bytes that those sessions take, for each shard.
    bytes: Box<[AtomicUsize]>,
    started: AtomicU64,
    evicted: AtomicU64,
    died: AtomicU64,
    refused: AtomicU64,
}

impl DirectoryCounters {
    pub(super) fn new(shards: usize) -> Self {
        let zeros = || (0..shards).map(|_| AtomicUsize::new(0)).collect();
        let (sessions, bytes) = (zeros(), zeros());
        let (started, evicted, died, refused) = Default::default();
        Self { sessions, bytes, started, evicted, died, refused }
    }

    /// Sessions in memory now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Bytes that the sessions in memory take, as counted for `sessions.max_memory_bytes`.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Sessions that were evicted because there were too many or they took too much memory.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Actors that were started.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// Actors that were found dead and started again.
    #[must_use]
    pub fn died(&self) -> u64 {
        self.died.load(Relaxed)
    }

    /// Requests that a full mailbox refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(super) fn set_sessions(&self, shard: usize, sessions: usize) {
        if let Some(count) = self.sessions.get(shard) {
            count.store(sessions, Relaxed);
        }
    }

    /// The bytes that the sessions of one shard take.
    pub(super) fn bytes_of(&self, shard: usize) -> usize {
        self.bytes.get(shard).map_or(0, |count| count.load(Relaxed))
    }

    /// A session of a shard takes another number of bytes than before.
    pub(super) fn resize(&self, shard: usize, before: usize, now: usize) {
        if let Some(count) = self.bytes.get(shard) {
            // A decrease wraps around; the sum is right all the same.
            count.fetch_add(now.wrapping_sub(before), Relaxed);
        }
    }

    pub(super) fn count_evictions(&self, sessions: usize) {
        self.evicted.fetch_add(sessions as u64, Relaxed);
    }

    pub(super) fn count_start(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(super) fn count_death(&self) {
        self.died.fetch_add(1, Relaxed);
    }

    pub(super) fn count_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}

/// The bytes that one session takes, as part of its shard's. They count until the value is dropped.
///
/// Counted are the bytes of texts and tables and what an actor costs, not what the allocator adds.
#[derive(Debug)]
pub(crate) struct SessionMemory {
    bytes: AtomicUsize,
    counters: Arc<DirectoryCounters>,
    shard: usize,
}

impl SessionMemory {
    /// The memory of a session that has just been started.
    pub(super) fn new(counters: &Arc<DirectoryCounters>, shard: usize) -> Self {
        let memory = Self { bytes: AtomicUsize::new(0), counters: Arc::clone(counters), shard };
        memory.set_state_bytes(0);
        memory
    }

    /// The session's state takes so many bytes now.
    pub(crate) fn set_state_bytes(&self, bytes: usize) {
        self.set(ACTOR_BYTES + bytes);
    }

    /// The session is leaving. It does not count any more, although its actor may take a moment to end.
    pub(super) fn release(&self) {
        self.set(0);
    }

    /// The bytes that count.
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
        self.release();
    }
}
