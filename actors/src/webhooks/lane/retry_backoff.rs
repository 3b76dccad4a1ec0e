//! The waits between repeated tries of something that does not answer. Only the first failure is logged.

use std::time::Duration;

/// The first wait.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often something has failed in a row.
#[derive(Debug, Default)]
pub(super) struct RetryBackoff {
    failures: u32,
}

impl RetryBackoff {
    /// It failed. Returns how long to wait, and whether this is the first failure.
    pub(super) fn record_failure(&mut self) -> (Duration, bool) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(20)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        (wait, self.failures == 1)
    }

    /// It succeeded. Returns whether it had failed before.
    pub(super) fn record_success(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_only_the_first_failure_and_the_end_are_new() {
        let mut backoff = RetryBackoff::default();
        let seconds: Vec<_> =
            (0..8).map(|_| backoff.record_failure()).map(|(wait, is_new)| (wait.as_secs(), is_new)).collect();
        let waits = [
            (1, true),
            (2, false),
            (4, false),
            (8, false),
            (16, false),
            (32, false),
            (60, false),
            (60, false),
        ];
        assert_eq!(seconds, waits);
        assert!(backoff.record_success() && !backoff.record_success());
        assert_eq!(backoff.record_failure(), (Duration::from_secs(1), true));
    }
}
