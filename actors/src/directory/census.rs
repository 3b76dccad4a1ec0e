//! What operators count of the directory: sessions in memory, starts, and requests that it did not take.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counters of one directory.
#[derive(Debug)]
pub struct Census {
    /// One for each shard, which alone writes it.
    sessions: Box<[AtomicUsize]>,
    started: AtomicU64,
    died: AtomicU64,
    refused: AtomicU64,
}

impl Census {
    pub(super) fn new(shards: usize) -> Self {
        let sessions = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        let (started, died, refused) = Default::default();
        Self { sessions, started, died, refused }
    }

    /// Sessions in memory now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.iter().map(|count| count.load(Relaxed)).sum()
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
