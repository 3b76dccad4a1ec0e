//! The thread that moves commits from the write-ahead log into the database file.
//!
//! It copies beside the writer as long as it can (`PASSIVE`). When the write-ahead log has grown past
//! [`FORCE_FRAMES`] all the same, because commits never pause, it copies what is left while the writer
//! waits: little, since all but the newest was copied just before.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::Connection;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How much has to be written before copying is worth a sync.
const WORTH_BYTES: u64 = 4 * 1024 * 1024;

/// 64 MiB of pages of 4 KiB.
const FORCE_FRAMES: i64 = 16_384;

/// What the writer and the checkpointer share.
#[derive(Default)]
pub(super) struct WriteAhead {
    /// Held by the writer for a transaction, and by the checkpointer to start the file over.
    pub(super) gate: Mutex<()>,
    /// Bytes of events written since the last look that copied.
    pub(super) bytes: AtomicU64,
}

/// Starts the thread; it ends when the sender of `stop` is gone.
pub(super) fn start(
    conn: Connection,
    write_ahead: Arc<WriteAhead>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
        while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            if write_ahead.bytes.load(Ordering::Relaxed) < WORTH_BYTES {
                continue;
            }
            write_ahead.bytes.store(0, Ordering::Relaxed);
            if let Err(error) = checkpoint(&conn, &write_ahead.gate) {
                tracing::warn!(%error, "the write-ahead log could not be checkpointed; trying again");
                write_ahead.bytes.store(WORTH_BYTES, Ordering::Relaxed);
            }
        }
    })
}

fn checkpoint(conn: &Connection, gate: &Mutex<()>) -> rusqlite::Result<()> {
    let frames = |mode: &str| {
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(1))
    };
    if frames("PASSIVE")? > FORCE_FRAMES {
        let _writer_waits = gate.lock().unwrap_or_else(PoisonError::into_inner);
        frames("RESTART")?;
    }
    Ok(())
}
