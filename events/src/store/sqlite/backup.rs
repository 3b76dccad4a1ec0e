//! One file that holds a store: made beside a running service, or of a stopped one.
//!
//! It is an SQLite database with the log's tables as they were at one moment. The tables of the outbox are in
//! it too, under the prefix `outbox_`. They are read before the log is, so no cursor in the file is ahead of its
//! log; what was delivered in between is delivered again after a restore. Read models are not in it, they are
//! made from the log, and neither is the secret that signs tokens.
//!
//! The file appears under its name once it is whole: written, verified and synced. Only its owner may read
//! it, because the log has the secrets of webhooks.
//!
//! From its begin until the file is there a backup shares a lock on `log.witness`. An erasure that wants to say
//! that it is complete takes the lock alone ([`NoBackup`]): whatever a backup copied before is under its name
//! then, where whoever erases a person knows of it. Not on `log.db`: a process that closes any handle of that
//! file loses SQLite's own locks on it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

use rusqlite::Connection;

use super::{
    NewFile, NewFileError, OpenError, Report, StoreVerification, WorkProgress, new_file::Partial, read_only,
    verify,
};
use crate::{Position, Timestamp};

/// How often the size of the growing file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be made.
    #[error(transparent)]
    File(#[from] NewFileError),
    /// The store cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store is damaged.
    #[error("what was copied does not verify ({} problems), so there is no backup: run `amoiq verify`", .0.problem_count())]
    Damaged(Box<StoreVerification>),
    /// SQLite could not copy.
    #[error("copying: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Copies the store of a directory into a new file, and tells what is in it.
///
/// # Errors
/// A [`BackupError`]; there is no file then.
pub fn backup(
    directory: &Path,
    file: &Path,
    now: Timestamp,
    report: Report<'_>,
) -> Result<StoreVerification, BackupError> {
    // Nothing is made under a name that SQLite takes for another.
    sql_path(file)?;
    let _underway = begin(directory)?;
    let whole = NewFile::begin(file)?;
    let outbox_copy = Partial::beside(file, ".outbox.partial")?;
    let outbox = directory.join("outbox.db");
    let has_outbox = outbox.try_exists()?;
    if has_outbox {
        copy(&outbox, outbox_copy.path(), "bytes of the outbox", report)?;
    }
    let log = read_only::log_file(directory);
    drop(read_only::open(&log).map_err(|error| error.judged(&log))?);
    copy(&log, whole.partial(), "bytes of the log", report)?;
    complete(whole.partial(), has_outbox.then(|| outbox_copy.path()), now)?;
    let verification = verify(whole.partial(), Position::START, report)?;
    if !verification.is_intact() {
        return Err(BackupError::Damaged(Box::new(verification)));
    }
    whole.finish()?;
    Ok(verification)
}

/// No backup of a data directory is underway, and none begins, as long as this is kept.
#[derive(Debug)]
pub struct NoBackup {
    /// Nothing where there is no log.
    _lock: Option<File>,
}

impl NoBackup {
    /// Holds off backups for a moment; nothing while one is underway.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        let Some(file) = lock_file(directory)? else { return Ok(Some(Self { _lock: None })) };
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Says that a copy of the log is being made, until the file that it gives is closed. A backup's file is nobody's
/// to erase from, and needs no word.
pub(super) fn begin(path: &Path) -> io::Result<Option<File>> {
    let Some(file) = lock_file(path)? else { return Ok(None) };
    file.lock_shared()?;
    Ok(Some(file))
}

fn lock_file(directory: &Path) -> io::Result<Option<File>> {
    match File::open(directory.join("log.witness")) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Copies a database as it is at one moment into an empty file.
fn copy(from: &Path, to: &Path, what: &'static str, report: Report<'_>) -> Result<(), BackupError> {
    let conn = read_only::open_database(from).map_err(|error| error.judged(from))?;
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let total = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
    let total = u64::try_from(total).unwrap_or_default();
    let target = sql_path(to)?.to_owned();
    thread::scope(|scope| {
        let copying = scope.spawn(move || conn.execute("VACUUM INTO ?1", [target]));
        while !copying.is_finished() {
            let done = fs::metadata(to).map_or(0, |file| file.len());
            report(WorkProgress { what, done: done.min(total), total });
            thread::sleep(LOOK_EVERY);
        }
        report(WorkProgress { what, done: total, total });
        match copying.join() {
            Ok(copied) => Ok(copied.map(|_| ()).map_err(|error| OpenError::from(error).judged(from))?),
            Err(_panicked) => Err(BackupError::Io(io::Error::other("the thread that copies panicked"))),
        }
    })
}

/// Adds the outbox and when the file was made.
fn complete(file: &Path, outbox: Option<&Path>, now: Timestamp) -> Result<(), BackupError> {
    let conn = Connection::open(file)?;
    // The file is synced whole, at its end.
    conn.pragma_update(None, "synchronous", "OFF")?;
    if let Some(outbox) = outbox {
        conn.execute("ATTACH ?1 AS source", [sql_path(outbox)?])?;
    }
    conn.execute_batch(
        "BEGIN;
         CREATE TABLE backup (key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
         CREATE TABLE backup_outbox (type TEXT, name TEXT, sql TEXT);",
    )?;
    conn.execute("INSERT INTO backup VALUES ('made_at', ?1)", [now.to_string()])?;
    if outbox.is_some() {
        let version: i64 = conn.query_row("PRAGMA source.user_version", [], |row| row.get(0))?;
        conn.execute("INSERT INTO backup VALUES ('outbox_version', ?1)", [version])?;
        conn.execute_batch(
            "INSERT INTO backup_outbox SELECT type, name, sql FROM source.sqlite_master
             WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type DESC, name",
        )?;
        for name in tables(&conn)? {
            let (copy, name) = (quoted(&format!("outbox_{name}")), quoted(&name));
            conn.execute_batch(&format!("CREATE TABLE {copy} AS SELECT * FROM source.{name}"))?;
        }
    }
    Ok(conn.execute_batch("COMMIT")?)
}

/// The outbox's tables, as a backup has them.
pub(super) fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM backup_outbox WHERE type = 'table' ORDER BY name")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// A path in SQL, which is text there. With other letters in place of what is none it would be that of another file,
/// made with another mode.
pub(super) fn sql_path(path: &Path) -> io::Result<&str> {
    let refused = || {
        let why = format!("{} is not UTF-8: SQLite cannot be told such a path", path.display());
        io::Error::new(io::ErrorKind::InvalidFilename, why)
    };
    path.to_str().ok_or_else(refused)
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ambient, store::sqlite::SqliteStore};

    #[test]
    fn a_backup_is_noticed_from_its_begin_until_its_file_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        drop(SqliteStore::open(&data, &Ambient::system()).unwrap());
        assert!(NoBackup::take(&data).unwrap().is_some(), "nobody copies");
        let file = directory.path().join("backup");
        let mut looked = Vec::new();
        backup(&data, &file, Ambient::system().now(), &mut |work| {
            assert!(NoBackup::take(&data).unwrap().is_none(), "{}", work.what);
            looked.push(work.what);
        })
        .unwrap();
        assert!(looked.contains(&"bytes of the log") && looked.contains(&"pages"), "{looked:?}");
        assert!(file.exists() && NoBackup::take(&data).unwrap().is_some(), "it is over");
    }
}
