//! Limits how often a log line is written that a client can cause as often as it likes.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a line is not repeated.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets one line of a kind through each minute and drops the others. Uses the monotonic clock.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<Option<Instant>>);

impl LogThrottle {
    /// Whether the line is due. A caller that gets `true` has to write it.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now.duration_since(last) >= PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_is_written_once_a_minute() {
        let throttle = LogThrottle::default();
        assert_eq!([throttle.is_due(), throttle.is_due()], [true, false]);
        tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
        assert!(!throttle.is_due());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!([throttle.is_due(), throttle.is_due()], [true, false]);
    }
}
