//! How many events a client may send: so many in any second, not so many in each.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

/// The events of the last second.
#[derive(Debug, Default)]
pub struct Meter {
    /// When they came; as many as the limit at the most.
    recent: VecDeque<Instant>,
}

impl Meter {
    /// Counts an event. A limit of 0 is none.
    ///
    /// # Errors
    /// How long the client has to wait before another is taken; this one does not count then.
    pub fn count(&mut self, limit: usize, now: Instant) -> Result<(), Duration> {
        if limit == 0 {
            return Ok(());
        }
        while self.recent.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            self.recent.pop_front();
        }
        match self.recent.front() {
            Some(first) if self.recent.len() >= limit => Err(WINDOW - now.duration_since(*first)),
            _ => {
                self.recent.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn in_any_second_there_are_at_most_as_many_as_the_limit() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut count = |millis| meter.count(2, start + Duration::from_millis(millis));
        assert_eq!(count(0), Ok(()));
        assert_eq!(count(900), Ok(()));
        assert_eq!(count(950), Err(Duration::from_millis(50)));
        assert_eq!(count(1_000), Ok(()), "the first is a second ago, and the refused one did not count");
        assert_eq!(count(1_100), Err(Duration::from_millis(800)));
        assert_eq!(Meter::default().count(0, start), Ok(()));
    }
}
