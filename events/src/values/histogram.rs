//! How often values of a size occurred: counters that any thread adds to without waiting for another.
//!
//! It stores no values and no percentiles; readers compute percentiles from the counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of values, by bounds that are fixed.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// The counts at one moment. What is added meanwhile may be in one number and not yet in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketCounts {
    /// How many values were at most this and above the previous bound; the last has no bound.
    pub buckets: Vec<(Option<u64>, u64)>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// An empty histogram. The bounds must be in rising order.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Relaxed);
            self.sum.fetch_add(value, Relaxed);
        }
    }

    /// Counts a time, in microseconds.
    pub fn observe_time(&self, time: std::time::Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> BucketCounts {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        let buckets = bounds.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect();
        BucketCounts { buckets, sum: self.sum.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_the_first_bound_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[10, 100]);
        [0, 10, 11, 100, 101].into_iter().for_each(|value| histogram.observe(value));
        let counts = histogram.counts();
        assert_eq!(counts.buckets, [(Some(10), 2), (Some(100), 2), (None, 1)]);
        assert_eq!(counts.sum, 222);
    }
}
