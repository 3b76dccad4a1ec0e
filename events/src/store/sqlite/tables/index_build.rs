//! Builds the index from the log: when the store is opened, the part that the index lacks, or all of it when it is damaged.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{
    Position, RecordedEvent, Version,
    store::{
        MAX_READ_EVENTS, ReadError,
        sqlite::{
            OpenError,
            tables::{
                event_query, schema,
                stream_index::{self, StreamHead, StreamHeads, StreamIndex},
            },
        },
    },
};

/// Rebuilds the index from the log in one transaction: readers see the old one or the new one. Fails if the log lacks an
/// event: a stream would end too early, and its next event would take a version that was given out.
pub(in crate::store::sqlite) fn remake_index(conn: &Connection) -> Result<(), OpenError> {
    tracing::error!("the index of the log is damaged; it is rebuilt from the log");
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    reset_index(conn, floor)?;
    let last = event_query::last_position(conn)?;
    // A stream that was truncated completely and went on starts after the floor; which ones did is lost.
    let mut ledger = read_from(conn, Position::START, last)?;
    ledger.flush_all(conn, last)?;
    transaction.commit()?;
    tracing::info!("the index of the log was rebuilt");
    Ok(())
}

/// Whether rebuilding the index may succeed later: it failed for a reason such as a full disk, not because of the log.
pub(in crate::store::sqlite) fn may_pass(error: &OpenError) -> bool {
    match error {
        OpenError::Database(_) | OpenError::IndexDamaged { .. } => !error.is_damage(),
        OpenError::Damaged(error) => matches!(error, ReadError::Unavailable(_)),
        _ => true,
    }
}

/// Reads the heads that the database lacks, or all of them if one that it has is damaged.
pub(in crate::store::sqlite) fn index(conn: &Connection) -> Result<StreamIndex, OpenError> {
    match read_index(conn) {
        Err(error) if error.is_damage() => {
            remake_index(conn)?;
            read_index(conn)
        }
        read => read,
    }
}

/// Reads the heads that the database lacks from the end of the log, or all of them from the whole log if the index is
/// gone.
fn read_index(conn: &Connection) -> Result<StreamIndex, OpenError> {
    let after = Position::from_u64(schema::meta(conn, "indexed")?);
    // Without an index nobody knows which streams were truncated. All truncations were up to the floor.
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    read_from(conn, after, if after == Position::START { floor } else { Position::START })
}

/// Reads heads from the events after a position. Up to `unknown_up_to` a stream may start at any version.
fn read_from(
    conn: &Connection,
    mut after: Position,
    unknown_up_to: Position,
) -> Result<StreamIndex, OpenError> {
    let mut ledger = StreamIndex::new();
    loop {
        let events = event_query::read_all(conn, after, MAX_READ_EVENTS).map_err(OpenError::Damaged)?;
        let Some(last) = events.last() else { return Ok(ledger) };
        after = last.position;
        for event in &events {
            advance(conn, &mut ledger, event, unknown_up_to)?;
        }
        ledger.committed();
        if ledger.is_large() {
            ledger.flush_all(conn, after)?;
        }
    }
}

/// Like [`read_index`], without writing anything: a running service bounds what the database lacks.
pub(in crate::store::sqlite) fn index_in_memory(conn: &Connection) -> Result<Arc<StreamHeads>, OpenError> {
    let mut ledger = StreamIndex::new();
    let mut after = Position::from_u64(schema::meta(conn, "indexed")?);
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    let unknown_up_to = if after == Position::START { floor } else { Position::START };
    loop {
        let events = event_query::read_all(conn, after, MAX_READ_EVENTS).map_err(OpenError::Damaged)?;
        let Some(last) = events.last() else { return Ok(Arc::clone(ledger.heads())) };
        after = last.position;
        for event in &events {
            advance(conn, &mut ledger, event, unknown_up_to)?;
        }
        ledger.committed();
    }
}

fn advance(
    conn: &Connection,
    ledger: &mut StreamIndex,
    event: &RecordedEvent,
    unknown_up_to: Position,
) -> Result<(), OpenError> {
    let name = event.stream.shared();
    let (version, position) = (event.version, event.position);
    let first = match ledger.head(conn, &name)? {
        Some(known) if version > known.version.plus(1) => return Err(missing(position)),
        Some(known) => known.first,
        // A truncated stream starts later; only its lost head said so.
        None if version == Version::from_u64(1) || position <= unknown_up_to => version,
        None => return Err(missing(position)),
    };
    ledger.advance(&name, StreamHead { version, position, first });
    Ok(())
}

fn missing(position: Position) -> OpenError {
    let reason = "an event of its stream is missing before it".to_owned();
    OpenError::Damaged(ReadError::EventDamaged { position, reason })
}

/// Drops the index, as part of a transaction: the next start rebuilds it from the log. Only streams without events are
/// kept, because the log does not contain them. Up to `floor` events may have been removed: no position up to it is given
/// out again, and after it none may be missing.
pub(in crate::store::sqlite) fn reset_index(conn: &Connection, floor: Position) -> rusqlite::Result<()> {
    conn.execute_batch("DELETE FROM streams WHERE first <> version + 1; DELETE FROM marks")?;
    remove_broken(conn)?;
    schema::set_meta(conn, "indexed", 0)?;
    schema::set_meta(conn, "floor", floor.as_u64())
}

/// Removes the rows that are not what was written.
fn remove_broken(conn: &Connection) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("SELECT name, version, position, first, checksum FROM streams")?;
    let mut rows = statement.query([])?;
    let mut broken = Vec::new();
    while let Some(row) = rows.next()? {
        if stream_index::stored(row).is_err() {
            broken.push(row.get::<_, rusqlite::types::Value>(0)?);
        }
    }
    broken.iter().try_for_each(|name| conn.execute("DELETE FROM streams WHERE name = ?1", [name]).map(|_| ()))
}
