//! Decides how old something is that the log dates, for tasks that close or remove what is old.
//!
//! Dates in the log are wall time, and the wall clock can be set. While the process runs, ages are counted from a time
//! that is never ahead of the start plus what the monotonic clock has counted since. So a wall clock that is set a day
//! ahead and back again makes nothing older, and one that is set back makes removal later, never earlier. Time during
//! which the machine slept, or by which the clock was behind at the start, counts after the next start.

use std::time::Duration;

use amoiq_events::{Ambient, Timestamp};
use tokio::time::Instant;

/// Tells which dates are old.
#[derive(Clone)]
pub(crate) struct AgeClock {
    ambient: Ambient,
    started: (Timestamp, Instant),
}

impl AgeClock {
    /// A clock that starts now.
    pub(crate) fn start(ambient: Ambient) -> Self {
        let started = (ambient.now(), Instant::now());
        Self { ambient, started }
    }

    /// The date of what has this age now. Everything with an earlier date is older.
    pub(crate) fn before(&self, age: Duration) -> Timestamp {
        let (date, since) = self.started;
        let now = self.ambient.now().min(date + since.elapsed());
        now - age
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use amoiq_events::ambient::{ManualClock, OsEntropy};

    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_wall_clock_makes_nothing_older_than_the_time_that_passed() {
        let start = Timestamp::from_millis(1_705_314_600_000);
        let wall = Arc::new(ManualClock::new(start));
        let age = AgeClock::start(Ambient::new(Arc::clone(&wall) as _, Arc::new(OsEntropy)));
        let old = |hours: i64| start.plus_millis(hours * HOUR_MS);
        assert_eq!(age.before(HOUR), old(-1));

        wall.advance_millis(24 * HOUR_MS);
        assert_eq!(age.before(HOUR), old(-1), "a day forward");
        wall.advance_millis(-24 * HOUR_MS);
        for _ in 0..3 {
            tokio::time::advance(HOUR).await;
            wall.advance_millis(HOUR_MS);
        }
        assert_eq!(age.before(HOUR), old(2), "right again, and three hours later");
        wall.advance_millis(-2 * HOUR_MS);
        assert_eq!(age.before(HOUR), old(0), "set back: what is written now has such dates");
    }
}
