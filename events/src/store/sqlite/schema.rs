//! The tables, and how connections to them are opened.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{OpenError, heads, private, query, seal, write_ahead};
use crate::Position;

/// Written into a new database; a program refuses a database with another number.
pub(super) const SCHEMA_VERSION: i64 = 2;

/// `log` is the truth and the only table on the hot path: it has no index but its own key.
/// `streams` and `marks` say where a stream ends and where every 64th event of it stands. They are
/// written later than the log and can be made again from it.
const LOG: &str = "
    CREATE TABLE log (
        position  INTEGER PRIMARY KEY,
        stream    TEXT    NOT NULL,
        version   INTEGER NOT NULL,
        previous  INTEGER NOT NULL, -- position of the stream's event before, 0 at its begin
        id        BLOB    NOT NULL,
        type      TEXT    NOT NULL,
        schema    INTEGER NOT NULL,
        time      INTEGER NOT NULL, -- milliseconds since 1970
        causation TEXT    NOT NULL,
        actor     TEXT    NOT NULL,
        data      BLOB    NOT NULL, -- JSON
        checksum  INTEGER NOT NULL  -- CRC-32C over all of the above
    );";

/// See [`seal`] for the checksums.
const INDEX: &str = "
    CREATE TABLE streams (
        name     TEXT PRIMARY KEY,
        version  INTEGER NOT NULL,
        position INTEGER NOT NULL,
        first    INTEGER NOT NULL, -- the version that reading ends at: higher than 1 after a truncation
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE marks (
        stream   TEXT    NOT NULL,
        mark     INTEGER NOT NULL, -- version / 64
        position INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (stream, mark)
    ) WITHOUT ROWID;
    CREATE TABLE meta (
        key      TEXT PRIMARY KEY,
        value    INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// The size of a page in a new database. An event takes some 350 bytes: larger pages make fewer writes
/// of a commit, smaller ones less of a commit that is a single event.
pub(super) const PAGE_BYTES: u32 = 16_384;

/// How long a connection waits for another's lock before it gives up.
const BUSY_MS: u64 = 10_000;

/// Opens the writer's connection; makes the tables in a new database.
pub(super) fn open_writer(path: &Path, new_epoch: u64) -> Result<Connection, OpenError> {
    private::make_file(path)?;
    let conn = Connection::open(path)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // The checkpointer's thread does it: inline it would stop the commits.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    // In KiB. Long messages go through it as well as the index: what is not in it the system has in its own cache.
    conn.pragma_update(None, "cache_size", -8_192)?;
    conn.pragma_update(None, "journal_size_limit", write_ahead::LARGE_BYTES)?;
    // What was removed must not stand in free pages. Appends remove nothing.
    conn.pragma_update(None, "secure_delete", true)?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        conn.execute_batch(&format!("BEGIN IMMEDIATE; {LOG} {INDEX}"))?;
        set_meta(&conn, "epoch", new_epoch)?;
        set_meta(&conn, "indexed", 0)?;
        set_meta(&conn, "floor", 0)?;
        conn.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"))?;
    } else if version == 1 {
        lift(&conn)?;
    } else if version != SCHEMA_VERSION {
        return Err(OpenError::Schema { found: version, known: SCHEMA_VERSION });
    }
    Ok(conn)
}

/// The first schema had no checksums beside the log: the index is made again from it.
fn lift(conn: &Connection) -> rusqlite::Result<()> {
    let kept = |key: &str| {
        let sql = "SELECT ifnull(max(value), 0) FROM meta WHERE key = ?1";
        conn.query_row(sql, [key], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    };
    let epoch = kept("epoch")?;
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; DROP TABLE streams; DROP TABLE marks; DROP TABLE meta; {INDEX}"
    ))?;
    set_meta(conn, "epoch", epoch)?;
    // Nothing says up to where events were removed.
    reset_index(conn, query::last_position(conn)?)?;
    conn.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"))
}

/// Forgets the index, as part of a transaction: the next start makes it again from the log. Only streams
/// without events are kept, which the log does not know of. Up to `floor` events may have been removed: no position
/// up to it is given out again, and behind it none may be missing.
pub(super) fn reset_index(conn: &Connection, floor: Position) -> rusqlite::Result<()> {
    conn.execute_batch("DELETE FROM streams WHERE first <> version + 1; DELETE FROM marks")?;
    heads::remove_broken(conn)?;
    set_meta(conn, "indexed", 0)?;
    set_meta(conn, "floor", floor.as_u64())
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    Ok(conn)
}

/// A number that the store keeps about itself.
pub(super) fn meta(conn: &Connection, key: &str) -> rusqlite::Result<u64> {
    let found = conn
        .prepare_cached("SELECT value, checksum FROM meta WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?)))
        .optional()?;
    let is_whole = |(value, checksum): &(u64, i64)| seal::of("meta", key, &[*value]) == *checksum;
    found.filter(is_whole).map(|(value, _)| value).ok_or_else(|| seal::broken("meta"))
}

/// Keeps a number.
pub(super) fn set_meta(conn: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value, checksum) VALUES (?1, ?2, ?3)")?
        .execute((key, value.cast_signed(), seal::of("meta", key, &[value])))?;
    Ok(())
}
