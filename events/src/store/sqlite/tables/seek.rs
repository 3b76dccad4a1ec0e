//! Finds the place in the log for a time.
//!
//! Events are in the order in which they were appended, and carry the time at which they were decided: on one machine these
//! times contradict the order by less than ten seconds. So a place is found by bisection, and the events shortly after it are
//! examined one by one.

use rusqlite::Connection;

use crate::{
    Position, Timestamp,
    store::{MAX_READ_EVENTS, ReadError, log::MAX_JITTER_MS, sqlite::tables::event_query},
};

/// The position after which every event up to `head` has at least this time.
pub(in crate::store::sqlite) fn position_at(
    conn: &Connection,
    time: Timestamp,
    head: Position,
) -> Result<Position, ReadError> {
    let mut place = bisect(conn, time, head)?;
    let settled = time.plus_millis(MAX_JITTER_MS);
    let mut after = place;
    while after < head {
        let events = event_query::read_all(conn, after, MAX_READ_EVENTS)?;
        let Some(last) = events.last() else { break };
        after = last.position;
        for event in events.iter().take_while(|event| event.position <= head) {
            if event.event.time >= settled {
                return Ok(place);
            }
            if event.event.time < time {
                place = event.position;
            }
        }
    }
    Ok(place)
}

/// A place between an earlier event and a later one.
fn bisect(conn: &Connection, time: Timestamp, head: Position) -> Result<Position, ReadError> {
    let (mut low, mut high) = (Position::START.as_u64(), head.as_u64());
    while low < high {
        let middle = low + (high - low) / 2;
        let next = event_query::read_all(conn, Position::from_u64(middle), 1)?;
        match next.first() {
            Some(event) if event.event.time < time => low = event.position.as_u64(),
            _ => high = middle,
        }
    }
    Ok(Position::from_u64(low))
}
