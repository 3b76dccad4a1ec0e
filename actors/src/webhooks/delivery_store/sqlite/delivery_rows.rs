//! The table of deliveries.

use std::collections::BTreeSet;

use amoiq_events::{EventId, MessageId, Position, SessionId, Timestamp};
use rusqlite::{Connection, Params, Row, types::ValueRef};

use super::{
    attempt_rows,
    checked_row::{ColumnReader, optional, placed, sealed},
    lane_rows::{self, LaneRow},
};
use crate::webhooks::{
    delivery::{Delivery, DeliveryAttempt, DeliveryStatus, LaneProgress},
    delivery_store::{DeliveriesQuery, DeliveryStoreError, LaneId, MAX_PAGE},
};

const TABLE: &str = "deliveries";

// Without statistics SQLite prefers the primary key, so queries name the index where another is better.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT lane, position, event_id, message_id, session, status, tries, next_at, holds, \
            refused_at, changed_at, attempts, checksum FROM deliveries ",
            $rest
        )
    };
}

const ONE: &str = select!("WHERE lane = ?1 AND position = ?2");
pub(super) const OF_STATUS: &str =
    select!("INDEXED BY deliveries_by_status WHERE lane = ?1 AND status = ?2 ORDER BY position");
pub(super) const PAGE: &str = select!("WHERE lane = ?1 AND position < ?2 ORDER BY position DESC LIMIT ?3");
pub(super) const PAGE_OF_STATUS: &str = select!(
    "INDEXED BY deliveries_by_status WHERE lane = ?1 AND position < ?2 AND status = ?4 ORDER BY position DESC LIMIT ?3"
);
pub(super) const OF_MESSAGE: &str =
    select!("INDEXED BY deliveries_by_message WHERE lane = ?1 AND message_id = ?2 LIMIT 1");
pub(super) const OLDEST_SETTLED: &str = select!(
    "INDEXED BY deliveries_by_time WHERE lane = ?1 AND status NOT IN (0, 3) ORDER BY changed_at LIMIT ?2"
);
const BEHIND: &str = select!("WHERE lane = ?1 AND position > ?2");
pub(super) const NEXT: &str = select!("WHERE lane = ?1 AND position > ?2 ORDER BY position LIMIT ?3");

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryRow {
    pub(super) delivery: Delivery,
    /// How many attempts there ever were. Asking for a delivery again resets `tries`, but not this.
    pub(super) attempts: u32,
}

/// Writes deliveries with their newest attempts, and the lane's progress.
pub(super) fn record(
    conn: &Connection,
    lane: LaneId,
    progress: LaneProgress,
    entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
) -> Result<(), DeliveryStoreError> {
    let mut lane = lane_rows::get(conn, lane)?;
    lane.progress = progress;
    for (delivery, attempt) in entries {
        let before = find(conn, lane.id, delivery.position)?;
        if let Some(before) = &before {
            if before.delivery.event_id != delivery.event_id {
                return Err(DeliveryStoreError::AnotherEvent(delivery.position));
            }
            lane.totals.leave(before.delivery.status);
        }
        lane.totals.enter(delivery.status);
        let attempts = before.map_or(0, |before| before.attempts).saturating_add(attempt.is_some().into());
        if let Some(attempt) = &attempt {
            attempt_rows::add(conn, lane.id, delivery.position, attempts, attempt)?;
        }
        put(conn, lane.id, &DeliveryRow { delivery, attempts })?;
    }
    lane_rows::put(conn, &lane)
}

/// The delivery at a position.
pub(super) fn find(
    conn: &Connection,
    lane: LaneId,
    at: Position,
) -> Result<Option<DeliveryRow>, DeliveryStoreError> {
    Ok(select(conn, ONE, (lane.0, at))?.pop())
}

/// The unsettled deliveries of a lane. It is an error if there are fewer than were counted.
pub(super) fn unsettled(conn: &Connection, lane: LaneId) -> Result<Vec<Delivery>, DeliveryStoreError> {
    let totals = lane_rows::get(conn, lane)?.totals;
    let mut unsettled = Vec::new();
    for (status, counted) in
        [(DeliveryStatus::Pending, totals.pending), (DeliveryStatus::Refused, totals.refused)]
    {
        let found = select(conn, OF_STATUS, (lane.0, status.number()))?;
        if found.len() as u64 != counted {
            return Err(DeliveryStoreError::Damaged(TABLE));
        }
        unsettled.extend(found.into_iter().map(|kept| kept.delivery));
    }
    Ok(unsettled)
}

/// The positions of the settled deliveries after a position.
pub(super) fn settled_after(
    conn: &Connection,
    lane: LaneId,
    after: Position,
) -> Result<BTreeSet<Position>, DeliveryStoreError> {
    let mut settled = BTreeSet::new();
    each(conn, BEHIND, (lane.0, after), |DeliveryRow { delivery, .. }| {
        if delivery.status.is_settled() {
            settled.insert(delivery.position);
        }
        true
    })?;
    Ok(settled)
}

/// A page of deliveries with their attempts.
pub(super) fn page(
    conn: &Connection,
    lane: LaneId,
    query: DeliveriesQuery,
) -> Result<Vec<(Delivery, Vec<DeliveryAttempt>)>, DeliveryStoreError> {
    let before = query.before.unwrap_or(Position::END);
    let limit = query.limit.min(MAX_PAGE);
    let found = match query.status.map(DeliveryStatus::number) {
        None => select(conn, PAGE, (lane.0, before, limit)),
        Some(status) => select(conn, PAGE_OF_STATUS, (lane.0, before, limit, status)),
    };
    let with_attempts = |DeliveryRow { delivery, attempts: count }: DeliveryRow| {
        let attempts = attempt_rows::of(conn, lane, delivery.position, count)?;
        Ok((delivery, attempts))
    };
    found?.into_iter().map(with_attempts).collect()
}

/// The deliveries that a query finds.
pub(super) fn select(
    conn: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<DeliveryRow>, DeliveryStoreError> {
    let mut found = Vec::new();
    each(conn, sql, params, |kept| {
        found.push(kept);
        true
    })?;
    Ok(found)
}

/// Calls `show` with each delivery of a query until it returns false.
pub(super) fn each(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    mut show: impl FnMut(DeliveryRow) -> bool,
) -> Result<(), DeliveryStoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        if !show(decode(row)?) {
            break;
        }
    }
    Ok(())
}

/// Calls `show` with each row of a query by position, including damaged ones: the position, and the row if it is
/// undamaged.
pub(super) fn each_row(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    mut show: impl FnMut(Position, Result<DeliveryRow, DeliveryStoreError>),
) -> Result<(), DeliveryStoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        // The primary key is a number even in a damaged row.
        show(row.get(1)?, decode(row));
    }
    Ok(())
}

/// Removes a delivery with its attempts and subtracts it from its lane's totals. Returns how many rows were removed.
pub(super) fn remove(
    conn: &Connection,
    lane: &mut LaneRow,
    delivery: &Delivery,
) -> Result<usize, DeliveryStoreError> {
    lane.totals.leave(delivery.status);
    let gone = attempt_rows::remove(conn, lane.id, delivery.position)?;
    let delete = "DELETE FROM deliveries WHERE lane = ?1 AND position = ?2";
    Ok(gone + conn.prepare_cached(delete)?.execute((lane.id.0, delivery.position))?)
}

/// Removes every delivery after a position, including damaged ones.
pub(super) fn remove_beyond(
    conn: &Connection,
    lane: &mut LaneRow,
    head: Position,
) -> Result<(), DeliveryStoreError> {
    let gone = "SELECT status, count(*) FROM deliveries WHERE lane = ?1 AND position > ?2 GROUP BY status";
    let mut statement = conn.prepare_cached(gone)?;
    let mut gone = statement.query((lane.id.0, head))?;
    while let Some(row) = gone.next()? {
        // A row with any other status was never counted.
        if let Some(status) = DeliveryStatus::of_number(row.get(0)?) {
            lane.totals.leave_many(status, row.get::<_, i64>(1)?.cast_unsigned());
        }
    }
    for removal in [
        "DELETE FROM attempts WHERE lane = ?1 AND position > ?2",
        "DELETE FROM deliveries WHERE lane = ?1 AND position > ?2",
    ] {
        conn.prepare_cached(removal)?.execute((lane.id.0, head))?;
    }
    Ok(())
}

fn put(conn: &Connection, lane: LaneId, kept: &DeliveryRow) -> Result<(), DeliveryStoreError> {
    let DeliveryRow { delivery, attempts } = kept;
    let columns = [
        ValueRef::Integer(lane.0),
        placed(delivery.position),
        ValueRef::Blob(delivery.event_id.as_bytes()),
        ValueRef::Blob(delivery.message_id.as_bytes()),
        delivery.session.as_str().into(),
        ValueRef::Integer(delivery.status.number()),
        ValueRef::Integer(i64::from(delivery.tries)),
        optional(delivery.next_at.map(Timestamp::as_millis)),
        ValueRef::Integer(i64::from(delivery.holds)),
        optional(delivery.refused_at.map(Timestamp::as_millis)),
        ValueRef::Integer(delivery.changed_at.as_millis()),
        ValueRef::Integer(i64::from(*attempts)),
    ];
    // The event of a delivery never changes, so its message, which is indexed, is not written again.
    let upsert = "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
        ON CONFLICT DO UPDATE SET status = ?6, tries = ?7, next_at = ?8, holds = ?9, refused_at = ?10,
        changed_at = ?11, attempts = ?12, checksum = ?13";
    conn.prepare_cached(upsert)?.execute(sealed(&columns))?;
    Ok(())
}

fn decode(row: &Row<'_>) -> Result<DeliveryRow, DeliveryStoreError> {
    let mut columns = ColumnReader::checked(row, TABLE)?;
    let _lane = columns.integer()?;
    let position = Position::from_u64(columns.number()?);
    let mut id = || <[u8; 16]>::try_from(columns.bytes()?).map_err(|_too_short| columns.damaged());
    let (event_id, message_id) = (EventId::from_bytes(id()?), MessageId::from_bytes(id()?));
    let session = SessionId::parse(columns.text()?).map_err(|_invalid| columns.damaged())?;
    let status = DeliveryStatus::of_number(columns.integer()?).ok_or_else(|| columns.damaged())?;
    let delivery = Delivery {
        position,
        event_id,
        message_id,
        session,
        status,
        tries: columns.number()?,
        next_at: columns.optional()?.map(Timestamp::from_millis),
        holds: columns.integer()? != 0,
        refused_at: columns.optional()?.map(Timestamp::from_millis),
        changed_at: Timestamp::from_millis(columns.integer()?),
    };
    Ok(DeliveryRow { delivery, attempts: columns.number()? })
}
