//! The tables, and what the database stores about itself.

use amoiq_events::store::Epoch;
use rusqlite::{Connection, types::ValueRef};

use super::checked_row::{ColumnReader, optional, sealed};
use crate::webhooks::delivery_store::DeliveryStoreError;

/// The schema of a new database. The schema before it is migrated, any other is refused.
pub(super) const SCHEMA_VERSION: i64 = 2;

/// `meta` has one row and is the same in every release. Every row ends with the CRC-32C over its other columns. Times
/// are milliseconds since 1970.
///
/// The number of a lane is never used again (`AUTOINCREMENT`): whoever still holds the number of a removed lane must
/// not write into another. Beside its primary key, a delivery has three indexes: by status for waiting deliveries and
/// for lists, by time for retention, by message for requests. The ids of messages and the times grow, so these two
/// indexes are written at their ends.
pub(super) const META: &str = "
    CREATE TABLE meta (
        schema   INTEGER PRIMARY KEY,
        epoch    INTEGER, -- absent until a log is followed
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// The tables that have changed since the first release.
pub(super) const LANES_AND_DELIVERIES: &str = "
    CREATE TABLE lanes (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant        TEXT    NOT NULL,
        webhook       TEXT    NOT NULL,
        cursor        INTEGER NOT NULL,
        failing_since INTEGER,
        not_before    INTEGER,
        hold_off_ms   INTEGER, -- how far away not_before was when it was decided; absent with it
        replay_after  INTEGER, -- absent with all that follow when there was no replay
        replay_until  INTEGER,
        replay_cursor INTEGER,
        replay_begun  INTEGER,
        replay_ended  INTEGER, -- 1 when its owner ended it
        pending       INTEGER NOT NULL, -- how many deliveries there are, by status
        delivered     INTEGER NOT NULL,
        failed        INTEGER NOT NULL,
        refused       INTEGER NOT NULL,
        skipped       INTEGER NOT NULL,
        checksum      INTEGER NOT NULL,
        UNIQUE (tenant, webhook)
    );
    CREATE TABLE deliveries (
        lane       INTEGER NOT NULL,
        position   INTEGER NOT NULL,
        event_id   BLOB    NOT NULL,
        message_id BLOB    NOT NULL,
        session    TEXT    NOT NULL,
        status     INTEGER NOT NULL, -- 0 pending, 1 delivered, 2 failed, 3 refused, 4 skipped
        tries      INTEGER NOT NULL,
        next_at    INTEGER,
        holds      INTEGER NOT NULL,
        refused_at INTEGER, -- when the endpoint first refused it
        changed_at INTEGER NOT NULL,
        attempts   INTEGER NOT NULL, -- how many there ever were: the number of the last
        checksum   INTEGER NOT NULL,
        PRIMARY KEY (lane, position)
    ) WITHOUT ROWID;
    CREATE INDEX deliveries_by_status ON deliveries (lane, status, position);
    CREATE INDEX deliveries_by_time ON deliveries (lane, changed_at) WHERE status NOT IN (0, 3);
    CREATE INDEX deliveries_by_message ON deliveries (lane, message_id);
";

pub(super) const ATTEMPTS: &str = "
    CREATE TABLE attempts (
        lane        INTEGER NOT NULL,
        position    INTEGER NOT NULL,
        number      INTEGER NOT NULL,
        at          INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL,
        status      INTEGER,
        error       TEXT,
        answer      BLOB    NOT NULL,
        checksum    INTEGER NOT NULL,
        PRIMARY KEY (lane, position, number)
    ) WITHOUT ROWID;
";

/// The epoch of the log that was followed last.
pub(super) fn epoch(conn: &Connection) -> Result<Option<Epoch>, DeliveryStoreError> {
    Ok(meta(conn)?.1.map(|epoch| Epoch(epoch.cast_unsigned())))
}

/// Saves the epoch of the log that is followed.
pub(super) fn set_epoch(conn: &Connection, epoch: Option<Epoch>) -> Result<(), DeliveryStoreError> {
    let columns = [ValueRef::Integer(SCHEMA_VERSION), optional(epoch.map(|epoch| epoch.0.cast_signed()))];
    conn.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2, ?3)")?.execute(sealed(&columns))?;
    Ok(())
}

/// The schema and the epoch.
pub(super) fn meta(conn: &Connection) -> Result<(i64, Option<i64>), DeliveryStoreError> {
    let mut statement = conn.prepare_cached("SELECT schema, epoch, checksum FROM meta")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Err(DeliveryStoreError::Damaged("meta")) };
    let mut columns = ColumnReader::checked(row, "meta")?;
    Ok((columns.integer()?, columns.optional()?))
}
