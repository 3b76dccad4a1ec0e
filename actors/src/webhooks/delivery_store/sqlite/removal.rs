//! How deliveries are removed: with their lane, by age and number, or with their session. Every transaction is short,
//! so that nobody who records waits long.

use std::collections::HashMap;

use amoiq_events::{Position, SessionId, Timestamp};
use rusqlite::Connection;

use super::{
    delivery_rows::{self, DeliveryRow},
    lane_rows,
};
use crate::webhooks::delivery_store::{CHUNK_ROWS, DeliveryStoreError, LaneId};

pub(super) const SOME_ATTEMPTS: &str = "DELETE FROM attempts WHERE (lane, position, number) IN
    (SELECT lane, position, number FROM attempts WHERE lane = ?1 LIMIT ?2)";

pub(super) const SOME_DELIVERIES: &str = "DELETE FROM deliveries WHERE (lane, position) IN
    (SELECT lane, position FROM deliveries WHERE lane = ?1 LIMIT ?2)";

/// Removes a part of a lane. Returns whether nothing is left. The row of the lane is removed last, so that a later
/// search for lanes without an endpoint finds it. Its totals are not updated meanwhile, and damage is no obstacle.
pub(super) fn remove_some(conn: &Connection, lane: LaneId) -> Result<bool, DeliveryStoreError> {
    for sql in [SOME_ATTEMPTS, SOME_DELIVERIES] {
        if conn.prepare_cached(sql)?.execute((lane.0, CHUNK_ROWS))? > 0 {
            return Ok(false);
        }
    }
    lane_rows::remove(conn, lane)?;
    Ok(true)
}

/// Removes the oldest settled deliveries: those before a time, and those beyond `keep`. It stops after `limit` rows,
/// including attempts. Returns how many deliveries were removed.
pub(super) fn reap(
    conn: &Connection,
    lane: LaneId,
    before: Timestamp,
    keep: u32,
    limit: u32,
) -> Result<usize, DeliveryStoreError> {
    let mut lane = lane_rows::get(conn, lane)?;
    let excess = lane.totals.settled().saturating_sub(u64::from(keep));
    let mut gone = Vec::new();
    delivery_rows::each(conn, delivery_rows::OLDEST_SETTLED, (lane.id.0, limit), |kept| {
        let goes = kept.delivery.changed_at < before || (gone.len() as u64) < excess;
        if goes {
            gone.push(kept.delivery);
        }
        goes
    })?;
    let (mut count, mut rows) = (0, 0);
    for delivery in &gone {
        if rows >= limit as usize {
            break;
        }
        rows += delivery_rows::remove(conn, &mut lane, delivery)?;
        count += 1;
    }
    if count > 0 {
        lane_rows::put(conn, &lane)?;
    }
    Ok(count)
}

/// The result of looking through a part of a lane's deliveries.
pub(super) struct SessionScan {
    /// The deliveries of the sessions.
    pub(super) found: Vec<Position>,
    /// Where to continue; `None` at the end.
    pub(super) last: Option<Position>,
    /// The first damaged row.
    pub(super) error: Option<DeliveryStoreError>,
}

/// Finds deliveries of some sessions, each up to a position, among the next ones. A damaged row does not hide those
/// after it.
pub(super) fn of_sessions(
    conn: &Connection,
    lane: LaneId,
    sessions: &HashMap<SessionId, Position>,
    after: Position,
) -> Result<SessionScan, DeliveryStoreError> {
    let mut looked = SessionScan { found: Vec::new(), last: None, error: None };
    let params = (lane.0, after, CHUNK_ROWS);
    delivery_rows::each_row(conn, delivery_rows::NEXT, params, |position, kept| {
        looked.last = Some(position);
        match kept {
            Ok(DeliveryRow { delivery, .. })
                if sessions.get(&delivery.session).is_some_and(|until| position <= *until) =>
            {
                looked.found.push(position);
            }
            Ok(_) => {}
            Err(error) => drop(looked.error.get_or_insert(error)),
        }
    })?;
    Ok(looked)
}

/// Removes the deliveries at these positions. Returns how many there were.
pub(super) fn remove_at(
    conn: &Connection,
    lane: LaneId,
    positions: &[Position],
) -> Result<usize, DeliveryStoreError> {
    let mut lane = lane_rows::get(conn, lane)?;
    let mut count = 0;
    for position in positions {
        if let Some(kept) = delivery_rows::find(conn, lane.id, *position)? {
            delivery_rows::remove(conn, &mut lane, &kept.delivery)?;
            count += 1;
        }
    }
    lane_rows::put(conn, &lane)?;
    Ok(count)
}
