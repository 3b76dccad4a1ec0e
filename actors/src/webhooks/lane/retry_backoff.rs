//! What does not answer is asked later each time, and is complained of once.

use std::time::Duration;

use super::RETRY_AFTER;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// How something fails that is asked again and again.
#[derive(Debug, Default)]
pub(super) struct RetryBackoff {
    failures: u32,
}

impl RetryBackoff {
    /// It failed: how long to wait, and whether it went well before.
    pub(super) fn fails(&mut self) -> (Duration, bool) {
        let wait = RETRY_AFTER.saturating_mul(1 << self.failures.min(20)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        (wait, self.failures == 1)
    }

    /// It went well: whether it had failed before.
    pub(super) fn ends(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_only_the_first_and_the_end_are_new() {
        let mut trouble = RetryBackoff::default();
        let seconds: Vec<_> =
            (0..8).map(|_| trouble.fails()).map(|(wait, is_new)| (wait.as_secs(), is_new)).collect();
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
        assert!(trouble.ends() && !trouble.ends());
        assert_eq!(trouble.fails(), (Duration::from_secs(1), true));
    }
}
