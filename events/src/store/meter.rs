//! Numbers about a store for operators: what it was asked, what it refused, and how long its commits take.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::AppendError;
use crate::histogram::Histogram;

/// Bounds for the durations of commits, in microseconds: a sync takes 50 us to 50 ms.
const TIMES_US: &[u64] =
    &[250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];

/// Bounds for the number of events in a commit.
const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096];

/// Counters of one store.
#[derive(Debug)]
pub struct StoreMeter {
    appends: AtomicU64,
    events: AtomicU64,
    /// In the order of [`StoreMeter::errors`].
    errors: [AtomicU64; 4],
    /// How long commits took, in microseconds, including those that failed.
    pub commit_times: Histogram,
    /// How many events were committed together.
    pub commit_events: Histogram,
}

impl Default for StoreMeter {
    fn default() -> Self {
        Self {
            appends: AtomicU64::default(),
            events: AtomicU64::default(),
            errors: Default::default(),
            commit_times: Histogram::new(TIMES_US),
            commit_events: Histogram::new(SIZES),
        }
    }
}

impl StoreMeter {
    /// Appends that succeeded.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.appends.load(Relaxed)
    }

    /// Events that are durable since the store was opened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Appends that did not succeed, by reason.
    #[must_use]
    pub fn errors(&self) -> [(&'static str, u64); 4] {
        let [conflict, overloaded, size, unavailable] = &self.errors;
        [
            ("conflict", conflict.load(Relaxed)),
            ("overloaded", overloaded.load(Relaxed)),
            ("size", size.load(Relaxed)),
            ("unavailable", unavailable.load(Relaxed)),
        ]
    }

    pub(super) fn answered<T>(&self, answer: &Result<T, AppendError>) {
        let [conflict, overloaded, size, unavailable] = &self.errors;
        let counter = match answer {
            Ok(_) => &self.appends,
            Err(AppendError::Conflict { .. }) => conflict,
            Err(AppendError::Overloaded) => overloaded,
            Err(AppendError::Size { .. }) => size,
            Err(AppendError::Unavailable(_)) => unavailable,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn committed(&self, events: usize) {
        self.events.fetch_add(events as u64, Relaxed);
        self.commit_events.observe(events as u64);
    }

    pub(super) fn took(&self, time: Duration) {
        self.commit_times.observe_time(time);
    }
}
