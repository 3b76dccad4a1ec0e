//! When the server asks whether the client is there, and until when it has to answer.
//!
//! Both are counted from fixed moments and not from when a timer happened to fire, so the deadline is
//! exact and can be looked at by whoever comes first: the timer or a request of the client.

use std::time::Duration;

use tokio::time::Instant;

/// Where the heartbeat is.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The next ping is sent then.
    Resting(Instant),
    /// A ping was sent; the answer has to be there by then.
    Asking(Instant),
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing until then.
    Wait(Instant),
    /// Send a ping.
    Ping,
    /// The client is gone.
    Dead,
}

impl Heartbeat {
    /// A heartbeat that rests first: the first ping comes only after `interval`.
    #[must_use]
    pub fn new(now: Instant, interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout, phase: Phase::Resting(now + interval) }
    }

    /// What is to be done; a ping is asked for once.
    pub fn beat(&mut self, now: Instant) -> Beat {
        match self.phase {
            Phase::Resting(until) if now < until => Beat::Wait(until),
            Phase::Resting(since) => {
                self.phase = Phase::Asking(since + self.timeout);
                Beat::Ping
            }
            Phase::Asking(until) if now < until => Beat::Wait(until),
            Phase::Asking(_) => Beat::Dead,
        }
    }

    /// The client answered. Whether it was asked: an answer to nothing changes nothing.
    pub fn answered(&mut self, now: Instant) -> bool {
        let is_asked = matches!(self.phase, Phase::Asking(_));
        if is_asked {
            self.phase = Phase::Resting(now + self.interval);
        }
        is_asked
    }

    /// Whether the client's time is over, whatever the timer did so far.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Resting(until) => now >= until + self.timeout,
            Phase::Asking(until) => now >= until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_millis(200);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn the_first_ping_comes_after_the_interval_and_the_end_after_the_timeout() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, INTERVAL, TIMEOUT);
        assert_eq!(heartbeat.beat(start + ms(299)), Beat::Wait(start + ms(300)));
        assert_eq!(heartbeat.beat(start + ms(300)), Beat::Ping);
        assert_eq!(heartbeat.beat(start + ms(499)), Beat::Wait(start + ms(500)));
        assert_eq!(heartbeat.beat(start + ms(500)), Beat::Dead);
    }

    #[tokio::test]
    async fn a_timer_that_is_late_does_not_move_the_deadline() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, INTERVAL, TIMEOUT);
        assert!(!heartbeat.is_over(start + ms(499)));
        assert!(heartbeat.is_over(start + ms(500)));
        assert_eq!(heartbeat.beat(start + ms(350)), Beat::Ping);
        assert_eq!(heartbeat.beat(start + ms(350)), Beat::Wait(start + ms(500)));
    }

    #[tokio::test]
    async fn an_answer_lets_it_rest_again() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, INTERVAL, TIMEOUT);
        assert_eq!(heartbeat.beat(start + ms(300)), Beat::Ping);
        assert!(heartbeat.answered(start + ms(310)));
        assert!(!heartbeat.answered(start + ms(400)), "nobody asked");
        assert_eq!(heartbeat.beat(start + ms(410)), Beat::Wait(start + ms(610)));
    }
}
