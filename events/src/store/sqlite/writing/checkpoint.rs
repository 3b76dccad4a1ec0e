//! The thread that moves commits from the write-ahead log into the database file.
//!
//! It copies beside the writer as long as possible. While commits never pause, SQLite neither syncs what was copied nor
//! starts the write-ahead log again from its beginning. So past [`FORCE_FRAMES`] the writer waits until the rest is copied
//! and all of it is synced; its next commit starts the file again, unless a reader still reads there. The bound keeps that
//! wait short, and no reader can make it longer.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::store::sqlite::{
    files::{readable::FileReadability, write_ahead::WriteAheadCutter},
    tables::schema::PAGE_BYTES,
};

/// How often it checks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How much has to be written before copying is worth a sync.
const WORTH_BYTES: u64 = 4 * 1024 * 1024;

/// How many commits are worth it too. Each writes at least a page, however little its events are, so these make 32 MiB: well
/// below the length at which a [`WriteAheadCutter`] truncates the file, for which writers wait.
const WORTH_COMMITS: u64 = 32 * 1024 * 1024 / PAGE_BYTES as u64;

/// 16 MiB: a sync takes a few milliseconds.
const FORCE_FRAMES: i64 = 16 * 1024 * 1024 / PAGE_BYTES as i64;

/// What the writer and the checkpointer share.
#[derive(Default)]
pub(in crate::store::sqlite) struct WriteAhead {
    /// Held by the writer for a transaction, and by the checkpointer to copy the last of it.
    pub(in crate::store::sqlite) gate: Mutex<()>,
    /// When the writer began the current transaction, in milliseconds since the store was opened and at least 1; 0 while it
    /// waits for work.
    pub(in crate::store::sqlite) begun_ms: AtomicU64,
    /// Bytes written since the last copy: of events, and of pages that a removal changed.
    bytes: AtomicU64,
    /// Commits since the last copy.
    commits: AtomicU64,
}

impl WriteAhead {
    /// Counts a commit of events.
    pub(in crate::store::sqlite) fn committed(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether so much was written since the last copy that it is worth another one, which begins the count again.
    fn take_worth(&self) -> bool {
        let is_worth = self.bytes.load(Ordering::Relaxed) >= WORTH_BYTES
            || self.commits.load(Ordering::Relaxed) >= WORTH_COMMITS;
        if is_worth {
            self.bytes.store(0, Ordering::Relaxed);
            self.commits.store(0, Ordering::Relaxed);
        }
        is_worth
    }

    /// Counts pages that a transaction changed in scattered places.
    pub(in crate::store::sqlite) fn changed(&self, pages: usize) {
        self.bytes.fetch_add(pages as u64 * u64::from(PAGE_BYTES), Ordering::Relaxed);
    }
}

/// Starts the thread. When the sender of `stop` is dropped, it copies everything and ends: a closed store is one file.
pub(in crate::store::sqlite) fn start(
    path: &Path,
    conn: Connection,
    write_ahead: Arc<WriteAhead>,
    reading: Arc<FileReadability>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let mut cutter = WriteAheadCutter::new(path);
    std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
        while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            reading.probe();
            if let Err(error) = cutter.look(&conn) {
                tracing::warn!(%error, "the write-ahead log could not be truncated; trying again");
            }
            if !write_ahead.take_worth() {
                continue;
            }
            if let Err(error) = checkpoint(&conn, &write_ahead.gate) {
                tracing::warn!(%error, "the write-ahead log could not be checkpointed; trying again");
                write_ahead.bytes.store(WORTH_BYTES, Ordering::Relaxed);
            }
        }
        if let Err(error) = frames(&conn, "TRUNCATE") {
            tracing::warn!(%error, "the write-ahead log stays; the next start reads it");
        }
    })
}

fn checkpoint(conn: &Connection, gate: &Mutex<()>) -> rusqlite::Result<()> {
    if frames(conn, "PASSIVE")? > FORCE_FRAMES {
        // Once more for what was written during the first copy: the less is left, the shorter the wait.
        frames(conn, "PASSIVE")?;
        let _writer_waits = gate.lock();
        frames(conn, "PASSIVE")?;
    }
    Ok(())
}

/// Checkpoints. Returns how many frames the write-ahead log has.
fn frames(conn: &Connection, mode: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}
