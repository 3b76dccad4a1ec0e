//! From the file of a backup to a store.
//!
//! The restored store has a new epoch, so that nobody continues from a place in the previous history: read models are
//! rebuilt, cursors are clamped. The store can be cut at an earlier position; the index is cut with the log.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rusqlite::{Connection, OptionalExtension};

use crate::{
    Ambient, Position, Version,
    store::sqlite::{
        CompanionDatabase, FillError, OpenError, ProgressCallback, StoreFiles, StoreVerification,
        WorkProgress,
        files::{private, sql},
        maintenance::{backup, fresh::UnfinishedStore},
        reading::read_only,
        tables::{
            event_query, opening, schema,
            stream_index::{self, StreamHead},
        },
    },
};

/// How much is copied at a time.
const CHUNK: usize = 1024 * 1024;

impl StoreFiles<'_> {
    /// Puts the contents of a backup, up to a position if one is given, into the empty directory.
    ///
    /// # Errors
    /// A [`FillError`]; then the directory is as it was.
    pub fn restore(
        self,
        file: &Path,
        to: Option<Position>,
        ambient: &Ambient,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, FillError> {
        check(file)?;
        // Nothing is created under a name that SQLite would take for another.
        sql::path(self.path)?;
        let fresh = UnfinishedStore::new(self, None)?;
        copy(file, &fresh.log, report)?;
        // Verified while it is packed: after the move, damage would look as if it had been written that way.
        let packed = StoreFiles { path: &fresh.log, ..self }.verify_packed()?;
        if !packed.is_intact() {
            return Err(FillError::Damaged(Box::new(packed)));
        }
        let conn = opening::open_writer(&fresh.log, 0)?;
        conn.pragma_update(None, "synchronous", "OFF")?;
        for (companion, path) in fresh.backed_up() {
            unpack(&conn, companion, &path)?;
        }
        conn.execute_batch("BEGIN IMMEDIATE; DROP TABLE backup")?;
        if let Some(to) = to {
            report(WorkProgress { what: "cutting", done: 0, total: 0 });
            cut(&conn, to)?;
        }
        schema::set_meta(&conn, "epoch", u64::from_le_bytes(ambient.bytes()))?;
        conn.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
        conn.close().map_err(|(_, error)| error)?;
        fresh.finish(report)
    }
}

fn check(file: &Path) -> Result<(), FillError> {
    let conn = match read_only::open(file) {
        Err(OpenError::Database(_) | OpenError::Foreign(_)) => {
            return Err(FillError::NotABackup(file.to_owned()));
        }
        opened => opened?,
    };
    let sql = "SELECT count(*) FROM sqlite_master WHERE name IN ('log', 'backup')";
    let known: i64 = conn.query_row(sql, [], |row| row.get(0))?;
    if known == 2 { Ok(()) } else { Err(FillError::NotABackup(file.to_owned())) }
}

fn copy(from: &Path, to: &Path, report: ProgressCallback<'_>) -> Result<(), FillError> {
    let mut source = File::open(from)?;
    let total = source.metadata()?.len();
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    loop {
        let read = source.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        target.write_all(bytes)?;
        done += bytes.len() as u64;
        report(WorkProgress { what: "bytes copied", done, total });
    }
}

/// Moves the tables of a packed database into a file of their own, with their original definitions.
fn unpack(conn: &Connection, companion: CompanionDatabase, path: &Path) -> Result<(), FillError> {
    let definitions = backup::definitions_table(companion);
    let sql = "SELECT value FROM backup WHERE key = ?1";
    let version = conn.query_row(sql, [backup::version_key(companion)], |row| row.get::<_, i64>(0));
    if let Some(version) = version.optional()? {
        private::make_file(path)?;
        let database = Connection::open(path)?;
        database.pragma_update(None, "user_version", version)?;
        let mut statement =
            conn.prepare(&format!("SELECT sql FROM {definitions} ORDER BY type DESC, name"))?;
        let statements =
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        statements.iter().try_for_each(|sql| database.execute_batch(sql))?;
        drop(database);
        conn.execute("ATTACH ?1 AS unpacked", [sql::path(path)?])?;
        for name in backup::tables(conn, companion)? {
            let (packed, name) = (backup::packed_table(companion, &name), sql::quoted(&name));
            conn.execute_batch(&format!(
                "INSERT INTO unpacked.{name} SELECT * FROM main.{packed}; DROP TABLE main.{packed}"
            ))?;
        }
        conn.execute_batch("DETACH unpacked")?;
    }
    Ok(conn.execute_batch(&format!("DROP TABLE IF EXISTS {definitions}"))?)
}

/// Removes what is after a position. A stream ends at the event that its first event after the position links to.
fn cut(conn: &Connection, to: Position) -> Result<(), FillError> {
    let last = event_query::last_position(conn)?;
    let sql = "SELECT stream, version, previous FROM log WHERE position > ?1 AND previous <= ?1";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([to])?;
    let known = stream_index::StreamHeads::default();
    while let Some(row) = rows.next()? {
        let stream: String = row.get(0)?;
        let Some(head) = known.find(conn, &stream)? else { continue };
        if head.position <= to {
            continue;
        }
        let (next, position): (Version, Position) = (row.get(1)?, row.get(2)?);
        match next.previous() {
            Some(version) if next >= head.first => {
                stream_index::store_head(conn, &stream, StreamHead { version, position, first: head.first })?;
            }
            _ => {
                conn.execute("DELETE FROM streams WHERE name = ?1", [stream])?;
            }
        }
    }
    // The streams that are left started after the position. The links of truncated streams lead after it too.
    conn.execute("DELETE FROM streams WHERE position > ?1", [to])?;
    conn.execute("DELETE FROM marks WHERE position > ?1", [to])?;
    conn.execute("DELETE FROM log WHERE position > ?1", [to])?;
    // Positions that were given out once are not given out again.
    let floor = schema::meta(conn, "floor")?.max(last.as_u64());
    schema::set_meta(conn, "floor", floor)?;
    let indexed = schema::meta(conn, "indexed")?.min(to.as_u64());
    Ok(schema::set_meta(conn, "indexed", indexed)?)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    use super::*;
    use crate::store::sqlite::SqliteStore;

    #[test]
    fn a_directory_that_sqlite_cannot_be_told_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let ambient = Ambient::system();
        let (data, file) = (directory.path().join("data"), directory.path().join("file"));
        drop(SqliteStore::open(&data, &ambient).unwrap());
        StoreFiles::new(&data, &[]).backup(&file, ambient.now(), &mut |_| ()).unwrap();
        let odd = directory.path().join(OsStr::from_bytes(b"odd\xff"));
        let restore = |to: &Path| StoreFiles::new(to, &[]).restore(&file, None, &ambient, &mut |_| ());
        let refused = restore(&odd).unwrap_err();
        assert!(refused.to_string().contains("UTF-8") && !odd.exists(), "{refused}");
        restore(&directory.path().join("another")).unwrap();
    }

    #[test]
    fn a_directory_that_is_refused_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let ambient = Ambient::system();
        let (data, file) = (directory.path().join("data"), directory.path().join("file"));
        drop(SqliteStore::open(&data, &ambient).unwrap());
        let files = StoreFiles::new(&data, &[]);
        files.backup(&file, ambient.now(), &mut |_| ()).unwrap();
        let another = data.join("log.db.new");
        std::fs::write(&another, "somebody's").unwrap();
        assert!(matches!(files.restore(&file, None, &ambient, &mut |_| ()), Err(FillError::NotEmpty(_))));
        assert!(another.exists());
    }
}
