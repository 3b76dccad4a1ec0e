//! What surrounds an event: its id, its place, its time, who did it and because of which request.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{EventId, StreamName, Timestamp};

/// A place in the log of all streams. Opaque: it increases, it may skip, and nothing else is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The place with this number, as a store or a cursor kept it.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number, to keep in a checkpoint or a cursor.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event's number in its stream: 1, 2, 3 …; 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// Of a stream without events.
    pub const NONE: Self = Self(0);

    /// The version with this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The version `count` events later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When and where something was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordedAt {
    /// When.
    pub time: Timestamp,
    /// Where in the log, or close after it in the same append.
    pub position: Position,
}

/// An event on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Made once, kept over retries.
    pub id: EventId,
    /// The dotted type, for example `message.created`.
    pub kind: Cow<'static, str>,
    /// The version of the type's data, from 1.
    pub schema: u16,
    /// When it was decided, by the service's clock.
    pub time: Timestamp,
    /// The request that caused it.
    pub causation: Box<str>,
    /// Who did it: a key's or token's public id, or a part of the service.
    pub actor: Box<str>,
    /// JSON.
    pub data: Box<[u8]>,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its place among all events.
    pub position: Position,
    /// Where it lives; says the tenant too.
    pub stream: StreamName,
    /// Its place in the stream.
    pub version: Version,
    /// What was appended.
    pub event: NewEvent,
}

impl RecordedEvent {
    /// When and where it was recorded.
    #[must_use]
    pub fn moment(&self) -> RecordedAt {
        RecordedAt { time: self.event.time, position: self.position }
    }
}
