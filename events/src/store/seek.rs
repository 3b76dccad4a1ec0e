//! From a time to a place in the log.
//!
//! Events stand in the order in which they were appended, and carry the time at which they were decided: on
//! one machine the two differ by less than 10 s. So a place is found by halving, and what stands
//! close behind it is looked at one by one. A clock that was set back by more is beyond what this can see.

use super::{EventStore, ReadError};
use crate::{Position, Timestamp};

/// How far the times of two events may be against their order: an append that waits, a clock that is set.
const JITTER_MS: i64 = 10_000;

/// How many events are looked at together.
const STEP: usize = 1_000;

/// The place after which every event has at least this time: reading after it begins there. When nothing is
/// as late, that is the end of the log.
///
/// # Errors
/// When the log cannot be read.
pub async fn position_at(store: &dyn EventStore, time: Timestamp) -> Result<Position, ReadError> {
    let head = store.head();
    let mut place = halve(store, time, head).await?;
    let settled = time.plus_millis(JITTER_MS);
    let mut after = place;
    while after < head {
        let events = store.read_all(after, STEP).await?;
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

/// A place with an earlier event before it and a later one behind it.
async fn halve(store: &dyn EventStore, time: Timestamp, head: Position) -> Result<Position, ReadError> {
    let (mut low, mut high) = (Position::START.as_u64(), head.as_u64());
    while low < high {
        let middle = low + (high - low) / 2;
        let next = store.read_all(Position::from_u64(middle), 1).await?;
        match next.first() {
            Some(event) if event.event.time < time => low = event.position.as_u64(),
            _ => high = middle,
        }
    }
    Ok(Position::from_u64(low))
}

#[cfg(test)]
mod tests;
