//! The table of attempts: the last 50 of each delivery.

use amoiq_events::{Position, Timestamp};
use rusqlite::{Connection, Row, types::ValueRef};

use super::checked_row::{ColumnReader, optional, placed, sealed};
use crate::webhooks::{
    delivery::DeliveryAttempt,
    delivery_store::{ANSWER_BYTES, DeliveryStoreError, KEPT_ATTEMPTS, LaneId},
};

const TABLE: &str = "attempts";

/// The attempts of a delivery, oldest first.
pub(super) const OF_DELIVERY: &str = "SELECT lane, position, number, at, duration_ms, status, error, \
    answer, checksum FROM attempts WHERE lane = ?1 AND position = ?2 ORDER BY number";

/// Adds the attempt with this number, counted from 1. If there are too many, the oldest is removed.
pub(super) fn add(
    conn: &Connection,
    lane: LaneId,
    position: Position,
    number: u32,
    attempt: &DeliveryAttempt,
) -> Result<(), DeliveryStoreError> {
    let answer = attempt.answer.get(..ANSWER_BYTES).unwrap_or(&attempt.answer);
    let columns = [
        ValueRef::Integer(lane.0),
        placed(position),
        ValueRef::Integer(i64::from(number)),
        ValueRef::Integer(attempt.at.as_millis()),
        ValueRef::Integer(i64::from(attempt.duration_ms)),
        optional(attempt.status.map(i64::from)),
        attempt.error.as_deref().map_or(ValueRef::Null, ValueRef::from),
        ValueRef::Blob(answer),
    ];
    let insert = "INSERT INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    conn.prepare_cached(insert)?.execute(sealed(&columns))?;
    if let Some(oldest) = number.checked_sub(KEPT_ATTEMPTS) {
        let delete = "DELETE FROM attempts WHERE lane = ?1 AND position = ?2 AND number <= ?3";
        conn.prepare_cached(delete)?.execute((lane.0, position, oldest))?;
    }
    Ok(())
}

/// The stored attempts of a delivery, oldest first. `count` is how many there ever were: it is an error if one is
/// missing.
pub(super) fn of(
    conn: &Connection,
    lane: LaneId,
    position: Position,
    count: u32,
) -> Result<Vec<DeliveryAttempt>, DeliveryStoreError> {
    let mut statement = conn.prepare_cached(OF_DELIVERY)?;
    let mut rows = statement.query((lane.0, position))?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(decode(row)?);
    }
    if attempts.len() != count.min(KEPT_ATTEMPTS) as usize {
        return Err(DeliveryStoreError::Damaged(TABLE));
    }
    Ok(attempts)
}

/// Removes the attempts of a delivery. Returns how many there were.
pub(super) fn remove(
    conn: &Connection,
    lane: LaneId,
    position: Position,
) -> Result<usize, DeliveryStoreError> {
    let delete = "DELETE FROM attempts WHERE lane = ?1 AND position = ?2";
    Ok(conn.prepare_cached(delete)?.execute((lane.0, position))?)
}

fn decode(row: &Row<'_>) -> Result<DeliveryAttempt, DeliveryStoreError> {
    let mut columns = ColumnReader::checked(row, TABLE)?;
    let _key = (columns.integer()?, columns.integer()?, columns.integer()?);
    let (at, duration_ms) = (Timestamp::from_millis(columns.integer()?), columns.number()?);
    let status = columns.optional()?.map(u16::try_from).transpose();
    Ok(DeliveryAttempt {
        at,
        duration_ms,
        status: status.map_err(|_out_of_range| columns.damaged())?,
        error: columns.optional_text()?.map(str::to_owned),
        answer: columns.bytes()?.to_vec(),
    })
}
