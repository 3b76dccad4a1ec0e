//! How long each message took.

use std::time::{Duration, Instant};

/// Times in microseconds.
#[derive(Default)]
pub struct LatencyRecord {
    microseconds: Vec<u32>,
}

impl LatencyRecord {
    /// Room for so many without another allocation.
    pub fn with_capacity(count: usize) -> Self {
        Self { microseconds: Vec::with_capacity(count) }
    }

    /// Adds the time from then until now.
    pub fn add(&mut self, since: Instant, now: Instant) {
        let microseconds = now.saturating_duration_since(since).as_micros();
        self.microseconds.push(u32::try_from(microseconds).unwrap_or(u32::MAX));
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.microseconds.len()
    }

    /// The times that a half, and 99 of 100, and all of them do not exceed.
    pub fn percentiles(&mut self) -> [Duration; 3] {
        self.microseconds.sort_unstable();
        let last = self.microseconds.len().saturating_sub(1);
        [last / 2, last - last / 100, last].map(|place| {
            let microseconds = self.microseconds.get(place).copied().unwrap_or_default();
            Duration::from_micros(microseconds.into())
        })
    }
}
