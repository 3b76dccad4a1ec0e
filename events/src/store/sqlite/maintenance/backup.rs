//! One file with a whole store: made beside a running service, or from a stopped one.
//!
//! It is an SQLite database with the log's tables as they were at one moment. It also contains the tables of those databases
//! beside the log that cannot be rebuilt, each under a prefix ([`CompanionDatabase`]). They are read before the log, so no
//! cursor in the file is ahead of its log; what was delivered in between is delivered again after a restore. It contains
//! neither read models, because they are rebuilt from the log, nor the secret that signs tokens.
//!
//! The file appears under its name once it is whole: written, verified and synced. Only its owner may read it, because the
//! log contains the secrets of webhooks.
//!
//! From its start until the file has its name a backup shares a lock on `log.witness`. An erasure takes the lock exclusively
//! ([`NoBackup`]) before it reports that it is complete: then every file that a backup copied earlier has its name, so the
//! operator who erases a person knows about it. The lock is not on `log.db`: a process that closes any handle of that file
//! loses SQLite's own locks on it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

use rusqlite::Connection;

use crate::{
    Position, Timestamp,
    store::sqlite::{
        CompanionDatabase, NewFile, NewFileError, OpenError, ProgressCallback, StoreFiles, StoreVerification,
        WorkProgress,
        files::{new_file::PartialFile, sql},
        reading::read_only,
    },
};

/// How often the size of the growing file is checked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be created.
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

impl StoreFiles<'_> {
    /// Copies the store into a new file. Returns what is in it.
    ///
    /// # Errors
    /// A [`BackupError`]; then there is no file.
    pub fn backup(
        self,
        file: &Path,
        now: Timestamp,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, BackupError> {
        // Nothing is created under a name that SQLite would take for another.
        sql::path(file)?;
        let _underway = begin(self.path)?;
        let whole = NewFile::begin(file)?;
        let mut copies = Vec::new();
        for companion in self.companions {
            let database = companion.file(self.path);
            if let Some(copying) = companion.copying
                && database.try_exists()?
            {
                let partial = PartialFile::beside(file, &format!(".{}.partial", companion.name))?;
                copy(&database, partial.path(), copying, report)?;
                copies.push((*companion, partial));
            }
        }
        let log = read_only::log_file(self.path);
        drop(read_only::open(&log).map_err(|error| error.judged(&log))?);
        copy(&log, whole.partial(), "bytes of the log", report)?;
        pack(whole.partial(), self.companions, &copies, now)?;
        let packed = StoreFiles { path: whole.partial(), ..self };
        let verification = packed.verify(Position::START, report)?;
        if !verification.is_intact() {
            return Err(BackupError::Damaged(Box::new(verification)));
        }
        whole.finish()?;
        Ok(verification)
    }
}

/// While this exists, no backup of a data directory is running, and none starts.
#[derive(Debug)]
pub struct NoBackup {
    /// `None` where there is no log.
    _lock: Option<File>,
}

impl NoBackup {
    /// Keeps backups from starting; `None` while one is running.
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

/// Marks that the log is being copied, until the returned file is closed. Nobody erases from a backup's file, so copying
/// one needs no mark.
pub(in crate::store::sqlite) fn begin(path: &Path) -> io::Result<Option<File>> {
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
fn copy(from: &Path, to: &Path, what: &'static str, report: ProgressCallback<'_>) -> Result<(), BackupError> {
    let conn = read_only::open_database(from).map_err(|error| error.judged(from))?;
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let total = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
    let total = u64::try_from(total).unwrap_or_default();
    let target = sql::path(to)?.to_owned();
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

/// Adds the databases beside the log, and the time when the file was made.
fn pack(
    file: &Path,
    companions: &[CompanionDatabase],
    copies: &[(CompanionDatabase, PartialFile)],
    now: Timestamp,
) -> Result<(), BackupError> {
    let conn = Connection::open(file)?;
    // The whole file is synced at the end.
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.execute_batch("CREATE TABLE backup (key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID")?;
    conn.execute("INSERT INTO backup VALUES ('made_at', ?1)", [now.to_string()])?;
    for companion in companions.iter().filter(|companion| companion.copying.is_some()) {
        let definitions = definitions_table(*companion);
        conn.execute_batch(&format!("CREATE TABLE {definitions} (type TEXT, name TEXT, sql TEXT)"))?;
    }
    for (companion, copy) in copies {
        pack_database(&conn, *companion, copy.path())?;
    }
    Ok(())
}

/// Adds the tables of one database, and their definitions.
fn pack_database(conn: &Connection, companion: CompanionDatabase, copy: &Path) -> Result<(), BackupError> {
    let definitions = definitions_table(companion);
    conn.execute("ATTACH ?1 AS source", [sql::path(copy)?])?;
    let version: i64 = conn.query_row("PRAGMA source.user_version", [], |row| row.get(0))?;
    conn.execute_batch(&format!(
        "BEGIN;
         INSERT INTO {definitions} SELECT type, name, sql FROM source.sqlite_master
             WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type DESC, name;"
    ))?;
    conn.execute("INSERT INTO backup VALUES (?1, ?2)", (version_key(companion), version))?;
    for name in tables(conn, companion)? {
        let (packed, name) = (packed_table(companion, &name), sql::quoted(&name));
        conn.execute_batch(&format!("CREATE TABLE {packed} AS SELECT * FROM source.{name}"))?;
    }
    Ok(conn.execute_batch("COMMIT; DETACH source")?)
}

/// The table of a backup that has a database's definitions.
pub(in crate::store::sqlite) fn definitions_table(companion: CompanionDatabase) -> String {
    sql::quoted(&format!("backup_{}", companion.name))
}

/// The key under which a backup has a database's version.
pub(in crate::store::sqlite) fn version_key(companion: CompanionDatabase) -> String {
    format!("{}_version", companion.name)
}

/// A database's table, as it is named in a backup.
pub(in crate::store::sqlite) fn packed_table(companion: CompanionDatabase, name: &str) -> String {
    sql::quoted(&format!("{}{name}", companion.packed_prefix()))
}

/// A database's tables, as a backup has them.
pub(in crate::store::sqlite) fn tables(
    conn: &Connection,
    companion: CompanionDatabase,
) -> rusqlite::Result<Vec<String>> {
    let definitions = definitions_table(companion);
    let sql = format!("SELECT name FROM {definitions} WHERE type = 'table' ORDER BY name");
    conn.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ambient, store::sqlite::SqliteStore};

    #[test]
    fn a_backup_is_noticed_from_its_start_until_its_file_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        drop(SqliteStore::open(&data, &Ambient::system()).unwrap());
        assert!(NoBackup::take(&data).unwrap().is_some(), "nobody copies");
        let file = directory.path().join("backup");
        let mut looked = Vec::new();
        let files = StoreFiles::new(&data, &[]);
        files
            .backup(&file, Ambient::system().now(), &mut |work| {
                assert!(NoBackup::take(&data).unwrap().is_none(), "{}", work.what);
                looked.push(work.what);
            })
            .unwrap();
        assert!(looked.contains(&"bytes of the log") && looked.contains(&"pages"), "{looked:?}");
        assert!(file.exists() && NoBackup::take(&data).unwrap().is_some(), "it is over");
    }
}
