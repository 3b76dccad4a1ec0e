//! A delivery: one event on its way to one endpoint, with its attempts.

use std::time::Duration;

use amoiq_events::{EventId, MessageId, Position, SessionId, Timestamp};

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// It is being attempted, or will be.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// The schedule is exhausted, or the message was erased from the log.
    Failed,
    /// The endpoint refused it and takes others. It was set aside, and is attempted out of order.
    Refused,
    /// The endpoint's owner skipped it.
    Skipped,
}

impl DeliveryStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Delivered, Self::Failed, Self::Refused, Self::Skipped];

    /// The name in the management API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
        }
    }

    /// The number that stands for it in databases.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Delivered => 1,
            Self::Failed => 2,
            Self::Refused => 3,
            Self::Skipped => 4,
        }
    }

    /// The status with a number.
    pub(super) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.number() == number)
    }

    /// Whether it is no longer attempted, unless somebody asks for it.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Skipped)
    }
}

/// A delivery as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The position of the event, which identifies the delivery within its lane.
    pub position: Position,
    /// The id by which receivers recognise repeats.
    pub event_id: EventId,
    /// The id that the management API uses.
    pub message_id: MessageId,
    /// The session. Its later messages wait for this one.
    pub session: SessionId,
    /// What has become of it.
    pub status: DeliveryStatus,
    /// How many attempts of the schedule were made. Asking for the delivery again restarts the schedule.
    pub tries: u32,
    /// When it is attempted next; absent once it is settled.
    pub next_at: Option<Timestamp>,
    /// Whether later messages of its session wait for it. They do not wait for one that was set aside or asked for
    /// again.
    pub holds: bool,
    /// When the endpoint first refused it, unless the endpoint was changed since.
    pub refused_at: Option<Timestamp>,
    /// When it was last written. Retention counts from here once it is settled.
    pub changed_at: Timestamp,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// When it started.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// Why it was no success.
    pub error: Option<String>,
    /// The first KiB of the answer, for failures only.
    pub answer: Vec<u8>,
}

/// How far an endpoint is, beside its deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneProgress {
    /// Everything up to here is delivered, or stored as a delivery.
    pub cursor: Position,
    /// Since when every attempt has failed; absent after a success.
    pub failing_since: Option<Timestamp>,
    /// The endpoint is not called for a while.
    pub hold_off: Option<HoldOff>,
    /// The running replay, or the last one.
    pub replay: Option<ReplayProgress>,
}

/// An endpoint is not called for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldOff {
    /// Until this time,
    pub until: Timestamp,
    /// which was this far away when it was decided: however the clock is set later, the wait is no longer than this.
    pub wait: Duration,
}

/// A part of the log that is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    /// The events after this position
    pub after: Position,
    /// and up to this one.
    pub until: Position,
    /// Everything up to here is delivered again, or stored as a delivery.
    pub cursor: Position,
    /// How many deliveries it has added.
    pub begun: u64,
    /// The owner cancelled it.
    pub is_cancelled: bool,
}

impl ReplayProgress {
    /// Whether there is nothing more to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_cancelled || self.cursor >= self.until
    }
}
