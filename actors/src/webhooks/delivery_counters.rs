//! What operators see of deliveries: counters of all lanes.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use amoiq_events::histogram::{self, Histogram};

/// The buckets of the durations of attempts, in microseconds.
const DURATION_BOUNDS: &[u64] =
    &[5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000, 5_000_000, 15_000_000];

/// Counters of all lanes since the start.
#[derive(Debug)]
pub struct DeliveryCounters {
    succeeded: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    set_aside: AtomicU64,
    skipped: AtomicU64,
    durations: Histogram,
}

impl Default for DeliveryCounters {
    fn default() -> Self {
        let [succeeded, failed, given_up, set_aside, skipped] = [const { AtomicU64::new(0) }; 5];
        Self { succeeded, failed, given_up, set_aside, skipped, durations: Histogram::new(DURATION_BOUNDS) }
    }
}

impl DeliveryCounters {
    pub(super) fn record_attempt(&self, is_success: bool, duration: Duration) {
        let counter = if is_success { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Relaxed);
        self.durations.observe_time(duration);
    }

    pub(super) fn record_given_up(&self) {
        self.given_up.fetch_add(1, Relaxed);
    }

    pub(super) fn record_set_aside(&self) {
        self.set_aside.fetch_add(1, Relaxed);
    }

    pub(super) fn record_skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// Attempts that succeeded.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Relaxed)
    }

    /// Attempts that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Deliveries that were given up: their schedule is exhausted, or their message was erased.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Relaxed)
    }

    /// Deliveries that were set aside: their endpoint refuses them and takes others.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        self.set_aside.load(Relaxed)
    }

    /// Deliveries that were skipped by the owners of endpoints.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed)
    }

    /// How long attempts took, in microseconds.
    #[must_use]
    pub fn durations(&self) -> histogram::BucketCounts {
        self.durations.counts()
    }
}
