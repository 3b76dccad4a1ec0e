//! A point in the log, as an operator gives it: a position, or a time.

use std::{ops::Bound, str::FromStr};

use amoiq_events::{EventLog, Position, Timestamp};

/// A point in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogPoint {
    Position(Position),
    Time(Timestamp),
}

impl FromStr for LogPoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().map(|number| Self::Position(Position::from_u64(number)));
        number
            .ok()
            .or_else(|| Timestamp::parse(text).map(Self::Time))
            .ok_or("must be a position, which is a number, or a time such as 2024-01-15T10:30:00Z")
    }
}

impl LogPoint {
    /// The last position that belongs to the point. Events with exactly its time do.
    pub(super) async fn end(self, store: &dyn EventLog) -> anyhow::Result<Position> {
        Ok(match self {
            Self::Position(position) => position,
            Self::Time(time) => store.position_at(time.plus_millis(1)).await?,
        })
    }

    /// The position after which the events of the point begin.
    pub(super) async fn begin(self, store: &dyn EventLog) -> anyhow::Result<Position> {
        Ok(match self {
            Self::Position(position) => store.newest_within(Bound::Excluded(position)).await?,
            Self::Time(time) => store.position_at(time).await?,
        })
    }
}
