//! What operators count of the directory: sessions in memory, starts, and requests that it did not take.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counters of one directory.
#[derive(Debug)]
pub struct DirectoryCounters {
    /// One for each shard, which alone writes it.
    sessions: Box<[AtomicUsize]>,
    /// What those sessions hold, of each shard.
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

    /// Bytes that the sessions in memory hold, as they are counted for `sessions.max_memory_bytes`.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Sessions that left because they were too many or held too much together.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Sessions' actors that were started.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// Sessions' actors that were found dead and started again.
    #[must_use]
    pub fn died(&self) -> u64 {
        self.died.load(Relaxed)
    }

    /// Requests that a full mailbox did not take.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(super) fn holds(&self, shard: usize, sessions: usize) {
        if let Some(count) = self.sessions.get(shard) {
            count.store(sessions, Relaxed);
        }
    }

    /// What the sessions of one shard hold.
    pub(super) fn bytes_of(&self, shard: usize) -> usize {
        self.bytes.get(shard).map_or(0, |count| count.load(Relaxed))
    }

    /// A session of a shard holds another number of bytes than before.
    pub(super) fn resize(&self, shard: usize, before: usize, now: usize) {
        if let Some(count) = self.bytes.get(shard) {
            // Wraps around where it shrinks; the sum is right all the same.
            count.fetch_add(now.wrapping_sub(before), Relaxed);
        }
    }

    pub(super) fn evict(&self, sessions: usize) {
        self.evicted.fetch_add(sessions as u64, Relaxed);
    }

    pub(super) fn start(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(super) fn die(&self) {
        self.died.fetch_add(1, Relaxed);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}
