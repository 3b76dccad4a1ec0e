//! The connection that writes. Opening it creates the tables in a new database, and migrates those of an older release.

use std::path::Path;

use rusqlite::Connection;

use crate::store::sqlite::{
    OpenError,
    files::{connection::BUSY_TIMEOUT, private, write_ahead},
    tables::{
        event_query,
        index_build::reset_index,
        schema::{INDEX, LOG, PAGE_BYTES, SCHEMA_VERSION, set_meta},
    },
};

/// Opens the writer's connection; creates the tables in a new database.
pub(in crate::store::sqlite) fn open_writer(path: &Path, new_epoch: u64) -> Result<Connection, OpenError> {
    private::make_file(path)?;
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // The checkpointer's thread does it: here it would hold up commits.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    // In KiB. Long messages pass through it like the index does; the system caches what does not fit.
    conn.pragma_update(None, "cache_size", -8_192)?;
    conn.pragma_update(None, "journal_size_limit", write_ahead::LARGE_BYTES)?;
    // What was removed must not stay in free pages. Appends remove nothing.
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

/// The first schema had no checksums in the index, so the index is rebuilt from the log.
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
    // It is unknown up to where events were removed.
    reset_index(conn, event_query::last_position(conn)?)?;
    conn.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"))
}
