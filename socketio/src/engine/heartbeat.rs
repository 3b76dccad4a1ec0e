//! When the server pings a client, and until when the client has to answer.
//!
//! Both are counted from fixed instants and not from when a timer happened to fire. So the deadline is exact, and either
//! the timer or a request of the client may check it.

use std::time::Duration;

use tokio::time::Instant;

/// The heartbeat of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    phase: HeartbeatPhase,
}

#[derive(Debug, Clone, Copy)]
enum HeartbeatPhase {
    /// Until the next ping.
    Idle(Instant),
    /// A ping was sent; the answer has to arrive by then.
    AwaitingPong(Instant),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeartbeatAction {
    /// Nothing until then.
    Wait(Instant),
    /// Send a ping.
    Ping,
    /// Close the connection: the client is gone.
    Close,
}

impl Heartbeat {
    /// The first ping comes after `interval`.
    #[must_use]
    pub(super) fn new(now: Instant, interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout, phase: HeartbeatPhase::Idle(now + interval) }
    }

    /// What to do; asks for each ping once.
    pub(super) fn next_action(&mut self, now: Instant) -> HeartbeatAction {
        match self.phase {
            HeartbeatPhase::Idle(until) if now < until => HeartbeatAction::Wait(until),
            HeartbeatPhase::Idle(since) => {
                self.phase = HeartbeatPhase::AwaitingPong(since + self.timeout);
                HeartbeatAction::Ping
            }
            HeartbeatPhase::AwaitingPong(until) if now < until => HeartbeatAction::Wait(until),
            HeartbeatPhase::AwaitingPong(_) => HeartbeatAction::Close,
        }
    }

    /// Until when there is nothing to do.
    #[must_use]
    pub(super) fn deadline(&self) -> Instant {
        match self.phase {
            HeartbeatPhase::Idle(until) | HeartbeatPhase::AwaitingPong(until) => until,
        }
    }

    /// The client answered. Returns whether a ping was open: a pong without a ping changes nothing.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        let is_expected = matches!(self.phase, HeartbeatPhase::AwaitingPong(_));
        if is_expected {
            self.phase = HeartbeatPhase::Idle(now + self.interval);
        }
        is_expected
    }

    /// Whether the client's time is over, even if the timer is late.
    #[must_use]
    pub(super) fn is_over(&self, now: Instant) -> bool {
        match self.phase {
            HeartbeatPhase::Idle(until) => now >= until + self.timeout,
            HeartbeatPhase::AwaitingPong(until) => now >= until,
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
        assert_eq!(heartbeat.next_action(start + ms(299)), HeartbeatAction::Wait(start + ms(300)));
        assert_eq!(heartbeat.next_action(start + ms(300)), HeartbeatAction::Ping);
        assert_eq!(heartbeat.next_action(start + ms(499)), HeartbeatAction::Wait(start + ms(500)));
        assert_eq!(heartbeat.next_action(start + ms(500)), HeartbeatAction::Close);
    }

    #[tokio::test]
    async fn a_timer_that_is_late_does_not_move_the_deadline() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, INTERVAL, TIMEOUT);
        assert!(!heartbeat.is_over(start + ms(499)));
        assert!(heartbeat.is_over(start + ms(500)));
        assert_eq!(heartbeat.next_action(start + ms(350)), HeartbeatAction::Ping);
        assert_eq!(heartbeat.next_action(start + ms(350)), HeartbeatAction::Wait(start + ms(500)));
    }

    #[tokio::test]
    async fn an_answer_starts_the_next_interval() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, INTERVAL, TIMEOUT);
        assert_eq!(heartbeat.next_action(start + ms(300)), HeartbeatAction::Ping);
        assert!(heartbeat.answered(start + ms(310)));
        assert!(!heartbeat.answered(start + ms(400)), "no ping is open");
        assert_eq!(heartbeat.next_action(start + ms(410)), HeartbeatAction::Wait(start + ms(610)));
    }
}
