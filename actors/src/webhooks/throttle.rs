//! How hard an endpoint is pressed: how many attempts at the same time, how many a second, and not at
//! all while it is in trouble.
//!
//! A new endpoint, or one that failed, starts small and grows with each delivery that it takes. After some
//! failures in a row the breaker opens: one attempt at a time, with a wait before it that doubles. Attempts that
//! were underway when it opened are of the same trouble and double nothing. An endpoint that says that it is
//! overloaded is left alone at once, for as long as it asks, whatever attempts beside that one bring.

use std::time::Duration;

use amoiq_events::Timestamp;

/// Attempts at the same time to an endpoint of which nothing is known yet.
const FIRST_WINDOW: usize = 4;

/// The longest that an endpoint can ask to be left alone: 24 hours.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The limits of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Attempts at the same time.
    pub in_flight: usize,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// How long the breaker waits the first time.
    pub breaker_min: Duration,
    /// How long it waits at the most.
    pub breaker_max: Duration,
}

/// What an endpoint can take at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    settings: ThrottleSettings,
    /// Attempts at the same time, as things go.
    window: usize,
    /// Failures since the last success.
    failures: u32,
    /// When the breaker opened, or its wait doubled last.
    opened_at: Option<Timestamp>,
    /// No attempt before: its breaker is open.
    open_until: Option<Timestamp>,
    /// No attempt before: it asked.
    asked_until: Option<Timestamp>,
    /// No attempt before: its owner set a rate.
    pace: Option<Timestamp>,
}

impl Throttle {
    /// One that knows only what the endpoint asked for before.
    #[must_use]
    pub fn new(settings: ThrottleSettings, not_before: Option<Timestamp>) -> Self {
        let window = FIRST_WINDOW.min(settings.in_flight).max(1);
        let (opened_at, open_until) = (None, None);
        Self { settings, window, failures: 0, opened_at, open_until, asked_until: not_before, pace: None }
    }

    /// Attempts that may be underway at the same time.
    #[must_use]
    pub fn window(&self) -> usize {
        if self.is_open() { 1 } else { self.window }
    }

    /// Whether it has failed so often in a row that it is only probed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.failures >= self.settings.breaker_failures
    }

    /// Before when no attempt may begin.
    #[must_use]
    pub fn ready_at(&self) -> Option<Timestamp> {
        self.not_before().max(self.pace)
    }

    /// As long as the endpoint asked to be left alone, or its breaker is open.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.open_until.max(self.asked_until)
    }

    /// An attempt begins, to an endpoint that wants no more than so many a second. Waits are whole
    /// milliseconds, rounded up: a little less often, and never more.
    pub fn begin(&mut self, now: Timestamp, rate_per_second: Option<u32>) {
        self.pace = rate_per_second.map(|rate| now.plus_millis(i64::from(1_000_u32.div_ceil(rate.max(1)))));
    }

    /// It took a delivery. What it asked for beside that holds.
    pub fn succeed(&mut self) {
        self.failures = 0;
        (self.opened_at, self.open_until) = (None, None);
        self.window = self.window.saturating_mul(2).min(self.settings.in_flight).max(1);
    }

    /// It did not take what was sent at `began`. `is_overload` is its own word or its proxy's that it is too much;
    /// `asked` how long it wants to be left alone.
    pub fn fail(&mut self, now: Timestamp, began: Timestamp, is_overload: bool, asked: Option<Duration>) {
        if let Some(asked) = asked {
            self.asked_until = self.asked_until.max(Some(after(now, asked.min(LONGEST_RETRY_AFTER))));
        }
        self.window = (self.window / 2).max(1);
        let is_of_the_same_trouble = self.opened_at.is_some_and(|opened| began <= opened);
        if self.is_open() && is_of_the_same_trouble {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.is_open() {
            self.opened_at = Some(now);
        }
        if self.is_open() || is_overload {
            self.open_until = self.open_until.max(Some(after(now, self.breaker_wait())));
        }
    }

    /// Forgets everything: its owner says that it is well again.
    pub fn reset(&mut self) {
        *self = Self::new(self.settings.clone(), None);
    }

    fn breaker_wait(&self) -> Duration {
        let doublings = self.failures.saturating_sub(self.settings.breaker_failures).min(20);
        self.settings.breaker_min.saturating_mul(1 << doublings).min(self.settings.breaker_max)
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn throttle() -> Throttle {
        let settings = ThrottleSettings {
            in_flight: 16,
            breaker_failures: 3,
            breaker_min: Duration::from_secs(1),
            breaker_max: Duration::from_secs(60),
        };
        Throttle::new(settings, None)
    }

    fn wait_ms(throttle: &Throttle) -> Option<i64> {
        throttle.ready_at().map(|at| at.as_millis() - NOW.as_millis())
    }

    #[test]
    fn the_window_grows_with_success_and_shrinks_with_failure() {
        let mut throttle = throttle();
        assert_eq!(throttle.window(), 4);
        (0..5).for_each(|_| throttle.succeed());
        assert_eq!(throttle.window(), 16);
        throttle.fail(NOW, NOW, false, None);
        assert_eq!(throttle.window(), 8);
    }

    /// An attempt that begins and fails so long after the start.
    fn fail_at(throttle: &mut Throttle, seconds: i64) {
        let at = NOW.plus_millis(seconds * 1_000);
        throttle.fail(at, at, false, None);
    }

    #[test]
    fn failures_in_a_row_open_the_breaker_and_a_success_closes_it() {
        let mut throttle = throttle();
        (0..2).for_each(|_| fail_at(&mut throttle, 0));
        assert_eq!((throttle.is_open(), wait_ms(&throttle)), (false, None));
        fail_at(&mut throttle, 0);
        assert_eq!((throttle.window(), wait_ms(&throttle)), (1, Some(1_000)));
        fail_at(&mut throttle, 1);
        assert_eq!(wait_ms(&throttle), Some(1_000 + 2_000));
        (2..102).for_each(|second| fail_at(&mut throttle, second));
        assert_eq!(wait_ms(&throttle), Some(101_000 + 60_000));
        throttle.succeed();
        assert_eq!((throttle.is_open(), wait_ms(&throttle)), (false, None));
    }

    #[test]
    fn what_was_underway_when_the_breaker_opened_doubles_nothing() {
        let mut throttle = throttle();
        (0..16).for_each(|_| throttle.fail(NOW.plus_millis(500), NOW, false, None));
        assert_eq!((throttle.is_open(), wait_ms(&throttle)), (true, Some(1_500)));
        fail_at(&mut throttle, 2);
        assert_eq!(wait_ms(&throttle), Some(2_000 + 2_000));
    }

    #[test]
    fn a_success_beside_it_takes_nothing_back_that_the_endpoint_asked_for() {
        let mut throttle = throttle();
        throttle.fail(NOW, NOW, true, Some(Duration::from_secs(30)));
        throttle.succeed();
        assert_eq!(wait_ms(&throttle), Some(30_000));
        throttle.reset();
        assert_eq!(wait_ms(&throttle), None, "its owner says so");
    }

    #[test]
    fn an_endpoint_that_says_it_is_overloaded_is_left_alone_at_once() {
        let mut throttle = throttle();
        throttle.fail(NOW, NOW, true, None);
        assert_eq!(wait_ms(&throttle), Some(1_000));
    }

    #[test]
    fn what_the_endpoint_asks_for_only_delays_and_is_bounded() {
        let mut throttle = throttle();
        throttle.fail(NOW, NOW, true, Some(Duration::from_secs(30)));
        assert_eq!(wait_ms(&throttle), Some(30_000));
        throttle.fail(NOW, NOW, true, Some(Duration::ZERO));
        assert_eq!(wait_ms(&throttle), Some(30_000));
        throttle.fail(NOW, NOW, true, Some(Duration::from_hours(1_000)));
        assert_eq!(wait_ms(&throttle), Some(86_400_000));
    }

    #[test]
    fn a_rate_spaces_attempts() {
        let mut throttle = throttle();
        throttle.begin(NOW, Some(4));
        assert_eq!(wait_ms(&throttle), Some(250));
        throttle.begin(NOW, None);
        assert_eq!(wait_ms(&throttle), None);
    }
}
