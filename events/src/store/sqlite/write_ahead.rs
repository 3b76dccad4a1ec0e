//! Keeps the file of a write-ahead log from staying as large as it ever was.
//!
//! SQLite begins the file again when nobody reads in it any more, and never makes it shorter: after a reader that
//! stood still for an hour it would stay at what was written in that hour. While commits go on,
//! `journal_size_limit` has the next one that begins the file again cut it. Where nobody writes, a [`Cutter`]
//! does. Cutting has the other connections read their pages anew, so a file of a usual size is cut only when
//! nobody has written for a while.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rusqlite::Connection;

use super::scrub;

/// A file over this size is cut as soon as nobody reads in it.
pub const LARGE_BYTES: u32 = 64 * 1024 * 1024;

/// One below it, when nobody has written for so long.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long it waits when a reader is in the way.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long cutting waits for readers. Writers wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);

/// The write-ahead log of a database.
#[must_use]
pub fn path_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Cuts the write-ahead log of one database.
#[derive(Debug)]
pub struct Cutter {
    file: PathBuf,
    /// What the file looked like, and since when.
    seen: (u64, Option<SystemTime>),
    since: Instant,
    not_before: Instant,
}

impl Cutter {
    /// For the database in this file.
    #[must_use]
    pub fn new(database: &Path) -> Self {
        let now = Instant::now();
        Self { file: path_of(database), seen: (0, None), since: now, not_before: now }
    }

    /// Cuts the file when that is due and nobody is in the way. To be called about once a second, on a connection
    /// without a transaction.
    ///
    /// # Errors
    /// When SQLite refuses, or the cut cannot be synced.
    pub fn look(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if !self.is_due() {
            return Ok(());
        }
        self.not_before = Instant::now() + RETRY_AFTER;
        // Copying holds up nobody. As long as a reader needs what is in the file, not all of it can be copied.
        if copy(conn)? {
            scrub::truncate(conn, PATIENCE)?;
        }
        Ok(())
    }

    fn is_due(&mut self) -> bool {
        let file = fs::metadata(&self.file).ok();
        let seen = file.map_or((0, None), |file| (file.len(), file.modified().ok()));
        if seen != self.seen {
            (self.seen, self.since) = (seen, Instant::now());
        }
        let is_wanted = seen.0 > LARGE_BYTES.into() || (seen.0 > 0 && self.since.elapsed() >= IDLE);
        is_wanted && Instant::now() >= self.not_before
    }
}

/// Copies what is in the write-ahead log into the database's file, as far as readers allow. Whether that is all.
fn copy(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (frames, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(frames == copied)
    })
}
