//! How fast an endpoint may be called: how many attempts at the same time, how many a second, and none at all while
//! it fails.
//!
//! A new endpoint, or one that failed, starts with few attempts, and gets more with each delivery that it takes.
//! After some failures in a row the breaker opens: one attempt at a time, with a wait before it that doubles.
//! Attempts that were running when the breaker opened do not double it. An endpoint that says that it is overloaded
//! is left alone at once, for as long as it asks, whatever other attempts bring.
//!
//! While an endpoint answers at all, the breaker's wait stays short, so that it is soon noticed when the endpoint
//! takes deliveries again. All durations are measured by the monotonic clock.

use std::time::Duration;

use tokio::time::Instant;

use super::clock_reading::later;

/// Attempts at the same time to an endpoint about which nothing is known yet.
const FIRST_WINDOW: usize = 4;

/// The longest that an endpoint can ask to be left alone: 24 hours.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The longest that the breaker waits for an endpoint that answers.
pub const LONGEST_WAIT_WHILE_IT_ANSWERS: Duration = Duration::from_secs(5);

/// After refusals, the breaker's first wait is the usual one divided by this: some refusals in a row may be chance,
/// and other messages wait meanwhile.
const REFUSED_PART: u32 = 16;

/// Up to this rate, each attempt keeps its full distance from the one before. Timers are one or two milliseconds
/// late, and at a higher rate that would be a large part of the distance.
const EVEN_RATE: u32 = 10;

/// How much lateness is made up for at higher rates: no second has over 5 % more attempts than the rate allows.
const MADE_UP: Duration = Duration::from_millis(50);

/// The limits of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Attempts at the same time.
    pub in_flight: usize,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// The breaker's first wait.
    pub breaker_min: Duration,
    /// The breaker's longest wait.
    pub breaker_max: Duration,
}

/// How an endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointFailure {
    /// It refused a message, and seems to refuse everything.
    Refusal,
    /// It answered something else that is no success.
    Answer,
    /// The endpoint, or the proxy before it, says that it is overloaded.
    Overload,
    /// No answer came.
    Silence,
}

/// How fast an endpoint may be called at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointThrottle {
    settings: ThrottleSettings,
    /// Attempts at the same time while the breaker is closed.
    window: usize,
    /// Failures since the last success.
    failures: u32,
    /// When the breaker opened, or its wait last doubled.
    opened_at: Option<Instant>,
    /// No attempt before this, because the breaker is open.
    open_until: Option<Instant>,
    /// No attempt before this, because the endpoint asked for it.
    asked_until: Option<Instant>,
    /// No attempt before this, because the owner set a rate.
    pace: Option<Instant>,
}

impl EndpointThrottle {
    /// Nothing is known but what the endpoint asked for before the start.
    #[must_use]
    pub fn new(settings: ThrottleSettings, not_before: Option<Instant>) -> Self {
        let window = FIRST_WINDOW.min(settings.in_flight).max(1);
        let (opened_at, open_until) = (None, None);
        Self { settings, window, failures: 0, opened_at, open_until, asked_until: not_before, pace: None }
    }

    /// How many attempts may run at the same time.
    #[must_use]
    pub fn window(&self) -> usize {
        if self.is_open() { 1 } else { self.window }
    }

    /// Whether the breaker is open: the endpoint is only probed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.failures >= self.settings.breaker_failures
    }

    /// No attempt may start before this.
    #[must_use]
    pub fn ready_at(&self) -> Option<Instant> {
        self.not_before().max(self.pace)
    }

    /// The endpoint asked not to be called before this, or its breaker is open until then.
    #[must_use]
    pub fn not_before(&self) -> Option<Instant> {
        self.open_until.max(self.asked_until)
    }

    /// An attempt starts. The owner may have set a rate.
    pub fn begin(&mut self, now: Instant, rate_per_second: Option<u32>) {
        self.pace = rate_per_second.map(|rate| {
            let made_up = if rate > EVEN_RATE { MADE_UP } else { Duration::ZERO };
            let earliest = now.checked_sub(made_up).unwrap_or(now);
            self.pace.map_or(now, |pace| pace.max(earliest)) + Duration::from_secs(1) / rate.max(1)
        });
    }

    /// The endpoint took a delivery. If it asked not to be called for a while, that still holds.
    pub fn succeed(&mut self) {
        self.failures = 0;
        (self.opened_at, self.open_until) = (None, None);
        self.window = self.window.saturating_mul(2).min(self.settings.in_flight).max(1);
    }

    /// The endpoint did not take what was sent at `began`; `asked` is for how long it asks not to be called.
    pub fn fail(&mut self, now: Instant, began: Instant, failure: EndpointFailure, asked: Option<Duration>) {
        if let Some(asked) = asked {
            self.asked_until = self.asked_until.max(Some(later(now, asked.min(LONGEST_RETRY_AFTER))));
        }
        if failure != EndpointFailure::Refusal {
            self.window = (self.window / 2).max(1);
        }
        let is_of_the_same_trouble = self.opened_at.is_some_and(|opened| began <= opened);
        if self.is_open() && is_of_the_same_trouble {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.is_open() {
            self.opened_at = Some(now);
        }
        if self.is_open() || failure == EndpointFailure::Overload {
            self.open_until = self.open_until.max(Some(later(now, self.breaker_wait(failure))));
        }
    }

    /// Forgets everything: the owner says that the endpoint works again.
    pub fn reset(&mut self) {
        *self = Self::new(self.settings.clone(), None);
    }

    fn breaker_wait(&self, failure: EndpointFailure) -> Duration {
        let ThrottleSettings { breaker_failures, breaker_min, breaker_max, .. } = self.settings;
        let (first, most) = match failure {
            EndpointFailure::Refusal => (breaker_min / REFUSED_PART, LONGEST_WAIT_WHILE_IT_ANSWERS),
            EndpointFailure::Answer => (breaker_min, LONGEST_WAIT_WHILE_IT_ANSWERS),
            EndpointFailure::Overload | EndpointFailure::Silence => (breaker_min, breaker_max),
        };
        let doublings = self.failures.saturating_sub(breaker_failures).min(20);
        first.saturating_mul(1 << doublings).min(most).min(breaker_max)
    }
}

#[cfg(test)]
mod tests;
