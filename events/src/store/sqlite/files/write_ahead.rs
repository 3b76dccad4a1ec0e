//! Keeps the file of a write-ahead log from staying as large as it ever was.
//!
//! SQLite starts the file again from its beginning when no reader needs it any more, and never makes it shorter: after a
//! reader that paused for an hour it would keep the size of what was written in that hour. While commits go on, the next one
//! that starts the file again truncates it because of `journal_size_limit`. When nobody writes, a [`WriteAheadCutter`] does.
//! Truncating makes writers wait and other connections read their pages again, so a cutter leaves a file alone in which
//! somebody writes, and a file of the usual size for longer.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rusqlite::Connection;

/// A file over this size is truncated when nobody reads it, and nobody has written for a second.
pub const LARGE_BYTES: u32 = 64 * 1024 * 1024;

/// Writers who pause for this long are not made to wait by a truncation.
const PAUSE: Duration = Duration::from_secs(1);

/// A smaller file is truncated when nobody has written for this long.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long the cutter waits after a reader prevented it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long truncating waits for readers. Writers wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long truncating the write-ahead log waits for its readers. Writers wait meanwhile.
const TRUNCATE_PATIENCE: Duration = Duration::from_millis(200);

/// The write-ahead log of a database.
#[must_use]
pub fn path_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Whether a database is completely in its one file, with nothing in a write-ahead log.
pub(in crate::store::sqlite) fn is_in_one_file(path: &Path) -> bool {
    fs::metadata(path_of(path)).map_or(true, |file| file.len() == 0)
}

/// Truncates the write-ahead log of one database.
#[derive(Debug)]
pub struct WriteAheadCutter {
    file: PathBuf,
    /// The state of the file, and since when.
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

    /// Truncates the file when that is due and no reader prevents it. To be called about once a second, on a connection
    /// without a transaction.
    ///
    /// # Errors
    /// When SQLite refuses, or the file cannot be synced.
    pub fn look(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if !self.is_due() {
            return Ok(());
        }
        self.not_before = Instant::now() + RETRY_AFTER;
        // Copying makes nobody wait. As long as a reader needs the file, not all of it can be copied.
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
        let pause = if seen.0 > LARGE_BYTES.into() { PAUSE } else { IDLE };
        seen.0 > 0 && self.since.elapsed() >= pause && Instant::now() >= self.not_before
    }
}

/// Syncs the write-ahead log of a database whose commits do not, a little at a time. Otherwise the next checkpoint syncs all of
/// it at once, and every other file on the same disk waits for that.
#[derive(Debug)]
pub struct WriteAheadSyncer {
    file: PathBuf,
    /// When what is synced was written.
    synced: Option<SystemTime>,
}

impl WriteAheadSyncer {
    /// For the database in this file.
    #[must_use]
    pub fn new(database: &Path) -> Self {
        Self { file: path_of(database), synced: None }
    }

    /// Syncs what was written since the last time. To be called a few times a second.
    ///
    /// # Errors
    /// When the file cannot be synced.
    pub fn look(&mut self) -> io::Result<()> {
        let written = fs::metadata(&self.file).ok().filter(|file| file.len() > 0);
        let written = written.and_then(|file| file.modified().ok());
        if written.is_some() && written != self.synced {
            self.synced = written;
            // Nobody locks that file.
            File::open(&self.file)?.sync_data()?;
        }
        Ok(())
    }
}

/// Copies the write-ahead log into the database's file, as far as readers allow. Returns whether that was all of it.
fn copy(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (frames, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(frames == copied)
    })
}

/// Copies everything into the one file and truncates the write-ahead log to nothing, durably. Returns whether that was
/// possible: a reader that takes long prevents it.
///
/// # Errors
/// When SQLite refuses, or the file cannot be synced.
pub fn truncate(conn: &Connection) -> rusqlite::Result<bool> {
    truncate_within(conn, TRUNCATE_PATIENCE)
}

/// Like [`truncate`], with the given patience.
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

/// SQLite syncs what it copied, but not the truncation of the write-ahead log: after a power failure the bytes could be back.
/// Nobody locks that file, so it may be opened beside SQLite.
fn sync_log(conn: &Connection) -> io::Result<()> {
    let Some(path) = conn.path().filter(|path| !path.is_empty()) else { return Ok(()) };
    match File::open(path_of(path.as_ref())) {
        Ok(log) => log.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_truncated_once_nobody_writes_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)")
            .unwrap();
        let length = || fs::metadata(path_of(&path)).unwrap().len();
        let mut cutter = WriteAheadCutter::new(&path);
        conn.execute("INSERT INTO t VALUES (zeroblob(?1))", [LARGE_BYTES]).unwrap();
        let writes_until = Instant::now() + 2 * PAUSE;
        while Instant::now() < writes_until {
            conn.execute("INSERT INTO t VALUES (1)", []).unwrap();
            cutter.look(&conn).unwrap();
            assert!(length() > LARGE_BYTES.into(), "it was truncated between two commits");
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while length() > 0 {
            assert!(Instant::now() < deadline, "it is still long");
            std::thread::sleep(Duration::from_millis(10));
            cutter.look(&conn).unwrap();
        }
    }
}
