//! What surrounds an event: its id, its place, its time, who did it and because of which request.

use std::{borrow::Cow, fmt};

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

use crate::{EventId, StreamName, Timestamp};

/// A place in the log of all streams. Opaque: it increases, and nothing else is promised. It can be compared and
/// stored; only a backend calculates with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// After every event, to compare with. Nothing is read from there.
    pub const END: Self = Self(u64::MAX);

    /// The position with this number, as a store, a cursor or a person wrote it.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number, to write it down.
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

/// An event's number in its stream: 1, 2, 3 …; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// Of a stream without events.
    pub const NONE: Self = Self(0);

    /// Of the first event of a stream.
    pub const FIRST: Self = Self(1);

    /// At or after the newest event of any stream: where reading backward starts.
    pub const LAST: Self = Self(u64::MAX);

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

    /// The version of the next event.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The version of the previous event; `None` before the first.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0 {
            0 | 1 => None,
            number => Some(Self(number - 1)),
        }
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

/// Numbers as SQLite stores them. It counts to 2^63 - 1: a higher number is written as that, so that it is after
/// everything there too. The checksum judges what a damaged row contains, so every number is read.
macro_rules! sql_number {
    ($type:ident) => {
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(i64::try_from(self.0).unwrap_or(i64::MAX)))
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_i64().map(|number| Self(number.cast_unsigned()))
            }
        }
    };
}

sql_number!(Position);
sql_number!(Version);

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
    /// The id of the request that caused it.
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
    /// Where it lives; the name also contains the tenant.
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
