//! The thread that moves commits from the write-ahead log into the database file.
//!
//! It copies beside the writer, and syncs what it copied in small portions, so that the disk never has much to write when a
//! commit waits for it. While commits never pause, SQLite neither syncs what was copied nor starts the write-ahead log again
//! from its beginning. So past [`FORCE_BYTES`] the writer waits while the last few commits are copied and synced; its next
//! commit starts the file again, unless a reader still reads there. Everything else is copied and synced before that, and no
//! reader can make that wait longer.

use std::{
    fs::File,
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

use crate::store::sqlite::files::{readable::FileReadability, write_ahead::WriteAheadCutter};

/// How often it checks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How much has to be written before copying is worth a sync.
const WORTH_BYTES: u64 = 1024 * 1024;

/// How many commits are worth it too: each writes at least a page, however little its events are.
const WORTH_COMMITS: u64 = 1_024;

/// How long the write-ahead log gets before the writer waits: well below the length at which a [`WriteAheadCutter`] truncates
/// it.
const FORCE_BYTES: i64 = 16 * 1024 * 1024;

/// What the writer and the checkpointer share.
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
    page_bytes: u64,
}

impl WriteAhead {
    /// That of the database that a connection has open.
    pub(in crate::store::sqlite) fn of(conn: &Connection) -> rusqlite::Result<Self> {
        let page_bytes: u32 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        Ok(Self {
            gate: Mutex::default(),
            begun_ms: AtomicU64::default(),
            bytes: AtomicU64::default(),
            commits: AtomicU64::default(),
            page_bytes: page_bytes.into(),
        })
    }

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
        self.bytes.fetch_add(pages as u64 * self.page_bytes, Ordering::Relaxed);
    }
}

/// The database as the thread has it open.
pub(in crate::store::sqlite) struct CheckpointedFile {
    pub(in crate::store::sqlite) conn: Connection,
    /// The same file, to sync it. Closing it drops the locks that SQLite has on it in this process, so it stays open as long
    /// as any connection does.
    pub(in crate::store::sqlite) file: Arc<File>,
}

/// Starts the thread. When the sender of `stop` is dropped, it copies everything and ends: a closed store is one file.
pub(in crate::store::sqlite) fn start(
    path: &Path,
    database: CheckpointedFile,
    write_ahead: Arc<WriteAhead>,
    reading: Arc<FileReadability>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let mut cutter = WriteAheadCutter::new(path);
    std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
        while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            reading.probe();
            if let Err(error) = cutter.look(&database.conn) {
                tracing::warn!(%error, "the write-ahead log could not be truncated; trying again");
            }
            if !write_ahead.take_worth() {
                continue;
            }
            if let Err(error) = database.checkpoint(&write_ahead) {
                tracing::warn!(%error, "the write-ahead log could not be checkpointed; trying again");
                write_ahead.bytes.store(WORTH_BYTES, Ordering::Relaxed);
            }
        }
        if let Err(error) = database.copy("TRUNCATE") {
            tracing::warn!(%error, "the write-ahead log stays; the next start reads it");
        }
    })
}

impl CheckpointedFile {
    fn checkpoint(&self, write_ahead: &WriteAhead) -> rusqlite::Result<()> {
        let frames = self.copy("PASSIVE")?;
        self.sync()?;
        if frames > FORCE_BYTES / write_ahead.page_bytes.cast_signed() {
            // Once more for what was written during the first copy: the less is left, the shorter the wait.
            self.copy("PASSIVE")?;
            self.sync()?;
            let _writer_waits = write_ahead.gate.lock();
            self.copy("PASSIVE")?;
        }
        Ok(())
    }

    /// Copies what can be copied. Returns how many frames the write-ahead log has.
    fn copy(&self, mode: &str) -> rusqlite::Result<i64> {
        self.conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
    }

    /// Syncs what was copied. SQLite does it only if nothing was committed meanwhile.
    fn sync(&self) -> rusqlite::Result<()> {
        self.file.sync_data().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}
