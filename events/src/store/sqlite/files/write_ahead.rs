//! Keeps the file of a write-ahead log from staying as large as it ever was.
//!
//! SQLite begins the file again when nobody reads in it any more, and never makes it shorter: after a reader that
//! paused for an hour it would stay at what was written in that hour. While commits go on,
//! `journal_size_limit` has the next one that begins the file again cut it. Where nobody writes, a [`WriteAheadCutter`]
//! does. Cutting has the other connections read their pages anew, so a file of a usual size is cut only when
//! nobody has written for a while.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rusqlite::Connection;

/// A file over this size is cut as soon as nobody reads in it.
pub const LARGE_BYTES: u32 = 64 * 1024 * 1024;

/// One below it, when nobody has written for so long.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long it waits when a reader is in the way.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long cutting waits for readers. Writers wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long cutting the write-ahead log waits for those who read it. Writers wait meanwhile.
const TRUNCATE_PATIENCE: Duration = Duration::from_millis(200);

/// The write-ahead log of a database.
#[must_use]
pub fn path_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Whether a database is all in its one file: nothing of it is in a write-ahead log.
pub(in crate::store::sqlite) fn is_in_one_file(path: &Path) -> bool {
    fs::metadata(path_of(path)).map_or(true, |file| file.len() == 0)
}

/// Cuts the write-ahead log of one database.
#[derive(Debug)]
pub struct WriteAheadCutter {
    file: PathBuf,
    /// What the file looked like, and since when.
    seen: (u64, Option<SystemTime>),
    since: Instant,
    not_before: Instant,
}

impl WriteAheadCutter {
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
            truncate_within(conn, PATIENCE)?;
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

/// Brings everything into the one file and cuts the write-ahead log to nothing, durably. Whether that could
/// be done: whoever reads the file for long is in the way.
///
/// # Errors
/// When SQLite refuses, or the cut cannot be synced.
pub fn truncate(conn: &Connection) -> rusqlite::Result<bool> {
    truncate_within(conn, TRUNCATE_PATIENCE)
}

/// The same, with as much patience as is given.
pub(in crate::store::sqlite) fn truncate_within(
    conn: &Connection,
    patience: Duration,
) -> rusqlite::Result<bool> {
    let usual: u32 = conn.pragma_query_value(None, "busy_timeout", |row| row.get(0))?;
    conn.busy_timeout(patience)?;
    let cut = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0));
    conn.busy_timeout(Duration::from_millis(usual.into()))?;
    if cut? {
        sync_log(conn).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        return Ok(true);
    }
    Ok(false)
}

/// SQLite syncs what it copied, and not that the write-ahead log is empty now: after a power failure the
/// bytes could be there again. Nobody locks that file, so it may be opened beside SQLite.
fn sync_log(conn: &Connection) -> io::Result<()> {
    let Some(path) = conn.path().filter(|path| !path.is_empty()) else { return Ok(()) };
    match File::open(path_of(path.as_ref())) {
        Ok(log) => log.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
