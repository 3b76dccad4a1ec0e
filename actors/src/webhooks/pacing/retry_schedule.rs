//! When a delivery is attempted again: a list of waits, and a jitter that only makes them longer.

use std::time::Duration;

/// The waits before each attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule {
    /// Before the first attempt, the second, and so on. Each is counted from the end of the attempt before.
    pub waits: Vec<Duration>,
    /// A wait gets longer by up to this percentage.
    pub jitter_percent: u32,
}

impl RetrySchedule {
    /// How long the next attempt waits after this many were made; `None` when the schedule is exhausted. `random` is
    /// any number; it keeps deliveries that failed together from returning together.
    #[must_use]
    pub fn wait(&self, tries: u32, random: u64) -> Option<Duration> {
        let (wait_ms, most_jitter_ms) = self.bounds_ms(tries)?;
        let jitter_ms = if most_jitter_ms == 0 { 0 } else { random % most_jitter_ms.saturating_add(1) };
        Some(Duration::from_millis(wait_ms.saturating_add(jitter_ms)))
    }

    /// The longest possible wait of the next attempt after this many were made.
    #[must_use]
    pub fn longest_wait(&self, tries: u32) -> Duration {
        let (wait_ms, most_jitter_ms) = self.bounds_ms(tries).unwrap_or_default();
        Duration::from_millis(wait_ms.saturating_add(most_jitter_ms))
    }

    fn bounds_ms(&self, tries: u32) -> Option<(u64, u64)> {
        let wait = *self.waits.get(usize::try_from(tries).ok()?)?;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Some((wait_ms, (wait_ms / 100).saturating_mul(u64::from(self.jitter_percent))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> RetrySchedule {
        let waits = [0, 5_000, 300_000].map(Duration::from_millis).to_vec();
        RetrySchedule { waits, jitter_percent: 10 }
    }

    #[test]
    fn the_first_attempt_is_made_at_once() {
        assert_eq!(schedule().wait(0, u64::MAX), Some(Duration::ZERO));
    }

    #[test]
    fn after_the_last_wait_there_is_nothing() {
        assert_eq!(schedule().wait(3, 0), None);
        assert_eq!(schedule().wait(u32::MAX, 0), None);
        assert_eq!(schedule().longest_wait(3), Duration::ZERO);
    }

    #[test]
    fn jitter_makes_a_wait_longer_by_up_to_its_share() {
        let wait_ms = |random| schedule().wait(1, random).unwrap().as_millis();
        assert_eq!([wait_ms(0), wait_ms(500), wait_ms(501)], [5_000, 5_500, 5_000]);
        assert_eq!(schedule().longest_wait(1), Duration::from_millis(5_500));
    }
}
