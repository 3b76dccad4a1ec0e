//! What a store mends: the end of a log that was cut, when it is opened, and an index that is not what was
//! written, whenever that shows.
//!
//! Opening reads only what the index lacks, so a start does not take longer with the log. The rest of the
//! index is looked through beside the service ([`start_check`]).

use std::{io, sync::Arc, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    OpenError, Recovery,
    heads::{self, Head, Heads, Ledger},
    query, schema,
    witness::Witness,
    writer::Job,
};
use crate::{
    Position, RecordedEvent, Version,
    store::{MAX_READ_EVENTS, ReadError},
};

/// What is known of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexState {
    /// Nothing is known to be wrong. What could not be mended for now is found again by whoever meets it.
    Whole,
    /// A row is not what was written: the index is made again before the next job.
    Damaged,
    /// It was made again, or the log does not read: before the next start that is not tried a second time.
    Settled,
}

/// Compares the log with the witness. A log that lost its end begins a new epoch.
pub(super) fn recover(conn: &Connection, witness: &Witness, new_epoch: u64) -> Result<Recovery, OpenError> {
    // Removed events were once acknowledged too: `floor` is where the log stood at the last removal.
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    let head = query::last_position(conn)?.max(floor);
    let acknowledged = witness.read();
    if acknowledged <= head {
        return Ok(Recovery { head, lost_up_to: None });
    }
    check_pages(conn)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    schema::set_meta(conn, "epoch", new_epoch)?;
    schema::reset_index(conn, acknowledged)?;
    conn.execute_batch("COMMIT")?;
    tracing::error!(
        log.head = head.as_u64(),
        log.acknowledged = acknowledged.as_u64(),
        "the log lost its end: acknowledged events between these positions are missing; a new epoch begins"
    );
    Ok(Recovery { head, lost_up_to: Some(acknowledged) })
}

/// Starts the thread that looks through the index once, and has the writer make it again when it is damaged.
/// It ends early when the sender of `stop` is gone.
pub(super) fn start_check(
    conn: Connection,
    writer: Sender<Job>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("store-check".to_owned()).spawn(move || {
        match heads::are_whole(&conn, || stop.try_recv() == Err(TryRecvError::Empty)) {
            Ok(true) => {}
            // A writer that is gone needs no index.
            Ok(false) => drop(writer.send(Job::MendIndex(oneshot::channel().0))),
            Err(error) => tracing::warn!(%error, "the index of the log was not looked through"),
        }
    })
}

/// Makes the index again from the log, as one transaction: readers see the old one or the new one. Not from a log
/// that lacks an event: a stream would end too early, and its next event take a version that was given out.
pub(super) fn remake_index(conn: &Connection) -> Result<(), OpenError> {
    tracing::error!("the index of the log is damaged; it is made again from the log");
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    schema::reset_index(conn, floor)?;
    let last = query::last_position(conn)?;
    // A stream that was truncated whole and went on begins behind the floor: which ones did is lost.
    let mut ledger = read_from(conn, Position::START, last)?;
    ledger.flush_all(conn, last)?;
    transaction.commit()?;
    tracing::info!("the index of the log was made again");
    Ok(())
}

/// Whether the index can be made again later: it is for a full disk, not for what the log says, that it was not.
pub(super) fn may_pass(error: &OpenError) -> bool {
    match error {
        OpenError::Database(_) | OpenError::IndexDamaged { .. } => !error.is_damage(),
        OpenError::Damaged(error) => matches!(error, ReadError::Unavailable(_)),
        _ => true,
    }
}

/// A write-ahead log that was cut after a part of it was copied may leave pages of two times together.
fn check_pages(conn: &Connection) -> Result<(), OpenError> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(OpenError::Damaged(ReadError::FileDamaged { reason: found })) }
}

/// Reads the heads that the database does not know; all of them when one that it knows is damaged.
pub(super) fn index(conn: &Connection) -> Result<Ledger, OpenError> {
    match read_index(conn) {
        Err(error) if error.is_damage() => {
            remake_index(conn)?;
            read_index(conn)
        }
        read => read,
    }
}

/// Reads the heads that the database does not know from the end of the log, or all of them from all of
/// it when the index is gone.
fn read_index(conn: &Connection) -> Result<Ledger, OpenError> {
    let after = Position::from_u64(schema::meta(conn, "indexed")?);
    // Without an index nobody knows which streams were truncated. All of that was before the floor.
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    read_from(conn, after, if after == Position::START { floor } else { Position::START })
}

/// Reads heads from the events behind a position. A stream may begin at any version up to `unknown_up_to`.
fn read_from(conn: &Connection, mut after: Position, unknown_up_to: Position) -> Result<Ledger, OpenError> {
    let mut ledger = Ledger::new();
    loop {
        let events = query::read_all(conn, after, MAX_READ_EVENTS).map_err(OpenError::Damaged)?;
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

/// The same without writing anything: what the database does not know is bounded while a service runs.
pub(super) fn index_in_memory(conn: &Connection) -> Result<Arc<Heads>, OpenError> {
    let mut ledger = Ledger::new();
    let mut after = Position::from_u64(schema::meta(conn, "indexed")?);
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    let unknown_up_to = if after == Position::START { floor } else { Position::START };
    loop {
        let events = query::read_all(conn, after, MAX_READ_EVENTS).map_err(OpenError::Damaged)?;
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
    ledger: &mut Ledger,
    event: &RecordedEvent,
    unknown_up_to: Position,
) -> Result<(), OpenError> {
    let name = event.stream.shared();
    let (version, position) = (event.version, event.position);
    let first = match ledger.head(conn, &name)? {
        Some(known) if version > known.version.plus(1) => return Err(missing(position)),
        Some(known) => known.first,
        // A stream that was truncated begins later; only its lost head knew.
        None if version == Version::from_u64(1) || position <= unknown_up_to => version,
        None => return Err(missing(position)),
    };
    ledger.advance(&name, Head { version, position, first });
    Ok(())
}

fn missing(position: Position) -> OpenError {
    let reason = "an event of its stream is missing before it".to_owned();
    OpenError::Damaged(ReadError::EventDamaged { position, reason })
}
