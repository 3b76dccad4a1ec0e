//! The table of lanes: how far each endpoint is, and how many deliveries it has.

use std::time::Duration;

use amoiq_events::{Position, TenantId, Timestamp, WebhookId, store::sqlite::row_checksum::checksum};
use rusqlite::{Connection, Row, types::ValueRef};

use super::checked_row::{ColumnReader, optional, sealed};
use crate::webhooks::{
    delivery::{HoldOff, LaneProgress, ReplayProgress},
    delivery_store::{DeliveryStoreError, DeliveryTotals, LaneId},
};

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

/// The columns before the checksum.
const COLUMNS: usize = 17;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaneRow {
    pub(super) id: LaneId,
    pub(super) tenant: TenantId,
    pub(super) webhook: WebhookId,
    pub(super) progress: LaneProgress,
    pub(super) totals: DeliveryTotals,
}

/// The lane with this number.
pub(super) fn get(conn: &Connection, id: LaneId) -> Result<LaneRow, DeliveryStoreError> {
    let mut statement = conn.prepare_cached(BY_ID)?;
    let mut rows = statement.query([id.0])?;
    rows.next()?.map(decode).transpose()?.ok_or(DeliveryStoreError::NoLane)
}

/// The lane of an endpoint. If there is none, it is created with its cursor at `start`.
pub(super) fn find_or_make(
    conn: &Connection,
    tenant: &TenantId,
    webhook: &WebhookId,
    start: Position,
    newest: LaneId,
) -> Result<LaneRow, DeliveryStoreError> {
    let mut statement = conn.prepare_cached(BY_NAME)?;
    let mut rows = statement.query([tenant.as_str(), webhook.as_str()])?;
    if let Some(row) = rows.next()? {
        return decode(row);
    }
    if is_lost_from_sight(conn, tenant, webhook, newest)? {
        return Err(DeliveryStoreError::Damaged(TABLE));
    }
    let LaneId(last) = self::newest(conn)?;
    let progress = LaneProgress { cursor: start, ..LaneProgress::default() };
    let (tenant, webhook) = (tenant.clone(), webhook.clone());
    let lane = LaneRow { id: LaneId(last + 1), tenant, webhook, progress, totals: DeliveryTotals::default() };
    let insert = "INSERT INTO lanes VALUES \
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    conn.prepare_cached(insert)?.execute(sealed(&lane.columns()))?;
    Ok(lane)
}

/// The number of the newest lane that ever existed.
pub(super) fn newest(conn: &Connection) -> Result<LaneId, DeliveryStoreError> {
    let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'lanes'";
    Ok(LaneId(conn.prepare_cached(last)?.query_row([], |row| row.get(0))?))
}

/// Whether damage hides the lane of an endpoint: its index does not list it, or its row has lost one of the two names
/// and would be undamaged with it. Damage of other lanes is no obstacle.
fn is_lost_from_sight(
    conn: &Connection,
    tenant: &TenantId,
    webhook: &WebhookId,
    newest: LaneId,
) -> Result<bool, DeliveryStoreError> {
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

/// A row, damaged or not.
pub(super) struct ScannedLane {
    pub(super) id: LaneId,
    /// The tenant that the row names, which may be damaged.
    pub(super) tenant: String,
    /// The row, if it is undamaged.
    pub(super) row: Result<LaneRow, DeliveryStoreError>,
}

/// Every lane.
pub(super) fn all(conn: &Connection) -> Result<Vec<ScannedLane>, DeliveryStoreError> {
    let mut statement = conn.prepare_cached(ALL)?;
    let mut rows = statement.query([])?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant = row.get_ref(1)?.as_bytes().unwrap_or_default();
        let tenant = String::from_utf8_lossy(tenant).into_owned();
        lanes.push(ScannedLane { id: LaneId(row.get(0)?), tenant, row: decode(row) });
    }
    Ok(lanes)
}

/// Updates the row of a lane.
pub(super) fn put(conn: &Connection, lane: &LaneRow) -> Result<(), DeliveryStoreError> {
    // The names are not updated: they are indexed, and they never change.
    let update = "UPDATE lanes SET cursor = ?4, failing_since = ?5, not_before = ?6, hold_off_ms = ?7, \
        replay_after = ?8, replay_until = ?9, replay_cursor = ?10, replay_begun = ?11, replay_ended = ?12, \
        pending = ?13, delivered = ?14, failed = ?15, refused = ?16, skipped = ?17, checksum = ?18 \
        WHERE id = ?1 AND tenant = ?2 AND webhook = ?3";
    match conn.prepare_cached(update)?.execute(sealed(&lane.columns()))? {
        0 => Err(DeliveryStoreError::NoLane),
        _ => Ok(()),
    }
}

/// Removes the row of a lane, when nothing else of it is left.
pub(super) fn remove(conn: &Connection, id: LaneId) -> Result<(), DeliveryStoreError> {
    conn.prepare_cached("DELETE FROM lanes WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

impl LaneRow {
    fn columns(&self) -> [ValueRef<'_>; COLUMNS] {
        let LaneProgress { cursor, failing_since, hold_off, replay } = &self.progress;
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
            ValueRef::Integer(self.totals.pending.cast_signed()),
            ValueRef::Integer(self.totals.delivered.cast_signed()),
            ValueRef::Integer(self.totals.failed.cast_signed()),
            ValueRef::Integer(self.totals.refused.cast_signed()),
            ValueRef::Integer(self.totals.skipped.cast_signed()),
        ]
    }
}

fn decode(row: &Row<'_>) -> Result<LaneRow, DeliveryStoreError> {
    let mut columns = ColumnReader::checked(row, TABLE)?;
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
        [Some(after), Some(until), Some(cursor), Some(begun), Some(ended)] => Some(ReplayProgress {
            after: position(after),
            until: position(until),
            cursor: position(cursor),
            begun: begun.cast_unsigned(),
            is_cancelled: ended != 0,
        }),
        _ => None,
    };
    let totals = DeliveryTotals {
        pending: columns.number()?,
        delivered: columns.number()?,
        failed: columns.number()?,
        refused: columns.number()?,
        skipped: columns.number()?,
    };
    Ok(LaneRow {
        id,
        tenant,
        webhook,
        progress: LaneProgress { cursor, failing_since, hold_off, replay },
        totals,
    })
}

fn millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}
