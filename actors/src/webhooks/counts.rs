//! What deliveries are counted by, for operators.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of `Counts::durations`, in milliseconds; what took longer is in one more.
pub const DURATION_BOUNDS_MS: [u64; 10] = [5, 10, 25, 50, 100, 250, 1_000, 2_500, 5_000, 15_000];

/// Counts of all lanes since the start.
#[derive(Debug, Default)]
pub struct Counts {
    succeeded: AtomicU64,
    failed: AtomicU64,
    exhausted: AtomicU64,
    duration_us: AtomicU64,
    durations: [AtomicU64; DURATION_BOUNDS_MS.len() + 1],
}

/// [`Counts`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Attempts that an endpoint took.
    pub succeeded: u64,
    /// Attempts that it did not.
    pub failed: u64,
    /// Deliveries given up: their schedule is exhausted, or their message is gone.
    pub exhausted: u64,
    /// How long all attempts took together, in microseconds.
    pub duration_us: u64,
    /// Attempts by their duration, each counted once: up to the bound of the same index.
    pub durations: [u64; DURATION_BOUNDS_MS.len() + 1],
}

impl Counts {
    pub(super) fn tried(&self, is_success: bool, duration: Duration) {
        let outcome = if is_success { &self.succeeded } else { &self.failed };
        outcome.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration_us.fetch_add(micros, Ordering::Relaxed);
        let bucket = DURATION_BOUNDS_MS.partition_point(|bound| bound * 1_000 < micros);
        if let Some(bucket) = self.durations.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn gave_up(&self) {
        self.exhausted.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            succeeded: read(&self.succeeded),
            failed: read(&self.failed),
            exhausted: read(&self.exhausted),
            duration_us: read(&self.duration_us),
            durations: self.durations.each_ref().map(read),
        }
    }
}
