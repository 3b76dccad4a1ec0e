//! The table of lanes: where each endpoint is, and how many deliveries it has.

use std::time::Duration;

use amoiq_events::{
    Position, TenantId, Timestamp, WebhookId,
    store::{Epoch, sqlite::columns::checksum},
};
use rusqlite::{Connection, Row, types::ValueRef};

use super::{
    Counts, LaneId, OutboxError, damaged, deliveries,
    row::{Columns, optional, sealed},
    schema,
};
use crate::webhooks::delivery::{HoldOff, Marks, Replay};

const TABLE: &str = "lanes";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, webhook, cursor, failing_since, not_before, hold_off_ms, replay_after, \
            replay_until, replay_cursor, replay_begun, replay_ended, pending, delivered, failed, refused, \
            skipped, checksum FROM lanes ",
            $rest
        )
    };
}

const BY_ID: &str = select!("WHERE id = ?1");
const BY_NAME: &str = select!("WHERE tenant = ?1 AND webhook = ?2");
const ALL: &str = select!("ORDER BY id");
const UNINDEXED: &str = select!("NOT INDEXED WHERE id <= ?1 AND (tenant = ?2 OR webhook = ?3)");

/// Before the checksum.
const COLUMNS: usize = 17;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) tenant: TenantId,
    pub(super) webhook: WebhookId,
    pub(super) marks: Marks,
    pub(super) counts: Counts,
}

/// The lane with this number.
pub(super) fn get(conn: &Connection, id: LaneId) -> Result<Lane, OutboxError> {
    let mut statement = conn.prepare_cached(BY_ID)?;
    let mut rows = statement.query([id.0])?;
    rows.next()?.map(decode).transpose()?.ok_or(OutboxError::NoLane)
}

/// The lane of an endpoint, made with `cursor = start` when there is none.
pub(super) fn find_or_make(
    conn: &Connection,
    tenant: &TenantId,
    webhook: &WebhookId,
    start: Position,
    newest: LaneId,
) -> Result<Lane, OutboxError> {
    let mut statement = conn.prepare_cached(BY_NAME)?;
    let mut rows = statement.query([tenant.as_str(), webhook.as_str()])?;
    if let Some(row) = rows.next()? {
        return decode(row);
    }
    if is_lost_from_sight(conn, tenant, webhook, newest)? {
        return Err(OutboxError::Damaged(TABLE));
    }
    let LaneId(last) = self::newest(conn)?;
    let marks = Marks { cursor: start, ..Marks::default() };
    let (tenant, webhook) = (tenant.clone(), webhook.clone());
    let lane = Lane { id: LaneId(last + 1), tenant, webhook, marks, counts: Counts::default() };
    let insert = "INSERT INTO lanes VALUES \
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    conn.prepare_cached(insert)?.execute(sealed(&lane.columns()))?;
    Ok(lane)
}

/// The newest lane that there ever was.
pub(super) fn newest(conn: &Connection) -> Result<LaneId, OutboxError> {
    let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'lanes'";
    Ok(LaneId(conn.prepare_cached(last)?.query_row([], |row| row.get(0))?))
}

/// Whether the lane of an endpoint is there although its index does not say so, or its row has lost one of its names:
/// with it the row would be what was written. What others have lost is no obstacle.
fn is_lost_from_sight(
    conn: &Connection,
    tenant: &TenantId,
    webhook: &WebhookId,
    newest: LaneId,
) -> Result<bool, OutboxError> {
    let mut statement = conn.prepare_cached(UNINDEXED)?;
    let mut rows = statement.query((newest.0, tenant.as_str(), webhook.as_str()))?;
    while let Some(row) = rows.next()? {
        let columns: Vec<_> = (0..COLUMNS).map(|column| row.get_ref(column)).collect::<Result<_, _>>()?;
        let [id, of, named, rest @ ..] = columns.as_slice() else { continue };
        let (tenant, webhook) = (tenant.as_str().into(), webhook.as_str().into());
        let renamed = [*id, tenant, webhook].into_iter().chain(rest.iter().copied());
        let is_ours = (*of, *named) == (tenant, webhook);
        if is_ours || row.get_ref(COLUMNS)? == ValueRef::Integer(checksum(renamed)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A row as it was found.
pub(super) struct Found {
    pub(super) id: LaneId,
    /// Whose it says it is, damaged or not.
    pub(super) tenant: String,
    /// What it is, if that is what was written.
    pub(super) lane: Result<Lane, OutboxError>,
}

/// Every lane.
pub(super) fn all(conn: &Connection) -> Result<Vec<Found>, OutboxError> {
    let mut statement = conn.prepare_cached(ALL)?;
    let mut rows = statement.query([])?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant = row.get_ref(1)?.as_bytes().unwrap_or_default();
        let tenant = String::from_utf8_lossy(tenant).into_owned();
        lanes.push(Found { id: LaneId(row.get(0)?), tenant, lane: decode(row) });
    }
    Ok(lanes)
}

/// Writes a lane that is there.
pub(super) fn put(conn: &Connection, lane: &Lane) -> Result<(), OutboxError> {
    // The names are not in it: an index stands on them, and they never change.
    let update = "UPDATE lanes SET cursor = ?4, failing_since = ?5, not_before = ?6, hold_off_ms = ?7, \
        replay_after = ?8, replay_until = ?9, replay_cursor = ?10, replay_begun = ?11, replay_ended = ?12, \
        pending = ?13, delivered = ?14, failed = ?15, refused = ?16, skipped = ?17, checksum = ?18 \
        WHERE id = ?1 AND tenant = ?2 AND webhook = ?3";
    match conn.prepare_cached(update)?.execute(sealed(&lane.columns()))? {
        0 => Err(OutboxError::NoLane),
        _ => Ok(()),
    }
}

/// Removes a lane's row, once nothing else of it is left.
pub(super) fn remove(conn: &Connection, id: LaneId) -> Result<(), OutboxError> {
    conn.prepare_cached("DELETE FROM lanes WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

/// Takes over the log's epoch. What stands behind `head` was of a log that is gone: the positions there
/// are given again, to other events. Whether it is another epoch than the stored one.
pub(super) fn adopt(conn: &Connection, epoch: Epoch, head: Position) -> Result<bool, OutboxError> {
    if schema::epoch(conn)? == Some(epoch) {
        return Ok(false);
    }
    for found in all(conn)? {
        // A damaged one is not served, whatever it says.
        let Ok(mut lane) = found.lane.inspect_err(|error| damaged(found.id, error)) else { continue };
        let marks = &mut lane.marks;
        marks.cursor = marks.cursor.min(head);
        if let Some(replay) = &mut marks.replay {
            for bound in [&mut replay.after, &mut replay.until, &mut replay.cursor] {
                *bound = head.min(*bound);
            }
        }
        deliveries::remove_beyond(conn, &mut lane, head)?;
        put(conn, &lane)?;
    }
    schema::set_epoch(conn, Some(epoch))?;
    Ok(true)
}

impl Lane {
    fn columns(&self) -> [ValueRef<'_>; COLUMNS] {
        let Marks { cursor, failing_since, hold_off, replay } = &self.marks;
        let time = |time: Option<Timestamp>| optional(time.map(Timestamp::as_millis));
        let position = |position: Option<Position>| optional(position.map(|at| at.as_u64().cast_signed()));
        [
            ValueRef::Integer(self.id.0),
            self.tenant.as_str().into(),
            self.webhook.as_str().into(),
            position(Some(*cursor)),
            time(*failing_since),
            time(hold_off.map(|hold_off| hold_off.until)),
            optional(hold_off.map(|hold_off| millis(hold_off.wait))),
            position(replay.map(|replay| replay.after)),
            position(replay.map(|replay| replay.until)),
            position(replay.map(|replay| replay.cursor)),
            optional(replay.map(|replay| replay.begun.cast_signed())),
            optional(replay.map(|replay| i64::from(replay.is_cancelled))),
            ValueRef::Integer(self.counts.pending.cast_signed()),
            ValueRef::Integer(self.counts.delivered.cast_signed()),
            ValueRef::Integer(self.counts.failed.cast_signed()),
            ValueRef::Integer(self.counts.refused.cast_signed()),
            ValueRef::Integer(self.counts.skipped.cast_signed()),
        ]
    }
}

fn decode(row: &Row<'_>) -> Result<Lane, OutboxError> {
    let mut columns = Columns::checked(row, TABLE)?;
    let position = |number: i64| Position::from_u64(number.cast_unsigned());
    let id = LaneId(columns.integer()?);
    let tenant = TenantId::try_from(columns.text()?.to_owned()).map_err(|_invalid| columns.damaged())?;
    let webhook = WebhookId::parse(columns.text()?).map_err(|_invalid| columns.damaged())?;
    let cursor = position(columns.integer()?);
    let failing_since = columns.optional()?.map(Timestamp::from_millis);
    let hold_off = match (columns.optional()?, columns.optional()?) {
        (Some(until), Some(wait_ms)) => Some(HoldOff {
            until: Timestamp::from_millis(until),
            wait: Duration::from_millis(u64::try_from(wait_ms).map_err(|_negative| columns.damaged())?),
        }),
        _ => None,
    };
    let mut replay = [None; 5];
    for value in &mut replay {
        *value = columns.optional()?;
    }
    let replay = match replay {
        [Some(after), Some(until), Some(cursor), Some(begun), Some(ended)] => Some(Replay {
            after: position(after),
            until: position(until),
            cursor: position(cursor),
            begun: begun.cast_unsigned(),
            is_cancelled: ended != 0,
        }),
        _ => None,
    };
    let counts = Counts {
        pending: columns.number()?,
        delivered: columns.number()?,
        failed: columns.number()?,
        refused: columns.number()?,
        skipped: columns.number()?,
    };
    Ok(Lane { id, tenant, webhook, marks: Marks { cursor, failing_since, hold_off, replay }, counts })
}

fn millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}
