//! Finds out, when a store is opened, whether the end of the log is lost.

use rusqlite::Connection;

use crate::{
    Position,
    store::{
        ReadError,
        sqlite::{
            OpenError, StoreRecovery,
            tables::{event_query, index_build, schema},
            writing::witness::HeadWitness,
        },
    },
};

/// Compares the log with the witness. A log that lost its end starts a new epoch.
pub(in crate::store::sqlite) fn recover(
    conn: &Connection,
    witness: &HeadWitness,
    new_epoch: u64,
) -> Result<StoreRecovery, OpenError> {
    // Removed events were once acknowledged too: `floor` is where the log was at the last removal.
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    let head = event_query::last_position(conn)?.max(floor);
    let acknowledged = witness.read();
    if acknowledged <= head {
        return Ok(StoreRecovery { head, lost_up_to: None });
    }
    check_pages(conn)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    schema::set_meta(conn, "epoch", new_epoch)?;
    index_build::reset_index(conn, acknowledged)?;
    conn.execute_batch("COMMIT")?;
    tracing::error!(
        log.head = head.as_u64(),
        log.acknowledged = acknowledged.as_u64(),
        "the log lost its end: acknowledged events between these positions are missing; a new epoch starts"
    );
    Ok(StoreRecovery { head, lost_up_to: Some(acknowledged) })
}

/// A write-ahead log that was truncated after a part of it was copied may leave old pages beside new ones.
fn check_pages(conn: &Connection) -> Result<(), OpenError> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(OpenError::Damaged(ReadError::FileDamaged { reason: found })) }
}
