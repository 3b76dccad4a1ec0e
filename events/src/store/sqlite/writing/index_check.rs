//! The thread that checks the index once, beside the service. Opening the store reads only what the index lacks, so that a
//! start does not take longer as the log grows.

use std::{io, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::sqlite::{files::row_seal, tables::stream_index, writing::jobs::WriterJob};

/// After how many rows the check asks whether it is still wanted.
const ASK_EVERY: u64 = 4_096;

/// What is known of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sqlite) enum IndexState {
    /// Nothing is known to be wrong. Damage that could not be repaired yet is found again when it is next read.
    Whole,
    /// A row is not what was written: the index is rebuilt before the next job.
    Damaged,
    /// It was rebuilt, or the log cannot be read: it is not rebuilt again before the next start.
    Settled,
}

/// Starts the thread that checks the index once, and has the writer rebuild it when it is damaged. It ends early when the
/// sender of `stop` is dropped.
pub(in crate::store::sqlite) fn start_check(
    conn: Connection,
    writer: Sender<WriterJob>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("store-check".to_owned()).spawn(move || {
        match are_whole(&conn, || stop.try_recv() == Err(TryRecvError::Empty)) {
            Ok(true) => {}
            // A writer that is gone needs no index.
            Ok(false) => drop(writer.send(WriterJob::MendIndex(oneshot::channel().0))),
            Err(error) => tracing::warn!(%error, "the index of the log was not checked"),
        }
    })
}

/// Whether every row is what was written, and is where a search finds it. Stops early when `goes_on` says so.
fn are_whole(conn: &Connection, goes_on: impl Fn() -> bool) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare("SELECT name, version, position, first, checksum FROM streams")?;
    let mut rows = statement.query([])?;
    let mut before = String::new();
    for number in 0_u64.. {
        if number.is_multiple_of(ASK_EVERY) && !goes_on() {
            break;
        }
        let name = match rows.next() {
            Ok(None) => return Ok(true),
            Ok(Some(row)) => stream_index::stored(row).map(|(name, _)| name),
            Err(error) => Err(error),
        };
        match name {
            Ok(name) if name > before => before = name,
            Ok(_) => return Ok(false),
            Err(error) if row_seal::is_damage(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
