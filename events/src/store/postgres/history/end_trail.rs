//! Events that this node knows to be in the log: the newest ones closely, older ones ever further apart. When the log
//! turns out to be another one, they tell up to where the two are the same.

use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    EventId, Position,
    postgres::{CallFailure, DatabaseSession, SchemaName, timing},
};

/// How far back the trail names every event.
const ALL_WITHIN: u64 = 100;

/// The newest event up to a position, and the newest ones that are 1, 2, 4, 8 … before it.
const LOAD: &str = "SELECT DISTINCT e.position, e.id FROM generate_series(-1, 61) AS power
    CROSS JOIN LATERAL (
        SELECT e.position, e.id FROM {schema}.events e
        WHERE e.position <= $1 - CASE power WHEN -1 THEN 0 ELSE 1::bigint << power END
        ORDER BY e.position DESC LIMIT 1
    ) e
    ORDER BY e.position";

/// Some events of the log, the oldest first. Of a million it names some forty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::store) struct EndTrail(Vec<(Position, Uuid)>);

impl EndTrail {
    /// Reads one from the log.
    pub(in crate::store::postgres) async fn load(
        session: &mut DatabaseSession,
        schema: &SchemaName,
        head: Position,
    ) -> Result<Self, CallFailure> {
        let head = head.as_u64().cast_signed();
        let rows = session.query(&schema.statement(LOAD), &[&head], timing::WRITE_CALL).await?;
        let event =
            |row: &Row| Ok((Position::from_u64(row.try_get::<_, i64>(0)?.cast_unsigned()), row.try_get(1)?));
        let events: Result<_, tokio_postgres::Error> = rows.iter().map(event).collect();
        Ok(Self(events?))
    }

    /// The newest event.
    pub(in crate::store) fn newest(&self) -> Option<(Position, EventId)> {
        self.0.last().map(|(position, id)| (*position, EventId::from_uuid(*id)))
    }

    /// Its events, the newest first.
    #[cfg(feature = "kurrentdb")]
    pub(in crate::store) fn newest_first(&self) -> impl Iterator<Item = (Position, EventId)> {
        self.0.iter().rev().map(|(position, id)| (*position, EventId::from_uuid(*id)))
    }

    /// The same without those after a position.
    #[cfg(feature = "kurrentdb")]
    pub(in crate::store) fn up_to(mut self, last: Position) -> Self {
        self.0.retain(|(position, _)| *position <= last);
        self
    }

    /// Adds newer events, in order, and drops older ones that others are close to.
    pub(in crate::store) fn extend(&mut self, events: Vec<(Position, EventId)>) {
        let newest = self.newest().map_or(Position::START, |(position, _)| position);
        let newer = events.into_iter().filter(|(position, _)| *position > newest);
        self.0.extend(newer.map(|(position, id)| (position, id.as_uuid())));
        self.thin_out();
    }

    fn thin_out(&mut self) {
        let Some((newest, _)) = self.0.last().copied() else { return };
        let distance = |(position, _): &(Position, Uuid)| newest.as_u64() - position.as_u64();
        let mut kept: Vec<(Position, Uuid)> = Vec::new();
        let mut older = self.0.iter().rev().peekable();
        while let Some(event) = older.next() {
            // Without it, the distance would not even double from one to the next.
            let is_close = |last| matches!(older.peek(), Some(next) if distance(next) <= 2 * distance(last));
            if distance(event) <= ALL_WITHIN || !kept.last().is_some_and(is_close) {
                kept.push(*event);
            }
        }
        kept.reverse();
        self.0 = kept;
    }

    /// Adds the events of another part of the log, which may be anywhere.
    pub(in crate::store::postgres) fn with(&self, others: Vec<(Position, EventId)>) -> Self {
        let mut all = self.0.clone();
        all.extend(others.into_iter().map(|(position, id)| (position, id.as_uuid())));
        all.sort_unstable_by_key(|(position, _)| *position);
        all.dedup();
        Self(all)
    }

    /// Positions and ids, as values of a call.
    pub(in crate::store::postgres) fn values(&self) -> (Vec<i64>, Vec<Uuid>) {
        self.0.iter().map(|(position, id)| (position.as_u64().cast_signed(), *id)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(position: u64) -> (Position, EventId) {
        (Position::from_u64(position), EventId::from_uuid(Uuid::from_u128(position.into())))
    }

    #[test]
    fn a_trail_reaches_back_to_the_start_with_few_events() {
        let mut trail = EndTrail::default();
        for first in (1..=1_000_000).step_by(100) {
            trail.extend((first..first + 100).map(event).collect());
        }
        let (positions, ids) = trail.values();
        assert!(positions.len() <= 150, "{}", positions.len());
        assert_eq!(positions.len(), ids.len());
        assert_eq!(positions.last(), Some(&1_000_000));
        let distances: Vec<_> = positions.iter().rev().map(|position| 1_000_000 - position).collect();
        assert!(distances.iter().take(101).copied().eq(0..=100), "{distances:?}");
        assert!(distances[1..].windows(2).all(|pair| pair[1] <= 2 * pair[0] + 100), "{distances:?}");
        assert_eq!(positions[0], 1);
    }

    #[test]
    fn an_event_that_is_not_newer_is_not_added() {
        let mut trail = EndTrail::default();
        for position in [5, 5, 3] {
            trail.extend(vec![event(position)]);
        }
        assert_eq!(trail.values().0, [5]);
    }
}
