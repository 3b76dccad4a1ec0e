//! For how long an endpoint has failed everything, and how long it is left alone. Both are saved, so that they outlive
//! the process.

use std::time::Duration;

use amoiq_events::Timestamp;
use tokio::time::Instant;

use crate::webhooks::{
    delivery::{HoldOff, LaneProgress},
    pacing::{clock_reading::ClockReading, endpoint_throttle::EndpointFailure},
    sender::DeliveryOutcome,
};

/// How an endpoint has been doing.
#[derive(Debug, Default)]
pub(super) struct EndpointHealth {
    /// Since when every attempt has failed, as a date to show and to save.
    failing_since: Option<Timestamp>,
    /// Since when every attempt has failed in this process, and for how long it had before.
    failing: Option<(Instant, Duration)>,
    hold_off: Option<HoldOff>,
}

impl EndpointHealth {
    pub(super) fn restore(progress: &LaneProgress, now: ClockReading) -> Self {
        let LaneProgress { failing_since, hold_off, .. } = *progress;
        Self { failing_since, failing: failing_since.map(|since| (now.instant, now.since(since))), hold_off }
    }

    pub(super) fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    pub(super) fn hold_off(&self) -> Option<HoldOff> {
        self.hold_off
    }

    pub(super) fn record_success(&mut self) {
        (self.failing_since, self.failing) = (None, None);
    }

    /// Returns for how long every attempt has failed.
    pub(super) fn record_failure(&mut self, now: ClockReading) -> Duration {
        self.failing_since.get_or_insert(now.date);
        let (since, before) = *self.failing.get_or_insert((now.instant, Duration::ZERO));
        before.saturating_add(now.instant - since)
    }

    /// Notes until when the endpoint is left alone, for the next start.
    pub(super) fn note_hold_off(&mut self, until: Option<Instant>, now: ClockReading) {
        self.hold_off = until.map(|until| HoldOff {
            until: now.date_of(until),
            wait: until.saturating_duration_since(now.instant),
        });
    }
}

/// How the endpoint failed; `None` when it refused the delivery, which may be about the message alone. The statuses 408
/// and 503 count as no answer.
pub(super) fn failure_of(outcome: &DeliveryOutcome) -> Option<EndpointFailure> {
    match outcome.status {
        None | Some(408 | 503) => Some(EndpointFailure::Silence),
        Some(429 | 502 | 504) => Some(EndpointFailure::Overload),
        Some(410 | 425) => Some(EndpointFailure::Answer),
        Some(400..=499) => None,
        Some(_) => Some(EndpointFailure::Answer),
    }
}
