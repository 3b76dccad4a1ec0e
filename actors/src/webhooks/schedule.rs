//! When a delivery is tried again: a visible list of waits, and a jitter that only ever delays.

use std::time::Duration;

use amoiq_events::Timestamp;

/// The waits before each attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Before the first attempt, the second, …: counted from the end of the one before.
    pub waits: Vec<Duration>,
    /// A wait is made longer by up to so many percent of it.
    pub jitter_percent: u32,
}

impl Schedule {
    /// When the next attempt is made after so many were; nothing when they are exhausted. `random` is
    /// any number: what failed together does not return together.
    #[must_use]
    pub fn next(&self, tries: u32, now: Timestamp, random: u64) -> Option<Timestamp> {
        let wait = *self.waits.get(usize::try_from(tries).ok()?)?;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let most_ms = (wait_ms / 100).saturating_mul(u64::from(self.jitter_percent));
        let jitter_ms = if most_ms == 0 { 0 } else { random % most_ms.saturating_add(1) };
        let after_ms = wait_ms.saturating_add(jitter_ms);
        Some(now.plus_millis(i64::try_from(after_ms).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        let waits = [0, 5_000, 300_000].map(Duration::from_millis).to_vec();
        Schedule { waits, jitter_percent: 10 }
    }

    #[test]
    fn the_first_attempt_is_made_at_once() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(schedule().next(0, now, u64::MAX), Some(now));
    }

    #[test]
    fn after_the_last_wait_there_is_nothing() {
        assert_eq!(schedule().next(3, Timestamp::default(), 0), None);
        assert_eq!(schedule().next(u32::MAX, Timestamp::default(), 0), None);
    }

    #[test]
    fn jitter_makes_a_wait_longer_by_up_to_its_share() {
        let at = |random| schedule().next(1, Timestamp::default(), random).unwrap().as_millis();
        assert_eq!(at(0), 5_000);
        assert_eq!(at(500), 5_500);
        assert_eq!(at(501), 5_000);
    }
}
