//! The current time as two clocks show it. Durations are measured by the monotonic clock, which nobody can set. The
//! wall clock gives the dates that are shown and those that have to survive a restart.

use std::time::Duration;

use amoiq_events::{Ambient, Timestamp};
use tokio::time::Instant;

/// Longer than any wait: what is due after it is never due.
const NEVER: Duration = Duration::from_hours(24 * 365 * 30);

/// The same moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(in crate::webhooks) struct ClockReading {
    pub(in crate::webhooks) instant: Instant,
    pub(in crate::webhooks) date: Timestamp,
}

impl ClockReading {
    /// The current time.
    pub(in crate::webhooks) fn now(ambient: &Ambient) -> Self {
        Self { instant: Instant::now(), date: ambient.now() }
    }

    /// The date of an instant, if nobody sets the wall clock.
    pub(in crate::webhooks) fn date_of(self, instant: Instant) -> Timestamp {
        let ahead = instant.saturating_duration_since(self.instant);
        match self.instant.saturating_duration_since(instant) {
            Duration::ZERO => self.date + whole_millis(ahead),
            behind => self.date - whole_millis(behind),
        }
    }

    /// The instant of a stored date. The wall clock may have been set since then, so the wait for it is limited to
    /// its original length.
    pub(in crate::webhooks) fn instant_of(self, date: Timestamp, whole_wait: Duration) -> Instant {
        later(self.instant, date.saturating_since(self.date).min(whole_wait))
    }

    /// How long ago a stored date was; zero if it is in the future.
    pub(in crate::webhooks) fn since(self, date: Timestamp) -> Duration {
        self.date.saturating_since(date)
    }
}

/// An instant that is later by a wait. A wait that is too long to add lasts for decades.
pub(in crate::webhooks) fn later(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait.min(NEVER)).unwrap_or(instant)
}

/// Rounded up to what a date can say, so that nothing is looked at before it is due.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> ClockReading {
        ClockReading {
            instant: Instant::now() + Duration::from_hours(1),
            date: Timestamp::from_millis(10_000_000),
        }
    }

    #[test]
    fn a_date_comes_when_it_is_due_and_never_later_than_its_wait_from_now() {
        let now = moment();
        let wait = Duration::from_secs(5);
        let comes_in = |ahead_ms: i64| {
            now.instant_of(now.date.plus_millis(ahead_ms), wait).duration_since(now.instant).as_millis()
        };
        assert_eq!([comes_in(3_000), comes_in(3_600_000), comes_in(-7)], [3_000, 5_000, 0]);
    }

    #[test]
    fn an_instant_has_a_date_on_either_side_of_now() {
        let now = moment();
        let second = Duration::from_secs(1);
        let date = |instant| now.date_of(instant).as_millis() - now.date.as_millis();
        assert_eq!([date(now.instant + second), date(now.instant - second)], [1_000, -1_000]);
    }

    #[test]
    fn no_wait_is_too_long() {
        let now = moment();
        assert!(later(now.instant, Duration::MAX) > now.instant);
    }
}
