//! A delivery: one event on its way to one endpoint, and the attempts that were made.

use std::time::Duration;

use amoiq_events::{EventId, MessageId, Position, SessionId, Timestamp};

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// It is tried, or will be.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// The schedule is exhausted, or the message is gone from the log.
    Failed,
    /// The endpoint refused it and takes others: it was set aside, and is tried on out of order.
    Refused,
    /// The endpoint's owner does not wait for it.
    Skipped,
}

impl DeliveryStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Delivered, Self::Failed, Self::Refused, Self::Skipped];

    /// As the management API calls it.
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

    /// Whether it is not tried any more, unless somebody asks for it.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Skipped)
    }
}

/// A delivery as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Of the event; the delivery's id within its lane.
    pub position: Position,
    /// What receivers recognise repeats by.
    pub event_id: EventId,
    /// What the management API names it by.
    pub message_id: MessageId,
    /// Its followers in this session wait for it.
    pub session: SessionId,
    /// Where it is.
    pub status: DeliveryStatus,
    /// How many attempts of the schedule were made. Asking for it again starts the schedule anew.
    pub tries: u32,
    /// When it is tried next; only until it is settled.
    pub next_at: Option<Timestamp>,
    /// Whether its followers wait for it. They do not for one that was set aside or asked for again.
    pub holds: bool,
    /// When the endpoint first refused it, unless it was changed since.
    pub refused_at: Option<Timestamp>,
    /// When it was last written: the settled ones are kept for so long after it.
    pub changed_at: Timestamp,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// Why it is no success.
    pub error: Option<String>,
    /// The first KiB of the answer, of failures only.
    pub answer: Vec<u8>,
}

/// Where an endpoint is, beside its deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneProgress {
    /// Everything up to here is delivered, or stands among the deliveries.
    pub cursor: Position,
    /// Since when everything has failed; absent after a success.
    pub failing_since: Option<Timestamp>,
    /// The endpoint is not to be called before.
    pub hold_off: Option<HoldOff>,
    /// The replay that runs, or the last one.
    pub replay: Option<ReplayProgress>,
}

/// An endpoint is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldOff {
    /// Until then,
    pub until: Timestamp,
    /// which was so far away when it was decided: whatever the clock says later, it lasts no longer.
    pub wait: Duration,
}

/// A part of the log that is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    /// What stands after this position
    pub after: Position,
    /// and up to this one.
    pub until: Position,
    /// Everything up to here is delivered again, or stands among the deliveries.
    pub cursor: Position,
    /// How many deliveries it has begun.
    pub begun: u64,
    /// Its owner ended it.
    pub is_cancelled: bool,
}

impl ReplayProgress {
    /// Whether there is nothing more to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_cancelled || self.cursor >= self.until
    }
}
